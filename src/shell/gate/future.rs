//! The future of a call through a policy.

use std::fmt;
use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::guard::GateGuard;
use super::policy::{Complete, Due, Lost, Now, Policy, Stage};
use super::queued::{Looked, Queued};
use super::service::Core;
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::request::Propagate;
use crate::core::time::{self, poll_timer};
use crate::core::upload::{excuse, excused};
use crate::shell::in_flight::Stripe;
use crate::shell::oneshot::{self, Oneshot};

/// The future of a call.
///
/// Dropping it ends the call at once: the inner future is dropped, the permit is returned, or the place
/// in the queue.
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<S, Req, P, C, K>
where
    S: Service<Req>,
    P: Policy,
{
    #[pin]
    attempt: Oneshot<S, Req>,
    call: GateGuard<P, C>,
    context: ClassifyContext,
    #[pin]
    rare: Option<Rare<P, C, K, Req>>,
}

/// What most calls have nothing of. They share one place, so that a future is not larger than its timer.
#[pin_project(project = RareProj)]
enum Rare<P: Policy, C, K, Req> {
    /// The one timer of the call, made at the first `Pending` that needs it.
    Timed(#[pin] Sleep),
    Queued(#[pin] Queued<P, C, K, Req>),
    /// `None` once it was told.
    Rejected(Option<Rejected>),
}

impl<S, Req, P, C, K> ResponseFuture<S, Req, P, C, K>
where
    S: Service<Req>,
    P: Policy,
{
    /// An admitted call of an inner service that is ready for it.
    #[inline]
    pub(crate) fn begun(
        stripe: Arc<Stripe<Core<P, C>>>,
        permit: P::Permit,
        inner: impl FnOnce() -> S::Future,
        context: ClassifyContext,
    ) -> Self {
        let mut call = GateGuard::new(stripe, permit);
        call.enter();
        if oneshot::is_large::<S::Future>() {
            let future = Self::around(&mut call, inner, context);
            forget(call); // it was handed over
            return future;
        }
        let inner = inner();
        call.leave();
        Self::flying(call, Oneshot::called(inner), context)
    }

    /// The same around a large future, which is made in its place: nothing is alive here that would have to
    /// be dropped if the inner service panicked, or it would be made elsewhere and moved.
    #[inline(never)]
    fn around(
        call: &mut GateGuard<P, C>,
        inner: impl FnOnce() -> S::Future,
        context: ClassifyContext,
    ) -> Self {
        let inner = oneshot::apart(inner);
        Self { attempt: Oneshot::called(inner), call: call.hand_over(), context, rare: None }
    }

    #[inline]
    pub(super) fn flying(
        call: GateGuard<P, C>,
        attempt: Oneshot<S, Req>,
        context: ClassifyContext,
    ) -> Self {
        Self { attempt, call, context, rare: None }
    }

    #[inline(never)]
    pub(super) fn queued(
        queued: Queued<P, C, K, Req>,
        attempt: Oneshot<S, Req>,
        context: ClassifyContext,
    ) -> Self {
        Self { attempt, call: GateGuard::over(), context, rare: Some(Rare::Queued(queued)) }
    }

    #[inline]
    pub(crate) fn rejected(rejected: Rejected) -> Self {
        let (attempt, call) = (Oneshot::over(), GateGuard::over());
        let context = ClassifyContext::default();
        Self { attempt, call, context, rare: Some(Rare::Rejected(Some(rejected))) }
    }
}

impl<S, Req, P, C, K> Future for ResponseFuture<S, Req, P, C, K>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Complete<S::Response>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    K: Propagate<Req>,
{
    type Output = Result<P::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if !this.call.is_over() {
            if P::ENDS_BY_CLOCK
                && let Some(by) = this.call.is_ended_by()
            {
                let mut rejected = end(this.call, this.attempt.as_mut(), this.context, by);
                this.rare.set(None);
                return tell(&mut rejected);
            }
            let (attempt, rare) = (this.attempt.as_mut(), this.rare.as_mut());
            if let Poll::Ready(result) = poll_attempt(this.call, attempt, this.context, rare, cx) {
                return Poll::Ready(result);
            }
            // Most calls that are found pending want no timer.
            if this.rare.is_none() && this.attempt.as_ref().is_called() {
                let now = Now::default();
                return match this.call.pending(Stage::Called, &now).flatten() {
                    None => Poll::Pending,
                    Some(at) => poll_pending(self, Some(at), now, cx),
                };
            }
        } else if let Some(RareProj::Rejected(rejected)) = project(this.rare.as_mut()) {
            return tell(rejected);
        }
        poll_pending(self, None, Now::default(), cx)
    }
}

/// Polls the inner service, and settles the call if it answers.
#[inline]
fn poll_attempt<S, Req, P, C, K>(
    call: &mut GateGuard<P, C>,
    attempt: Pin<&mut Oneshot<S, Req>>,
    context: &ClassifyContext,
    mut rare: Pin<&mut Option<Rare<P, C, K, Req>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<P::Response, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Complete<S::Response>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
{
    if !call.begin(|| attempt.as_ref().waits()) {
        attempt.end();
        rare.set(Some(Rare::Rejected(call.turn_away())));
        return Poll::Pending; // `poll_pending` tells
    }
    call.enter(); // the inner future and the classifier are user code
    match attempt.poll(cx) {
        // Each branch for itself: an answer is not moved as if it could be an error.
        Poll::Ready(Ok(response)) => land(call, Ok(response), context, rare),
        Poll::Ready(Err(error)) => land(call, Err(error), context, rare),
        Poll::Pending => {
            call.leave();
            Poll::Pending
        }
    }
}

/// The call is answered. The classifier and the completion are code of the user's: the call is still
/// entered.
#[allow(clippy::inline_always, reason = "or an answer is moved once more: 50 instructions a call")]
#[inline(always)]
fn land<P, C, K, Req, Res, Err>(
    call: &mut GateGuard<P, C>,
    result: Result<Res, Err>,
    context: &ClassifyContext,
    mut rare: Pin<&mut Option<Rare<P, C, K, Req>>>,
) -> Poll<Result<P::Response, Err>>
where
    P: Complete<Res>,
    C: Classify<Res, Err> + Send + Sync + 'static,
    Err: CallError,
{
    if rare.is_some() {
        rare.set(None);
    }
    if call.may_overrule(&result)
        && let Some(rejected) = call.overrule(&result, context)
    {
        return Poll::Ready(Err(rejected.into()));
    }
    let Some(core) = call.core() else { return Poll::Pending };
    match result {
        Ok(response) => {
            let head = core.classify.classify_call(Ok(&response), context);
            call.complete(response, head, context).map_or(Poll::Pending, |it| Poll::Ready(Ok(it)))
        }
        Err(error) => {
            fail::<P, C, Res, Err>(call, &error, context);
            Poll::Ready(Err(error))
        }
    }
}

/// The call is answered with an error.
#[inline(never)]
fn fail<P, C, Res, Err>(call: &mut GateGuard<P, C>, error: &Err, context: &ClassifyContext)
where
    P: Policy,
    C: Classify<Res, Err>,
{
    if let Some(core) = call.core() {
        let outcome = core.classify.classify_call(Err(error), context).of_error();
        call.settle(outcome);
    }
}

/// Everything but a call that was admitted at once and needs no timer. `at` is when to look again at one
/// that was just found pending.
#[inline(never)]
fn poll_pending<S, Req, P, C, K>(
    future: Pin<&mut ResponseFuture<S, Req, P, C, K>>,
    mut at: Option<Instant>,
    mut now: Now,
    cx: &mut Context<'_>,
) -> Poll<Result<P::Response, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Complete<S::Response>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    K: Propagate<Req>,
{
    let mut this = future.project();
    loop {
        if !this.call.is_over() {
            let stage =
                if this.attempt.as_ref().is_called() { Stage::Called } else { Stage::Readying };
            if !this.attempt.as_mut().park(this.call.hold(), cx.waker()) {
                this.attempt.as_mut().end();
                this.rare.set(Some(Rare::Rejected(this.call.turn_away())));
                continue;
            }
            let mut is_due = false;
            let news = at.take().map(Some).or_else(|| this.call.pending(stage, &now));
            if let Some(at) = news {
                is_due = at.is_some_and(|at| at <= now.get()); // a wait of nothing needs no timer
                if let Some(at) = at.filter(|_| this.rare.is_some() && !time::has_timers()) {
                    (is_due, now) = (true, Now::from(at)); // there was one, on a runtime that is gone
                }
                let timer = at.filter(|_| !is_due);
                if timer.is_some() || this.rare.is_some() {
                    this.rare.set(timer.map(|at| Rare::Timed(sleep_until(at))));
                }
            }
            if let Some(RareProj::Timed(mut timer)) = project(this.rare.as_mut()) {
                let at = timer.deadline();
                if poll_timer(timer.as_mut(), cx).is_ready() {
                    // It is later now; and where no runtime is left to wait on, that time has come.
                    (is_due, now) = (true, Now::from(at));
                }
            }
            if !is_due {
                return Poll::Pending;
            }
            match this.call.due(stage, &now) {
                Due::Later(next) => {
                    let next = next.filter(|_| time::has_timers());
                    this.rare.set(next.map(|at| Rare::Timed(sleep_until(at))));
                }
                Due::End(by) => {
                    let rejected = end(this.call, this.attempt.as_mut(), this.context, by);
                    this.rare.set(Some(Rare::Rejected(rejected)));
                }
            }
            continue;
        }
        match project(this.rare.as_mut()) {
            Some(RareProj::Queued(queued)) => {
                match ready!(queued.poll(this.attempt.as_mut(), cx, &mut now)) {
                    Looked::Pass(call) => {
                        *this.call = call;
                        this.rare.set(None);
                        if P::ENDS_BY_CLOCK
                            && let Some(by) = this.call.is_ended_by()
                        {
                            let rejected = end(this.call, this.attempt.as_mut(), this.context, by);
                            this.rare.set(Some(Rare::Rejected(rejected)));
                            continue;
                        }
                        let (attempt, rare) = (this.attempt.as_mut(), this.rare.as_mut());
                        if let Poll::Ready(result) =
                            poll_attempt(this.call, attempt, this.context, rare, cx)
                        {
                            return Poll::Ready(result);
                        }
                    }
                    Looked::Rejected(rejected) => {
                        this.attempt.as_mut().end();
                        this.rare.set(Some(Rare::Rejected(rejected)));
                    }
                }
            }
            Some(RareProj::Rejected(rejected)) => return tell(rejected),
            None | Some(RareProj::Timed(_)) => return Poll::Pending, // the same
        }
    }
}

/// A part of the policy ends the call. The inner future is dropped before anybody is told.
#[inline(never)]
fn end<S, Req, P, C>(
    call: &mut GateGuard<P, C>,
    mut attempt: Pin<&mut Oneshot<S, Req>>,
    context: &ClassifyContext,
    by: u8,
) -> Option<Rejected>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Policy,
    C: Classify<S::Response, S::Error>,
{
    let own = call.excuses(); // while the body is still there
    let excused = excused(|| attempt.as_mut().end()) || own;
    call.expire::<S::Response, S::Error>(by, excused, context)
}

/// The call was rejected, or ended here.
#[inline]
fn tell<Res, Err: CallError>(rejected: &mut Option<Rejected>) -> Poll<Result<Res, Err>> {
    match rejected.take() {
        Some(rejected) => Poll::Ready(Err(rejected.into())),
        None => Poll::Pending, // polled after it was ready
    }
}

#[inline]
fn project<P: Policy, C, K, Req>(
    rare: Pin<&mut Option<Rare<P, C, K, Req>>>,
) -> Option<RareProj<'_, P, C, K, Req>> {
    rare.as_pin_mut().map(Rare::project)
}

#[pinned_drop]
impl<S, Req, P, C, K> PinnedDrop for ResponseFuture<S, Req, P, C, K>
where
    S: Service<Req>,
    P: Policy,
{
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        if !self.call.is_over() {
            self.be_dropped();
        }
    }
}

impl<S, Req, P, C, K> ResponseFuture<S, Req, P, C, K>
where
    S: Service<Req>,
    P: Policy,
{
    /// It is dropped before the call is over.
    #[inline(never)]
    fn be_dropped(self: Pin<&mut Self>) {
        let this = self.project();
        let own = this.call.excuses(); // while the body is still there
        let is_excused = excused(|| this.attempt.end()) || own;
        if own {
            excuse(); // those further out hear of it too
        }
        if is_excused && this.call.was_pending() {
            this.call.lose(Lost::Excused);
        }
    }
}

impl<S, Req, P, C, K> fmt::Debug for ResponseFuture<S, Req, P, C, K>
where
    S: Service<Req>,
    P: Policy,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.rare, self.call.is_over()) {
            (Some(Rare::Queued(..)), _) => "ResponseFuture(queued)",
            (Some(Rare::Rejected(_)), _) => "ResponseFuture(rejected)",
            (_, false) => "ResponseFuture(in flight)",
            (_, true) => "ResponseFuture(over)",
        })
    }
}
