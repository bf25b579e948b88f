//! A live call under way, and what it says of the dependency.

use std::sync::Arc;

use super::machine::Input;
use super::policy::Policy;
use crate::outcome::Health;
use crate::shell::gate::Lane;
use crate::shell::meter::Ended;

/// A call under way: counted once, as abandoned if it is dropped, and as bad if it panicked, which is
/// what a circuit breaker makes of it too.
pub(super) struct Flight(Option<Arc<Lane<Policy>>>);

/// A call while user code runs: if this is dropped, that code panicked, and the call has failed.
pub(super) struct Risk(Flight);

impl Flight {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Policy>>) -> Self {
        Self(Some(lane))
    }

    /// The call was answered, and this is what it says of the dependency.
    pub(super) fn end(mut self, health: Health) {
        if let Some(lane) = self.0.take() {
            match health {
                Health::Good => lane.learn(Input::Good),
                Health::Bad => lane.learn(Input::Bad),
                Health::Pushback | Health::Silent => {}
            }
            lane.meter(|handles| handles.counted(health.into()));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(lane) = self.0.take() {
            lane.meter(|handles| handles.counted(Ended::Abandoned));
        }
    }
}

impl Risk {
    #[inline]
    pub(super) fn new(flight: Flight) -> Self {
        Self(flight)
    }

    /// The user code came back.
    #[inline]
    pub(super) fn over(mut self) -> Flight {
        let flight = Flight(self.0.0.take());
        std::mem::forget(self); // empty
        flight
    }
}

impl Drop for Risk {
    #[inline]
    fn drop(&mut self) {
        Flight(self.0.0.take()).end(Health::Bad);
    }
}
