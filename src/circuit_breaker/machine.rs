//! The law of the breaker: what an answer does to the state, and what the state does to a call.

mod edges;
mod phase;
mod steering;

use self::phase::Phase;
pub(crate) use self::phase::Trip;
use super::config::{Abandonment, Config};
use super::law::Law;
use super::rules::{Marks, RuleState, Tripped};
use crate::error::Measured;
use crate::event::{Cause, State};
use crate::machine::{
    Digest, Effect, Forgettable, Input, Machine, Pass, PassKind, Verdict, Vigil, Wake,
};
use crate::outcome::{Health, Sample};
use crate::time::{Tick, nanos};

/// Calls abandoned within this time of each other count once: it is one event, seen many times.
const SAME_MOMENT: u64 = 1_000_000;
/// Closed for this many times the last rest, the next rest is a first one again.
const RECOVERED: u64 = 10;

/// One circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Breaker {
    era: u64,
    phase: Phase,
    rules: Box<[RuleState]>,
    /// Failures that the next answer of any kind takes away.
    provisional: u32,
    abandoned_at: Option<Tick>,
    /// When a call last ended here.
    seen: Tick,
    /// How far up the ladder of rests we are, and how long the last rest was.
    level: u8,
    last_rest: u64,
    closed_since: Tick,
    open_holds: u32,
    closed_holds: u32,
    last_trip: Option<Trip>,
}

// ===== impl Breaker =====

impl Breaker {
    pub(crate) fn state(&self) -> State {
        self.phase.state()
    }

    pub(crate) fn last_trip(&self) -> Option<Trip> {
        self.last_trip
    }

    /// What the rule nearest to its threshold has gathered.
    pub(crate) fn gathered(&mut self, law: &Law, now: Tick) -> Measured {
        let provisional = self.provisional;
        let rules = self.rules.iter_mut().zip(&law.rules);
        let gathered = rules.map(|(state, rule)| state.gathered(rule, now, provisional));
        gathered.max_by_key(Measured::nearness).unwrap_or(Measured::Nothing)
    }

    #[cfg(test)]
    pub(crate) fn era(&self) -> u64 {
        self.era
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
        self.settle_in(law, now);
        effect.verdict = match &mut self.phase {
            Phase::Closed { ramp: None } | Phase::ForcedClosed => {
                Verdict::Admit(Pass::new(self.era, PassKind::Free))
            }
            Phase::Closed { ramp: Some(ramp) } => {
                let share = law.slow_start_share(now.since(self.closed_since));
                if ramp.in_flight < ramp.allowed && draw <= share {
                    ramp.in_flight += 1;
                    Verdict::Admit(Pass::new(self.era, PassKind::Slot))
                } else {
                    self.refuse(law, now.plus(law.rest.first))
                }
            }
            Phase::Open { until } => {
                let until = *until;
                self.refuse(law, until)
            }
            Phase::ForcedOpen => self.refuse(law, Tick::NEVER),
            Phase::HalfOpen(probing) => {
                if probing.admits(now) {
                    probing.in_flight += 1;
                    probing.next_at = now.plus(law.rest.step(self.level));
                    Verdict::Admit(Pass::new(self.era, PassKind::Slot))
                } else {
                    let until = probing.full_until();
                    self.refuse(law, until)
                }
            }
        };
        effect
    }

    fn refuse(&self, law: &Law, until: Tick) -> Verdict {
        if law.shadow {
            return Verdict::Admit(Pass::new(self.era, PassKind::Ghost));
        }
        Verdict::Refuse { until, measured: self.trip_measured() }
    }

    fn settle(&mut self, law: &Law, now: Tick, draw: u64, pass: Pass, sample: Sample) -> Effect {
        if pass.kind == PassKind::Ghost {
            return Effect::NONE;
        }
        if pass.era != self.era {
            return Effect::of(Verdict::Late);
        }
        if sample.health != Health::Silent {
            self.provisional = 0; // it lives
        }
        let slow = !pass.overdue && law.is_slow(sample.took);
        let free = self.give_back(pass);
        let marks = match sample.health {
            Health::Silent => return free,
            Health::Pushback => {
                if let Phase::HalfOpen(probing) = &mut self.phase {
                    probing.unanswered = 0; // it says neither good nor bad, but it answers
                }
                return free;
            }
            Health::Good => Marks::answered(false, slow, pass.overdue),
            Health::Bad => Marks::answered(true, slow, pass.overdue),
        };
        match self.phase {
            Phase::HalfOpen(_) if pass.overdue => free, // counted when it grew slow
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

    fn abandon(
        &mut self,
        law: &Law,
        now: Tick,
        draw: u64,
        pass: Pass,
        waited: Option<u64>,
    ) -> Effect {
        if pass.kind == PassKind::Ghost {
            return Effect::NONE;
        }
        if pass.era != self.era {
            return Effect::of(Verdict::Late);
        }
        let free = self.give_back(pass);
        if !pass.pending {
            return free; // it was never asked long enough to answer
        }
        let slow = !pass.overdue && law.is_slow(waited);
        let failed = match law.abandonment {
            Abandonment::Ignore | Abandonment::Silence => false,
            Abandonment::Failure => true,
            Abandonment::After(least) => waited.is_some_and(|w| w >= nanos(least)),
        };
        if let Phase::HalfOpen(probing) = &mut self.phase {
            if failed || slow {
                return self.weigh(law, now, draw, false, None).with(free);
            }
            if law.abandonment == Abandonment::Silence && !pass.overdue {
                probing.unanswered += 1;
                if probing.unanswered >= law.reopen_after {
                    return self.reopen(law, now, draw, Cause::ProbesAbandoned, None);
                }
            }
            return free;
        }
        if law.abandonment == Abandonment::Silence {
            let moment = self.abandoned_at.is_none_or(|at| now.since(at) >= SAME_MOMENT);
            if moment {
                self.forget(law, now);
                self.abandoned_at = Some(now);
                self.provisional = self.provisional.saturating_add(1);
            }
        }
        if failed || slow {
            let marks = Marks { failed: failed.then_some(true), slow: slow.then_some(true) };
            return self.mark(law, now, draw, marks, None).with(free);
        }
        self.judge(law, now, draw, None).with(free)
    }

    /// The slot of a pass of this era becomes free.
    fn give_back(&mut self, pass: Pass) -> Effect {
        if pass.kind != PassKind::Slot {
            return Effect::NONE;
        }
        let in_flight = match &mut self.phase {
            Phase::HalfOpen(probing) => &mut probing.in_flight,
            Phase::Closed { ramp: Some(ramp) } => &mut ramp.in_flight,
            _ => return Effect::NONE,
        };
        *in_flight = in_flight.saturating_sub(1);
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
        let provisional = self.provisional;
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

    // ----- evidence while half open -----

    fn weigh(&mut self, law: &Law, now: Tick, draw: u64, good: bool, hint: Option<u64>) -> Effect {
        let Phase::HalfOpen(probing) = &mut self.phase else {
            return Effect::NONE;
        };
        probing.unanswered = 0;
        let score = match (probing.score, good) {
            (None, true) => 0, // the first answer decides alone and is not counted twice
            (None, false) => -law.reopen_at,
            (Some(score), true) => score + 1,
            (Some(score), false) => score - 1,
        };
        probing.score = Some(score);
        probing.allowed = if good {
            probing.allowed.saturating_mul(2).min(law.probes)
        } else {
            (probing.allowed / 2).max(1)
        };
        let allowed = probing.allowed;
        if score <= -law.reopen_at {
            return self.reopen(law, now, draw, Cause::ProbesFailed, hint);
        }
        if score >= law.close_at {
            return self.close(law, now, allowed);
        }
        Effect { wake: Wake::Some(allowed), ..Effect::NONE }
    }

    fn clear_evidence(&mut self) {
        self.provisional = 0;
        self.abandoned_at = None;
        self.rules.iter_mut().for_each(RuleState::clear);
    }

    fn rules_are_quiet(&self) -> bool {
        self.provisional == 0 && self.rules.iter().all(RuleState::is_quiet)
    }

    fn trip_measured(&self) -> Measured {
        match self.phase {
            Phase::ForcedOpen => Measured::Nothing,
            _ => self.last_trip.map_or(Measured::Nothing, |trip| trip.measured),
        }
    }
}

// ===== impl Forgettable for Breaker =====

impl Forgettable for Breaker {
    fn is_at_rest(&mut self, law: &Law, now: Tick) -> bool {
        self.settle_in(law, now);
        match &self.phase {
            Phase::Closed { ramp: None } => {
                // What it holds may be so old that the next failure would drop it.
                now.since(self.seen) > law.memory
                    || self.provisional == 0
                        && self.rules.iter_mut().all(|state| state.is_innocent(now))
            }
            // Nobody has asked for so long that what it knows is worth no more than old evidence:
            // hosts that are gone must not fill the table.
            Phase::Open { until } => now.since(*until) > law.memory,
            Phase::HalfOpen(probing) => {
                probing.in_flight == 0 && now.since(probing.next_at) > law.memory
            }
            Phase::Closed { ramp: Some(_) } | Phase::ForcedOpen | Phase::ForcedClosed => false,
        }
    }
}

// ===== impl Machine for Breaker =====

impl Machine for Breaker {
    type Config = Law;
    type Written = Config;

    fn new(law: &Law) -> Self {
        Self {
            era: 0,
            phase: Phase::Closed { ramp: None },
            rules: law.rule_states(),
            provisional: 0,
            abandoned_at: None,
            seen: Tick::ZERO,
            level: 0,
            last_rest: 0,
            closed_since: Tick::ZERO,
            open_holds: 0,
            closed_holds: 0,
            last_trip: None,
        }
    }

    fn step(&mut self, law: &Law, now: Tick, draw: u64, input: Input) -> Effect {
        match input {
            Input::Admit => self.admit(law, now, draw),
            Input::Settle { pass, sample } => self.settle(law, now, draw, pass, sample),
            Input::Overdue { pass } => self.overdue(law, now, draw, pass),
            Input::Abandon { pass, waited } => self.abandon(law, now, draw, pass, waited),
            Input::Command(command) => self.command(now, command),
            Input::Configure => self.configure(law, now),
        }
    }

    fn digest(&self, law: &Law) -> Digest {
        let refuse_until = match &self.phase {
            _ if law.shadow => Tick::ZERO,
            Phase::Open { until } => *until,
            Phase::ForcedOpen => Tick::NEVER,
            Phase::HalfOpen(probing) => probing.full_until(),
            Phase::Closed { .. } | Phase::ForcedClosed => Tick::ZERO,
        };
        let passes = matches!(self.phase, Phase::Closed { ramp: None } | Phase::ForcedClosed);
        Digest {
            state: self.state(),
            era: self.era,
            quiet: passes && self.rules_are_quiet(),
            refuse_until,
            measured: self.trip_measured(),
        }
    }

    fn vigil(law: &Law) -> Vigil {
        Vigil {
            overdue_after: law.slow_after,
            durations: law.slow_after.is_some() || matches!(law.abandonment, Abandonment::After(_)),
        }
    }
}
