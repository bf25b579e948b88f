//! The way of a call that was not answered well at once: from attempt to attempt.
#![allow(clippy::type_complexity, reason = "the future of a call with as many hooks")]

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::attempt_context::{AttemptContext, RetryCopy};
use super::future::{Busy, Rare, RareProj, ResponseFuture, context, drop_attempt, is_last_word};
use super::guard::Ahead;
use super::repeat::{Asks, Attempts, BrokenOff, Failure, Next, Repeat, Time};
use super::timing::TimeLeft;
use crate::core::classify::{Classification, Classify};
use crate::core::error::{CallError, Measurement, Reason, Rejected};
use crate::core::outcome::{Outcome, Retryable, Sent, Signal};
use crate::core::request::{CloneRequest, Propagate};
use crate::core::time;
use crate::shell::gate::{Complete, Judged, Now, Policy, Stage};
use crate::shell::oneshot::Oneshot;

/// What an attempt was answered with, and what the classifier says of that, if it was asked.
type Answer<S, Req> =
    (Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>, Option<Classification>);

/// Everything but a first attempt that was admitted at once and answered well at once.
#[inline(never)]
pub(super) fn go_on<S, Req, T, W, A, C, R, K, U>(
    mut future: Pin<&mut ResponseFuture<S, Req, T, W, A, C, R, K, U>>,
    cx: &mut Context<'_>,
    mut answer: Option<Answer<S, Req>>,
) -> Poll<Result<A::Response, S::Error>>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    T: Repeat<U>,
    W: Policy,
    A: Complete<S::Response>,
    U: Asks<Req, A>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    R: CloneRequest<Req>,
    K: Propagate<Req>,
{
    let mut this = future.as_mut().project();
    if let RareProj::Rejected(rejected) = this.rare.as_mut().project() {
        let Some(rejected) = rejected.take() else { return Poll::Pending }; // polled after it was ready
        if this.call.is_over() {
            return Poll::Ready(Err(rejected.into()));
        }
        if !this.call.begin(|| true) {
            this.rare.set(Rare::Nothing);
            return turn_away(future);
        }
        answer = Some((Err(rejected.into()), None));
        this.rare.set(Rare::Nothing);
    }
    if this.call.is_over() {
        return Poll::Pending; // the same
    }
    if matches!(*this.rare, Rare::Nothing) {
        this.rare.set(Rare::Busy(None, Busy::new()));
    }
    let mut now = Now::default();
    loop {
        if let Some((result, head)) = answer.take()
            && let Some(end) = future.as_mut().ended(result, head)
        {
            return Poll::Ready(end);
        }
        match future.as_mut().advance(cx, &now) {
            Step::Pending => {}
            Step::Answered(result) => {
                answer = Some((result, None));
                continue;
            }
            Step::Again => continue,
            Step::Late => return Poll::Ready(Err(future.break_off(BrokenOff::Deadline))),
            Step::Drained => return turn_away(future),
            Step::Expired(by) => return Poll::Ready(Err(future.expire(by))),
        }
        let Some(at) = future.as_mut().wakes(cx, &mut now) else { return Poll::Pending };
        match future.as_mut().due(at, &now) {
            Step::Answered(result) => answer = Some((result, None)),
            Step::Late => return Poll::Ready(Err(future.break_off(BrokenOff::Deadline))),
            Step::Expired(by) => return Poll::Ready(Err(future.expire(by))),
            Step::Pending | Step::Again | Step::Drained => {}
        }
    }
}

/// The retry was drained, and the attempt that was to come has not begun.
#[inline(never)]
pub(super) fn turn_away<S, Req, T, W, A, C, R, K, U>(
    future: Pin<&mut ResponseFuture<S, Req, T, W, A, C, R, K, U>>,
) -> Poll<Result<A::Response, S::Error>>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    T: Repeat<U>,
    W: Policy,
    A: Complete<S::Response>,
    U: Asks<Req, A>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    R: CloneRequest<Req>,
    K: Propagate<Req>,
{
    Poll::Ready(Err(future.break_off(BrokenOff::Draining)))
}

/// Whether what an attempt was paid with comes back: it was answered well, or one of our own layers rejected
/// it before anybody was asked.
pub(super) fn is_refunded(outcome: &Outcome, rejection: Option<&Rejected>) -> bool {
    let is_unsent = |rejected: &Rejected| Outcome::of_rejection(rejected).sent == Sent::Never;
    outcome.signal == Signal::Success || rejection.is_some_and(is_unsent)
}

/// How a call got on.
pub(super) enum Step<T> {
    /// It waits.
    Pending,
    /// It does not: look again.
    Again,
    /// An attempt is over.
    Answered(T),
    /// There is no time left for the attempt that was to come.
    Late,
    /// The retry is drained, and no attempt is in flight.
    Drained,
    /// The policy of the whole ends it, by the word of this part.
    Expired(u8),
}

pub(super) type Stepped<S, Req> =
    Step<Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>>;

impl<S, Req, T, W, A, C, R, K, U> ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    T: Repeat<U>,
    W: Policy,
    A: Complete<S::Response>,
    U: Asks<Req, A>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    R: CloneRequest<Req>,
    K: Propagate<Req>,
{
    /// An attempt is over: whether its answer is that of the call.
    fn ended(
        self: Pin<&mut Self>,
        mut result: Result<S::Response, S::Error>,
        mut head: Option<Classification>,
    ) -> Option<Result<A::Response, S::Error>> {
        let mut this = self.project();
        let RareProj::Busy(mut timer, busy) = this.rare.as_mut().project() else { return None };
        if let Some(attempt_context) = this.attempt_context {
            attempt_context.note_attempt();
        }
        let context = context(this.attempt_context.as_ref());
        this.call.enter();
        if this.call.may_overrule_attempt(&result)
            && let Some(rejected) = this.call.overrule_attempt(&result, &context)
        {
            (result, head) = (Err(rejected.into()), None);
        }
        let classify = |core: &super::service::Core<T, W, A, C>| {
            core.classify.classify_call(result.as_ref(), &context)
        };
        let head = head.or_else(|| this.call.core().map(classify))?;
        this.call.leave();
        let outcome = if result.is_ok() { head.of_head() } else { head.of_error() };
        if result.is_err() {
            this.call.settle_attempt(&outcome);
        }
        let mut time =
            TimeLeft { started: this.started, attempt_context: this.attempt_context.as_ref() };
        if is_refunded(&outcome, result.as_ref().err().and_then(CallError::rejected)) {
            this.call.refund();
        }
        if is_last_word(&outcome) {
            let end = Judged::now(outcome);
            this.call.core()?.retry.answered(&this.call.purse, &end, || time.took());
        } else {
            let draining = this.call.hold().is_stopped();
            let repeated = this.attempt_context.as_ref().is_some_and(AttemptContext::is_retry);
            let copied = outcome.retryable != Retryable::Never
                && this.copy.as_mut().is_some_and(|copy| this.tools.take_over(copy, outcome.sent));
            let rejection = result.as_ref().err().and_then(CallError::rejected);
            let failure = Failure { outcome, rejection, copied, repeated, draining };
            let (core, purse) = (this.call.core()?, &this.call.purse);
            let next = core.retry.failed(&mut busy.attempts, failure, &mut time, purse);
            if let Next::Again(wait, price) = next {
                this.call.settle_attempt(&outcome);
                this.call.pay(price);
                // A response that is not the last word is dropped here, before the wait (pitfall B15).
                busy.last_error = result.err();
                let until = || time::now().checked_add(Duration::from_nanos(wait));
                busy.until = if wait > 0 { until() } else { None };
                busy.each_at = None;
                timer.set(None);
                return None;
            }
        }
        this.rare.set(Rare::Nothing);
        this.call.enter();
        this.call.end(result, head, context).transpose()
    }

    /// Gets on as far as that goes without waiting.
    fn advance(mut self: Pin<&mut Self>, cx: &mut Context<'_>, now: &Now) -> Stepped<S, Req> {
        let mut this = self.as_mut().project();
        let RareProj::Busy(_, busy) = this.rare.as_mut().project() else { return Step::Pending };
        let is_late = |busy: &Busy<_, _>| busy.until.is_some_and(|until| until <= now.get());
        match (&this.call.ahead, this.call.is_inside()) {
            (Ahead::Nothing, false) => {
                if busy.until.is_none() || is_late(busy) {
                    return self.begin_again();
                }
                if !this.call.hold().park(&mut busy.parked, cx.waker()) {
                    return Step::Drained;
                }
            }
            (Ahead::Readying(_), _) => {
                if !this.call.begin(|| true) {
                    return Step::Drained;
                }
                if busy.has_waited && is_late(busy) {
                    return Step::Late;
                }
                return self.poll_ready(cx);
            }
            (Ahead::Permit(_), _) => {
                if !this.call.begin(|| true)
                    || !this.attempt.as_mut().park(this.call.hold(), cx.waker())
                {
                    return Step::Drained;
                }
                match self.as_mut().resume(cx, now) {
                    Step::Pending => {}
                    step => return step,
                }
            }
            (Ahead::Nothing, true) => {
                let waits = this.attempt.as_ref().waits();
                if waits && busy.has_waited && is_late(busy) {
                    return Step::Late;
                }
                if !this.attempt.as_mut().park(this.call.hold(), cx.waker()) {
                    return Step::Drained;
                }
                busy.has_waited = waits;
                let stage = if waits { Stage::Readying } else { Stage::Called };
                if this.call.note(stage) {
                    busy.each_at = this.call.attempt_pending(stage, now);
                    if !waits {
                        busy.until = None; // it had patience until here
                    }
                }
            }
        }
        self.note_pending(now);
        Step::Pending
    }

    /// The wait before an attempt is over.
    fn begin_again(self: Pin<&mut Self>) -> Stepped<S, Req> {
        let mut this = self.project();
        let RareProj::Busy(_, busy) = this.rare.as_mut().project() else { return Step::Pending };
        if this.call.hold().is_stopped() {
            return Step::Drained;
        }
        let time =
            TimeLeft { started: this.started, attempt_context: this.attempt_context.as_ref() };
        let begin = this.call.core().and_then(|core| core.retry.begins(&busy.attempts, time));
        let Some(begin) = begin else { return Step::Late };
        let (Some(RetryCopy { request, .. }), Some(source)) = (this.copy.take(), &this.source)
        else {
            return Step::Late; // unreachable: a wait begins with a copy at hand
        };
        if !begin.is_last {
            *this.copy = this.tools.copy(&request);
        }
        this.attempt.set(Oneshot::waiting(source.make(), request));
        if this.copy.is_none() {
            *this.source = None;
        }
        if let Some(attempt_context) = this.attempt_context.as_mut() {
            attempt_context.begin(&busy.attempts);
        }
        let patience = begin.patience.map(Duration::from_nanos);
        busy.until = patience.and_then(|patience| time::now().checked_add(patience));
        busy.has_waited = false;
        this.call.ahead = Ahead::Readying(A::WakerSlot::default());
        Step::Again
    }

    /// The policy of the whole ends the call, by the word of this part.
    fn expire(self: Pin<&mut Self>, by: u8) -> S::Error {
        let mut this = self.project();
        let why = drop_attempt(this.call, this.attempt);
        this.call.lose_attempt(why);
        this.rare.set(Rare::Nothing);
        let context = context(this.attempt_context.as_ref());
        match this.call.expire::<S::Response, S::Error>(by, &context) {
            Some(rejected) => rejected.into(),
            None => unreachable!("a call has its permit until it is over"),
        }
    }

    /// The call ends, and the attempt that was to come has not begun.
    fn break_off(self: Pin<&mut Self>, why: BrokenOff) -> S::Error {
        let mut this = self.project();
        this.attempt.as_mut().end();
        this.call.let_go();
        if matches!(*this.rare, Rare::Nothing) {
            this.rare.set(Rare::Busy(None, Busy::new()));
        }
        let unspent = this.call.take_unspent();
        let (RareProj::Busy(_, busy), Some(core)) =
            (this.rare.as_mut().project(), this.call.core())
        else {
            unreachable!("a call has its stripe until it is over")
        };
        core.retry.give_back(unspent, &this.call.purse);
        core.retry.gave_up(&busy.attempts, why, &this.call.purse);
        let time =
            TimeLeft { started: this.started, attempt_context: this.attempt_context.as_ref() };
        let has_begun = why != BrokenOff::Draining || busy.attempts.number() > 1;
        let error: S::Error = match busy.last_error.take() {
            // Ended by the outermost: its permit was not used.
            _ if W::PARTS > 0 && !has_begun => core.whole.draining().into(),
            _ if why == BrokenOff::Draining => {
                core.retry.reject(Reason::Draining, Measurement::Nothing).into()
            }
            Some(error) => {
                core.retry.ended_badly(time.took());
                error
            }
            // The last answer was a response, which is gone: say what ended the call.
            None => {
                let (reason, measurement) = time.ran_out_of(core.retry.max_elapsed());
                core.retry.reject(reason, measurement).into()
            }
        };
        this.rare.set(Rare::Nothing);
        this.call.give_up::<S::Response, _>(
            error,
            has_begun,
            context(this.attempt_context.as_ref()),
        )
    }
}
