//! A live call under way, and what it says of the dependency.

use std::sync::Arc;

use super::machine::Input;
use super::policy::Policy;
use crate::outcome::Health;
use crate::shell::gate::Lane;
use crate::shell::meter::Ended;

/// A call under way: counted once, as abandoned if it is dropped, and as bad if it panicked, which is
/// what a circuit breaker makes of it too.
pub(super) struct Flight {
    lane: Option<Arc<Lane<Policy>>>,
    /// User code is running: if this guard is dropped now, that code panicked.
    risky: bool,
}

impl Flight {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Policy>>) -> Self {
        Self { lane: Some(lane), risky: false }
    }

    /// User code begins. If it panics, the call has failed.
    #[inline]
    pub(super) fn enter(&mut self) {
        self.risky = true;
    }

    /// User code came back.
    #[inline]
    pub(super) fn leave(&mut self) {
        self.risky = false;
    }

    /// The call was answered, and this is what it says of the dependency.
    pub(super) fn end(mut self, health: Health) {
        self.settle(health);
    }

    fn settle(&mut self, health: Health) {
        if let Some(lane) = self.lane.take() {
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
        if self.risky {
            self.settle(Health::Bad);
        } else if let Some(lane) = self.lane.take() {
            lane.meter(|handles| handles.counted(Ended::Abandoned));
        }
    }
}
