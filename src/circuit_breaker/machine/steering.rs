//! What hands do to a breaker: its switch, its reset, its settings.

use super::Breaker;
use super::phase::{Phase, Ramp};
use crate::circuit_breaker::engine::step::{Command, Effect, Wake};
use crate::circuit_breaker::params::Params;
use crate::circuit_breaker::transition::TransitionCause;
use crate::core::error::Measurement;
use crate::core::time::Tick;

/// Who holds a breaker open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Holds {
    open: u32,
    closed: u32,
    /// Held until it is taken back, by nobody in particular: `Some(true)` is open.
    standing: Option<bool>,
}

impl Holds {
    fn take(&mut self, command: Command) {
        match command {
            Command::HoldOpen => self.open = self.open.saturating_add(1),
            Command::ReleaseOpen => self.open = self.open.saturating_sub(1),
            Command::HoldClosed => self.closed = self.closed.saturating_add(1),
            Command::ReleaseClosed => self.closed = self.closed.saturating_sub(1),
            Command::ForceOpen => self.standing = Some(true),
            Command::ForceClosed => self.standing = Some(false),
            Command::Release => self.standing = None,
            Command::Reset => {}
        }
    }

    const fn are_open(self) -> bool {
        self.open > 0 || matches!(self.standing, Some(true))
    }

    const fn are_closed(self) -> bool {
        self.closed > 0 || matches!(self.standing, Some(false))
    }
}

impl Breaker {
    pub(super) fn command(&mut self, params: &Params, now: Tick, command: Command) -> Effect {
        if command == Command::Reset {
            return self.reset(params, now);
        }
        self.holds.take(command);
        let phase = match (self.phase, self.holds.are_open(), self.holds.are_closed()) {
            // Open beats closed.
            (Phase::ForcedOpen, true, _) | (Phase::ForcedClosed { .. }, false, true) => {
                return Effect::NONE;
            }
            (_, true, _) => Phase::ForcedOpen,
            (phase, false, true) => {
                let flowing_since = match phase {
                    Phase::Closed { ramp } => ramp.map(|ramp| ramp.since),
                    _ => Some(now),
                };
                Phase::ForcedClosed { flowing_since }
            }
            (Phase::ForcedOpen, false, false) => Self::closed_by_hand(params, now, Some(now)),
            (Phase::ForcedClosed { flowing_since }, false, false) => {
                Self::closed_by_hand(params, now, flowing_since)
            }
            _ => return Effect::NONE,
        };
        self.start_afresh(now);
        Effect::NONE.and(self.enter(phase, TransitionCause::Switch, Measurement::Nothing))
    }

    fn reset(&mut self, params: &Params, now: Tick) -> Effect {
        self.start_afresh(now);
        self.last_trip = None;
        match self.phase {
            Phase::Open { .. } | Phase::HalfOpen(_) => {
                let closed = Self::closed_by_hand(params, now, Some(now));
                Effect::NONE.and(self.enter(closed, TransitionCause::Reset, Measurement::Nothing))
            }
            Phase::Closed { ramp } => {
                // No change of state, but what is in flight belongs to the past. A dependency that
                // is warming up goes on doing so.
                let ramp = ramp.map(|ramp| Ramp { in_flight: 0, ..ramp });
                self.phase = Phase::Closed { ramp };
                self.epoch += 1;
                Effect { wake: Wake::All, ..Effect::NONE }
            }
            Phase::ForcedOpen | Phase::ForcedClosed { .. } => {
                self.epoch += 1;
                Effect::NONE
            }
        }
    }

    fn start_afresh(&mut self, now: Tick) {
        self.clear_evidence();
        self.level = 0;
        self.last_break = 0;
        self.closed_since = now;
    }

    pub(super) fn configure(&mut self, params: &Params, now: Tick) -> Effect {
        if !params.matches(&self.rules) {
            self.rules = params.rule_states_after(std::mem::take(&mut self.rules));
        }
        self.settle_in(params, now);
        Effect { wake: Wake::All, ..Effect::NONE }
    }
}
