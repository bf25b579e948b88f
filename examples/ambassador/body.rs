//! The body of a request: recorded while it is sent, so that the request can be repeated, up to a
//! size; and watched, so that a caller who breaks off is told from an upstream that does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Method, Request, StatusCode};
use seawall::CloneRequest;
use seawall::http::{REPLAY_CAP, Replay, ReplayBody};
use tokio::time::timeout;
use tower::BoxError;

use crate::client::is_grpc;

/// What is sent to the upstream.
pub(crate) type Outgoing = ReplayBody<Incoming>;

/// Why a body did not arrive: the status and the words for whoever sent it.
pub(crate) type Missing = (StatusCode, &'static str);

/// Records a body while it is sent.
pub(crate) fn record(request: Request<Incoming>) -> Request<Outgoing> {
    request.map(|body| ReplayBody::new(body, REPLAY_CAP))
}

/// The body, if it is small and its request may be repeated: then all of it should be there before the
/// request goes out. Others stream.
pub(crate) fn to_wait_for(request: &Request<Outgoing>) -> Option<Outgoing> {
    let body = request.body();
    let small = body.size_hint().exact().is_some_and(|length| length <= REPLAY_CAP as u64);
    let waits = small && !body.is_end_stream() && Replay::default().allows(request);
    if waits { body.try_clone() } else { None }
}

/// Waits for all of a body, for so long: a caller who is slow to send it shall not be taken for an
/// upstream that is slow to answer.
pub(crate) async fn wait(body: Outgoing, patience: Duration) -> Result<(), Missing> {
    // What one clone has read, trailers too, is there for the others.
    match timeout(patience, body.collect()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the request's body broke off")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the request's body took too long")),
    }
}

// ===== impl Copies =====

/// Which requests may be repeated: those whose method says so, gRPC calls if the user does, those with an
/// idempotency key if it got past the edge, and all that were certainly never sent.
#[derive(Debug, Clone)]
pub(crate) struct Copies {
    http: Replay,
    grpc: Option<Replay>,
}

impl Copies {
    pub(crate) fn new(repeat_grpc: bool) -> Self {
        let http = Replay::default().key_header(Replay::IDEMPOTENCY_KEY);
        let grpc = repeat_grpc.then(|| Replay::default().method(Method::POST));
        Self { http, grpc }
    }
}

impl CloneRequest<Request<Outgoing>> for Copies {
    fn clone_request(&self, request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
        if is_grpc(request.headers()) {
            self.grpc.as_ref()?.clone_request(request)
        } else {
            self.http.clone_request(request)
        }
    }

    fn clone_unsent(&self, request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
        self.http.clone_unsent(request)
    }

    fn take_over(&self, copy: &mut Request<Outgoing>) -> bool {
        self.http.take_over(copy)
    }
}

// ===== impl Upload =====

/// A body on its way to the upstream, that says whether its caller let it down.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Outgoing,
    failed: Arc<AtomicBool>,
}

impl Upload {
    pub(crate) fn new(body: Outgoing, failed: Arc<AtomicBool>) -> Self {
        Self { body, failed }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.failed.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
