//! A live call under way, and what it says of the dependency.

use std::sync::Arc;

use super::policy::Policy;
use crate::error::{Reason, Rejected};
use crate::outcome::Health;
use crate::shell::gate::{Hold, Lane};
use crate::shell::meter::Ended;

/// A call under way: counted once, as abandoned if it is dropped, and as bad if it panicked, which is
/// what a circuit breaker makes of it too.
pub(super) struct Flight(pub(super) Hold<Lane<Policy>>);

/// User code runs: if this is dropped, it panicked, and the call has failed.
pub(super) struct Risk<'a>(&'a mut Flight);

impl Flight {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Policy>>) -> Self {
        Self(Hold::new(lane))
    }

    /// The call was answered, and this is what it says of the dependency.
    #[inline]
    pub(super) fn end(&mut self, health: Health) {
        if let Some(lane) = self.0.end() {
            lane.note_end(health);
        }
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        if let Some(lane) = self.0.lose() {
            lane.meter(|handles| handles.counted(Ended::Abandoned));
        }
    }

    /// The call does not begin: the policy was drained before that.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        self.0.lose().map(|lane| lane.reject(Reason::Draining))
    }
}

impl Drop for Flight {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_over() {
            self.be_lost();
        }
    }
}

impl<'a> Risk<'a> {
    #[inline]
    pub(super) fn of(flight: &'a mut Flight) -> Self {
        Self(flight)
    }

    /// The user code came back.
    #[inline]
    pub(super) fn over(self) {
        std::mem::forget(self);
    }
}

impl Drop for Risk<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.0.0.lose() {
            lane.note_end(Health::Bad);
        }
    }
}
