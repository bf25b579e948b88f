//! A model of the machine that keeps every call and works everything out anew each time.

use super::*;
use crate::circuit_breaker::{MEMORY, RAMP, Span, TripRule};

/// What happened in this era, in order.
#[derive(Debug, Clone, Copy)]
enum Note {
    Admitted { at: u64 },
    Answered { at: u64, health: Health, slot: bool },
    GivenUp { at: u64, asked: bool, slot: bool },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Closed { ramp_from: Option<(u64, u32)> },
    Open { until: u64 },
    HalfOpen,
    ForcedOpen,
    ForcedClosed,
}

/// A call in the air, as the model knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flying {
    era: usize,
    slot: bool,
}

/// Slow, and written from the guide rather than from the machine. Speaks of evidence in floats.
#[derive(Debug)]
pub(super) struct Model {
    config: Config,
    pub(super) phase: Phase,
    pub(super) era: usize,
    notes: Vec<Note>,
    failed_rounds: u32,
    last_rest: u64,
    closed_since: u64,
    open_holds: u32,
    closed_holds: u32,
}

impl Model {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Closed { ramp_from: None },
            era: 0,
            notes: Vec::new(),
            failed_rounds: 0,
            last_rest: 0,
            closed_since: 0,
            open_holds: 0,
            closed_holds: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::ForcedClosed => State::ForcedClosed,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.era += 1;
        self.notes.clear();
    }

    /// 50 ms, twice as long for each failed round of probes, at most 250 ms.
    fn longest_rest(&self) -> u64 {
        ((50 * MS) << self.failed_rounds.min(10)).min(250 * MS)
    }

    fn open(&mut self, now: u64, longest: bool, hint: Option<u64>) {
        let rest = if longest { self.longest_rest() } else { self.longest_rest() / 2 };
        self.last_rest = rest + hint.unwrap_or(0).min(30 * SECOND);
        self.enter(Phase::Open { until: now + self.last_rest });
    }

    // ----- who may pass -----

    pub(super) fn admit(&mut self, now: u64) -> Option<Flying> {
        if matches!(self.phase, Phase::Open { until } if now >= until) {
            self.enter(Phase::HalfOpen);
        }
        let (passes, slot) = match self.phase {
            Phase::Closed { ramp_from: Some((from, _)) } if now < from + nanos(RAMP) => {
                (self.slots_taken() < self.allowed(), true)
            }
            Phase::Closed { .. } | Phase::ForcedClosed => (true, false),
            Phase::Open { .. } | Phase::ForcedOpen => (false, false),
            Phase::HalfOpen => {
                let last = self.notes.iter().rev().find_map(|note| match note {
                    Note::Admitted { at } => Some(*at),
                    _ => None,
                });
                let overdue = last.is_some_and(|at| now >= at + self.longest_rest());
                (self.slots_taken() < self.allowed() || overdue, true)
            }
        };
        passes.then(|| {
            self.notes.push(Note::Admitted { at: now });
            Flying { era: self.era, slot }
        })
    }

    fn slots_taken(&self) -> i64 {
        let taken = |note: &Note| match note {
            Note::Admitted { .. } => 1,
            Note::Answered { slot, .. } | Note::GivenUp { slot, .. } => -i64::from(*slot),
        };
        self.notes.iter().map(taken).sum()
    }

    fn allowed(&self) -> i64 {
        let (mut allowed, most) = match self.phase {
            Phase::Closed { ramp_from: Some((_, from)) } => (i64::from(from), i64::MAX / 2),
            _ => (1, i64::from(self.config.probes)),
        };
        for note in &self.notes {
            match note {
                Note::Answered { health: Health::Good, .. } => allowed = (allowed * 2).min(most),
                Note::Answered { health: Health::Bad, .. } => allowed = (allowed / 2).max(1),
                _ => {}
            }
        }
        allowed
    }

    // ----- how calls end -----

    pub(super) fn answer(
        &mut self,
        now: u64,
        flying: Flying,
        health: Health,
        hint: Option<u64>,
        longest: bool,
    ) {
        if flying.era != self.era {
            return;
        }
        self.notes.push(Note::Answered { at: now, health, slot: flying.slot });
        if matches!(health, Health::Good | Health::Bad) {
            self.decide(now, longest, hint);
        }
    }

    pub(super) fn give_up(&mut self, now: u64, flying: Flying, asked: bool, longest: bool) {
        if flying.era != self.era {
            return;
        }
        self.notes.push(Note::GivenUp { at: now, asked, slot: flying.slot });
        if asked {
            self.decide(now, longest, None);
        }
    }

    fn decide(&mut self, now: u64, longest: bool, hint: Option<u64>) {
        match self.phase {
            Phase::Closed { .. } if self.has_tripped() => {
                if now - self.closed_since >= 10 * self.last_rest {
                    self.failed_rounds = 0;
                }
                self.open(now, longest, hint);
            }
            Phase::HalfOpen => {
                let (first, lead) = self.lead();
                let failed =
                    first == Some(Health::Bad) || lead <= -i64::from(self.config.reopen_at);
                if failed || self.unanswered() >= self.config.reopen_at as usize {
                    if self.longest_rest() < 250 * MS {
                        self.failed_rounds += 1;
                    }
                    self.open(now, longest, hint);
                } else if lead >= i64::from(self.config.close_at) {
                    self.closed_since = now;
                    let from = 2 * self.allowed() as u32;
                    self.enter(Phase::Closed { ramp_from: Some((now, from)) });
                }
            }
            _ => {}
        }
    }

    /// The first answer, and by how many successes lead among those after it.
    fn lead(&self) -> (Option<Health>, i64) {
        let mut answers = self.notes.iter().filter_map(|note| match note {
            Note::Answered { health: health @ (Health::Good | Health::Bad), .. } => Some(*health),
            _ => None,
        });
        let first = answers.next();
        (first, answers.map(|health| if health == Health::Good { 1 } else { -1 }).sum())
    }

    fn unanswered(&self) -> usize {
        let row = self.notes.iter().rev().take_while(
            |note| !matches!(note, Note::Answered { health, .. } if *health != Health::Silent),
        );
        row.filter(|note| matches!(note, Note::GivenUp { asked: true, .. })).count()
    }

    // ----- evidence -----

    fn has_tripped(&self) -> bool {
        let (weighed, provisional) = self.weighed();
        let failed = |answers: &[bool]| answers.iter().filter(|failed| **failed).count();
        self.config.trip.rules().iter().any(|rule| match *rule {
            TripRule::Evidence { tolerated, broken, odds } => {
                let up = (broken / tolerated).ln();
                let down = ((1.0 - tolerated) / (1.0 - broken)).ln();
                let weigh = |sum: f64, failed: &bool| {
                    if *failed { sum + up } else { (sum - down).max(0.0) }
                };
                let sum = weighed.iter().fold(0.0, weigh) + up * provisional as f64;
                sum >= (odds as f64).ln()
            }
            TripRule::Consecutive { failures } => {
                let row = weighed.iter().rev().take_while(|failed| **failed).count();
                row + provisional >= failures as usize
            }
            TripRule::FailureRate { rate, over: Span::Calls(size), .. } => {
                let last = &weighed[weighed.len().saturating_sub(size as usize)..];
                let (marked, total) = (failed(last) + provisional, last.len() + provisional);
                total >= 10.min(size as usize) && marked as f64 >= rate * total as f64 - 1e-9
            }
            _ => panic!("not in the model: {rule:?}"),
        })
    }

    /// The failures and successes that still count, and how many calls given up count as failures.
    fn weighed(&self) -> (Vec<bool>, usize) {
        let (mut weighed, mut provisional) = (Vec::new(), 0);
        let (mut seen, mut moment) = (None, None);
        for note in &self.notes {
            let (at, counts) = match *note {
                Note::Answered { at, health, .. } => {
                    if health != Health::Silent {
                        provisional = 0;
                    }
                    let counts = match health {
                        Health::Good => Some(false),
                        Health::Bad => Some(true),
                        _ => continue,
                    };
                    (at, counts)
                }
                Note::GivenUp { at, asked: true, .. } => (at, None),
                _ => continue,
            };
            let forgotten = seen.is_some_and(|seen| at - seen > nanos(MEMORY));
            if forgotten && counts != Some(false) {
                weighed.clear();
                provisional = 0;
            }
            match counts {
                Some(failed) => weighed.push(failed),
                None if moment.is_some_and(|moment| at - moment < MS) => continue,
                None => {
                    provisional += 1;
                    moment = Some(at);
                }
            }
            seen = Some(at);
        }
        (weighed, provisional)
    }

    // ----- orders -----

    pub(super) fn command(&mut self, now: u64, command: Command) {
        match command {
            Command::HoldOpen => self.open_holds += 1,
            Command::HoldClosed => self.closed_holds += 1,
            Command::ReleaseOpen => self.open_holds = self.open_holds.saturating_sub(1),
            Command::ReleaseClosed => self.closed_holds = self.closed_holds.saturating_sub(1),
            Command::Reset => {}
        }
        let was_forced = matches!(self.phase, Phase::ForcedOpen | Phase::ForcedClosed);
        let phase = match (self.open_holds, self.closed_holds) {
            (0, 0) if was_forced || command == Command::Reset => Phase::Closed { ramp_from: None },
            (0, 0) => return,
            (0, _) => Phase::ForcedClosed,
            _ => Phase::ForcedOpen,
        };
        if command != Command::Reset
            && std::mem::discriminant(&phase) == std::mem::discriminant(&self.phase)
        {
            return;
        }
        (self.failed_rounds, self.last_rest, self.closed_since) = (0, 0, now);
        self.enter(phase);
    }
}
