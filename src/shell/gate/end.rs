//! How a call ends that was answered, at once or later.

use std::cell::Cell;
use std::sync::Arc;

use super::policy::{Lost, Policy};
use super::service::Core;
use crate::core::classify::Classification;
use crate::core::completion::{CallGuard, Completion, Ending, Tail};
use crate::core::context::ClassifyContext;
use crate::core::outcome::Outcome;
use crate::shell::in_flight::Stripe;

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
    /// Whether some part deferred the end of this call already.
    deferred: &'a Cell<bool>,
    context: &'a ClassifyContext,
}

/// What a call holds, as that which hears how it ended.
trait Endings {
    /// One more reference, and one more to be waited for.
    fn defer(&self, again: bool) -> Arc<dyn Ending>;
}

/// The policy of a key, as that which hears how a call ended.
trait Heard {
    fn hears(&self) -> Arc<dyn Ending>;
}

impl<'a> End<'a> {
    #[inline]
    pub(crate) fn new<X>(
        stripe: &'a Arc<Stripe<X>>,
        deferred: &'a Cell<bool>,
        context: &'a ClassifyContext,
    ) -> Self
    where
        Stripe<X>: Ending + 'static,
    {
        Self { stripe, cell: None, part: 0, deferred, context }
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
        let again = self.deferred.replace(true);
        let stripe = self.stripe.defer(again);
        CallGuard::new(stripe, self.cell.map(Heard::hears), again, self.part, head, tail)
            .within(*self.context)
    }
}

impl<X> Endings for Arc<Stripe<X>>
where
    Stripe<X>: Ending + 'static,
{
    fn defer(&self, again: bool) -> Arc<dyn Ending> {
        self.join(again);
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

    fn no_longer_in_flight(&self, again: bool) {
        self.part(again);
    }
}

impl<M: Policy> Heard for Arc<M> {
    fn hears(&self) -> Arc<dyn Ending> {
        Arc::clone(self) as Arc<dyn Ending>
    }
}

/// The policy of one key: the call is counted by the lane that it holds too.
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

    fn no_longer_in_flight(&self, _: bool) {}
}

/// Ends a call as a user's [`Completion`] says.
#[allow(clippy::inline_always, reason = "or an answer is moved once more: 50 instructions a call")]
#[inline(always)]
pub(crate) fn finish_with<P, F, Res>(
    policy: &P,
    completion: &F,
    permit: P::Permit,
    response: Res,
    head: Classification,
    end: End<'_>,
) -> F::Response
where
    P: Policy,
    F: Completion<Res>,
{
    let mut guard = Held { policy, permit: Some(permit) };
    let response = match completion.at_head(response) {
        Ok(response) => response,
        Err(response) => return finish_later(guard, completion, response, head, end),
    };
    let permit = guard.permit.take();
    drop(guard); // no user code runs from here on
    if let Some(mut permit) = permit {
        policy.settle(&mut permit, &head.of_head());
    }
    response
}

#[inline(never)]
fn finish_later<P, F, Res>(
    mut guard: Held<'_, P>,
    completion: &F,
    response: Res,
    head: Classification,
    end: End<'_>,
) -> F::Response
where
    P: Policy,
    F: Completion<Res>,
{
    let tail = guard.permit.take().map(|permit| guard.policy.tail(permit, head));
    completion.wrap(response, end.defer(head, tail.unwrap_or_default()))
}

/// A permit while code of the user's runs, which may panic.
pub(crate) struct Held<'a, P: Policy> {
    pub(crate) policy: &'a P,
    pub(crate) permit: Option<P::Permit>,
}

impl<P: Policy> Drop for Held<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.policy.lose(permit, Lost::Panicked);
        }
    }
}
