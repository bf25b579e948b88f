//! What a call holds of its policy, and how it hears that the policy is drained.

use std::ops::Deref;
use std::sync::Arc;
use std::task::Waker;

use super::Stripe;
use super::drain_state::{DrainState, Stage};
use crate::shell::waiters::WakerSlot;

/// What a call holds of its policy, from when it is made until it is over.
#[derive(Debug)]
pub(crate) struct Hold<P> {
    /// `None` once the call is over.
    stripe: Option<Arc<Stripe<P>>>,
    begun: bool,
}

/// A call that is over when this is dropped. Whatever is told of it is told before.
#[derive(Debug)]
pub(crate) struct Over<P> {
    stripe: Arc<Stripe<P>>,
    begun: bool,
}

/// A waker among those who hear of a drain, until dropped. Most calls never wait, so it is small
/// until one does.
#[derive(Debug)]
pub(crate) struct Parked(Option<Box<Place>>);

#[derive(Debug)]
struct Place {
    drain_state: Arc<DrainState>,
    slot: WakerSlot,
}

// ===== impl Hold =====

impl<P> Hold<P> {
    /// A call was made.
    #[inline]
    pub(crate) const fn new(stripe: Arc<Stripe<P>>) -> Self {
        Self { stripe: Some(stripe), begun: false }
    }

    /// No call.
    pub(crate) const fn over() -> Self {
        Self { stripe: None, begun: false }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&Stripe<P>> {
        self.stripe.as_deref()
    }

    /// What holds the call, for whoever holds on to it longer.
    #[inline]
    pub(crate) const fn stripe(&self) -> Option<&Arc<Stripe<P>>> {
        self.stripe.as_ref()
    }

    #[inline]
    pub(crate) const fn is_over(&self) -> bool {
        self.stripe.is_none()
    }

    /// The call is polled: it is in flight from the first time on. `false` if it must not go on, for
    /// the policy was drained before it began, or while it `waits` without an attempt in flight.
    #[inline]
    pub(crate) fn begin(&mut self, waits: impl FnOnce() -> bool) -> bool {
        if self.begun {
            return !waits() || !self.is_stopped();
        }
        let Some(stripe) = &self.stripe else { return true };
        if stripe.count.begin() {
            self.begun = true;
            return true;
        }
        false
    }

    /// Whether a call that waits without an attempt in flight is to be sent away.
    #[inline(never)]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stripe.as_ref().is_some_and(|stripe| stripe.count.drain_state().is(Stage::Stopped))
    }

    /// Leaves the waker of such a call. Returns `false` if it is to be sent away.
    pub(crate) fn park(&self, parked: &mut Parked, waker: &Waker) -> bool {
        let Some(stripe) = &self.stripe else { return true };
        parked.park(stripe.count.drain_state(), waker, Stage::Stopped)
    }

    /// The call was answered, so that it had begun.
    #[inline]
    pub(crate) fn end(&mut self) -> Option<Over<P>> {
        debug_assert!(self.begun || self.is_over(), "what was never polled is not answered");
        self.stripe.take().map(|stripe| Over { stripe, begun: true })
    }

    /// The call ends otherwise, and may not have begun.
    pub(crate) fn lose(&mut self) -> Option<Over<P>> {
        self.stripe.take().map(|stripe| Over { stripe, begun: self.begun })
    }
}

// ===== impl Over =====

impl<P> Deref for Over<P> {
    type Target = Stripe<P>;

    #[inline]
    fn deref(&self) -> &Stripe<P> {
        &self.stripe
    }
}

impl<P> Drop for Over<P> {
    #[inline]
    fn drop(&mut self) {
        if self.begun {
            self.stripe.count.leave();
        }
    }
}

// ===== impl Parked =====

impl Parked {
    /// Nobody waits yet.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(super) fn park(
        &mut self,
        drain_state: &Arc<DrainState>,
        waker: &Waker,
        until: Stage,
    ) -> bool {
        // Each belongs to a future or a service of a user's, so their number has no other bound.
        let place = || {
            Box::new(Place { drain_state: Arc::clone(drain_state), slot: WakerSlot::of_watch() })
        };
        let place = self.0.get_or_insert_with(place);
        drain_state.wait(&mut place.slot, waker, until)
    }
}

impl Drop for Place {
    #[inline(never)]
    fn drop(&mut self) {
        self.drain_state.stand_up(&mut self.slot);
    }
}
