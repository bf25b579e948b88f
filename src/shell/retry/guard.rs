//! What a call holds: of the policy of the whole, of that of the attempt in flight, and of what pays.

mod attempt;

use std::sync::Arc;

use tokio::time::Instant;

use super::repeat::Repeat;
use super::service::Core;
use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;
use crate::shell::gate::{
    CallEnd, Complete, Deferred, Due, End, Judged, Lost, Now, Policy, Stage, classify_rejection,
    classify_result, settle,
};
use crate::shell::in_flight::{Hold, Stripe};
use crate::shell::meter::Recorder;

/// A call: its one reference to what is shared, and its permits. Ended once.
pub(crate) struct RetryGuard<T: Repeat<U>, W: Policy, A: Policy, C, U> {
    hold: Hold<Core<T, W, A, C>>,
    /// `None` once the call is over.
    whole: Option<W::Permit>,
    /// That of the attempt in flight.
    pub(super) permit: Option<A::Permit>,
    pub(super) ahead: Ahead<A>,
    pub(super) purse: U,
    /// The price of the attempt to come or in flight; it comes back if that is answered well, or never
    /// begins.
    price: Option<T::Price>,
    /// User code is running: if this is dropped now, that code panicked.
    risky: bool,
    seen: Stage,
}

/// What an attempt waits for that has no permit yet.
pub(super) enum Ahead<A: Policy> {
    /// Nothing: it was admitted, or there is none, for the call waits between two attempts, or is over.
    Nothing,
    /// The inner service; it asks for a permit when that is ready. Whoever closes its policy wakes it.
    Readying(A::WakerSlot),
    /// A permit.
    Permit(Box<Waiting<A>>),
}

/// An attempt in a queue, in a box, for most never wait.
pub(super) struct Waiting<A: Policy> {
    /// `None` once it waits no longer.
    pub(super) wait: Option<A::Wait>,
    /// What is propagated with it, of a policy that may still change that.
    pub(super) own: Option<CallContext>,
}

impl<A: Policy> Ahead<A> {
    pub(super) fn permit(wait: A::Wait) -> Self {
        Self::Permit(Box::new(Waiting { wait: Some(wait), own: None }))
    }
}

impl<T: Repeat<U>, W: Policy, A: Policy, C, U> RetryGuard<T, W, A, C, U> {
    #[inline]
    pub(super) const fn new(
        stripe: Arc<Stripe<Core<T, W, A, C>>>,
        whole: Option<W::Permit>,
        permit: Option<A::Permit>,
        purse: U,
    ) -> Self {
        Self {
            hold: Hold::new(stripe),
            whole,
            permit,
            ahead: Ahead::Nothing,
            purse,
            price: None,
            risky: false,
            seen: Stage::Fresh,
        }
    }

    /// No call.
    pub(super) const fn over(purse: U) -> Self {
        Self {
            hold: Hold::over(),
            whole: None,
            permit: None,
            ahead: Ahead::Nothing,
            purse,
            price: None,
            risky: false,
            seen: Stage::Fresh,
        }
    }

    #[inline]
    pub(super) const fn is_over(&self) -> bool {
        self.hold.is_over()
    }

    /// Whether an attempt was admitted and is not over.
    #[inline]
    pub(super) const fn is_inside(&self) -> bool {
        self.permit.is_some()
    }

    #[inline]
    pub(super) fn core(&self) -> Option<&Core<T, W, A, C>> {
        self.hold.get().map(|stripe| &**stripe)
    }

    /// The future is polled. `false` if the layer was drained before the call began, or while it `waits`
    /// without an attempt in flight: then it must not go on.
    #[inline]
    pub(super) fn begin(&mut self, waits: impl FnOnce() -> bool) -> bool {
        self.hold.begin(waits)
    }

    /// What holds the call.
    pub(super) const fn hold(&self) -> &Hold<Core<T, W, A, C>> {
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

    // ----- what pays -----

    /// Another attempt is to come, and is paid for with this.
    pub(super) fn pay(&mut self, price: Option<T::Price>) {
        (self.price, self.seen) = (price, Stage::Fresh);
    }

    /// The attempt was answered well, though the call goes on: its price comes back.
    pub(super) fn refund(&mut self) {
        let price = self.price.take();
        if let Some(stripe) = self.hold.get() {
            stripe.retry.give_back(price, &self.purse);
        }
    }

    /// The price of an attempt that never began.
    pub(super) fn take_unspent(&mut self) -> Option<T::Price> {
        self.price.take().filter(|_| !self.was_pending() && !self.risky)
    }

    // ----- the call ends -----

    /// Whether some policy may have a say in a response to this call.
    #[inline]
    pub(super) fn watches(&self) -> bool {
        (A::OVERRULES && self.permit.as_ref().is_some_and(A::watches))
            || (W::OVERRULES && self.whole.as_ref().is_some_and(W::watches))
    }

    /// The call was answered well.
    #[inline]
    pub(super) fn succeed<Res>(
        &mut self,
        response: Res,
        head: Classification,
        context: ClassifyContext,
        took: impl FnOnce() -> Option<u64>,
    ) -> Option<A::Response>
    where
        A: Complete<Res>,
        T: Send + Sync + 'static,
        C: Send + Sync + 'static,
    {
        let recorder = Recorder::in_force();
        let response = self.complete(response, head, &context, recorder)?;
        let core = self.hold.get()?;
        let end = Judged { outcome: head.of_head(), recorder };
        core.retry.answered(&self.purse, &end, took);
        if self.price.is_some() {
            core.retry.give_back(self.price.take(), &self.purse);
        }
        settle(&core.whole, &mut self.whole, &end);
        drop(self.hold.end());
        Some(response)
    }

    /// The attempt was answered with the response to the call, of which the classifier said this. Code of
    /// the user's runs: the call is over only afterwards.
    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn complete<Res>(
        &mut self,
        response: Res,
        head: Classification,
        context: &ClassifyContext,
        recorder: Recorder,
    ) -> Option<A::Response>
    where
        A: Complete<Res>,
        T: Send + Sync + 'static,
        C: Send + Sync + 'static,
    {
        let stripe = self.hold.stripe()?;
        let deferred = Deferred::new(stripe);
        let end = End::new(&deferred, A::PARTS > 1, context, recorder);
        Some(stripe.each.complete(&mut self.permit, response, head, end))
    }

    /// The call ends with this result.
    pub(super) fn end<Res, E: CallError>(
        &mut self,
        result: Result<Res, E>,
        head: Classification,
        context: ClassifyContext,
    ) -> Result<Option<A::Response>, E>
    where
        A: Complete<Res>,
        C: Classify<Res, E> + Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        let outcome = if result.is_ok() { head.of_head() } else { head.of_error() };
        if let Some(rejected) = self.overrule(&result, &context) {
            self.settle_attempt(&outcome);
            drop(self.hold.lose());
            return Err(rejected.into());
        }
        let recorder = Recorder::in_force();
        let result = result.map(|response| self.complete(response, head, &context, recorder));
        if let Some(over) = self.hold.lose() {
            settle(&over.whole, &mut self.whole, &Judged { outcome, recorder });
        }
        result
    }

    /// The call is over, and was told of.
    pub(super) fn close(&mut self) {
        self.whole = None;
        drop(self.hold.lose());
    }

    /// What the caller is told instead of the result, if the policy of the whole has a say in it.
    fn overrule<Res, E: CallError>(
        &mut self,
        result: &Result<Res, E>,
        context: &ClassifyContext,
    ) -> Option<Rejected>
    where
        C: Classify<Res, E>,
    {
        let (core, whole) = (self.hold.get()?, self.whole.as_mut()?);
        if !W::OVERRULES || (result.is_ok() && !W::watches(whole)) {
            return None;
        }
        let rejected =
            told(result, context, &core.classify, |told| core.whole.overrule(whole, told))?;
        self.whole = None;
        Some(rejected)
    }

    /// The call ends with this error, and the attempt that was to come has not begun.
    pub(super) fn give_up<Res, E: CallError>(
        &mut self,
        error: E,
        has_begun: bool,
        context: ClassifyContext,
    ) -> E
    where
        A: Complete<Res>,
        C: Classify<Res, E> + Send + Sync + 'static,
    {
        if W::PARTS == 0 || !has_begun {
            if let (Some(whole), Some(over)) = (self.whole.take(), self.hold.lose()) {
                over.whole.give_back(whole);
            }
            return error;
        }
        self.enter();
        let head = match self.core() {
            Some(core) => core.classify.classify_call(Err(&error), &context),
            None => return error,
        };
        match self.end(Err(error), head, context) {
            Err(error) => error,
            Ok(_) => unreachable!("it is an error"),
        }
    }

    /// The call ends because [`due`](Policy::due) said so of this part of the policy of the whole. The
    /// attempt in flight is gone, and so is its permit.
    pub(super) fn expire<Res, E: CallError>(
        &mut self,
        by: u8,
        context: &ClassifyContext,
    ) -> Option<Rejected>
    where
        C: Classify<Res, E>,
    {
        let unspent = self.take_unspent();
        let (whole, over) = (self.whole.take()?, self.hold.lose()?);
        over.retry.give_back(unspent, &self.purse);
        over.retry.lost();
        let classify = |rejected: Option<&Rejected>| match rejected {
            Some(rejected) => classify_rejection::<Res, E, C>(&over.classify, rejected, context),
            None => Outcome::IGNORE,
        };
        Some(over.whole.expire(whole, by, Some(&CallEnd::new(Err(None), &classify))))
    }

    // ----- time -----

    /// Notes what the attempt waits for. `false` if that is no news.
    pub(super) fn note(&mut self, stage: Stage) -> bool {
        std::mem::replace(&mut self.seen, stage) != stage
    }

    /// Whether the inner service was called and found pending.
    pub(super) fn was_pending(&self) -> bool {
        self.seen == Stage::Called
    }

    /// The call is pending for the first time: when the policy of the whole wants to look again.
    pub(super) fn whole_pending(&mut self, now: &Now) -> Option<Instant> {
        self.hold.get()?.whole.pending(self.whole.as_mut()?, Stage::Called, now)
    }

    pub(super) fn whole_due(&mut self, now: &Now) -> Due {
        match (self.hold.get(), &mut self.whole) {
            (Some(core), Some(whole)) => core.whole.due(whole, Stage::Called, now),
            _ => Due::Later(None),
        }
    }

    // ----- nobody hears how it ends -----

    /// Whether the caller was still sending its request.
    pub(super) fn excuses(&self) -> bool {
        let Some(core) = self.hold.get() else { return false };
        self.permit.as_ref().is_some_and(|permit| core.each.excuses(permit))
            || self.whole.as_ref().is_some_and(|whole| core.whole.excuses(whole))
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    pub(super) fn lose(&mut self, why: Lost) {
        self.lose_attempt(why);
        let unspent = self.take_unspent();
        let (Some(whole), Some(over)) = (self.whole.take(), self.hold.lose()) else { return };
        over.retry.give_back(unspent, &self.purse);
        over.retry.lost();
        over.whole.lose(whole, if self.risky { Lost::Panicked } else { why });
    }
}

/// Tells of a result somebody who may say something else.
fn told<Res, E: CallError, C: Classify<Res, E>>(
    result: &Result<Res, E>,
    context: &ClassifyContext,
    classify: &C,
    tell: impl FnOnce(&CallEnd<'_>) -> Option<Rejected>,
) -> Option<Rejected> {
    let failure = result.as_ref().map(|_| ()).map_err(CallError::rejected);
    let classify = |rejected: Option<&Rejected>| match rejected {
        Some(rejected) => classify_rejection::<Res, E, C>(classify, rejected, context),
        None => classify_result(classify, result.as_ref(), context),
    };
    tell(&CallEnd::new(failure, &classify))
}

impl<T: Repeat<U>, W: Policy, A: Policy, C, U> Drop for RetryGuard<T, W, A, C, U> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_over() {
            self.lose(Lost::Dropped);
        }
    }
}
