//! The future of a call through a policy.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::guard::{CallGuard, WaitGuard};
use super::policy::{Due, Lost, Now, Policy, Stage};
use crate::classify::{Classify, Verdict};
use crate::context::CallContext;
use crate::error::{CallError, Rejected};
use crate::shell::oneshot::Oneshot;
use crate::time::{self, poll_timer};
use crate::upload::{excuse, excused};

/// The future of a call.
///
/// Dropping it ends the call at once: the inner future is dropped, the permit is returned, or the place
/// in the queue.
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
    P: Policy,
{
    #[pin]
    attempt: Oneshot<S, Req>,
    call: CallGuard<P, C>,
    context: CallContext,
    #[pin]
    rare: Option<Rare<P, C>>,
}

/// What most calls have nothing of. They share one place, so that a future is not larger than its timer.
#[pin_project(project = RareProj)]
enum Rare<P: Policy, C> {
    /// The one timer of the call, made at the first `Pending` that needs it.
    Timed(#[pin] Sleep),
    Queued(WaitGuard<P, C>, #[pin] Option<Sleep>),
    /// `None` once it was told.
    Refused(Option<Rejected>),
}

impl<S, Req, P, C> ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
    P: Policy,
{
    #[inline]
    pub(super) fn flying(
        call: CallGuard<P, C>,
        attempt: Oneshot<S, Req>,
        context: CallContext,
    ) -> Self {
        Self { attempt, call, context, rare: None }
    }

    #[inline(never)]
    pub(super) fn queued(
        wait: WaitGuard<P, C>,
        attempt: Oneshot<S, Req>,
        context: CallContext,
    ) -> Self {
        Self { attempt, call: CallGuard::over(), context, rare: Some(Rare::Queued(wait, None)) }
    }

    #[inline]
    pub(super) fn refused(rejected: Rejected) -> Self {
        let (attempt, call) = (Oneshot::over(), CallGuard::over());
        let context = CallContext::default();
        Self { attempt, call, context, rare: Some(Rare::Refused(Some(rejected))) }
    }
}

impl<S, Req, P, C> Future for ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Policy,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if !this.call.is_over()
            && let Poll::Ready(result) =
                poll_attempt(this.call, this.attempt, this.context, this.rare, cx)
        {
            return Poll::Ready(result);
        }
        poll_pending(self, cx)
    }
}

/// Polls the inner service, and settles the call if it answers.
#[inline]
fn poll_attempt<S, Req, P, C>(
    call: &mut CallGuard<P, C>,
    attempt: Pin<&mut Oneshot<S, Req>>,
    context: &CallContext,
    mut rare: Pin<&mut Option<Rare<P, C>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<S::Response, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Policy,
    C: Classify<S::Response, S::Error>,
{
    if !call.begin(|| attempt.as_ref().waits()) {
        attempt.end();
        rare.set(Some(Rare::Refused(call.turn_away())));
        return Poll::Pending; // `poll_pending` tells
    }
    call.enter(); // the inner future and the classifier are user code
    if let Poll::Ready(result) = attempt.poll(cx) {
        if rare.is_some() {
            rare.set(None);
        }
        if call.may_overrule(&result)
            && let Some(rejected) = call.overrule(&result)
        {
            return Poll::Ready(Err(rejected.into()));
        }
        settle::<_, _, S::Response, S::Error>(call, &result, context);
        return Poll::Ready(result);
    }
    call.leave();
    Poll::Pending
}

#[inline]
fn settle<P, C, Res, Err>(
    call: &mut CallGuard<P, C>,
    result: &Result<Res, Err>,
    context: &CallContext,
) where
    P: Policy,
    C: Classify<Res, Err>,
{
    let Some(core) = call.core() else { return };
    let outcome = match core.classify.classify_call(result.as_ref(), context) {
        Verdict::Now(outcome) => outcome,
        Verdict::AtEnd if result.is_ok() => P::AT_END,
        verdict @ Verdict::AtEnd => verdict.of_error(),
    };
    call.settle(&outcome);
}

/// Everything but a call that was admitted at once and answered at once.
#[inline(never)]
fn poll_pending<S, Req, P, C>(
    future: Pin<&mut ResponseFuture<S, Req, P, C>>,
    cx: &mut Context<'_>,
) -> Poll<Result<S::Response, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Policy,
    C: Classify<S::Response, S::Error>,
{
    let mut this = future.project();
    let mut now = Now::default();
    loop {
        if !this.call.is_over() {
            let stage =
                if this.attempt.as_ref().is_called() { Stage::Called } else { Stage::Readying };
            if !this.attempt.as_mut().park(this.call.hold(), cx.waker()) {
                this.attempt.as_mut().end();
                this.rare.set(Some(Rare::Refused(this.call.turn_away())));
                continue;
            }
            let mut is_due = false;
            if let Some(at) = this.call.pending(stage, &now) {
                is_due = at.is_some_and(|at| at <= now.get()); // a wait of nothing needs no timer
                let timer = at.filter(|_| !is_due);
                this.rare.set(timer.map(|at| Rare::Timed(sleep_until(at))));
            }
            if let Some(RareProj::Timed(timer)) = project(this.rare.as_mut())
                && poll_timer(timer, cx).is_ready()
            {
                (is_due, now) = (true, Now::default()); // it is later now
            }
            if !is_due {
                return Poll::Pending;
            }
            match this.call.due(stage, &now) {
                Due::Later(next) => {
                    this.rare.set(next.map(|at| Rare::Timed(sleep_until(at))));
                }
                Due::End => {
                    this.attempt.as_mut().end(); // before anybody is told
                    this.rare.set(Some(Rare::Refused(this.call.expire())));
                }
            }
            continue;
        }
        match project(this.rare.as_mut()) {
            Some(RareProj::Queued(wait, timer)) => match wait.poll(cx, &now) {
                None => match rings(timer, wait.until(), cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(true) => now = Now::default(), // it is later now
                    Poll::Ready(false) => {
                        let rejected = wait.expire();
                        this.attempt.as_mut().end();
                        this.rare.set(Some(Rare::Refused(rejected)));
                    }
                },
                Some(Ok(call)) => {
                    *this.call = call;
                    this.rare.set(None);
                    let (attempt, rare) = (this.attempt.as_mut(), this.rare.as_mut());
                    if let Poll::Ready(result) =
                        poll_attempt(this.call, attempt, this.context, rare, cx)
                    {
                        return Poll::Ready(result);
                    }
                }
                Some(Err(rejected)) => {
                    this.attempt.as_mut().end();
                    this.rare.set(None);
                    return Poll::Ready(Err(rejected.into()));
                }
            },
            Some(RareProj::Refused(rejected)) => {
                return match rejected.take() {
                    Some(rejected) => Poll::Ready(Err(rejected.into())),
                    None => Poll::Pending, // polled after it was ready
                };
            }
            None | Some(RareProj::Timed(_)) => return Poll::Pending, // the same
        }
    }
}

fn project<P: Policy, C>(rare: Pin<&mut Option<Rare<P, C>>>) -> Option<RareProj<'_, P, C>> {
    rare.as_pin_mut().map(Rare::project)
}

/// Whether the time has come at which one who waits wants to look again; `false` if it never will, for it
/// is polled outside of any runtime. The timer follows that time: it may have come nearer since it was set.
fn rings(
    mut timer: Pin<&mut Option<Sleep>>,
    at: Option<Instant>,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    let Some(at) = at else { return Poll::Pending };
    if timer.as_ref().as_pin_ref().is_some_and(|timer| timer.deadline() != at) {
        timer.set(None);
    }
    ready!(time::poll_until(timer.as_mut(), at, cx));
    timer.set(None);
    Poll::Ready(at <= time::now())
}

#[pinned_drop]
impl<S, Req, P, C> PinnedDrop for ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
    P: Policy,
{
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if this.call.is_over() {
            return;
        }
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

impl<S, Req, P, C> fmt::Debug for ResponseFuture<S, Req, P, C>
where
    S: Service<Req>,
    P: Policy,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.rare, self.call.is_over()) {
            (Some(Rare::Queued(..)), _) => "ResponseFuture(queued)",
            (Some(Rare::Refused(_)), _) => "ResponseFuture(refused)",
            (_, false) => "ResponseFuture(in flight)",
            (_, true) => "ResponseFuture(over)",
        })
    }
}
