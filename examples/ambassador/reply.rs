//! What a caller is told when there is no answer of the upstream: a status, one line of text, when
//! to come back, and in `Proxy-Status` (RFC 9209) that it was the ambassador who spoke.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use seawall::grpc::Trailers;
use seawall::http::{Render, ResponseBody};
use seawall::{Error, Reason, Rejected};
use tower::BoxError;

use crate::client::Broken;
use crate::peer::Peer;
use crate::stack::{Answer, Failure};

/// A body that comes from the upstream, or from us.
#[derive(Debug)]
pub(crate) struct Body {
    body: Either<Answer, Full<Bytes>>,
    /// Whoever gets it is not idle until it has.
    _peer: Option<Arc<Peer>>,
}

pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl Body {
    /// The upstream's, for a caller.
    pub(crate) const fn of_upstream(body: Answer, peer: Arc<Peer>) -> Self {
        Self { body: Either::Left(body), _peer: Some(peer) }
    }

    /// One of ours.
    pub(crate) fn of_ours(bytes: impl Into<Bytes>) -> Self {
        Self { body: Either::Right(Full::new(bytes.into())), _peer: None }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A line of plain text.
pub(crate) fn line(status: StatusCode, text: &str) -> Response<Body> {
    text_of_type("text/plain; charset=utf-8", status, format!("{text}\n"))
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::of_ours(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A request that was here before.
pub(crate) fn to_loop() -> Response<Body> {
    let text = "the request was here before: the upstream leads back here";
    of_ours(StatusCode::LOOP_DETECTED, "proxy_loop_detected", text)
}

/// Somebody asks to speak another protocol, and too many do so already.
pub(crate) fn to_too_many_upgrades() -> Response<Body> {
    let text = "there are too many upgraded connections already";
    of_ours(StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached", text)
}

/// Too many requests are still being sent.
pub(crate) fn to_too_many_uploads() -> Response<Body> {
    let text = "there are too many uploads already";
    of_ours(StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached", text)
}

/// A text of some type.
pub(crate) fn text_of_type(kind: &'static str, status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::of_ours(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Why there is no answer. Callers may be strangers, so unless they are to have it `explained` they
/// are told what happened, and no name, address or number of ours.
pub(crate) fn to_failure(failure: &Failure, explained: bool) -> Response<Body> {
    match failure {
        Error::Rejected(rejected) => to_rejection(rejected, explained),
        Error::Inner(Broken::Caller) => line(StatusCode::BAD_REQUEST, &Broken::Caller.to_string()),
        Error::Inner(Broken::Connect(error)) => {
            to_broken_call("cannot connect to the upstream", "connection_refused", error, explained)
        }
        Error::Inner(Broken::Upstream(error)) => {
            to_broken_call("the upstream broke off", "connection_terminated", error, explained)
        }
    }
}

/// The same to a caller who speaks gRPC: an answer of headers alone.
pub(crate) fn to_failure_of_grpc(failure: &Failure, explained: bool) -> Response<Body> {
    // That the upstream cannot be reached is no internal error of ours, as the layer would have it.
    let known = matches!(failure, Error::Rejected(_)).then_some(failure);
    let response: Response<ResponseBody<()>> = Trailers.render(known);
    let mut response = response.map(|_| Body::of_ours(Bytes::new()));
    if explained && let Ok(message) = HeaderValue::try_from(failure.to_string().replace('%', "%25"))
    {
        response.headers_mut().insert("grpc-message", message);
    }
    response
}

/// A layer ended the call.
fn to_rejection(rejected: &Rejected, explained: bool) -> Response<Body> {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (status, error, words) = match rejected.reason() {
        Reason::TimedOut | Reason::DeadlineExceeded => {
            (StatusCode::GATEWAY_TIMEOUT, "http_response_timeout", "there was no answer in time")
        }
        Reason::RequestTimeout => {
            (StatusCode::REQUEST_TIMEOUT, "http_request_error", "the request's body took too long")
        }
        Reason::RequestBroken => {
            (StatusCode::BAD_REQUEST, "http_request_error", "the request's body broke off")
        }
        Reason::Full => {
            (unavailable, "connection_limit_reached", "there are too many calls already")
        }
        Reason::CircuitOpen => (unavailable, "destination_unavailable", "the circuit is open"),
        _ => (unavailable, "destination_unavailable", "the upstream is not available"),
    };
    let text = if explained { rejected.to_string() } else { words.to_owned() };
    let mut response = of_ours(status, error, &text);
    // Where the layer does not know, silence is better advice than a guess.
    if let Some(delay) = rejected.retry_after() {
        let delay = HeaderValue::from(whole_seconds(delay));
        response.headers_mut().insert(header::RETRY_AFTER, delay);
    }
    response
}

/// The upstream was asked, or was to be, and the connection failed.
fn to_broken_call(what: &str, name: &str, error: &BoxError, explained: bool) -> Response<Body> {
    let why = if explained { format!(": {}", root_cause(&**error)) } else { String::new() };
    of_ours(StatusCode::BAD_GATEWAY, name, &format!("{what}{why}"))
}

/// What is at the bottom of an error.
pub(crate) fn root_cause(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn of_ours(status: StatusCode, error: &str, text: &str) -> Response<Body> {
    let mut response = line(status, text);
    if let Ok(value) = HeaderValue::try_from(format!("ambassador; error={error}")) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    response
}

/// `Retry-After` knows whole seconds only, and "at once" is no advice to give when rejecting.
fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0)).max(1)
}
