//! The edges between the states: the only places where a breaker changes.

use super::Breaker;
use super::phase::{Phase, Probing, Ramp, Trip};
use crate::circuit_breaker::engine::step::Effect;
use crate::circuit_breaker::params::Params;
use crate::circuit_breaker::transition::{Transition, TransitionCause};
use crate::core::error::Measurement;
use crate::core::time::Tick;

impl Breaker {
    pub(super) fn open(
        &mut self,
        params: &Params,
        now: Tick,
        draw: u64,
        trip: Trip,
        retry_after: Option<u64>,
    ) -> Effect {
        let break_duration = params.break_duration.jittered(self.level, draw);
        let told = retry_after.unwrap_or(0).min(params.max_retry_after);
        // The jitter comes on top of what we were told: never early, and not all at once.
        let until = now.plus(told).plus(break_duration);
        self.last_break = until.since(now);
        self.last_trip = Some(trip);
        self.clear_evidence();
        let change = self.enter(Phase::Open { until }, trip.cause, trip.measurement);
        Effect::NONE.and(change)
    }

    pub(super) fn probe(&mut self, params: &Params, now: Tick) -> Transition {
        let probing = Probing::new(now.plus(params.break_duration.step(self.level)));
        self.enter(Phase::HalfOpen(probing), TransitionCause::BreakOver, Measurement::Nothing)
    }

    pub(super) fn reopen(
        &mut self,
        params: &Params,
        now: Tick,
        draw: u64,
        cause: TransitionCause,
        retry_after: Option<u64>,
    ) -> Effect {
        self.level = params.break_duration.above(self.level);
        let measurement = self.trip_measured();
        self.open(params, now, draw, Trip { at: now, cause, measurement }, retry_after)
    }

    /// Closes on what probes brought; the ramp counts from `since`.
    pub(super) fn close(
        &mut self,
        params: &Params,
        now: Tick,
        since: Tick,
        allowed: u32,
    ) -> Transition {
        self.closed_since = now;
        let ramp = Ramp { since, allowed: allowed.saturating_mul(2), in_flight: 0 };
        let ramp = (now.since(since) < params.ramp_span()).then_some(ramp);
        self.enter(Phase::Closed { ramp }, TransitionCause::ProbesSucceeded, Measurement::Nothing)
    }

    /// Closed by a hand, on a dependency that calls were kept away from until `since`: it may be as
    /// cold as after an outage, so it gets the ramp that successful probes would have begun.
    pub(super) fn closed_by_hand(params: &Params, now: Tick, since: Option<Tick>) -> Phase {
        let since = since.filter(|since| now.since(*since) < params.ramp_span());
        let ramp = |since| Ramp { since, allowed: params.ramp_from(), in_flight: 0 };
        Phase::Closed { ramp: since.map(ramp) }
    }

    pub(super) fn enter(
        &mut self,
        phase: Phase,
        cause: TransitionCause,
        measurement: Measurement,
    ) -> Transition {
        let from = self.state();
        self.phase = phase;
        self.epoch += 1;
        Transition { from, to: self.state(), cause, measurement }
    }

    /// Ends a ramp whose time is over.
    pub(super) fn settle_in(&mut self, params: &Params, now: Tick) {
        if let Phase::Closed { ramp: slot @ Some(_) } = &mut self.phase
            && let Some(ramp) = slot
        {
            let passed = now.since(ramp.since);
            if passed >= params.ramp_span() {
                *slot = None;
            } else if passed >= params.ramp {
                ramp.allowed = u32::MAX; // only the slow start is left
            }
        }
    }
}
