//! A model of the machine that keeps every call and works everything out anew each time.

mod hands;
mod silence;

use super::*;
use crate::circuit_breaker::config::{EVIDENCE_TTL, RAMP};
use crate::circuit_breaker::{Span, TripRule};

/// What happened in this epoch, in order. Calls bear the number of their admission.
#[derive(Debug, Clone, Copy)]
enum Note {
    Admitted { at: u64, call: usize },
    Answered { at: u64, signal: Signal, slot: bool, call: usize },
    GivenUp { at: u64, asked: bool, slot: bool, call: usize, waited: Option<u64> },
}

impl Note {
    /// Which call ended, and when, if one did.
    fn ended(&self) -> Option<(usize, u64)> {
        match *self {
            Self::Admitted { .. } => None,
            Self::Answered { at, call, .. } | Self::GivenUp { at, call, .. } => Some((call, at)),
        }
    }
}

/// Half of a first break.
const STEADY: u64 = 25 * MS;

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Closed {
        ramp_from: Option<(u64, u32)>,
    },
    Open {
        until: u64,
    },
    HalfOpen,
    ForcedOpen,
    /// Since when calls pass again, if they did not before.
    ForcedClosed {
        flowing_from: Option<u64>,
    },
}

/// A call in the air, as the model knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flying {
    epoch: usize,
    slot: bool,
    call: usize,
}

/// Slow, and written from the guide rather than from the machine. Speaks of evidence in floats.
#[derive(Debug)]
pub(super) struct Model {
    config: Config,
    pub(super) phase: Phase,
    pub(super) epoch: usize,
    notes: Vec<Note>,
    calls: usize,
    /// What an answer usually takes, if anyone knows.
    pub(super) usual: Option<u64>,
    failed_rounds: u32,
    last_break: u64,
    closed_since: u64,
    open_holds: u32,
    closed_holds: u32,
    standing: Option<State>,
}

impl Model {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Closed { ramp_from: None },
            epoch: 0,
            notes: Vec::new(),
            calls: 0,
            usual: None,
            failed_rounds: 0,
            last_break: 0,
            closed_since: 0,
            open_holds: 0,
            closed_holds: 0,
            standing: None,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::ForcedClosed { .. } => State::ForcedClosed,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
        self.notes.clear();
    }

    /// 50 ms, twice as long for each failed round of probes, at most 250 ms.
    fn longest_break(&self) -> u64 {
        ((50 * MS) << self.failed_rounds.min(10)).min(250 * MS)
    }

    fn open(&mut self, now: u64, longest: bool, retry_after: Option<u64>) {
        let break_duration = if longest { self.longest_break() } else { self.longest_break() / 2 };
        self.last_break = break_duration + retry_after.unwrap_or(0).min(30 * SECOND);
        self.enter(Phase::Open { until: now + self.last_break });
    }

    // ----- who may pass -----

    pub(super) fn admit(&mut self, now: u64) -> Option<Flying> {
        if matches!(self.phase, Phase::Open { until } if now >= until) {
            self.enter(Phase::HalfOpen);
        }
        if let (Phase::HalfOpen, Some(since)) = (self.phase, self.steady_since())
            && self.slots_taken() == 0
            && now >= since + STEADY
        {
            self.close(now, since);
        }
        let (passes, slot) = match self.phase {
            Phase::Closed { ramp_from: Some((from, _)) } if now < from + nanos(RAMP) => {
                (self.slots_taken() < self.allowed(), true)
            }
            Phase::Closed { .. } | Phase::ForcedClosed { .. } => (true, false),
            Phase::Open { .. } | Phase::ForcedOpen => (false, false),
            Phase::HalfOpen => {
                let last = self.notes.iter().rev().find_map(|note| match note {
                    Note::Admitted { at, .. } => Some(*at),
                    _ => None,
                });
                let overdue = last.is_some_and(|at| now >= at + self.longest_break());
                (self.slots_taken() < self.allowed() || overdue, true)
            }
        };
        passes.then(|| {
            self.calls += 1;
            self.notes.push(Note::Admitted { at: now, call: self.calls });
            Flying { epoch: self.epoch, slot, call: self.calls }
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
        let is_half_open = matches!(self.phase, Phase::HalfOpen);
        for (nth, note) in self.notes.iter().enumerate() {
            match note {
                Note::Answered { signal: Signal::Success, .. } => allowed = (allowed * 2).min(most),
                Note::Answered { signal: Signal::Failure, .. } => allowed = (allowed / 2).max(1),
                Note::GivenUp { asked: true, waited, .. }
                    if is_half_open
                        && !Self::is_answered(&self.notes[..nth])
                        && !self.was_long_for_a_probe(*waited) =>
                {
                    allowed = (allowed * 2).min(most);
                }
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
        signal: Signal,
        retry_after: Option<u64>,
        longest: bool,
    ) {
        if flying.epoch != self.epoch {
            return;
        }
        let Flying { slot, call, .. } = flying;
        self.notes.push(Note::Answered { at: now, signal, slot, call });
        if matches!(signal, Signal::Success | Signal::Failure) {
            self.decide(now, longest, retry_after);
        }
        self.settle_down(now);
    }

    pub(super) fn give_up(
        &mut self,
        now: u64,
        flying: Flying,
        asked: bool,
        waited: Option<u64>,
        longest: bool,
    ) {
        if flying.epoch != self.epoch {
            return;
        }
        let Flying { slot, call, .. } = flying;
        self.notes.push(Note::GivenUp { at: now, asked, slot, call, waited });
        if asked {
            self.decide(now, longest, None);
        }
        self.settle_down(now);
    }

    fn decide(&mut self, now: u64, longest: bool, retry_after: Option<u64>) {
        match self.phase {
            Phase::Closed { .. } if self.has_tripped() => {
                if now - self.closed_since >= 10 * self.last_break {
                    self.failed_rounds = 0;
                }
                self.open(now, longest, retry_after);
            }
            Phase::HalfOpen => {
                let (first, lead) = Self::lead(&self.notes);
                let failed = first == Some(Signal::Failure)
                    || lead <= -i64::from(self.config.reopen_threshold);
                if failed || self.unanswered() >= f64::from(self.config.reopen_threshold) {
                    if self.longest_break() < 250 * MS {
                        self.failed_rounds += 1;
                    }
                    self.open(now, longest, retry_after);
                } else if first.is_some() && lead + 1 >= i64::from(self.config.close_threshold) {
                    self.close(now, now);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, now: u64, since: u64) {
        self.closed_since = now;
        let from = 2 * self.allowed() as u32;
        let ramp_from = (now < since + nanos(RAMP)).then_some((since, from));
        self.enter(Phase::Closed { ramp_from });
    }

    /// Since when no answer was bad, if there was a good one first and as many since as bad ones.
    fn steady_since(&self) -> Option<u64> {
        let mut answers = self.notes.iter().filter_map(|note| match note {
            Note::Answered { at, signal: signal @ (Signal::Success | Signal::Failure), .. } => {
                Some((*at, *signal))
            }
            _ => None,
        });
        let (first, _) = answers.next().filter(|(_, signal)| *signal == Signal::Success)?;
        let bad = answers.rfind(|(_, signal)| *signal == Signal::Failure).map(|(at, _)| at);
        (Self::lead(&self.notes).1 >= 0).then_some(bad.unwrap_or(first))
    }

    /// Closes if no answer was bad for long, and those are back who were out when that was so first.
    fn settle_down(&mut self, now: u64) {
        let (Phase::HalfOpen, Some(since)) = (self.phase, self.steady_since()) else { return };
        let last_bad = self
            .notes
            .iter()
            .rposition(|note| matches!(note, Note::Answered { signal: Signal::Failure, .. }));
        let ended = |note: &Note| note.ended().map(|(call, _)| call);
        let is_late = |nth: &usize| {
            let ended = self.notes[*nth].ended();
            ended.is_some_and(|(_, at)| at >= since + STEADY)
                && Self::lead(&self.notes[..=*nth]).1 >= 0
        };
        let Some(first_late) = (last_bad.map_or(0, |at| at + 1)..self.notes.len()).find(is_late)
        else {
            return;
        };
        let is_back = |call: usize| self.notes.iter().filter_map(ended).any(|it| it == call);
        let all_back = self.notes[..first_late].iter().all(|note| match note {
            Note::Admitted { call, .. } => is_back(*call),
            _ => true,
        });
        if all_back {
            self.close(now, since);
        }
    }

    /// The first answer, and by how many successes lead among those after it.
    fn lead(notes: &[Note]) -> (Option<Signal>, i64) {
        let mut answers = notes.iter().filter_map(|note| match note {
            Note::Answered { signal: signal @ (Signal::Success | Signal::Failure), .. } => {
                Some(*signal)
            }
            _ => None,
        });
        let first = answers.next();
        (first, answers.map(|signal| if signal == Signal::Success { 1 } else { -1 }).sum())
    }

    fn is_answered(notes: &[Note]) -> bool {
        let answers = |note: &Note| matches!(note, Note::Answered { signal, .. } if *signal != Signal::Ignored);
        notes.iter().any(answers)
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
        let (mut weighed, mut provisional) = (Vec::new(), 0.0);
        let (mut seen, mut moment, mut silent_since) = (None, None, None);
        for note in &self.notes {
            let (at, counts, waited) = match *note {
                Note::Answered { at, signal, .. } => {
                    if signal != Signal::Ignored {
                        (provisional, moment, silent_since) = (0.0, None, None);
                    }
                    let counts = match signal {
                        Signal::Success => Some(false),
                        Signal::Failure => Some(true),
                        _ => continue,
                    };
                    (at, counts, None)
                }
                Note::GivenUp { at, asked: true, waited, .. } => (at, None, waited),
                _ => continue,
            };
            let forgotten = seen.is_some_and(|seen| at - seen > nanos(EVIDENCE_TTL));
            if forgotten && counts != Some(false) {
                weighed.clear();
                (provisional, moment, silent_since) = (0.0, None, None);
            }
            seen = Some(at);
            if let Some(failed) = counts {
                weighed.push(failed);
                continue;
            }
            let since: u64 = *silent_since.get_or_insert(at);
            let weight = self.weight(waited.unwrap_or(at - since), at - since);
            let began_in_silence = waited.is_some_and(|waited| at >= since + waited);
            if !(weight > silence::SHORT && began_in_silence) {
                if weight == 0.0 || moment.is_some_and(|moment| at - moment < MS) {
                    continue;
                }
                moment = Some(at);
            }
            provisional += weight;
        }
        (weighed, provisional as usize)
    }
}
