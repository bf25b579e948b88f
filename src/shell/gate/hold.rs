//! What a call holds of its policy, and how it hears that the policy is drained.

use std::ops::Deref;
use std::sync::Arc;
use std::task::Waker;

use super::roll::{Counted, Roll, Stage};
use crate::shell::waiters::Seat;

/// What a call holds of its policy, from when it is made until it is over.
#[derive(Debug)]
pub(crate) struct Hold<L> {
    /// `None` once the call is over.
    lane: Option<Arc<L>>,
    begun: bool,
}

/// A call that is over when this is dropped. Whatever is told of it is told before.
#[derive(Debug)]
pub(crate) struct Over<L: Counted> {
    lane: Arc<L>,
    begun: bool,
}

/// A waker among those who hear of a drain, until dropped. Most calls never wait, so it is small
/// until one does.
#[derive(Debug)]
pub(crate) struct Parked(Option<Box<Place>>);

#[derive(Debug)]
struct Place {
    roll: Arc<Roll>,
    seat: Seat,
}

// ===== impl Hold =====

impl<L> Hold<L> {
    /// A call was made.
    #[inline]
    pub(crate) const fn new(lane: Arc<L>) -> Self {
        Self { lane: Some(lane), begun: false }
    }

    /// No call.
    pub(crate) const fn over() -> Self {
        Self { lane: None, begun: false }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&L> {
        self.lane.as_deref()
    }

    /// What holds the call, for whoever holds on to it longer.
    #[inline]
    pub(crate) const fn lane(&self) -> Option<&Arc<L>> {
        self.lane.as_ref()
    }

    #[inline]
    pub(crate) const fn is_over(&self) -> bool {
        self.lane.is_none()
    }
}

impl<L: Counted> Hold<L> {
    /// The call is polled: it is under way from the first time on. `false` if it must not go on, for
    /// the policy was drained before it began, or while it `waits` without an attempt under way.
    #[inline]
    pub(crate) fn begin(&mut self, waits: impl FnOnce() -> bool) -> bool {
        if self.begun {
            return !waits() || !self.is_stopped();
        }
        let Some(lane) = &self.lane else { return true };
        if lane.count().begin() {
            self.begun = true;
            return true;
        }
        false
    }

    /// Whether a call that waits without an attempt under way is to be sent away.
    #[inline(never)]
    pub(crate) fn is_stopped(&self) -> bool {
        self.lane.as_ref().is_some_and(|lane| lane.count().roll().is(Stage::Stopped))
    }

    /// Leaves the waker of such a call. Returns `false` if it is to be sent away.
    pub(crate) fn park(&self, parked: &mut Parked, waker: &Waker) -> bool {
        let Some(lane) = &self.lane else { return true };
        parked.park(lane.count().roll(), waker, Stage::Stopped)
    }

    /// The call was answered, so that it had begun.
    #[inline]
    pub(crate) fn end(&mut self) -> Option<Over<L>> {
        debug_assert!(self.begun || self.is_over(), "what was never polled is not answered");
        self.lane.take().map(|lane| Over { lane, begun: true })
    }

    /// The call ends otherwise, and may not have begun.
    pub(crate) fn lose(&mut self) -> Option<Over<L>> {
        self.lane.take().map(|lane| Over { lane, begun: self.begun })
    }

    /// The call was answered, and somebody else tells when it is over: it has to
    /// [leave](super::Count::leave) then.
    pub(crate) fn defer(&mut self) -> Option<Arc<L>> {
        debug_assert!(self.begun || self.is_over(), "what was never polled is not answered");
        self.lane.take()
    }
}

// ===== impl Over =====

impl<L: Counted> Over<L> {
    pub(crate) const fn lane(&self) -> &Arc<L> {
        &self.lane
    }
}

impl<L: Counted> Deref for Over<L> {
    type Target = L;

    #[inline]
    fn deref(&self) -> &L {
        &self.lane
    }
}

impl<L: Counted> Drop for Over<L> {
    #[inline]
    fn drop(&mut self) {
        if self.begun {
            self.lane.count().leave();
        }
    }
}

// ===== impl Parked =====

impl Parked {
    /// Nobody waits yet.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(super) fn park(&mut self, roll: &Arc<Roll>, waker: &Waker, until: Stage) -> bool {
        // Each belongs to a future or a service of a user's, so their number has no other bound.
        let place = || Box::new(Place { roll: Arc::clone(roll), seat: Seat::of_watch() });
        let place = self.0.get_or_insert_with(place);
        roll.wait(&mut place.seat, waker, until)
    }
}

impl Drop for Place {
    #[inline(never)]
    fn drop(&mut self) {
        self.roll.stand_up(&mut self.seat);
    }
}
