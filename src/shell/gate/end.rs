//! How a call ends that was answered, at once or later.

use std::cell::Cell;
use std::sync::Arc;

use super::policy::{Judged, Policy, settle};
use super::service::Core;
use crate::core::classify::Classification;
use crate::core::completion::{CallGuard, Completion, Ending, Tail};
use crate::core::context::ClassifyContext;
use crate::core::outcome::Outcome;
use crate::shell::in_flight::Stripe;
use crate::shell::meter::Recorder;

/// Where a part of a policy gets a [`CallGuard`] from, for a call that is over later than its answer.
///
/// It only borrows, so that a call that is over at once pays nothing for it.
#[allow(missing_debug_implementations, reason = "it holds what is behind a trait")]
#[derive(Clone, Copy)]
pub struct End<'a> {
    stripe: &'a dyn Endings,
    /// Of a policy for each key, that of the call.
    cell: Option<&'a dyn Heard>,
    part: u8,
    /// Whether several parts may defer the end of this call, and what they are counted by.
    several: bool,
    stay: &'a Cell<Option<u32>>,
    context: &'a ClassifyContext,
    pub(crate) recorder: Recorder,
}

/// What the parts that defer the end of a call have in common, while it is answered.
pub(crate) struct Deferred<'a, X> {
    stripe: &'a Arc<Stripe<X>>,
    stay: Cell<Option<u32>>,
}

impl<'a, X> Deferred<'a, X> {
    #[inline]
    pub(crate) const fn new(stripe: &'a Arc<Stripe<X>>) -> Self {
        Self { stripe, stay: Cell::new(None) }
    }
}

impl<X> Drop for Deferred<'_, X> {
    #[inline]
    fn drop(&mut self) {
        if let Some(stay) = self.stay.get() {
            self.stripe.let_go(stay);
        }
    }
}

/// What a call holds, as that which hears how it ended.
trait Endings {
    /// One more reference, and one more to be waited for.
    fn defer(&self, stay: Option<u32>) -> Arc<dyn Ending>;

    /// What the parts of one call are counted by.
    fn stay(&self) -> u32;
}

/// The policy of a key, as that which hears how a call ended.
trait Heard {
    fn hears(&self) -> Arc<dyn Ending>;
}

impl<'a> End<'a> {
    #[inline]
    pub(crate) fn new<X>(
        deferred: &'a Deferred<'a, X>,
        several: bool,
        context: &'a ClassifyContext,
        recorder: Recorder,
    ) -> Self
    where
        Stripe<X>: Ending + 'static,
    {
        let Deferred { stripe, stay } = deferred;
        Self { stripe: *stripe, cell: None, part: 0, several, stay, context, recorder }
    }

    /// For a policy inside, behind so many parts.
    #[inline]
    pub(crate) const fn inside(self, parts: u8) -> Self {
        Self { part: self.part + parts, ..self }
    }

    /// For the policy of one key, which hears of it in the place of them all.
    #[inline]
    pub(super) fn of_cell<'b, M: Policy>(self, cell: &'b Arc<M>) -> End<'b>
    where
        'a: 'b,
    {
        End { cell: Some(cell), part: 0, ..self }
    }

    /// The call is over later.
    pub(crate) fn defer(self, head: Classification, tail: Tail) -> CallGuard {
        let stay = self.stay.get().or_else(|| self.several.then(|| self.stripe.stay()));
        self.stay.set(stay);
        let stripe = self.stripe.defer(stay);
        CallGuard::new(stripe, self.cell.map(Heard::hears), stay, self.part, head, tail)
            .within(*self.context)
    }
}

impl<X> Endings for Arc<Stripe<X>>
where
    Stripe<X>: Ending + 'static,
{
    fn stay(&self) -> u32 {
        Stripe::stay(self)
    }

    fn defer(&self, stay: Option<u32>) -> Arc<dyn Ending> {
        self.join(stay);
        Arc::clone(self) as Arc<dyn Ending>
    }
}

impl<P: Policy, C: Send + Sync + 'static> Ending for Stripe<Core<P, C>> {
    fn settle(&self, part: u8, tail: Tail, outcome: &Outcome) {
        self.policy.settle_tail(part, tail, outcome);
    }

    fn delivered(&self, part: u8, tail: &mut Tail) {
        self.policy.delivered(part, tail);
    }

    fn abandon(&self, part: u8, tail: Tail) {
        self.policy.lose_tail(part, tail);
    }

    fn no_longer_in_flight(&self, stay: Option<u32>) {
        self.part(stay);
    }
}

impl<M: Policy> Heard for Arc<M> {
    fn hears(&self) -> Arc<dyn Ending> {
        Arc::clone(self) as Arc<dyn Ending>
    }
}

/// The policy of one key: the call is counted by the stripe that it holds too.
impl<M: Policy> Ending for M {
    fn settle(&self, part: u8, tail: Tail, outcome: &Outcome) {
        self.settle_tail(part, tail, outcome);
    }

    fn delivered(&self, part: u8, tail: &mut Tail) {
        self.delivered(part, tail);
    }

    fn abandon(&self, part: u8, tail: Tail) {
        self.lose_tail(part, tail);
    }

    fn no_longer_in_flight(&self, _: Option<u32>) {}
}

/// Ends a call as a user's [`Completion`] says.
#[allow(clippy::inline_always, reason = "or an answer is moved once more: 50 instructions a call")]
#[inline(always)]
pub(crate) fn finish_with<P, F, Res>(
    policy: &P,
    completion: &F,
    permit: &mut Option<P::Permit>,
    response: Res,
    head: Classification,
    end: End<'_>,
) -> F::Response
where
    P: Policy,
    F: Completion<Res>,
{
    let response = match completion.at_head(response) {
        Ok(response) => response,
        Err(response) => return finish_later(policy, completion, permit, response, head, end),
    };
    settle(policy, permit, &Judged { outcome: head.of_head(), recorder: end.recorder });
    response
}

#[inline(never)]
fn finish_later<P, F, Res>(
    policy: &P,
    completion: &F,
    permit: &mut Option<P::Permit>,
    response: Res,
    head: Classification,
    end: End<'_>,
) -> F::Response
where
    P: Policy,
    F: Completion<Res>,
{
    let tail = permit.take().map(|permit| policy.tail(permit, head));
    completion.wrap(response, end.defer(head, tail.unwrap_or_default()))
}
