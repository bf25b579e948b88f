//! The HTTP client: which version it speaks to the upstream, and whose fault it is if a call breaks.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::Either;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall::http::{AsError, TimeoutHeader, WriteDeadlineLayer};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::body::{Outgoing, Upload};

/// The client failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The caller did not send the rest of its request.
    #[error("the request's body broke off")]
    Caller,
    #[error("{0}")]
    Upstream(#[source] legacy::Error),
}

impl AsError for Broken {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        self
    }
}

/// Whether a call is one of gRPC, or an answer is.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// A client that speaks HTTP/2 for gRPC, and for all else if `http2`, and HTTP/1.1 otherwise. It
/// tells gRPC servers how much time is left.
pub(crate) fn client(
    http2: bool,
) -> impl Service<Request<Outgoing>, Response = Response<Incoming>, Error = Broken, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let (one, two) = (of_version(false), of_version(true));
    let grpc = WriteDeadlineLayer::new(TimeoutHeader::Grpc).layer(two.clone());
    service_fn(move |request: Request<Outgoing>| {
        let failed = Arc::new(AtomicBool::new(false));
        let mut request = request.map(|body| Upload::new(body, Arc::clone(&failed)));
        let is_grpc = is_grpc(request.headers());
        if is_grpc || http2 {
            // We read trailers, whoever asked; whether the caller does is between it and us.
            request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let answer = if is_grpc {
            Either::Left(grpc.clone().oneshot(request))
        } else {
            Either::Right(if http2 { two.request(request) } else { one.request(request) })
        };
        async move {
            answer.await.map_err(|error| {
                // hyper tells it in another way for each version, so the body itself is asked.
                if failed.load(Ordering::Relaxed) {
                    Broken::Caller
                } else {
                    Broken::Upstream(error)
                }
            })
        }
    })
}

fn of_version(http2: bool) -> legacy::Client<HttpConnector, Upload> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .http2_only(http2)
        .build(connector)
}
