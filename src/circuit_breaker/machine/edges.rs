//! The edges between the states: the only places where a breaker changes.

use super::Breaker;
use super::phase::{Phase, Probing, Ramp, Trip};
use crate::circuit_breaker::law::Law;
use crate::error::Measured;
use crate::event::{Cause, Change};
use crate::machine::Effect;
use crate::time::Tick;

impl Breaker {
    pub(super) fn open(
        &mut self,
        law: &Law,
        now: Tick,
        draw: u64,
        trip: Trip,
        hint: Option<u64>,
    ) -> Effect {
        let rest = law.rest.jittered(self.level, draw);
        let told = hint.unwrap_or(0).min(law.hint_cap);
        // The jitter comes on top of what we were told: never early, and not all at once.
        let until = now.plus(told).plus(rest);
        self.last_rest = until.since(now);
        self.last_trip = Some(trip);
        self.clear_evidence();
        let change = self.enter(Phase::Open { until }, trip.cause, trip.measured);
        Effect::NONE.and(change)
    }

    pub(super) fn probe(&mut self, law: &Law, now: Tick) -> Change {
        let probing = Probing {
            allowed: 1,
            in_flight: 0,
            score: None,
            unanswered: 0,
            next_at: now.plus(law.rest.step(self.level)),
        };
        self.enter(Phase::HalfOpen(probing), Cause::RestOver, Measured::Nothing)
    }

    pub(super) fn reopen(
        &mut self,
        law: &Law,
        now: Tick,
        draw: u64,
        cause: Cause,
        hint: Option<u64>,
    ) -> Effect {
        self.level = law.rest.above(self.level);
        let measured = self.trip_measured();
        self.open(law, now, draw, Trip { at: now, cause, measured }, hint)
    }

    pub(super) fn close(&mut self, law: &Law, now: Tick, allowed: u32) -> Effect {
        self.closed_since = now;
        let ramp = Ramp { allowed: allowed.saturating_mul(2), in_flight: 0 };
        let ramp = (law.ramp.max(law.slow_start) > 0).then_some(ramp);
        let change = self.enter(Phase::Closed { ramp }, Cause::ProbesSucceeded, Measured::Nothing);
        Effect::NONE.and(change)
    }

    pub(super) fn enter(&mut self, phase: Phase, cause: Cause, measured: Measured) -> Change {
        let from = self.state();
        self.phase = phase;
        self.era += 1;
        Change { from, to: self.state(), cause, measured }
    }

    /// Ends a ramp whose time is over.
    pub(super) fn settle_in(&mut self, law: &Law, now: Tick) {
        if let Phase::Closed { ramp: slot @ Some(_) } = &mut self.phase {
            let passed = now.since(self.closed_since);
            if passed >= law.ramp.max(law.slow_start) {
                *slot = None;
            } else if let (true, Some(ramp)) = (passed >= law.ramp, slot) {
                ramp.allowed = u32::MAX; // only the slow start is left
            }
        }
    }
}
