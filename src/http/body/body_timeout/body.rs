//! A body with time limits.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::BoxError;

use super::config::Config;
use super::layer::Policy;
use crate::core::error::{Measurement, Reason};
use crate::core::time::{self, nanos};
use crate::core::upload::UploadReporter;

/// A response body that ends with an error when it keeps its reader waiting for too long.
#[pin_project]
pub struct TimedBody<B> {
    /// `None` once the time was up.
    #[pin]
    body: Option<B>,
    /// Made when it is first needed, and boxed so that the body is no less `Unpin` for it. It may
    /// ring before its time: moving it at each frame would cost more.
    timer: Option<Pin<Box<Sleep>>>,
    waits: Waits,
    policy: Arc<Policy>,
    /// Of a request: tells those who measure its time.
    upload_reporter: UploadReporter,
}

/// How long the reader has waited.
#[derive(Debug)]
struct Waits {
    config: Config,
    /// In all, without the wait in flight.
    before: Duration,
    /// The wait in flight: since when.
    since: Option<Instant>,
}

impl<B> TimedBody<B> {
    pub(super) fn new(body: B, policy: Arc<Policy>, upload_reporter: UploadReporter) -> Self {
        let waits =
            Waits { config: policy.config.get().in_force, before: Duration::ZERO, since: None };
        Self { body: Some(body), timer: None, waits, policy, upload_reporter }
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let polled = body.as_mut().poll_frame(cx);
        this.upload_reporter.saw(&polled, || body.is_end_stream());
        if let Poll::Ready(item) = polled {
            this.waits.end();
            return Poll::Ready(item.map(|item| item.map_err(Into::into)));
        }
        let limit = ready!(this.waits.poll_end(this.timer, cx));
        this.body.set(None); // before the reader is told
        *this.timer = None;
        let measurement = Measurement::Elapsed { limit: nanos(limit) };
        let reason =
            if this.upload_reporter.stall() { Reason::RequestTimeout } else { Reason::TimedOut };
        Poll::Ready(Some(Err(this.policy.reporter.reject(reason, measurement).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Waits {
    /// A frame has come.
    fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.before = self.before.saturating_add(time::now().saturating_duration_since(since));
        }
    }

    /// There is no frame: ready with the limit, if one is reached.
    fn poll_end(
        &mut self,
        timer: &mut Option<Pin<Box<Sleep>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Duration> {
        let since = *self.since.get_or_insert_with(time::now);
        let left = self.config.total.saturating_sub(self.before);
        let idle_is_first = self.config.idle <= left;
        let (wait, limit) = if idle_is_first {
            (self.config.idle, self.config.idle)
        } else {
            (left, self.config.total)
        };
        // What is too far away for the clock is never reached.
        let Some(until) = since.checked_add(wait) else { return Poll::Pending };
        if timer.is_none() && until <= time::now() {
            return Poll::Ready(limit); // a wait of nothing needs no timer
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        // It never rings too late: an end never comes before the one of the wait before.
        while time::poll_timer(timer.as_mut(), cx).is_ready() {
            if timer.deadline() >= until {
                return Poll::Ready(limit);
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<B: fmt::Debug> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody")
            .field("body", &self.body)
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}
