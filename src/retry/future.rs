//! The future of a call through a retry.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::budget::Withdrawal;
use super::machine::{Attempts, Failed, Law, Next};
use super::policy::{Flight, Kind};
use crate::classify::{Classify, Verdict};
use crate::error::{CallError, Reason, Rejected};
use crate::event::Stop;
use crate::outcome::{Again, Health, Outcome, Sent};
use crate::request::{Call, Carry, CloneRequest};
use crate::shell::meter::{self, Ended};
use crate::shell::oneshot::Oneshot;
use crate::shell::template::Template;
use crate::time::{self, nanos};

/// The future of a call through a retry.
///
/// Dropping it drops the attempt under way, or ends the wait for the next; nothing goes on.
#[pin_project]
pub struct ResponseFuture<S, Req, C, R, K>
where
    S: Service<Req>,
{
    #[pin]
    attempt: Oneshot<S, Req>,
    /// The wait before the next attempt, or the end of the patience for readiness.
    #[pin]
    timer: Option<Sleep>,
    stage: Stage,
    flight: Flight<C>,
    kit: Kit<R, K>,
    copy: Option<Req>,
    spare: Option<Source<S>>,
    journey: Journey<S::Error>,
}

#[derive(Debug)]
enum Stage {
    Refused(Rejected),
    Attempting,
    Waiting,
    Over,
}

/// How a call copies, numbers and reads its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Kit<R, K> {
    pub(super) copy: R,
    pub(super) carry: K,
}

/// Where the service for a further attempt comes from.
pub(super) enum Source<S> {
    Clone(S),
    Template(Arc<Template<S>>),
}

/// What a call has been through.
struct Journey<E> {
    attempts: Attempts,
    withdrawal: Option<Withdrawal>,
    travels: Option<Call>,
    /// When the first attempt was first found pending, or failed.
    started: Option<Instant>,
    /// When the attempt under way began, if someone measures.
    attempt_began: Option<Instant>,
    last_error: Option<E>,
}

impl<R, K> Kit<R, K> {
    /// Writes the number of the attempt into a request; returns what travels with it.
    pub(super) fn number<Req>(&self, request: &mut Req, attempt: u32) -> Option<Call>
    where
        K: Carry<Req>,
    {
        if !self.carry.carries() {
            return None;
        }
        let mut call = self.carry.read(request);
        call.attempt = attempt;
        self.carry.write(request, &call);
        Some(call)
    }
}

impl<S: Clone> Source<S> {
    fn make(&self) -> S {
        match self {
            Self::Clone(service) => service.clone(),
            Self::Template(template) => template.make(),
        }
    }
}

impl<S, Req, C, R, K> ResponseFuture<S, Req, C, R, K>
where
    S: Service<Req>,
{
    pub(super) fn refused(rejected: Rejected, kit: Kit<R, K>) -> Self {
        let (attempt, stage) = (Oneshot::over(), Stage::Refused(rejected));
        let (flight, journey) = (Flight::over(), Journey::START);
        Self { attempt, timer: None, stage, flight, kit, copy: None, spare: None, journey }
    }

    #[inline]
    pub(super) fn begin(
        attempt: Oneshot<S, Req>,
        flight: Flight<C>,
        kit: Kit<R, K>,
        copy: Option<Req>,
        spare: Option<Source<S>>,
        travels: Option<Call>,
    ) -> Self {
        let measured = travels.as_ref().is_some_and(|call| call.measure.is_some());
        let attempt_began = measured.then(time::now);
        let journey = Journey { travels, attempt_began, ..Journey::START };
        let stage = Stage::Attempting;
        Self { attempt, timer: None, stage, flight, kit, copy, spare, journey }
    }
}

impl<S, Req, C, R, K> Future for ResponseFuture<S, Req, C, R, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req>,
    K: Carry<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            match this.stage {
                Stage::Attempting => {
                    // Only a further attempt has a timer here: it waits for readiness. A service
                    // that is ready when the time is over is ready too late.
                    if this.timer.as_ref().as_pin_ref().is_some_and(|timer| timer.is_elapsed()) {
                        return Poll::Ready(Err(self.as_mut().lose_patience()));
                    }
                    match this.attempt.as_mut().poll(cx) {
                        Poll::Ready(result) => {
                            if let Some(result) = self.as_mut().judge(result) {
                                return Poll::Ready(result);
                            }
                        }
                        Poll::Pending => {
                            this.journey.started.get_or_insert_with(time::now);
                            if this.attempt.as_ref().is_called() {
                                this.timer.set(None);
                                return Poll::Pending;
                            }
                            match this.timer.as_mut().as_pin_mut() {
                                Some(timer) => ready!(time::poll_timer(timer, cx)),
                                None => return Poll::Pending,
                            }
                            return Poll::Ready(Err(self.as_mut().lose_patience()));
                        }
                    }
                }
                Stage::Waiting => {
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(time::poll_timer(timer, cx));
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

impl<S, Req, C, R, K> ResponseFuture<S, Req, C, R, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req>,
    K: Carry<Req>,
{
    /// An attempt was answered. Gives the answer back if it is the last word.
    #[inline]
    fn judge(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
    ) -> Option<Result<S::Response, S::Error>> {
        let this = self.project();
        let Some(policy) = this.flight.policy() else { return Some(result) };
        this.journey.note_attempt();
        // An answer whose outcome comes at the end of its body is not asked for again.
        let outcome = match policy.classify.classify(result.as_ref()) {
            Verdict::Now(outcome) => outcome,
            Verdict::AtEnd => Outcome::SUCCESS,
        };
        let end = |stage: &mut Stage, flight: &mut Flight<C>| {
            *stage = Stage::Over;
            flight.end();
        };
        if outcome.health == Health::Good && outcome.again == Again::Never {
            policy.note_success(this.journey.withdrawal.take());
            if meter::is_live() {
                policy.note_attempt();
                policy.note_end(Ended::Good, this.journey.took());
            }
            end(this.stage, this.flight);
            return Some(result);
        }
        policy.note_attempt();
        let rejection = result.as_ref().err().and_then(CallError::rejected);
        let copied = outcome.again != Again::Never
            && this.copy.as_mut().is_some_and(|copy| this.kit.copy.take_over(copy));
        let (failed, kind) = Failed::of(outcome, rejection, copied);
        let law = policy.law();
        let left = this.journey.left(&law);
        match policy.next(&law, &mut this.journey.attempts, failed, kind, left) {
            (Next::Stop(stop), _) => {
                policy.note_stop(this.journey.attempts.number(), stop);
                let took = this.journey.took();
                policy.meter(|handles| handles.ended(outcome.health.into(), took));
                end(this.stage, this.flight);
                Some(result)
            }
            (Next::Wait(wait), withdrawal) => {
                this.journey.withdrawal = withdrawal;
                // A refused response is dropped here, before the wait (pitfall B15).
                this.journey.last_error = result.err();
                let at = time::now().checked_add(Duration::from_nanos(wait));
                let mut timer = this.timer;
                timer.set(at.filter(|_| wait > 0).map(sleep_until));
                *this.stage = Stage::Waiting;
                None
            }
        }
    }

    /// The wait is over. Gives the error that ends the call if it took all the time there was.
    fn try_again(mut self: Pin<&mut Self>) -> Option<S::Error> {
        let mut this = self.as_mut().project();
        let Some(law) = this.flight.policy().map(super::policy::Policy::law) else {
            return Some(self.lose_patience());
        };
        // It waits for readiness no longer than an attempt can still begin.
        let patience = match this.journey.left(&law) {
            None => None,
            Some(left) => match left.checked_sub(law.least_time) {
                Some(patience) => Some(Duration::from_nanos(patience)),
                None => return Some(self.lose_patience()),
            },
        };
        let Some(mut request) = this.copy.take() else {
            return Some(self.lose_patience()); // unreachable: a wait begins with a copy at hand
        };
        if !this.journey.attempts.is_last(&law) {
            *this.copy = this.kit.copy.clone_request(&request);
        }
        if let Some(travels) = &mut this.journey.travels {
            // What was read when the call began: what the copy holds may count from its reading.
            travels.attempt = this.journey.attempts.number();
            this.kit.carry.write(&mut request, travels);
        }
        this.journey.begin_attempt();
        if let Some(spare) = this.spare.as_ref() {
            this.attempt.set(Oneshot::waiting(spare.make(), request));
        }
        if this.copy.is_none() {
            *this.spare = None;
        }
        let at = patience.and_then(|patience| time::now().checked_add(patience));
        this.timer.set(at.map(sleep_until));
        *this.stage = Stage::Attempting;
        None
    }

    /// The time is over, and the attempt that was to come has not begun.
    fn lose_patience(self: Pin<&mut Self>) -> S::Error {
        let mut this = self.project();
        this.attempt.as_mut().end();
        this.timer.set(None);
        *this.stage = Stage::Over;
        let Some(policy) = this.flight.end() else {
            unreachable!("a call has its lane until it is over")
        };
        let begun = this.journey.attempts.number().saturating_sub(1);
        policy.note_stop(begun, Stop::Deadline);
        match this.journey.last_error.take() {
            Some(error) => {
                let took = this.journey.took();
                policy.meter(|handles| handles.ended(Ended::Bad, took));
                error
            }
            // The last answer was a response, which is gone: say what ended the call.
            None => policy.reject(Reason::TimedOut).into(),
        }
    }
}

impl<E> Journey<E> {
    const START: Self = Self {
        attempts: Attempts::FIRST,
        withdrawal: None,
        travels: None,
        started: None,
        attempt_began: None,
        last_error: None,
    };

    /// Nanoseconds left for further attempts, if there is a limit. The clock starts at the first
    /// `Pending` or failure.
    fn left(&mut self, law: &Law) -> Option<u64> {
        let now = time::now();
        let started = *self.started.get_or_insert(now);
        let elapsed = nanos(now.saturating_duration_since(started));
        let total = (law.total != u64::MAX).then(|| law.total.saturating_sub(elapsed));
        let deadline = self.travels.as_ref().and_then(|call| call.deadline);
        let told = deadline.map(|deadline| nanos(deadline.remaining()));
        match (total, told) {
            (Some(total), Some(told)) => Some(total.min(told)),
            (total, told) => total.or(told),
        }
    }

    /// Nanoseconds since the first attempt was found pending, waits included.
    fn took(&self) -> Option<u64> {
        self.started.map(|started| nanos(time::now().saturating_duration_since(started)))
    }

    fn begin_attempt(&mut self) {
        if self.attempt_began.is_some() {
            self.attempt_began = Some(time::now());
        }
    }

    fn note_attempt(&mut self) {
        let measure = self.travels.as_ref().and_then(|call| call.measure.as_ref());
        if let (Some(measure), Some(began)) = (measure, self.attempt_began) {
            measure.record(time::now().saturating_duration_since(began));
        }
    }
}

impl Failed {
    fn of(outcome: Outcome, rejection: Option<&Rejected>, copied: bool) -> (Self, Kind) {
        let timed_out = rejection.is_some_and(|rejected| rejected.reason() == Reason::TimedOut);
        let failed = Self {
            again: outcome.again != Again::Never,
            hint: outcome.hint().map(nanos),
            unsent: outcome.sent == Sent::Never,
            refused: rejection.is_some() && !timed_out,
            copied,
        };
        let kind = match outcome.health {
            _ if failed.refused => Kind::Refused,
            _ if timed_out => Kind::Timeout,
            _ if failed.unsent => Kind::Unsent,
            Health::Pushback => Kind::Pushback,
            _ => Kind::Failure,
        };
        (failed, kind)
    }
}

impl<S, Req, C, R, K> fmt::Debug for ResponseFuture<S, Req, C, R, K>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("stage", &self.stage)
            .field("attempts", &self.journey.attempts)
            .finish_non_exhaustive()
    }
}
