//! The deadline of a call bounds its stream too.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service};

use super::classify::Code;
use crate::core::context::ClassifyContext;
use crate::core::error::Reason;
use crate::core::request::{CallContext, Deadline};
use crate::core::time;
use crate::http::parse_timeout;
use crate::http::untrusted::Untrusted;

/// Ends the stream of an answer when the deadline of its call passes, with `DEADLINE_EXCEEDED`: in gRPC a
/// deadline is that of the whole call, and not of the head of its answer.
///
/// The deadline is that of the caller: its [`CallContext::deadline`] in the extensions or its `grpc-timeout`
/// header (unless the request came through an [edge](crate::http::UntrustedHeadersLayer), which reads it or not),
/// whichever is earlier. A call without one may stream for ever; limits of layers do not count.
/// For clients, outermost; [`grpc::client`](super::client) has it built in. A server of tonic whose timer
/// rang says `CANCELLED`: that is turned into `DEADLINE_EXCEEDED`, if it came when the deadline
/// [may have passed](crate::ClassifyContext::may_have_timed_out) there.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, channel::Channel};
/// use seawall::grpc::{Code, StreamDeadlineLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let (_server, silent) = Channel::<Bytes, Infallible>::new(1); // a stream that goes on for ever
/// let watch = ServiceBuilder::new().layer(StreamDeadlineLayer::new()).service(service_fn(
///     |request: Request<Channel<Bytes>>| async { Ok::<_, Infallible>(Response::new(request.into_body())) },
/// ));
/// let request = Request::builder().header("grpc-timeout", "20m").body(silent)?;
/// let ended = watch.oneshot(request).await?.into_body().collect().await?;
/// assert_eq!(ended.trailers().and_then(Code::of), Some(Code::DEADLINE_EXCEEDED));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct StreamDeadlineLayer {
    bounds: bool,
}

impl StreamDeadlineLayer {
    /// Deadlines bound streams.
    pub const fn new() -> Self {
        Self { bounds: true }
    }

    /// They do not.
    pub(super) const fn off() -> Self {
        Self { bounds: false }
    }
}

impl Default for StreamDeadlineLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for StreamDeadlineLayer {
    type Service = StreamDeadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StreamDeadline { inner, bounds: self.bounds }
    }
}

/// Bounds the streams of answers; see [`StreamDeadlineLayer`].
#[derive(Debug, Clone)]
pub struct StreamDeadline<S> {
    inner: S,
    bounds: bool,
}

impl<S, A, B> Service<Request<A>> for StreamDeadline<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = S::Error;
    type Future = StreamDeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let end = if self.bounds { end_of(&request) } else { None };
        StreamDeadlineFuture { call: self.inner.call(request), end }
    }
}

/// Until when a stream may go on, and what its reader is told then.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Instant,
    word: &'static str,
    context: ClassifyContext,
}

impl End {
    /// Whether a server says that its timer rang, as tonic's does with `CANCELLED`, when it can only have been
    /// that of this deadline.
    fn is_told_by(&self, headers: &HeaderMap) -> bool {
        Code::of(headers) == Some(Code::CANCELLED)
            && headers.get("grpc-message").is_some_and(|message| {
                let message = message.as_bytes();
                message == b"Timeout%20expired" || message == b"Timeout expired"
            })
            && self.context.may_have_timed_out()
    }

    fn tell(&self, headers: &mut HeaderMap) {
        let code = Code::DEADLINE_EXCEEDED.number();
        headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
        headers.insert("grpc-message", HeaderValue::from_static(self.word));
    }
}

/// What the caller said, and what an outer layer made of it.
fn end_of<B>(request: &Request<B>) -> Option<End> {
    let mut call: CallContext = request.extensions().get().cloned().unwrap_or_default();
    let header =
        request.headers().get("grpc-timeout").filter(|_| !Untrusted::is(request.extensions()));
    if let Some(told) = header.and_then(parse_timeout).map(Deadline::after) {
        call.deadline = Some(call.deadline.map_or(told, |carried| carried.min(told)));
    }
    let deadline = call.deadline?;
    let (at, context) = (deadline.instant()?, ClassifyContext::new(deadline));
    let is_ours = call.own_deadline().is_some();
    let reason = if is_ours { Reason::TimedOut } else { Reason::DeadlineExceeded };
    Some(End { at, word: reason.as_str(), context })
}

/// The future of a call whose stream will be bounded.
#[pin_project]
pub struct StreamDeadlineFuture<F> {
    #[pin]
    call: F,
    end: Option<End>,
}

impl<F, B, E> Future for StreamDeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<DeadlineBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.call.poll(cx))?;
        let end = *this.end;
        if let Some(end) = end
            && end.is_told_by(response.headers())
        {
            end.tell(response.headers_mut());
        }
        let bound = |body| DeadlineBody { body: Some(body), end, timer: None };
        Poll::Ready(Ok(response.map(bound)))
    }
}

impl<F> fmt::Debug for StreamDeadlineFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDeadlineFuture").field("end", &self.end).finish_non_exhaustive()
    }
}

/// The body of an answer, which ends with `DEADLINE_EXCEEDED` in its trailers when the deadline of its
/// call passes while its reader waits.
///
/// What is there by then is read first. The body inside is dropped, which resets the stream.
#[pin_project]
pub struct DeadlineBody<B> {
    /// `None` once the deadline has passed.
    #[pin]
    body: Option<B>,
    end: Option<End>,
    /// Made when it is first needed, and boxed so that the body is no less `Unpin` for it.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Body for DeadlineBody<B>
where
    B: Body,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(item) = body.poll_frame(cx) {
            return Poll::Ready(item);
        }
        let Some(end) = *this.end else { return Poll::Pending };
        ready!(time::poll_boxed_until(this.timer, end.at, cx));
        this.body.set(None); // before the reader is told
        *this.timer = None;
        let mut trailers = HeaderMap::new();
        end.tell(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: fmt::Debug> fmt::Debug for DeadlineBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineBody")
            .field("body", &self.body)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
