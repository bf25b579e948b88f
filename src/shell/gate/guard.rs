//! What a call holds of the policy that admitted it.

use std::sync::Arc;

use super::call_end::CallEnd;
use super::end::{Deferred, End};
use super::policy::{Complete, Due, Judged, Lost, Now, Policy, Stage, settle};
use super::service::Core;
use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::outcome::Outcome;
use crate::shell::in_flight::{Hold, Stripe};
use crate::shell::meter::Recorder;

/// An admitted call: its one reference to what is shared, and its permit. Ended once.
pub(crate) struct GateGuard<P: Policy, C> {
    hold: Hold<Core<P, C>>,
    /// `None` once the call is over.
    permit: Option<P::Permit>,
    /// User code is running: if this is dropped now, that code panicked.
    risky: bool,
    seen: Stage,
}

impl<P: Policy, C> GateGuard<P, C> {
    #[inline]
    pub(super) fn new(stripe: Arc<Stripe<Core<P, C>>>, permit: P::Permit) -> Self {
        Self::of(Hold::new(stripe), Some(permit))
    }

    #[inline]
    pub(super) const fn of(hold: Hold<Core<P, C>>, permit: Option<P::Permit>) -> Self {
        Self { hold, permit, risky: false, seen: Stage::Fresh }
    }

    /// No call, or one that is over.
    pub(super) const fn over() -> Self {
        Self { hold: Hold::over(), permit: None, risky: false, seen: Stage::Fresh }
    }

    #[inline]
    pub(super) const fn is_over(&self) -> bool {
        self.hold.is_over()
    }

    #[inline]
    pub(super) fn core(&self) -> Option<&Core<P, C>> {
        self.hold.get().map(|stripe| &**stripe)
    }

    /// The future is polled. `false` if the layer was drained before the call began, or while it
    /// `waits` for the inner service: then it must not go on.
    #[inline]
    pub(super) fn begin(&mut self, waits: impl FnOnce() -> bool) -> bool {
        self.hold.begin(waits)
    }

    /// What holds the call.
    pub(super) const fn hold(&self) -> &Hold<Core<P, C>> {
        &self.hold
    }

    /// The part that ends it before it is polled.
    #[inline]
    pub(super) fn is_ended_by(&self) -> Option<u8> {
        self.core()?.policy.is_ended_by(self.permit.as_ref()?)
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

    /// What was in here is in the future from now on.
    #[inline]
    pub(super) const fn hand_over(&mut self) -> Self {
        self.leave();
        std::mem::replace(self, Self::over())
    }

    /// The call was answered with an error.
    #[inline]
    pub(super) fn settle(&mut self, outcome: Outcome) {
        if let Some(stripe) = self.hold.end() {
            settle(&stripe.policy, &mut self.permit, &Judged::now(outcome));
        }
    }

    /// The call was answered with a response, of which the classifier said this.
    #[allow(clippy::inline_always, reason = "or an answer is moved once more")]
    #[inline(always)]
    pub(super) fn complete<Res>(
        &mut self,
        response: Res,
        head: Classification,
        context: &ClassifyContext,
    ) -> Option<P::Response>
    where
        P: Complete<Res>,
        C: Send + Sync + 'static,
    {
        let stripe = self.hold.stripe()?;
        let deferred = Deferred::new(stripe);
        let end = End::new(&deferred, P::PARTS > 1, context, Recorder::in_force());
        let response = stripe.policy.complete(&mut self.permit, response, head, end);
        drop(deferred);
        drop(self.hold.end());
        Some(response)
    }

    /// What the caller is told instead of the result, if the policy has a say in it.
    #[inline(never)]
    pub(super) fn overrule<T, E: CallError>(
        &mut self,
        result: &Result<T, E>,
        context: &ClassifyContext,
    ) -> Option<Rejected>
    where
        C: Classify<T, E>,
    {
        let (stripe, permit) = (self.hold.get()?, self.permit.as_mut()?);
        let failure = result.as_ref().map(|_| ()).map_err(CallError::rejected);
        let classify = |rejected: Option<&Rejected>| match rejected {
            Some(rejected) => classify_rejection::<T, E, C>(&stripe.classify, rejected, context),
            None => classify_result(&stripe.classify, result.as_ref(), context),
        };
        let rejected = stripe.policy.overrule(permit, &CallEnd::new(failure, &classify))?;
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
            (Some(stripe), Some(permit)) => stripe.policy.excuses(permit),
            _ => false,
        }
    }

    /// The call does not begin: the layer is drained.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        let (permit, stripe) = (self.permit.take()?, self.hold.lose()?);
        stripe.policy.give_back(permit);
        Some(stripe.policy.draining())
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
        let (stripe, permit) = (self.hold.get()?, self.permit.as_mut()?);
        Some(stripe.policy.pending(permit, stage, now))
    }

    pub(super) fn due(&mut self, stage: Stage, now: &Now) -> Due {
        match (self.hold.get(), &mut self.permit) {
            (Some(stripe), Some(permit)) => stripe.policy.due(permit, stage, now),
            _ => Due::Later(None),
        }
    }

    /// The call ends with what [`due`](Self::due) said. The inner future is gone.
    pub(super) fn expire<T, E: CallError>(
        &mut self,
        by: u8,
        excused: bool,
        context: &ClassifyContext,
    ) -> Option<Rejected>
    where
        C: Classify<T, E>,
    {
        let (permit, stripe) = (self.permit.take()?, self.hold.lose()?);
        let classify = |rejected: Option<&Rejected>| match rejected {
            Some(rejected) => classify_rejection::<T, E, C>(&stripe.classify, rejected, context),
            None => Outcome::IGNORE,
        };
        let told = CallEnd { excused, ..CallEnd::new(Err(None), &classify) };
        Some(stripe.policy.expire(permit, by, Some(&told)))
    }

    /// Whether the inner service was called and found pending.
    pub(super) fn was_pending(&self) -> bool {
        self.seen == Stage::Called
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    pub(super) fn lose(&mut self, why: Lost) {
        if let (Some(permit), Some(stripe)) = (self.permit.take(), self.hold.lose()) {
            stripe.policy.lose(permit, if self.risky { Lost::Panicked } else { why });
        }
    }
}

/// What the classifier says of a result.
pub(crate) fn classify_result<T, E, C: Classify<T, E>>(
    classify: &C,
    result: Result<&T, &E>,
    context: &ClassifyContext,
) -> Outcome {
    let failed = result.is_err();
    let classification = classify.classify_call(result, context);
    if failed { classification.of_error() } else { classification.of_head() }
}

/// What it says of a rejection by a part of the policy.
pub(crate) fn classify_rejection<T, E: CallError, C: Classify<T, E>>(
    classify: &C,
    rejected: &Rejected,
    context: &ClassifyContext,
) -> Outcome {
    classify_result::<T, E, C>(classify, Err(&E::from(rejected.clone())), context)
}

impl<P: Policy, C> Drop for GateGuard<P, C> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_over() {
            self.lose(Lost::Dropped);
        }
    }
}
