//! Drain: reads small answers to their end that nobody will want to read.
//!
//! A retry drops a rejected response before it waits. An HTTP/1.1 connection can be used again only
//! when the response on it was read to its end; a client that has not read it has to close the
//! connection, so that each retry costs a new one (pitfall B15). So this layer, just inside the
//! retry, reads what the retry is about to drop: a few kilobytes, for a few milliseconds, and no more.
//! What it has read is not lost, but is what the reader of the response gets first.
//!
//! HTTP/2 has no use for it: there a stream is reset and the connection stays. And a body that came
//! along with its head as a whole costs hyper no connection either.
//!
//! ```
//! use http::{Request, Response};
//! use seawall::http::{HttpClassifier, Replay, drain::DrainLayer};
//! use seawall::{Error, retry::RetryLayer};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> {
//! #     Ok(Response::default())
//! # }
//! let client = ServiceBuilder::new()
//!     .layer(
//!         RetryLayer::builder("api").classify(HttpClassifier).copy_with(Replay::default()).build()?,
//!     )
//!     .layer(DrainLayer::new())
//!     .map_err(Error::Inner)
//!     .service(service_fn(send));
//! # let _ = seawall::check_service::<_, Request<String>>(client);
//! # Ok::<(), seawall::ConfigErrors>(())
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service};

use crate::core::outcome::Retryable;
use crate::core::time;
use crate::http::of_status;

/// Default [`DrainLayer::bytes`].
pub(crate) const BYTES: usize = 16 * 1024;
/// Default [`DrainLayer::wait`].
pub(crate) const WAIT: Duration = Duration::from_millis(50);

/// The settings of a [`DrainLayer`]: plain values, for instance from a file. Every
/// value is valid.
///
/// ```
/// use seawall::http::drain::{DrainConfig, DrainLayer};
///
/// let config: DrainConfig = serde_json::from_str(r#"{ "bytes": 65536, "wait": "10ms" }"#)?;
/// let drain = DrainLayer::from_config(&config);
/// # drop(drain);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct DrainConfig {
    /// Bytes that are read at most: any number.
    pub bytes: usize,
    /// How long they are waited for at most, from the first time that there is nothing to read: any duration.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub wait: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { bytes: BYTES, wait: WAIT }
    }
}

/// A body that trickles must not keep this busy for ever: a frame counts for so many bytes at least.
const LEAST_COST: usize = 64;

/// Reads the bodies of responses that will be retried, up to a bound, so that their connections can
/// be used again.
///
/// By default those are the responses after which [`of_status`] says to ask again. Every value of its
/// settings is valid.
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct DrainLayer<W = Retried> {
    bounds: Bounds,
    which: W,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes: usize,
    wait: Duration,
}

impl DrainLayer {
    /// Drains up to 16 KiB for up to 50 ms.
    pub const fn new() -> Self {
        Self { bounds: Bounds { bytes: BYTES, wait: WAIT }, which: Retried }
    }

    /// Drains within these bounds, for instance from a configuration file.
    pub const fn from_config(config: &DrainConfig) -> Self {
        let DrainConfig { bytes, wait } = *config;
        Self { bounds: Bounds { bytes, wait }, which: Retried }
    }
}

impl Default for DrainLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> DrainLayer<W> {
    /// Reads so many bytes at most (and the frame in which they are exceeded). A body that says that
    /// it is larger is not touched.
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// Waits so long for them at most, from the first time that there is nothing to read.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.bounds.wait = wait;
        self
    }

    /// Drains the responses for which `which` says so, by their status and headers.
    pub fn which<W2>(self, which: W2) -> DrainLayer<W2>
    where
        W2: Fn(StatusCode, &HeaderMap) -> bool,
    {
        DrainLayer { bounds: self.bounds, which }
    }
}

impl<S, W: Clone> Layer<S> for DrainLayer<W> {
    type Service = Drain<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        Drain { inner, bounds: self.bounds, which: self.which.clone() }
    }
}

/// Which responses are drained.
#[doc(hidden)]
pub trait IsUnwanted {
    /// Whether one with this status and these headers is.
    fn is_unwanted(&self, status: StatusCode, headers: &HeaderMap) -> bool;
}

/// Those after which [`of_status`] says to ask again.
#[derive(Debug, Clone, Copy, Default)]
#[doc(hidden)]
pub struct Retried;

impl IsUnwanted for Retried {
    fn is_unwanted(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        of_status(status, headers).retryable != Retryable::Never
    }
}

impl<F: Fn(StatusCode, &HeaderMap) -> bool> IsUnwanted for F {
    fn is_unwanted(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self(status, headers)
    }
}

/// Drains responses that will be retried.
#[derive(Debug, Clone)]
#[doc(hidden)]
pub struct Drain<S, W> {
    inner: S,
    bounds: Bounds,
    which: W,
}

impl<S, Req, W, B> Service<Req> for Drain<S, W>
where
    S: Service<Req, Response = Response<B>>,
    W: IsUnwanted + Clone,
    B: Body + Unpin,
{
    type Response = Response<DrainedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let call = self.inner.call(request);
        let which = self.which.clone();
        ResponseFuture { call, timer: None, until: None, drained: None, bounds: self.bounds, which }
    }
}

/// The future of a call whose response may be drained.
#[pin_project]
#[doc(hidden)]
pub struct ResponseFuture<F, B: Body, W> {
    #[pin]
    call: F,
    #[pin]
    timer: Option<Sleep>,
    /// The end of the wait, once it has begun, unless it is too far away for the clock.
    until: Option<Instant>,
    /// The response, once it is there.
    drained: Option<Response<DrainedBody<B>>>,
    bounds: Bounds,
    which: W,
}

impl<F, B, W, E> Future for ResponseFuture<F, B, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Unpin,
    W: IsUnwanted,
{
    type Output = Result<Response<DrainedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut response = match this.drained.take() {
            Some(response) => response,
            None => {
                let response = ready!(this.call.poll(cx))?;
                let unwanted = this.which.is_unwanted(response.status(), response.headers());
                let most = this.bounds.bytes as u64;
                let is_small = response.body().size_hint().lower() <= most;
                let response = response.map(DrainedBody::new);
                if !unwanted || !is_small {
                    return Poll::Ready(Ok(response));
                }
                response
            }
        };
        while !response.body().is_done(this.bounds.bytes) {
            if response.body_mut().poll_more(cx).is_pending() {
                let wait = this.bounds.wait;
                *this.until = this.until.or_else(|| time::now().checked_add(wait));
                if let Some(until) = *this.until
                    && time::poll_until(this.timer.as_mut(), until, cx).is_ready()
                {
                    break;
                }
                *this.drained = Some(response);
                return Poll::Pending;
            }
        }
        this.timer.set(None);
        Poll::Ready(Ok(response))
    }
}

impl<F, B: Body, W> fmt::Debug for ResponseFuture<F, B, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let draining = self.drained.is_some();
        f.debug_struct("ResponseFuture").field("draining", &draining).finish_non_exhaustive()
    }
}

/// A body of which the beginning, or all, was read already.
#[doc(hidden)]
pub struct DrainedBody<B: Body> {
    body: B,
    read: VecDeque<Result<Frame<B::Data>, B::Error>>,
    /// Bytes in what was read.
    bytes: usize,
    /// Reading stops when this is over the bound; a frame counts for at least [`LEAST_COST`].
    cost: usize,
    /// The body has given its end, or an error.
    over: bool,
}

// Nothing in it is pinned but the body.
impl<B: Body + Unpin> Unpin for DrainedBody<B> {}

impl<B: Body> DrainedBody<B> {
    fn new(body: B) -> Self {
        Self { body, read: VecDeque::new(), bytes: 0, cost: 0, over: false }
    }
}

impl<B: Body + Unpin> DrainedBody<B> {
    fn is_done(&self, most: usize) -> bool {
        self.over || self.cost > most || self.body.is_end_stream()
    }

    /// Reads one more frame.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let item = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &item {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                self.bytes += bytes;
                self.cost = self.cost.saturating_add(bytes.max(LEAST_COST));
            }
            Some(Err(_)) | None => self.over = true,
        }
        self.read.extend(item);
        Poll::Ready(())
    }
}

impl<B: Body + Unpin> Body for DrainedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(item) = self.read.pop_front() {
            if let Ok(frame) = &item {
                self.bytes -= frame.data_ref().map_or(0, Buf::remaining);
            }
            return Poll::Ready(Some(item));
        }
        if self.over { Poll::Ready(None) } else { Pin::new(&mut self.body).poll_frame(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && (self.over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let read = self.bytes as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(read.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(read.saturating_add(upper));
        }
        hint
    }
}

impl<B: Body + fmt::Debug> fmt::Debug for DrainedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainedBody")
            .field("body", &self.body)
            .field("read", &self.bytes)
            .finish_non_exhaustive()
    }
}
