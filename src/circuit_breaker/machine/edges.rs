//! The edges between the states: the only places where a breaker changes.

use super::Breaker;
use super::phase::{Phase, Probing, Ramp, Trip};
use crate::circuit_breaker::engine::step::Effect;
use crate::circuit_breaker::law::Law;
use crate::error::Measured;
use crate::event::{Cause, Change};
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
        let probing = Probing::new(now.plus(law.rest.step(self.level)));
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

    /// Closes on what probes brought; the ramp counts from `since`.
    pub(super) fn close(&mut self, law: &Law, now: Tick, since: Tick, allowed: u32) -> Change {
        self.closed_since = now;
        let ramp = Ramp { since, allowed: allowed.saturating_mul(2), in_flight: 0 };
        let ramp = (now.since(since) < law.ramp_span()).then_some(ramp);
        self.enter(Phase::Closed { ramp }, Cause::ProbesSucceeded, Measured::Nothing)
    }

    /// Closed by a hand, on a dependency that calls were kept away from until `since`: it may be as
    /// cold as after an outage, so it gets the ramp that good probes would have begun.
    pub(super) fn closed_by_hand(law: &Law, now: Tick, since: Option<Tick>) -> Phase {
        let since = since.filter(|since| now.since(*since) < law.ramp_span());
        let ramp = |since| Ramp { since, allowed: law.ramp_from(), in_flight: 0 };
        Phase::Closed { ramp: since.map(ramp) }
    }

    pub(super) fn enter(&mut self, phase: Phase, cause: Cause, measured: Measured) -> Change {
        let from = self.state();
        self.phase = phase;
        self.era += 1;
        Change { from, to: self.state(), cause, measured }
    }

    /// Ends a ramp whose time is over.
    pub(super) fn settle_in(&mut self, law: &Law, now: Tick) {
        if let Phase::Closed { ramp: slot @ Some(_) } = &mut self.phase
            && let Some(ramp) = slot
        {
            let passed = now.since(ramp.since);
            if passed >= law.ramp_span() {
                *slot = None;
            } else if passed >= law.ramp {
                ramp.allowed = u32::MAX; // only the slow start is left
            }
        }
    }
}
