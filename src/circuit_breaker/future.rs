//! The future of a call through a breaker.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::{pin_project, pinned_drop};
use tokio::time::{Sleep, sleep_until};
use tower::Service;

use super::engine::flight::{Berth, Flight, Site};
use super::policy::{Hooks, Policy, Told};
use crate::classify::{Classify, Verdict};
use crate::context::CallContext;
use crate::error::{CallError, Measured, Reason, Rejected};
use crate::finish::Finish;
use crate::shell::oneshot::Oneshot;
use crate::time::{self, nanos, poll_timer};
use crate::upload::{Upload, excused};

/// The future of a call through a breaker.
///
/// Dropping it before it is ready abandons the call: see
/// [`Abandonment`](super::Abandonment). `B` is what the call holds of its breaker.
#[expect(private_bounds, reason = "what a call holds of its breaker is of no use outside")]
#[pin_project(PinnedDrop)]
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
    told: Told,
    fate: Fate<B>,
}

/// Either is empty once its end was told.
enum Fate<B: Berth> {
    Refused(Option<Rejected>),
    Flying(Flight<B>),
}

#[expect(private_bounds, reason = "what a call holds of its breaker is of no use outside")]
impl<S, Req, B> ResponseFuture<S, Req, B>
where
    S: Service<Req>,
    B: Berth,
{
    pub(super) fn refused(rejected: Rejected) -> Self {
        let fate = Fate::Refused(Some(rejected));
        Self { attempt: Oneshot::over(), timer: None, told: Told::default(), fate }
    }

    #[inline]
    pub(super) fn flying(flight: Flight<B>, attempt: Oneshot<S, Req>, told: Told) -> Self {
        Self { attempt, timer: None, told, fate: Fate::Flying(flight) }
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.fate {
            Fate::Flying(flight) => {
                if !flight.begin(|| this.attempt.as_ref().waits()) {
                    return turn_away(flight, this.attempt, this.timer);
                }
                flight.enter();
                if let Poll::Ready(result) = this.attempt.as_mut().poll(cx) {
                    this.timer.set(None);
                    if let Some(upload) = this.told.uploading.take() {
                        flight.was_sent(upload.since());
                    }
                    return match result {
                        Ok(response) => land(flight, response, &this.told.context),
                        Err(error) => {
                            let context = &this.told.context;
                            fail::<S::Response, _, _, _, _>(flight, &error, context);
                            Poll::Ready(Err(error))
                        }
                    };
                }
                flight.leave();
                if this.attempt.as_ref().is_called() {
                    watch_for_slowness(flight, this.told.uploading.as_ref(), this.timer, cx);
                } else if !this.attempt.as_mut().park(flight.hold(), cx.waker()) {
                    return turn_away(flight, this.attempt, this.timer);
                } else if waited_too_long(flight, this.timer, cx) {
                    this.attempt.end();
                    return give_up(flight);
                }
                Poll::Pending
            }
            Fate::Refused(rejected) => match rejected.take() {
                Some(rejected) => Poll::Ready(Err(rejected.into())),
                None => Poll::Pending, // polled after it was ready
            },
        }
    }
}

/// The inner service was called and is pending: it may grow slow in flight.
fn watch_for_slowness<B: Berth>(
    flight: &mut Flight<B>,
    uploading: Option<&Upload>,
    mut timer: Pin<&mut Option<Sleep>>,
    cx: &mut Context<'_>,
) {
    if !flight.was_pending() {
        let overdue = flight.pending();
        let clock = flight.policy().map(|policy| policy.shared().common.reporter.clock);
        let at = overdue.zip(clock).and_then(|(tick, clock)| clock.instant(tick));
        if at.is_some_and(|at| at <= time::now()) {
            return flight.overdue(); // a wait of nothing needs no timer
        }
        timer.set(at.map(sleep_until));
    }
    while rang(timer.as_mut(), cx) {
        // While the caller is sending, the time is not the dependency's.
        let Some(later) = uploading.and_then(|upload| flight.overdue_later(upload.turn())) else {
            return flight.overdue();
        };
        timer.set(Some(sleep_until(later)));
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
    if !flight.has_slot() {
        return false; // nobody else is kept from calling meanwhile
    }
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
    let due = timer.as_mut().as_pin_mut().is_some_and(|sleep| poll_timer(sleep, cx).is_ready());
    if due {
        timer.set(None);
    }
    due
}

/// The inner service answered. The classifier is user code, and so is the finish: the flight is
/// still entered.
#[inline]
fn land<Res, Err, B, C, F>(
    flight: &mut Flight<B>,
    response: Res,
    context: &CallContext,
) -> Poll<Result<F::Response, Err>>
where
    B: Berth<Policy = Policy<C, F>>,
    C: Classify<Res, Err> + Send + Sync + 'static,
    F: Finish<Res> + Clone + Send + Sync + 'static,
{
    let Some(policy) = flight.policy() else { return Poll::Pending };
    let Hooks { classify, finish } = &*policy.hooks;
    let verdict = classify.classify_call(Ok(&response), context);
    match finish.at_head(response) {
        Ok(response) => {
            flight.settle(&verdict.of_head());
            Poll::Ready(Ok(response))
        }
        Err(response) => land_at_end(flight, response, verdict, context),
    }
}

/// The inner service failed to become ready: the call that was to come has failed.
pub(super) fn fail_unready<Res, Err, B, C, F>(mut flight: Flight<B>, error: &Err)
where
    B: Berth<Policy = Policy<C, F>>,
    C: Classify<Res, Err> + Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    if flight.begin(|| false) {
        flight.enter();
        fail::<Res, _, _, _, _>(&mut flight, error, &CallContext::default());
    }
}

#[inline(never)]
fn fail<Res, Err, B, C, F>(flight: &mut Flight<B>, error: &Err, context: &CallContext)
where
    B: Berth<Policy = Policy<C, F>>,
    C: Classify<Res, Err> + Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    let Some(policy) = flight.policy() else { return };
    let verdict = policy.hooks.classify.classify_call(Err(error), context);
    flight.settle(&verdict.of_error());
}

/// The call is over later than now, or at least not by our word.
#[inline(never)]
fn land_at_end<Res, Err, B, C, F>(
    flight: &mut Flight<B>,
    response: Res,
    head: Verdict,
    context: &CallContext,
) -> Poll<Result<F::Response, Err>>
where
    B: Berth<Policy = Policy<C, F>>,
    C: Classify<Res, Err> + Send + Sync + 'static,
    F: Finish<Res> + Clone + Send + Sync + 'static,
{
    let Some(policy) = flight.policy() else { return Poll::Pending };
    let finish = policy.hooks.finish.clone();
    flight.leave();
    match flight.take_settle(head) {
        Some(settle) => Poll::Ready(Ok(finish.finish(response, settle.within(*context)))),
        None => Poll::Pending,
    }
}

/// The policy was drained before the inner service was called.
#[inline(never)]
fn turn_away<S, Req, Res, B>(
    flight: &mut Flight<B>,
    attempt: Pin<&mut Oneshot<S, Req>>,
    mut timer: Pin<&mut Option<Sleep>>,
) -> Poll<Result<Res, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
    B: Berth,
{
    attempt.end();
    timer.set(None);
    match flight.turn_away() {
        Some(rejected) => Poll::Ready(Err(rejected.into())),
        None => Poll::Pending, // polled after it was ready
    }
}

/// A probe whose service never became ready: nobody answered it.
fn give_up<Res, Err, B, C, F>(flight: &mut Flight<B>) -> Poll<Result<Res, Err>>
where
    Err: CallError,
    B: Berth<Policy = Policy<C, F>>,
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    let Some(policy) = flight.policy() else { return Poll::Pending };
    // What opened the circuit keeps it open.
    let (waited, measured) = policy.shared.inspect(|breaker, law, _| {
        (law.probe_deadline, breaker.last_trip().map_or(Measured::Nothing, |trip| trip.measured))
    });
    let rejected = policy.shared.common.reporter.reject(Reason::CircuitOpen, measured);
    flight.give_up(nanos(waited));
    Poll::Ready(Err(rejected.into()))
}

#[pinned_drop]
impl<S, Req, B> PinnedDrop for ResponseFuture<S, Req, B>
where
    S: Service<Req>,
    B: Berth,
{
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Fate::Flying(flight) = this.fate
            && flight.was_pending()
        {
            let uploading = this.told.uploading.take();
            if excused(|| this.attempt.end()) {
                flight.excuse();
            } else if let Some(upload) = uploading {
                flight.was_sent(upload.since());
            }
        }
    }
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
        })
    }
}
