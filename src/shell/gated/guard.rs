//! What a call holds of the policy that admitted it.

use std::cell::Cell;
use std::sync::Arc;

use super::end::End;
use super::policy::{Complete, Due, Lost, Now, Policy, Stage};
use super::service::Core;
use super::told::Told;
use crate::classify::{Classify, Verdict};
use crate::context::CallContext;
use crate::error::{CallError, Rejected};
use crate::outcome::Outcome;
use crate::shell::gate::{Hold, Lane};

/// An admitted call: its one reference to what is shared, and its permit. Ended once.
pub(crate) struct CallGuard<P: Policy, C> {
    hold: Hold<Lane<Core<P, C>>>,
    /// `None` once the call is over.
    permit: Option<P::Permit>,
    /// User code is running: if this is dropped now, that code panicked.
    risky: bool,
    seen: Stage,
}

impl<P: Policy, C> CallGuard<P, C> {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Core<P, C>>>, permit: P::Permit) -> Self {
        Self::of(Hold::new(lane), permit)
    }

    #[inline]
    pub(super) fn of(hold: Hold<Lane<Core<P, C>>>, permit: P::Permit) -> Self {
        Self { hold, permit: Some(permit), risky: false, seen: Stage::Fresh }
    }

    /// No call, or one that is over.
    pub(super) const fn over() -> Self {
        Self { hold: Hold::over(), permit: None, risky: false, seen: Stage::Fresh }
    }

    #[inline]
    pub(super) const fn is_over(&self) -> bool {
        self.permit.is_none()
    }

    #[inline]
    pub(super) fn core(&self) -> Option<&Core<P, C>> {
        self.hold.get().map(|lane| &**lane)
    }

    /// The future is polled. `false` if the layer was drained before the call began, or while it
    /// `waits` for the inner service: then it must not go on.
    #[inline]
    pub(super) fn begin(&mut self, waits: impl FnOnce() -> bool) -> bool {
        self.hold.begin(waits)
    }

    /// What holds the call.
    pub(super) const fn hold(&self) -> &Hold<Lane<Core<P, C>>> {
        &self.hold
    }

    /// User code begins. If it panics, the call has failed.
    #[inline]
    pub(super) const fn enter(&mut self) {
        self.risky = true;
    }

    /// User code came back.
    #[inline]
    pub(super) const fn leave(&mut self) {
        self.risky = false;
    }

    /// The call was answered with an error.
    #[inline]
    pub(super) fn settle(&mut self, outcome: &Outcome) {
        if let Some(permit) = &mut self.permit
            && let Some(lane) = self.hold.end()
        {
            lane.policy.settle(permit, outcome);
            self.permit = None;
        }
    }

    /// The call was answered with a response, of which the classifier said this.
    #[allow(
        clippy::inline_always,
        reason = "or an answer is moved once more: 50 instructions a call"
    )]
    #[inline(always)]
    pub(super) fn complete<Res>(
        &mut self,
        response: Res,
        head: Verdict,
        context: &CallContext,
    ) -> Option<P::Response>
    where
        P: Complete<Res>,
        C: Send + Sync + 'static,
    {
        let over = self.hold.end()?; // first, so that the permit is moved once
        let permit = self.permit.take()?;
        let deferred = Cell::new(false);
        let end = End::new(over.lane(), &deferred, context);
        Some(over.policy.complete(permit, response, head, end))
    }

    /// What the caller is told instead of the result, if the policy has a say in it.
    #[inline(never)]
    pub(super) fn overrule<T, E: CallError>(
        &mut self,
        result: &Result<T, E>,
        context: &CallContext,
    ) -> Option<Rejected>
    where
        C: Classify<T, E>,
    {
        let (lane, permit) = (self.hold.get()?, self.permit.as_mut()?);
        let failure = result.as_ref().map(|_| ()).map_err(CallError::rejected);
        let judge = |rejected: Option<&Rejected>| match rejected {
            Some(rejected) => judge_rejection::<T, E, C>(&lane.classify, rejected, context),
            None => judge_result(&lane.classify, result.as_ref(), context),
        };
        let rejected = lane.policy.overrule(permit, &Told::new(failure, &judge))?;
        self.permit = None;
        drop(self.hold.lose());
        Some(rejected)
    }

    /// Whether the policy may have a say in this result.
    #[inline]
    pub(super) fn may_overrule<T, E>(&self, result: &Result<T, E>) -> bool {
        P::OVERRULES && (result.is_err() || self.permit.as_ref().is_some_and(P::watches))
    }

    /// Whether the caller was still sending its request.
    pub(super) fn excuses(&self) -> bool {
        match (self.hold.get(), &self.permit) {
            (Some(lane), Some(permit)) => lane.policy.excuses(permit),
            _ => false,
        }
    }

    /// The call does not begin: the layer is drained.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        let (permit, lane) = (self.permit.take()?, self.hold.lose()?);
        lane.policy.give_back(permit);
        Some(lane.policy.draining())
    }

    /// The call is pending. `None` if that is no news; else when to look again.
    #[allow(clippy::option_option, reason = "two questions")]
    #[inline]
    pub(super) fn pending(
        &mut self,
        stage: Stage,
        now: &Now,
    ) -> Option<Option<tokio::time::Instant>> {
        if std::mem::replace(&mut self.seen, stage) == stage {
            return None;
        }
        let (lane, permit) = (self.hold.get()?, self.permit.as_mut()?);
        Some(lane.policy.pending(permit, stage, now))
    }

    pub(super) fn due(&mut self, stage: Stage, now: &Now) -> Due {
        match (self.hold.get(), &mut self.permit) {
            (Some(lane), Some(permit)) => lane.policy.due(permit, stage, now),
            _ => Due::Later(None),
        }
    }

    /// The call ends with what [`due`](Self::due) said. The inner future is gone.
    pub(super) fn expire<T, E: CallError>(
        &mut self,
        by: u8,
        excused: bool,
        context: &CallContext,
    ) -> Option<Rejected>
    where
        C: Classify<T, E>,
    {
        let (permit, lane) = (self.permit.take()?, self.hold.lose()?);
        let judge = |rejected: Option<&Rejected>| match rejected {
            Some(rejected) => judge_rejection::<T, E, C>(&lane.classify, rejected, context),
            None => Outcome::IGNORE,
        };
        let told = Told { excused, ..Told::new(Err(None), &judge) };
        Some(lane.policy.expire(permit, by, Some(&told)))
    }

    /// Whether the inner service was called and found pending.
    pub(super) fn was_pending(&self) -> bool {
        self.seen == Stage::Called
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    pub(super) fn lose(&mut self, why: Lost) {
        if let (Some(permit), Some(lane)) = (self.permit.take(), self.hold.lose()) {
            lane.policy.lose(permit, if self.risky { Lost::Panicked } else { why });
        }
    }
}

/// What the classifier says of a result.
pub(crate) fn judge_result<T, E, C: Classify<T, E>>(
    classify: &C,
    result: Result<&T, &E>,
    context: &CallContext,
) -> Outcome {
    let failed = result.is_err();
    let verdict = classify.classify_call(result, context);
    if failed { verdict.of_error() } else { verdict.of_head() }
}

/// What it says of a rejection by a part of the policy.
pub(crate) fn judge_rejection<T, E: CallError, C: Classify<T, E>>(
    classify: &C,
    rejected: &Rejected,
    context: &CallContext,
) -> Outcome {
    judge_result::<T, E, C>(classify, Err(&E::from(rejected.clone())), context)
}

impl<P: Policy, C> Drop for CallGuard<P, C> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_over() {
            self.lose(Lost::Dropped);
        }
    }
}
