//! The algorithm of the breaker: what an answer does to the state, and what the state does to a call.

mod edges;
mod phase;
mod probing;
mod silence;
mod steering;

use self::phase::Phase;
pub(crate) use self::phase::Trip;
use self::silence::{GivenUp, Silence};
use self::steering::Holds;
use super::config::Abandonment;
use super::engine::step::{Decision, Digest, Effect, Input, Pass, PassKind, Vigil, Wake};
use super::params::Params;
use super::rules::{Marks, RuleState, Tripped};
use crate::circuit_breaker::transition::State;
use crate::core::error::{Measurement, Reason};
use crate::core::outcome::{Sample, Signal};
use crate::core::time::Tick;

/// Closed for this many times the last break, the next break is a first one again.
const RECOVERED: u64 = 10;

/// One circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Breaker {
    epoch: u64,
    phase: Phase,
    rules: Box<[RuleState]>,
    /// What the next answer of any kind takes away.
    silence: Silence,
    /// When a call last ended here.
    seen: Tick,
    /// How far up the ladder of breaks we are, and how long the last break was.
    level: u8,
    last_break: u64,
    closed_since: Tick,
    holds: Holds,
    last_trip: Option<Trip>,
}

// ===== impl Breaker =====

impl Breaker {
    /// One to which nothing has happened yet.
    pub(crate) fn new(params: &Params) -> Self {
        Self {
            epoch: 0,
            phase: Phase::Closed { ramp: None },
            rules: params.rule_states(),
            silence: Silence::NONE,
            seen: Tick::ZERO,
            level: 0,
            last_break: 0,
            closed_since: Tick::ZERO,
            holds: Holds::default(),
            last_trip: None,
        }
    }

    /// The one door. Each step may use one random `draw`.
    pub(crate) fn step(&mut self, params: &Params, now: Tick, draw: u64, input: Input) -> Effect {
        match input {
            Input::Admit => self.admit(params, now, draw),
            Input::CallGuard { pass, sample } => self.settle(params, now, draw, pass, sample),
            Input::Overdue { pass } => self.overdue(params, now, draw, pass),
            Input::Abandon { pass, waited, usual } => {
                self.abandon(params, now, draw, GivenUp { pass, waited, usual })
            }
            Input::Command(command) => self.command(params, now, command),
            Input::Configure => self.configure(params, now),
        }
    }

    /// What the engine may decide by itself until the next step.
    pub(crate) fn digest(&self, params: &Params) -> Digest {
        let reject_until = match &self.phase {
            _ if params.shadow => Tick::ZERO,
            Phase::Open { until } => *until,
            Phase::ForcedOpen => Tick::NEVER,
            Phase::HalfOpen(probing) => probing.full_until(),
            Phase::Closed { .. } | Phase::ForcedClosed { .. } => Tick::ZERO,
        };
        let passes =
            matches!(self.phase, Phase::Closed { ramp: None } | Phase::ForcedClosed { .. });
        Digest {
            state: self.state(),
            epoch: self.epoch,
            quiet: passes && self.rules_are_quiet(),
            reject_until,
            measurement: self.trip_measured(),
        }
    }

    /// What the engine has to measure for it.
    pub(crate) fn vigil(params: &Params) -> Vigil {
        Vigil {
            overdue_after: params.slow_after,
            durations: params.slow_after.is_some()
                || matches!(params.abandonment, Abandonment::After(_)),
            waits: params.abandonment == Abandonment::Silence,
        }
    }

    /// Whether nothing would be lost by forgetting it: it may be one of many.
    pub(crate) fn is_at_rest(&mut self, params: &Params, now: Tick) -> bool {
        self.settle_in(params, now);
        match &self.phase {
            Phase::Closed { ramp: None } => {
                // What it holds may be so old that the next failure would drop it.
                now.since(self.seen) > params.evidence_ttl
                    || self.silence.is_nothing()
                        && self.rules.iter_mut().all(|state| state.is_innocent(now))
            }
            // Nobody has asked for so long that what it knows is worth no more than old evidence:
            // hosts that are gone must not fill the table.
            Phase::Open { until } => now.since(*until) > params.evidence_ttl,
            Phase::HalfOpen(probing) => {
                probing.in_flight == 0 && now.since(probing.next_at) > params.evidence_ttl
            }
            Phase::Closed { ramp: Some(_) } | Phase::ForcedOpen | Phase::ForcedClosed { .. } => {
                false
            }
        }
    }

    // ----- looks -----

    pub(crate) fn state(&self) -> State {
        self.phase.state()
    }

    pub(crate) fn last_trip(&self) -> Option<Trip> {
        self.last_trip
    }

    /// What the rule nearest to its threshold has gathered.
    pub(crate) fn gathered(&mut self, params: &Params, now: Tick) -> Measurement {
        let provisional = self.silence.failures(params);
        let rules = self.rules.iter_mut().zip(&params.rules);
        let gathered = rules.map(|(state, rule)| state.gathered(rule, now, provisional));
        gathered.max_by_key(Measurement::nearness).unwrap_or(Measurement::Nothing)
    }

    /// How far the load has come back after closing, while it is limited.
    pub(crate) fn recovering(&mut self, params: &Params, now: Tick) -> Option<Measurement> {
        self.settle_in(params, now);
        let Phase::Closed { ramp: Some(ramp) } = &self.phase else { return None };
        Some(ramp.measurement(params.slow_start_share(now.since(ramp.since))))
    }

    #[cfg(test)]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Since when the load comes back, while it does.
    #[cfg(test)]
    pub(crate) fn ramp_since(&self) -> Option<Tick> {
        let Phase::Closed { ramp: Some(ramp) } = &self.phase else { return None };
        Some(ramp.since)
    }

    /// The same, had it last heard of a call at `seen`.
    #[cfg(test)]
    pub(crate) fn seen_at(self, seen: Tick) -> Self {
        Self { seen, ..self }
    }

    /// When an open circuit will probe.
    pub(crate) fn probes_at(&self) -> Option<Tick> {
        let Phase::Open { until } = self.phase else { return None };
        Some(until)
    }

    // ----- calls -----

    fn admit(&mut self, params: &Params, now: Tick, draw: u64) -> Effect {
        let mut effect = Effect::NONE;
        if let Phase::Open { until } = self.phase
            && now >= until
        {
            effect = effect.and(self.probe(params, now));
        }
        if let [Some(change), _] = self.settle_down_alone(params, now).changes {
            effect = effect.and(change);
        }
        self.settle_in(params, now);
        effect.decision = match &mut self.phase {
            Phase::Closed { ramp: None } | Phase::ForcedClosed { .. } => {
                Decision::Admit(Pass::new(self.epoch, PassKind::Free))
            }
            Phase::Closed { ramp: Some(ramp) } => {
                let share = params.slow_start_share(now.since(ramp.since));
                if ramp.in_flight < ramp.allowed && draw <= share {
                    ramp.in_flight += 1;
                    Decision::Admit(Pass::new(self.epoch, PassKind::Slot))
                } else {
                    let measurement = ramp.measurement(share);
                    let until = now.plus(params.break_duration.first);
                    self.reject(
                        params,
                        Decision::Reject { until, reason: Reason::Recovering, measurement },
                    )
                }
            }
            Phase::Open { until } => {
                let until = *until;
                self.reject(params, self.is_open(until))
            }
            Phase::ForcedOpen => self.reject(params, self.is_open(Tick::NEVER)),
            Phase::HalfOpen(probing) => {
                if probing.admits(now) {
                    probing.in_flight += 1;
                    probing.next_at = now.plus(params.break_duration.step(self.level));
                    let round = probing.rounds;
                    Decision::Admit(Pass { round, ..Pass::new(self.epoch, PassKind::Slot) })
                } else {
                    let until = probing.full_until();
                    self.reject(params, self.is_open(until))
                }
            }
        };
        effect
    }

    const fn is_open(&self, until: Tick) -> Decision {
        Decision::Reject { until, reason: Reason::CircuitOpen, measurement: self.trip_measured() }
    }

    fn reject(&self, params: &Params, rejection: Decision) -> Decision {
        if params.shadow {
            Decision::Admit(Pass::new(self.epoch, PassKind::Shadow))
        } else {
            rejection
        }
    }

    fn settle(
        &mut self,
        params: &Params,
        now: Tick,
        draw: u64,
        pass: Pass,
        sample: Sample,
    ) -> Effect {
        if pass.kind == PassKind::Shadow {
            return Effect::NONE;
        }
        if pass.epoch != self.epoch {
            return Effect::of(Decision::Late);
        }
        if sample.signal != Signal::Ignored {
            self.silence = Silence::NONE; // it lives
        }
        let slow = !pass.overdue && params.is_slow(sample.took);
        let free = self.give_back(pass);
        let marks = match sample.signal {
            Signal::Ignored => return self.settle_down(params, now).with(free),
            Signal::Pushback => {
                if let Phase::HalfOpen(probing) = &mut self.phase {
                    probing.answered = true; // it says neither good nor bad, but it answers
                }
                return self.settle_down(params, now).with(free);
            }
            Signal::Success => Marks::answered(false, slow, pass.overdue),
            Signal::Failure => Marks::answered(true, slow, pass.overdue),
        };
        match self.phase {
            // It was counted when it grew slow.
            Phase::HalfOpen(_) if pass.overdue => self.settle_down(params, now).with(free),
            Phase::HalfOpen(_) => {
                let good = sample.signal == Signal::Success && !slow;
                self.weigh(params, now, draw, good, sample.retry_after).with(free)
            }
            _ => self.mark(params, now, draw, marks, sample.retry_after).with(free),
        }
    }

    fn overdue(&mut self, params: &Params, now: Tick, draw: u64, pass: Pass) -> Effect {
        if pass.kind == PassKind::Shadow || pass.epoch != self.epoch {
            return Effect::NONE;
        }
        match self.phase {
            Phase::HalfOpen(_) => self.weigh(params, now, draw, false, None),
            _ => self.mark(params, now, draw, Marks::SLOW_ONLY, None),
        }
    }

    /// The slot of a pass of this epoch becomes free.
    fn give_back(&mut self, pass: Pass) -> Effect {
        if pass.kind != PassKind::Slot {
            return Effect::NONE;
        }
        match &mut self.phase {
            Phase::HalfOpen(probing) => probing.land(pass.round),
            Phase::Closed { ramp: Some(ramp) } => {
                ramp.in_flight = ramp.in_flight.saturating_sub(1);
            }
            _ => return Effect::NONE,
        }
        Effect { wake: Wake::Some(1), ..Effect::NONE }
    }

    // ----- evidence while closed -----

    fn mark(
        &mut self,
        params: &Params,
        now: Tick,
        draw: u64,
        marks: Marks,
        retry_after: Option<u64>,
    ) -> Effect {
        if marks.failed == Some(true) || marks.slow == Some(true) {
            self.forget(params, now);
        }
        for (state, rule) in self.rules.iter_mut().zip(&params.rules) {
            state.mark(rule, now, marks);
        }
        self.seen = now;
        if let Phase::Closed { ramp: Some(ramp) } = &mut self.phase {
            ramp.allowed = match marks.failed {
                Some(true) => (ramp.allowed / 2).max(1),
                Some(false) => ramp.allowed.saturating_mul(2),
                None => ramp.allowed,
            };
        }
        self.settle_in(params, now);
        self.rule(params, now, draw, retry_after)
    }

    /// Old evidence is no evidence: drop it if no call was seen for long.
    fn forget(&mut self, params: &Params, now: Tick) {
        if now.since(self.seen) > params.evidence_ttl && !self.rules_are_quiet() {
            self.clear_evidence();
        }
        self.seen = now;
    }

    fn rule(&mut self, params: &Params, now: Tick, draw: u64, retry_after: Option<u64>) -> Effect {
        if !matches!(self.phase, Phase::Closed { .. }) {
            return Effect::NONE; // forced closed weighs, and does not act
        }
        let provisional = self.silence.failures(params);
        let mut rules = self.rules.iter_mut().zip(&params.rules);
        let tripped = rules.find_map(|(state, rule)| state.tripped(rule, now, provisional));
        match tripped {
            Some(Tripped { cause, measurement }) => {
                if now.since(self.closed_since) >= self.last_break.saturating_mul(RECOVERED) {
                    self.level = 0;
                }
                self.open(params, now, draw, Trip { at: now, cause, measurement }, retry_after)
            }
            None => Effect::NONE,
        }
    }

    fn clear_evidence(&mut self) {
        self.silence = Silence::NONE;
        self.rules.iter_mut().for_each(RuleState::clear);
    }

    fn rules_are_quiet(&self) -> bool {
        self.silence.is_nothing() && self.rules.iter().all(RuleState::is_quiet)
    }

    const fn trip_measured(&self) -> Measurement {
        match (&self.phase, &self.last_trip) {
            (Phase::ForcedOpen, _) | (_, None) => Measurement::Nothing,
            (_, Some(trip)) => trip.measurement,
        }
    }
}
