//! The future of a call through a breaker.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower::Service;

use super::policy::Policy;
use crate::classify::Classify;
use crate::error::{CallError, Measured, Reason, Rejected};
use crate::finish::Finish;
use crate::shell::flight::{Berth, Flight, Site};
use crate::shell::oneshot::Oneshot;
use crate::time::nanos;

/// The future of a call through a breaker.
///
/// Dropping it before it is ready abandons the call: see
/// [`Abandonment`](super::Abandonment). `B` is what the call holds of its breaker.
#[expect(private_bounds, reason = "what a call holds of its breaker is of no use outside")]
#[pin_project]
pub struct ResponseFuture<S, Req, B>
where
    S: Service<Req>,
    B: Berth,
{
    #[pin]
    attempt: Oneshot<S, Req>,
    /// Rings when a probe has waited too long for readiness, or when a call grows slow.
    #[pin]
    timer: Option<Sleep>,
    fate: Fate<B>,
}

enum Fate<B: Berth> {
    Refused(Rejected),
    Flying(Flight<B>),
    Over,
}

#[expect(private_bounds, reason = "what a call holds of its breaker is of no use outside")]
impl<S, Req, B> ResponseFuture<S, Req, B>
where
    S: Service<Req>,
    B: Berth,
{
    pub(super) fn refused(rejected: Rejected) -> Self {
        Self { attempt: Oneshot::over(), timer: None, fate: Fate::Refused(rejected) }
    }

    pub(super) fn flying(flight: Flight<B>, attempt: Oneshot<S, Req>) -> Self {
        Self { attempt, timer: None, fate: Fate::Flying(flight) }
    }
}

impl<S, Req, B, C, F> Future for ResponseFuture<S, Req, B>
where
    S: Service<Req>,
    S::Error: CallError,
    B: Berth<Policy = Policy<C, F>>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    F: Finish<S::Response> + Clone + Send + Sync + 'static,
{
    type Output = Result<F::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.fate {
            Fate::Flying(flight) => {
                flight.enter();
                let polled = this.attempt.as_mut().poll(cx);
                flight.leave();
                match polled {
                    Poll::Ready(result) => {
                        this.timer.set(None);
                        land(this.fate.take(), result)
                    }
                    Poll::Pending if this.attempt.as_ref().is_called() => {
                        watch_for_slowness(flight, this.timer, cx);
                        Poll::Pending
                    }
                    Poll::Pending => {
                        if !waited_too_long(flight, this.timer, cx) {
                            return Poll::Pending;
                        }
                        this.attempt.end();
                        give_up(this.fate.take())
                    }
                }
            }
            Fate::Refused(_) => match std::mem::replace(this.fate, Fate::Over) {
                Fate::Refused(rejected) => Poll::Ready(Err(rejected.into())),
                _ => Poll::Pending,
            },
            Fate::Over => Poll::Pending, // polled after it was ready
        }
    }
}

impl<B: Berth> Fate<B> {
    fn take(&mut self) -> Option<Flight<B>> {
        match std::mem::replace(self, Self::Over) {
            Self::Flying(flight) => Some(flight),
            Self::Refused(_) | Self::Over => None,
        }
    }
}

/// The inner service was called and is pending: it may grow slow in flight.
fn watch_for_slowness<B: Berth>(
    flight: &mut Flight<B>,
    mut timer: Pin<&mut Option<Sleep>>,
    cx: &mut Context<'_>,
) {
    if !flight.was_pending() {
        let overdue = flight.pending();
        let clock = flight.policy().map(|policy| policy.shared().common.reporter.clock);
        let at = overdue.zip(clock).and_then(|(tick, clock)| clock.instant(tick));
        timer.set(at.map(sleep_until));
    }
    if rang(timer, cx) {
        flight.overdue();
    }
}

/// The inner service is not ready to be called: a probe does not wait for ever.
fn waited_too_long<B, C, F>(
    flight: &Flight<B>,
    mut timer: Pin<&mut Option<Sleep>>,
    cx: &mut Context<'_>,
) -> bool
where
    B: Berth<Policy = Policy<C, F>>,
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    if timer.is_none() {
        timer.set(flight.policy().and_then(|policy| {
            let limit = policy.shared.inspect(|_, law, _| law.probe_deadline);
            let clock = &policy.shared.common.reporter.clock;
            clock.instant(clock.now().plus(nanos(limit))).map(sleep_until)
        }));
    }
    rang(timer, cx)
}

/// Whether the timer is due; if so, it is gone.
fn rang(mut timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> bool {
    let due = timer.as_mut().as_pin_mut().is_some_and(|sleep| sleep.poll(cx).is_ready());
    if due {
        timer.set(None);
    }
    due
}

#[inline]
fn land<Res, Err, B, C, F>(
    flight: Option<Flight<B>>,
    result: Result<Res, Err>,
) -> Poll<Result<F::Response, Err>>
where
    B: Berth<Policy = Policy<C, F>>,
    C: Classify<Res, Err> + Send + Sync + 'static,
    F: Finish<Res> + Clone + Send + Sync + 'static,
{
    let Some(mut flight) = flight else { return Poll::Pending };
    flight.enter(); // a classifier is user code, and so is a finish
    let Some(policy) = flight.policy() else { return Poll::Pending };
    let verdict = policy.hooks.classify.classify(result.as_ref());
    let finish = policy.hooks.finish.clone();
    flight.leave();
    match result {
        Ok(response) => match flight.into_settle(verdict) {
            Some(settle) => Poll::Ready(Ok(finish.finish(response, settle))),
            None => Poll::Pending,
        },
        Err(error) => {
            flight.settle(verdict);
            Poll::Ready(Err(error))
        }
    }
}

/// A probe whose service never became ready: nobody answered it.
fn give_up<Res, Err, B, C, F>(flight: Option<Flight<B>>) -> Poll<Result<Res, Err>>
where
    Err: CallError,
    B: Berth<Policy = Policy<C, F>>,
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    let Some(flight) = flight else { return Poll::Pending };
    let Some(policy) = flight.policy() else { return Poll::Pending };
    let rejected = policy.shared.common.reporter.reject(Reason::CircuitOpen, Measured::Nothing);
    flight.give_up();
    Poll::Ready(Err(rejected.into()))
}

impl<S, Req, B> fmt::Debug for ResponseFuture<S, Req, B>
where
    S: Service<Req>,
    B: Berth,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.fate {
            Fate::Refused(_) => "ResponseFuture(refused)",
            Fate::Flying(_) => "ResponseFuture(flying)",
            Fate::Over => "ResponseFuture(over)",
        })
    }
}
