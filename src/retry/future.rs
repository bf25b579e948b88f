//! The future of a call through a retry.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::{Sleep, sleep_until};
use tower::Service;

use super::journey::Journey;
use super::machine::{Failed, Next};
use super::policy::Flight;
use super::purse::Purse;
use super::travels::{Kit, Spare, Travels};
use crate::classify::Classify;
use crate::context::CallContext;
use crate::error::{CallError, Measured, Reason, Rejected};
use crate::event::{RetryReason as Kind, Stop};
use crate::outcome::{Again, Health, Outcome, Sent};
use crate::request::{Carry, CloneRequest};
use crate::shell::gate::Parked;
use crate::shell::meter::Ended;
use crate::shell::oneshot::Oneshot;
use crate::shell::template::Template;
use crate::time::{self, nanos};

/// The future of a call through a retry.
///
/// Dropping it drops the attempt under way, or ends the wait for the next; nothing goes on.
#[expect(private_bounds, reason = "what a call holds of its budget is of no use outside")]
#[pin_project]
pub struct ResponseFuture<S, Req, C, R, K, P>
where
    S: Service<Req>,
    P: Purse,
{
    #[pin]
    attempt: Oneshot<S, Req>,
    /// The wait before the next attempt, or the end of the patience for readiness.
    #[pin]
    timer: Option<Sleep>,
    stage: Stage,
    flight: Flight<C, P>,
    kit: Kit<R, K>,
    copy: Option<Spare<Req>>,
    spare: Option<Source<S>>,
    travels: Option<Travels>,
    /// Begins when there is something to remember: most calls are answered before.
    journey: Option<Journey<S::Error>>,
}

#[derive(Debug)]
enum Stage {
    Refused(Rejected),
    Attempting,
    Waiting(Parked),
    Over,
}

/// Where the service for a further attempt comes from.
pub(super) enum Source<S> {
    Clone(S),
    Template(Arc<Template<S>>),
}

impl<S: Clone> Source<S> {
    fn make(&self) -> S {
        match self {
            Self::Clone(service) => service.clone(),
            Self::Template(template) => template.make(),
        }
    }
}

#[expect(private_bounds, reason = "what a call holds of its budget is of no use outside")]
impl<S, Req, C, R, K, P> ResponseFuture<S, Req, C, R, K, P>
where
    S: Service<Req>,
    P: Purse,
{
    pub(super) fn refused(rejected: Rejected, kit: Kit<R, K>, purse: P) -> Self {
        let (attempt, stage) = (Oneshot::over(), Stage::Refused(rejected));
        Self {
            attempt,
            timer: None,
            stage,
            flight: Flight::over(purse),
            kit,
            copy: None,
            spare: None,
            travels: None,
            journey: None,
        }
    }

    #[inline]
    pub(super) fn begin(
        attempt: Oneshot<S, Req>,
        flight: Flight<C, P>,
        kit: Kit<R, K>,
        copy: Option<Spare<Req>>,
        spare: Option<Source<S>>,
        travels: Option<Travels>,
    ) -> Self {
        let stage = Stage::Attempting;
        Self { attempt, timer: None, stage, flight, kit, copy, spare, travels, journey: None }
    }
}

impl<S, Req, C, R, K, P> Future for ResponseFuture<S, Req, C, R, K, P>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req>,
    K: Carry<Req>,
    P: Purse,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            match this.stage {
                Stage::Attempting => {
                    if !this.flight.poll(|| this.attempt.as_ref().waits()) {
                        return self.turn_away();
                    }
                    // Only a further attempt has a timer here: it waits for readiness. A service
                    // that is ready when the time is over is ready too late.
                    if this.timer.as_ref().as_pin_ref().is_some_and(|timer| time::has_rung(&timer))
                    {
                        return Poll::Ready(Err(self.as_mut().lose_patience()));
                    }
                    match this.attempt.as_mut().poll(cx) {
                        Poll::Ready(result) => {
                            let Err(outcome) = self.as_mut().judge(&result) else {
                                return Poll::Ready(result);
                            };
                            if let Some(result) = self.as_mut().fail(result, outcome) {
                                return Poll::Ready(result);
                            }
                        }
                        Poll::Pending => {
                            let journey = this.journey.get_or_insert_default();
                            journey.begin();
                            if this.attempt.as_ref().is_called() {
                                this.flight.begin();
                                this.timer.set(None);
                                return Poll::Pending;
                            }
                            if let Some(until) = journey.patience
                                && time::poll_until(this.timer.as_mut(), until, cx).is_ready()
                            {
                                return Poll::Ready(Err(self.as_mut().lose_patience()));
                            }
                            if this.attempt.as_mut().park(this.flight.hold(), cx.waker()) {
                                return Poll::Pending;
                            }
                            return self.turn_away();
                        }
                    }
                }
                Stage::Waiting(parked) => {
                    if this.flight.is_stopped() {
                        return self.turn_away();
                    }
                    if let Some(timer) = this.timer.as_mut().as_pin_mut()
                        && time::poll_timer(timer, cx).is_pending()
                    {
                        if this.flight.park(parked, cx.waker()) {
                            return Poll::Pending;
                        }
                        return self.turn_away();
                    }
                    this.timer.set(None);
                    if let Some(error) = self.as_mut().try_again() {
                        return Poll::Ready(Err(error));
                    }
                }
                Stage::Refused(_) | Stage::Over => {
                    return match std::mem::replace(this.stage, Stage::Over) {
                        Stage::Refused(rejected) => Poll::Ready(Err(rejected.into())),
                        _ => Poll::Pending, // polled after it was ready
                    };
                }
            }
        }
    }
}

#[expect(private_bounds, reason = "what a call holds of its budget is of no use outside")]
impl<S, Req, C, R, K, P> ResponseFuture<S, Req, C, R, K, P>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req>,
    K: Carry<Req>,
    P: Purse,
{
    /// An attempt was answered: well, which ends the call, or not, which [`fail`](Self::fail) does.
    #[inline]
    fn judge(self: Pin<&mut Self>, result: &Result<S::Response, S::Error>) -> Result<(), Outcome> {
        let this = self.project();
        let Some(policy) = this.flight.policy() else { return Ok(()) };
        if let Some(travels) = this.travels {
            travels.note_attempt();
        }
        let context = this.travels.as_ref().map_or_else(CallContext::default, Travels::context);
        // An answer whose outcome comes at the end of its body is not asked for again.
        let outcome = match result {
            Ok(response) => policy.classify.classify_call(Ok(response), &context).of_head(),
            Err(error) => policy.classify.classify_call(Err(error), &context).of_head(),
        };
        if outcome.health != Health::Good || outcome.again != Again::Never {
            return Err(outcome);
        }
        policy.note_success(&this.flight.purse);
        policy.note_good_end(|| this.journey.as_ref().and_then(Journey::took));
        *this.stage = Stage::Over;
        this.flight.succeed();
        Ok(())
    }

    /// An attempt was not answered well. Gives the answer back if it is the last word.
    #[inline(never)]
    fn fail(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
        outcome: Outcome,
    ) -> Option<Result<S::Response, S::Error>> {
        let this = self.project();
        let journey = this.journey.get_or_insert_default();
        if outcome.health == Health::Good {
            this.flight.refund();
        }
        let Some(policy) = this.flight.policy() else { return Some(result) };
        policy.note_attempt();
        let rejection = result.as_ref().err().and_then(CallError::rejected);
        let copied = outcome.again != Again::Never
            && this.copy.as_mut().is_some_and(|copy| this.kit.take_over(copy, outcome.sent));
        let (mut failed, kind) = Failed::of(outcome, rejection, copied);
        failed.draining = this.flight.is_stopped();
        failed.repeated = this.travels.as_ref().is_some_and(Travels::is_repetition);
        let law = policy.law();
        let left = journey.left(&law, this.travels.as_ref());
        let purse = &this.flight.purse;
        match policy.next(&law, &mut journey.attempts, failed, kind, left, purse) {
            (Next::Stop(stop), _) => {
                policy.note_stop(journey.attempts.number(), stop, purse);
                policy.note_end(outcome.into(), journey.took());
                *this.stage = Stage::Over;
                this.flight.end();
                Some(result)
            }
            (Next::Wait(wait), withdrawal) => {
                this.flight.pay(withdrawal);
                // A refused response is dropped here, before the wait (pitfall B15).
                journey.last_error = result.err();
                let at = time::now().checked_add(Duration::from_nanos(wait));
                let mut timer = this.timer;
                timer.set(at.filter(|_| wait > 0).map(sleep_until));
                *this.stage = Stage::Waiting(Parked::new());
                None
            }
        }
    }

    /// The wait is over. Gives the error that ends the call if it took all the time there was.
    fn try_again(mut self: Pin<&mut Self>) -> Option<S::Error> {
        let mut this = self.as_mut().project();
        let journey = this.journey.get_or_insert_default();
        let Some(law) = this.flight.policy().map(super::policy::Policy::law) else {
            return Some(self.lose_patience());
        };
        // It waits for readiness no longer than an attempt can still begin.
        let patience = match journey.left(&law, this.travels.as_ref()) {
            None => None,
            Some(left) => match left.checked_sub(law.least_time) {
                Some(patience) => Some(Duration::from_nanos(patience)),
                None => return Some(self.lose_patience()),
            },
        };
        let Some(Spare { mut request, .. }) = this.copy.take() else {
            return Some(self.lose_patience()); // unreachable: a wait begins with a copy at hand
        };
        if !journey.attempts.is_last(&law) {
            *this.copy = this.kit.copy(&request);
        }
        if let Some(travels) = this.travels.as_mut() {
            // What was read when the call began: what the copy holds may count from its reading.
            this.kit.write(&mut request, journey.attempts, travels);
        }
        if let Some(spare) = this.spare.as_ref() {
            this.attempt.set(Oneshot::waiting(spare.make(), request));
        }
        if this.copy.is_none() {
            *this.spare = None;
        }
        // A timer is made when there is something to wait for.
        journey.patience = patience.and_then(|patience| time::now().checked_add(patience));
        *this.stage = Stage::Attempting;
        None
    }

    /// The time is over, and the attempt that was to come has not begun.
    fn lose_patience(self: Pin<&mut Self>) -> S::Error {
        self.break_off(Stop::Deadline)
    }

    /// The retry was drained, and the attempt that was to come has not begun.
    #[inline(never)]
    fn turn_away(self: Pin<&mut Self>) -> Poll<Result<S::Response, S::Error>> {
        Poll::Ready(Err(self.break_off(Stop::Draining)))
    }

    fn break_off(self: Pin<&mut Self>, stop: Stop) -> S::Error {
        let mut this = self.project();
        let journey = this.journey.get_or_insert_default();
        this.attempt.as_mut().end();
        this.timer.set(None);
        *this.stage = Stage::Over;
        let unspent = this.flight.take_unspent();
        let Some(policy) = this.flight.lose() else {
            unreachable!("a call has its lane until it is over")
        };
        let begun = journey.attempts.number().saturating_sub(1);
        policy.give_back(unspent, &this.flight.purse);
        if begun > 0 {
            policy.note_stop(begun, stop, &this.flight.purse);
        }
        match journey.last_error.take() {
            _ if stop == Stop::Draining => {
                policy.reject(Reason::Draining, Measured::Nothing).into()
            }
            Some(error) => {
                policy.note_end(Ended::Bad, journey.took());
                error
            }
            // The last answer was a response, which is gone: say what ended the call.
            None => {
                let (reason, measured) = journey.ran_out_of(&policy.law(), this.travels.as_ref());
                policy.reject(reason, measured).into()
            }
        }
    }
}

impl Failed {
    pub(super) fn of(outcome: Outcome, rejection: Option<&Rejected>, copied: bool) -> (Self, Kind) {
        let timed_out = rejection.is_some_and(|rejected| rejected.reason() == Reason::TimedOut);
        let failed = Self {
            again: outcome.again != Again::Never,
            hint: outcome.hint().map(nanos),
            unsent: outcome.sent == Sent::Never,
            refused: outcome.refused || (rejection.is_some() && !timed_out),
            for_good: rejection.is_some_and(|rejected| rejected.reason() == Reason::Draining),
            copied,
            repeated: false,
            draining: false,
        };
        let kind = match outcome.health {
            _ if failed.refused => Kind::Refused,
            _ if timed_out => Kind::Timeout,
            _ if failed.unsent => Kind::Unsent,
            Health::Pushback => Kind::Pushback,
            Health::Good => Kind::NotReady,
            _ => Kind::Failure,
        };
        (failed, kind)
    }
}

impl<S, Req, C, R, K, P> fmt::Debug for ResponseFuture<S, Req, C, R, K, P>
where
    S: Service<Req>,
    P: Purse,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("stage", &self.stage)
            .field("attempts", &self.journey.as_ref().map(|journey| journey.attempts))
            .finish_non_exhaustive()
    }
}
