//! The law of the breaker: what an answer does to the state, and what the state does to a call.

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
use super::engine::step::{Digest, Effect, Input, Pass, PassKind, Verdict, Vigil, Wake};
use super::law::Law;
use super::rules::{Marks, RuleState, Tripped};
use crate::error::{Measured, Reason};
use crate::event::State;
use crate::outcome::{Health, Sample};
use crate::time::Tick;

/// Closed for this many times the last rest, the next rest is a first one again.
const RECOVERED: u64 = 10;

/// One circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Breaker {
    era: u64,
    phase: Phase,
    rules: Box<[RuleState]>,
    /// What the next answer of any kind takes away.
    silence: Silence,
    /// When a call last ended here.
    seen: Tick,
    /// How far up the ladder of rests we are, and how long the last rest was.
    level: u8,
    last_rest: u64,
    closed_since: Tick,
    holds: Holds,
    last_trip: Option<Trip>,
}

// ===== impl Breaker =====

impl Breaker {
    /// One to which nothing has happened yet.
    pub(crate) fn new(law: &Law) -> Self {
        Self {
            era: 0,
            phase: Phase::Closed { ramp: None },
            rules: law.rule_states(),
            silence: Silence::NONE,
            seen: Tick::ZERO,
            level: 0,
            last_rest: 0,
            closed_since: Tick::ZERO,
            holds: Holds::default(),
            last_trip: None,
        }
    }

    /// The one door. Each step may use one random `draw`.
    pub(crate) fn step(&mut self, law: &Law, now: Tick, draw: u64, input: Input) -> Effect {
        match input {
            Input::Admit => self.admit(law, now, draw),
            Input::Settle { pass, sample } => self.settle(law, now, draw, pass, sample),
            Input::Overdue { pass } => self.overdue(law, now, draw, pass),
            Input::Abandon { pass, waited, usual } => {
                self.abandon(law, now, draw, GivenUp { pass, waited, usual })
            }
            Input::Command(command) => self.command(law, now, command),
            Input::Configure => self.configure(law, now),
        }
    }

    /// What the engine may decide by itself until the next step.
    pub(crate) fn digest(&self, law: &Law) -> Digest {
        let refuse_until = match &self.phase {
            _ if law.shadow => Tick::ZERO,
            Phase::Open { until } => *until,
            Phase::ForcedOpen => Tick::NEVER,
            Phase::HalfOpen(probing) => probing.full_until(),
            Phase::Closed { .. } | Phase::ForcedClosed { .. } => Tick::ZERO,
        };
        let passes =
            matches!(self.phase, Phase::Closed { ramp: None } | Phase::ForcedClosed { .. });
        Digest {
            state: self.state(),
            era: self.era,
            quiet: passes && self.rules_are_quiet(),
            refuse_until,
            measured: self.trip_measured(),
        }
    }

    /// What the engine has to measure for it.
    pub(crate) fn vigil(law: &Law) -> Vigil {
        Vigil {
            overdue_after: law.slow_after,
            durations: law.slow_after.is_some() || matches!(law.abandonment, Abandonment::After(_)),
            waits: law.abandonment == Abandonment::Silence,
        }
    }

    /// Whether nothing would be lost by forgetting it: it may be one of many.
    pub(crate) fn is_at_rest(&mut self, law: &Law, now: Tick) -> bool {
        self.settle_in(law, now);
        match &self.phase {
            Phase::Closed { ramp: None } => {
                // What it holds may be so old that the next failure would drop it.
                now.since(self.seen) > law.memory
                    || self.silence.is_nothing()
                        && self.rules.iter_mut().all(|state| state.is_innocent(now))
            }
            // Nobody has asked for so long that what it knows is worth no more than old evidence:
            // hosts that are gone must not fill the table.
            Phase::Open { until } => now.since(*until) > law.memory,
            Phase::HalfOpen(probing) => {
                probing.in_flight == 0 && now.since(probing.next_at) > law.memory
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
    pub(crate) fn gathered(&mut self, law: &Law, now: Tick) -> Measured {
        let provisional = self.silence.failures(law);
        let rules = self.rules.iter_mut().zip(&law.rules);
        let gathered = rules.map(|(state, rule)| state.gathered(rule, now, provisional));
        gathered.max_by_key(Measured::nearness).unwrap_or(Measured::Nothing)
    }

    /// How far the load has come back after closing, while it is limited.
    pub(crate) fn recovering(&mut self, law: &Law, now: Tick) -> Option<Measured> {
        self.settle_in(law, now);
        let Phase::Closed { ramp: Some(ramp) } = &self.phase else { return None };
        Some(ramp.measured(law.slow_start_share(now.since(ramp.since))))
    }

    #[cfg(test)]
    pub(crate) fn era(&self) -> u64 {
        self.era
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

    fn admit(&mut self, law: &Law, now: Tick, draw: u64) -> Effect {
        let mut effect = Effect::NONE;
        if let Phase::Open { until } = self.phase
            && now >= until
        {
            effect = effect.and(self.probe(law, now));
        }
        if let [Some(change), _] = self.settle_down_alone(law, now).changes {
            effect = effect.and(change);
        }
        self.settle_in(law, now);
        effect.verdict = match &mut self.phase {
            Phase::Closed { ramp: None } | Phase::ForcedClosed { .. } => {
                Verdict::Admit(Pass::new(self.era, PassKind::Free))
            }
            Phase::Closed { ramp: Some(ramp) } => {
                let share = law.slow_start_share(now.since(ramp.since));
                if ramp.in_flight < ramp.allowed && draw <= share {
                    ramp.in_flight += 1;
                    Verdict::Admit(Pass::new(self.era, PassKind::Slot))
                } else {
                    let measured = ramp.measured(share);
                    let until = now.plus(law.rest.first);
                    self.refuse(
                        law,
                        Verdict::Refuse { until, reason: Reason::Recovering, measured },
                    )
                }
            }
            Phase::Open { until } => {
                let until = *until;
                self.refuse(law, self.is_open(until))
            }
            Phase::ForcedOpen => self.refuse(law, self.is_open(Tick::NEVER)),
            Phase::HalfOpen(probing) => {
                if probing.admits(now) {
                    probing.in_flight += 1;
                    probing.next_at = now.plus(law.rest.step(self.level));
                    let roll = probing.rolls;
                    Verdict::Admit(Pass { roll, ..Pass::new(self.era, PassKind::Slot) })
                } else {
                    let until = probing.full_until();
                    self.refuse(law, self.is_open(until))
                }
            }
        };
        effect
    }

    const fn is_open(&self, until: Tick) -> Verdict {
        Verdict::Refuse { until, reason: Reason::CircuitOpen, measured: self.trip_measured() }
    }

    fn refuse(&self, law: &Law, refusal: Verdict) -> Verdict {
        if law.shadow { Verdict::Admit(Pass::new(self.era, PassKind::Ghost)) } else { refusal }
    }

    fn settle(&mut self, law: &Law, now: Tick, draw: u64, pass: Pass, sample: Sample) -> Effect {
        if pass.kind == PassKind::Ghost {
            return Effect::NONE;
        }
        if pass.era != self.era {
            return Effect::of(Verdict::Late);
        }
        if sample.health != Health::Silent {
            self.silence = Silence::NONE; // it lives
        }
        let slow = !pass.overdue && law.is_slow(sample.took);
        let free = self.give_back(pass);
        let marks = match sample.health {
            Health::Silent => return self.settle_down(law, now).with(free),
            Health::Pushback => {
                if let Phase::HalfOpen(probing) = &mut self.phase {
                    probing.answered = true; // it says neither good nor bad, but it answers
                }
                return self.settle_down(law, now).with(free);
            }
            Health::Good => Marks::answered(false, slow, pass.overdue),
            Health::Bad => Marks::answered(true, slow, pass.overdue),
        };
        match self.phase {
            // It was counted when it grew slow.
            Phase::HalfOpen(_) if pass.overdue => self.settle_down(law, now).with(free),
            Phase::HalfOpen(_) => {
                let good = sample.health == Health::Good && !slow;
                self.weigh(law, now, draw, good, sample.hint).with(free)
            }
            _ => self.mark(law, now, draw, marks, sample.hint).with(free),
        }
    }

    fn overdue(&mut self, law: &Law, now: Tick, draw: u64, pass: Pass) -> Effect {
        if pass.kind == PassKind::Ghost || pass.era != self.era {
            return Effect::NONE;
        }
        match self.phase {
            Phase::HalfOpen(_) => self.weigh(law, now, draw, false, None),
            _ => self.mark(law, now, draw, Marks::SLOW_ONLY, None),
        }
    }

    /// The slot of a pass of this era becomes free.
    fn give_back(&mut self, pass: Pass) -> Effect {
        if pass.kind != PassKind::Slot {
            return Effect::NONE;
        }
        match &mut self.phase {
            Phase::HalfOpen(probing) => probing.land(pass.roll),
            Phase::Closed { ramp: Some(ramp) } => {
                ramp.in_flight = ramp.in_flight.saturating_sub(1);
            }
            _ => return Effect::NONE,
        }
        Effect { wake: Wake::Some(1), ..Effect::NONE }
    }

    // ----- evidence while closed -----

    fn mark(&mut self, law: &Law, now: Tick, draw: u64, marks: Marks, hint: Option<u64>) -> Effect {
        if marks.failed == Some(true) || marks.slow == Some(true) {
            self.forget(law, now);
        }
        for (state, rule) in self.rules.iter_mut().zip(&law.rules) {
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
        self.settle_in(law, now);
        self.judge(law, now, draw, hint)
    }

    /// Old evidence is no evidence: drop it if no call was seen for long.
    fn forget(&mut self, law: &Law, now: Tick) {
        if now.since(self.seen) > law.memory && !self.rules_are_quiet() {
            self.clear_evidence();
        }
        self.seen = now;
    }

    fn judge(&mut self, law: &Law, now: Tick, draw: u64, hint: Option<u64>) -> Effect {
        if !matches!(self.phase, Phase::Closed { .. }) {
            return Effect::NONE; // forced closed weighs, and does not act
        }
        let provisional = self.silence.failures(law);
        let mut rules = self.rules.iter_mut().zip(&law.rules);
        let tripped = rules.find_map(|(state, rule)| state.tripped(rule, now, provisional));
        match tripped {
            Some(Tripped { cause, measured }) => {
                if now.since(self.closed_since) >= self.last_rest.saturating_mul(RECOVERED) {
                    self.level = 0;
                }
                self.open(law, now, draw, Trip { at: now, cause, measured }, hint)
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

    const fn trip_measured(&self) -> Measured {
        match (&self.phase, &self.last_trip) {
            (Phase::ForcedOpen, _) | (_, None) => Measured::Nothing,
            (_, Some(trip)) => trip.measured,
        }
    }
}
