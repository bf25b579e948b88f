//! The one timer of a call, and the time that it has left.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::attempt_context::AttemptContext;
use super::attempts::{Step, Stepped, go_on};
use super::future::{Busy, Rare, RareProj, ResponseFuture, context};
use super::guard::Ahead;
use super::repeat::{Asks, Repeat, Time};
use crate::core::classify::Classify;
use crate::core::error::{CallError, Measurement, Reason};
use crate::core::request::{CloneRequest, Propagate};
use crate::core::time::{self, nanos, poll_timer};
use crate::shell::gate::{Complete, Due, Now, Policy, Stage, earliest};

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
    /// A first attempt was called and is pending, as most calls are that are not answered at once: all there
    /// is to do is to make a timer.
    #[inline(never)]
    pub(super) fn begin_to_wait(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<A::Response, S::Error>> {
        let mut this = self.as_mut().project();
        let now = Now::default();
        this.call.note(Stage::Called);
        let each_at = this.call.attempt_pending(Stage::Called, &now);
        *this.started = Some(now.get());
        let whole_at = this.call.whole_pending(&now);
        let at = earliest(whole_at, each_at);
        let timer = at.filter(|at| *at > now.get()).map(sleep_until);
        let is_timed = timer.is_some();
        let busy = Busy { whole_at, whole_knows: true, each_at, is_timed, ..Busy::new() };
        this.rare.set(Rare::Busy(timer, busy));
        let RareProj::Busy(timer, _) = this.rare.as_mut().project() else { return Poll::Pending };
        let has_come = match timer.as_pin_mut() {
            Some(timer) => poll_timer(timer, cx).is_ready(),
            None => at.is_some(),
        };
        if has_come { go_on(self, cx, None) } else { Poll::Pending }
    }

    /// The clock of the whole call starts when it is pending for the first time.
    pub(super) fn note_pending(self: Pin<&mut Self>, now: &Now) {
        let mut this = self.project();
        let RareProj::Busy(_, busy) = this.rare.as_mut().project() else { return };
        this.started.get_or_insert_with(|| now.get());
        if !std::mem::replace(&mut busy.whole_knows, true) {
            busy.whole_at = this.call.whole_pending(now);
        }
    }

    /// When the earliest time comes at which somebody wants to look again, if it has come.
    pub(super) fn wakes(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        now: &mut Now,
    ) -> Option<Instant> {
        let mut this = self.project();
        let RareProj::Busy(mut timer, busy) = this.rare.as_mut().project() else { return None };
        let at = earliest(busy.until, earliest(busy.whole_at, busy.each_at))?;
        if timer.as_ref().as_pin_ref().is_none_or(|timer| timer.deadline() != at) {
            if at <= now.get() {
                return Some(at); // a wait of nothing needs no timer
            }
            if std::mem::replace(&mut busy.is_timed, true) && !time::has_timers() {
                *now = Now::from(at); // there was one before, on a runtime that is gone
                return Some(at);
            }
            timer.set(Some(sleep_until(at)));
        }
        let rang = |timer: Pin<&mut Sleep>| poll_timer(timer, cx).is_ready();
        if !timer.as_mut().as_pin_mut().is_some_and(rang) {
            return None;
        }
        timer.set(None);
        *now = Now::from(at); // it is later now; where there are no timers, that time has come
        Some(at)
    }

    /// The time has come: whose was it?
    pub(super) fn due(mut self: Pin<&mut Self>, at: Instant, now: &Now) -> Stepped<S, Req> {
        let mut this = self.as_mut().project();
        let RareProj::Busy(_, busy) = this.rare.as_mut().project() else { return Step::Pending };
        // From the inside out: whoever is further in is heard further out.
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now.get());
        if has_come(busy.each_at) {
            let is_called = this.attempt.as_ref().is_called();
            let stage = if is_called { Stage::Called } else { Stage::Readying };
            match this.call.attempt_due(stage, now, at > time::now()) {
                Ok(Due::Later(next)) => {
                    busy.each_at = next.filter(|_| !busy.is_timed || time::has_timers());
                    if matches!(this.call.ahead, Ahead::Permit(_)) {
                        return Step::Again; // it asks once more
                    }
                }
                Ok(Due::End(by)) => {
                    this.attempt.end(); // before anybody is told
                    let context = context(this.attempt_context.as_ref());
                    let rejected = this.call.expire_attempt::<S::Response, S::Error>(by, &context);
                    if let Some(rejected) = rejected {
                        return Step::Answered(Err(rejected.into()));
                    }
                }
                Err(rejected) => return self.reject(rejected),
            }
        }
        if has_come(busy.until) {
            if this.call.is_inside() || !matches!(this.call.ahead, Ahead::Nothing) {
                return Step::Late;
            }
            busy.until = None;
        }
        if has_come(busy.whole_at) {
            match this.call.whole_due(now) {
                Due::Later(next) => {
                    busy.whole_at = next.filter(|_| !busy.is_timed || time::has_timers());
                }
                Due::End(by) => return Step::Expired(by),
            }
        }
        Step::Pending
    }
}

/// The time that a call has left, by the limit of the retry and by what is propagated with the request.
pub(super) struct TimeLeft<'a> {
    pub(super) started: &'a mut Option<Instant>,
    pub(super) attempt_context: Option<&'a AttemptContext>,
}

impl Time for TimeLeft<'_> {
    fn left(&mut self, max_elapsed: u64) -> Option<u64> {
        let now = time::now();
        let started = *self.started.get_or_insert(now);
        let elapsed = nanos(now.saturating_duration_since(started));
        let max_elapsed = (max_elapsed != u64::MAX).then(|| max_elapsed.saturating_sub(elapsed));
        let deadline =
            self.attempt_context.and_then(|attempt_context| attempt_context.call.deadline);
        let told = deadline.map(|deadline| nanos(deadline.remaining()));
        match (max_elapsed, told) {
            (Some(max_elapsed), Some(told)) => Some(max_elapsed.min(told)),
            (max_elapsed, told) => max_elapsed.or(told),
        }
    }

    fn took(&self) -> Option<u64> {
        took(*self.started)
    }
}

impl TimeLeft<'_> {
    /// Which of its limits left it too little time: the one that comes first.
    pub(super) fn ran_out_of(&self, max_elapsed: u64) -> (Reason, Measurement) {
        let call = self.attempt_context.map(|attempt_context| &attempt_context.call);
        let told = call.and_then(|call| Some((call.deadline?.instant()?, call.whose_deadline())));
        let own = self.started.filter(|_| max_elapsed != u64::MAX);
        let own = own.and_then(|started| started.checked_add(Duration::from_nanos(max_elapsed)));
        match told {
            Some((told, whose)) if own.is_none_or(|own| told < own) => {
                (Reason::DeadlineExceeded, whose)
            }
            _ => (Reason::TimedOut, Measurement::Elapsed { limit: max_elapsed }),
        }
    }
}

/// Nanoseconds since then.
pub(super) fn took(started: Option<Instant>) -> Option<u64> {
    started.map(|started| nanos(time::now().saturating_duration_since(started)))
}
