//! What hands do to a breaker: its switch, its reset, its settings.

use super::Breaker;
use super::phase::Phase;
use crate::circuit_breaker::law::Law;
use crate::error::Measured;
use crate::event::Cause;
use crate::machine::{Command, Effect, Wake};
use crate::time::Tick;

impl Breaker {
    pub(super) fn command(&mut self, now: Tick, command: Command) -> Effect {
        match command {
            Command::Reset => return self.reset(now),
            Command::HoldOpen => self.open_holds = self.open_holds.saturating_add(1),
            Command::ReleaseOpen => self.open_holds = self.open_holds.saturating_sub(1),
            Command::HoldClosed => self.closed_holds = self.closed_holds.saturating_add(1),
            Command::ReleaseClosed => self.closed_holds = self.closed_holds.saturating_sub(1),
        }
        let forced = matches!(self.phase, Phase::ForcedOpen | Phase::ForcedClosed);
        let phase = match (self.open_holds, self.closed_holds) {
            (0, 0) if !forced => return Effect::NONE,
            (0, 0) => Phase::Closed { ramp: None },
            (0, _) => Phase::ForcedClosed,
            _ => Phase::ForcedOpen, // open beats closed
        };
        if std::mem::discriminant(&phase) == std::mem::discriminant(&self.phase) {
            return Effect::NONE;
        }
        self.start_afresh(now);
        Effect::NONE.and(self.enter(phase, Cause::Switch, Measured::Nothing))
    }

    pub(super) fn reset(&mut self, now: Tick) -> Effect {
        self.start_afresh(now);
        self.last_trip = None;
        match self.phase {
            Phase::Open { .. } | Phase::HalfOpen(_) => {
                let closed = Phase::Closed { ramp: None };
                Effect::NONE.and(self.enter(closed, Cause::Reset, Measured::Nothing))
            }
            Phase::Closed { .. } => {
                // No change of state, but what is in flight belongs to the past.
                self.phase = Phase::Closed { ramp: None };
                self.era += 1;
                Effect { wake: Wake::All, ..Effect::NONE }
            }
            Phase::ForcedOpen | Phase::ForcedClosed => {
                self.era += 1;
                Effect::NONE
            }
        }
    }

    pub(super) fn start_afresh(&mut self, now: Tick) {
        self.clear_evidence();
        self.level = 0;
        self.last_rest = 0;
        self.closed_since = now;
    }

    pub(super) fn configure(&mut self, law: &Law, now: Tick) -> Effect {
        if !law.matches(&self.rules) {
            self.rules = law.rule_states_after(std::mem::take(&mut self.rules));
        }
        self.settle_in(law, now);
        Effect { wake: Wake::All, ..Effect::NONE }
    }
}
