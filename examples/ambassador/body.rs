//! The body of a request: small ones are kept, so that the request can be repeated; the others are
//! streamed, and their requests are sent once.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, StatusCode};
use seawall::http::Replay;
use tokio::time::timeout;

/// What is sent to the upstream: a body that was kept, or one that streams through.
pub(crate) type Outgoing = Either<Full<Bytes>, Incoming>;

/// Longer bodies are not kept: all callers at once must not be able to fill the memory.
const KEPT: u64 = 64 * 1024;

/// Why a body did not arrive: the status and the words for whoever sent it.
pub(crate) type Missing = (StatusCode, &'static str);

/// Waits for a small body of a request that may be repeated, for so long; lets others stream.
pub(crate) async fn keep(
    request: Request<Incoming>,
    patience: Duration,
) -> Result<Request<Outgoing>, Missing> {
    let small = request.body().size_hint().exact().is_some_and(|length| length <= KEPT);
    if !small || !Replay::default().allows(&request) {
        return Ok(request.map(Either::Right));
    }
    let (head, body) = request.into_parts();
    match timeout(patience, body.collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Either::Left(Full::from(body.to_bytes())))),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the request's body broke off")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the request's body took too long")),
    }
}

/// A copy of a request whose body was kept.
pub(crate) fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let Either::Left(body) = request.body() else { return None };
    let mut copy = Request::new(Either::Left(body.clone()));
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}
