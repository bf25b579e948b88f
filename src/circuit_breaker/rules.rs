//! What each trip rule remembers, and when it has seen enough.

use super::params::Rule;
use crate::circuit_breaker::transition::TransitionCause;
use crate::core::error::Measurement;
use crate::core::time::Tick;
use crate::parts::evidence::Cusum;
use crate::parts::recent::Recent;
use crate::parts::window::Window;

/// The memory of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RuleState {
    Evidence(Cusum),
    Consecutive(u32),
    FailuresWithin(Recent),
    FailureRate(Window),
    SlowRate(Window),
}

/// What a call says to the rules. `None`: nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) failed: Option<bool>,
    pub(crate) slow: Option<bool>,
}

pub(crate) struct Tripped {
    pub(crate) cause: TransitionCause,
    pub(crate) measurement: Measurement,
}

impl Marks {
    /// A call that is still in flight, and slow by now.
    pub(crate) const SLOW_ONLY: Self = Self { failed: None, slow: Some(true) };

    /// A call that was answered; one that was counted as slow before is not counted so again.
    pub(crate) fn answered(failed: bool, slow: bool, counted_slow: bool) -> Self {
        Self { failed: Some(failed), slow: (!counted_slow).then_some(slow) }
    }
}

impl RuleState {
    pub(crate) fn of(rule: &Rule) -> Self {
        match rule {
            Rule::Evidence { .. } => Self::Evidence(Cusum::default()),
            Rule::Consecutive { .. } => Self::Consecutive(0),
            Rule::FailuresWithin { failures, within } => {
                Self::FailuresWithin(Recent::new(*failures, *within))
            }
            Rule::FailureRate(rate) => Self::FailureRate(rate.window()),
            Rule::SlowRate { rate, .. } => Self::SlowRate(rate.window()),
        }
    }

    pub(crate) fn mark(&mut self, rule: &Rule, now: Tick, marks: Marks) {
        match (self, rule, marks.failed, marks.slow) {
            (Self::Evidence(cusum), Rule::Evidence(weights), Some(true), _) => cusum.bad(weights),
            (Self::Evidence(cusum), Rule::Evidence(weights), Some(false), _) => cusum.good(weights),
            (Self::Consecutive(count), _, Some(true), _) => *count = count.saturating_add(1),
            (Self::Consecutive(count), _, Some(false), _) => *count = 0,
            (Self::FailuresWithin(recent), _, Some(true), _) => recent.record(now),
            (Self::FailureRate(window), _, Some(failed), _) => window.record(now, failed),
            (Self::SlowRate(window), _, _, Some(slow)) => window.record(now, slow),
            _ => {}
        }
    }

    /// Whether the threshold is reached (`≥`), counting `provisional` failures on top.
    pub(crate) fn tripped(&mut self, rule: &Rule, now: Tick, provisional: u32) -> Option<Tripped> {
        let cause = match (&mut *self, rule) {
            (Self::Evidence(cusum), Rule::Evidence(weights)) => (cusum.with(weights, provisional)
                >= weights.limit)
                .then_some(TransitionCause::Evidence),
            (Self::Consecutive(count), Rule::Consecutive { failures }) => {
                (count.saturating_add(provisional) >= *failures)
                    .then_some(TransitionCause::Consecutive)
            }
            (Self::FailuresWithin(recent), Rule::FailuresWithin { failures, .. }) => {
                (recent.count(now).saturating_add(provisional) >= *failures)
                    .then_some(TransitionCause::FailuresWithin)
            }
            (Self::FailureRate(window), Rule::FailureRate(rate)) => {
                let counts = window.counts(now).plus_marked(provisional);
                (counts.total >= rate.at_least && counts.reaches(rate.ppm))
                    .then_some(TransitionCause::FailureRate)
            }
            (Self::SlowRate(window), Rule::SlowRate { rate, .. }) => {
                let counts = window.counts(now);
                (counts.total >= rate.at_least && counts.reaches(rate.ppm))
                    .then_some(TransitionCause::SlowRate)
            }
            _ => None,
        }?;
        let measurement = self.gathered(rule, now, provisional);
        Some(Tripped { cause, measurement })
    }

    pub(crate) fn gathered(&mut self, rule: &Rule, now: Tick, provisional: u32) -> Measurement {
        match (self, rule) {
            (Self::Evidence(cusum), Rule::Evidence(weights)) => Measurement::Evidence {
                observed: weights.milli_failures(cusum.with(weights, provisional)),
                threshold: weights.milli_failures(weights.limit),
            },
            (Self::Consecutive(count), Rule::Consecutive { failures }) => Measurement::Count {
                observed: count.saturating_add(provisional),
                threshold: *failures,
            },
            (Self::FailuresWithin(recent), Rule::FailuresWithin { failures, .. }) => {
                let observed = recent.count(now).saturating_add(provisional);
                Measurement::Recent { observed, threshold: *failures }
            }
            (Self::FailureRate(window), Rule::FailureRate(rate)) => Measurement::FailureRate {
                observed: window.counts(now).plus_marked(provisional).ppm(),
                threshold: rate.ppm,
            },
            (Self::SlowRate(window), Rule::SlowRate { rate, .. }) => {
                Measurement::SlowRate { observed: window.counts(now).ppm(), threshold: rate.ppm }
            }
            _ => Measurement::Nothing,
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Evidence(cusum) => *cusum = Cusum::default(),
            Self::Consecutive(count) => *count = 0,
            Self::FailuresWithin(recent) => recent.clear(),
            Self::FailureRate(window) | Self::SlowRate(window) => window.clear(),
        }
    }

    /// Whether one more fast success would change nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Evidence(cusum) => cusum.is_zero(),
            Self::Consecutive(count) => *count == 0,
            Self::FailuresWithin(_) => true, // successes are nothing to it
            Self::FailureRate(window) | Self::SlowRate(window) => window.is_quiet(),
        }
    }

    /// Whether it holds nothing against the dependency.
    pub(crate) fn is_innocent(&mut self, now: Tick) -> bool {
        match self {
            Self::FailureRate(window) | Self::SlowRate(window) => window.counts(now).marked == 0,
            Self::FailuresWithin(recent) => recent.count(now) == 0,
            Self::Evidence(_) | Self::Consecutive(_) => self.is_quiet(),
        }
    }

    /// Whether it is the memory of such a rule.
    pub(crate) fn fits(&self, rule: &Rule) -> bool {
        match (self, rule) {
            (Self::Evidence(_), Rule::Evidence(_))
            | (Self::Consecutive(_), Rule::Consecutive { .. }) => true,
            (Self::FailuresWithin(recent), Rule::FailuresWithin { failures, within }) => {
                recent.is_like(*failures, *within)
            }
            (Self::FailureRate(window), Rule::FailureRate(rate))
            | (Self::SlowRate(window), Rule::SlowRate { rate, .. }) => {
                window.spans_like(&rate.window())
            }
            _ => false,
        }
    }
}
