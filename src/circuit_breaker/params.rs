//! Config made ready for the machine: integers only, everything computed once.

use super::config::{Abandonment, BREAK_DURATION, Config, MAX_BREAK_DURATION, Span, TripRule};
use super::rules::RuleState;
use crate::core::config::{ConfigError, ConfigErrors, Side, Written, agree};
use crate::core::time::nanos;
use crate::parts::break_duration::Ladder;
use crate::parts::evidence::Weights;
use crate::parts::window::Window;
use std::time::Duration;

/// Steps of two in which a slow start reaches the whole load: 1/16, 1/8, 1/4, 1/2, all.
const SLOW_START_DOUBLINGS: u64 = 4;
/// A probe that waited less did not wait in vain: a dependency that comes back may be slower.
const PROBE_WAIT: Duration = Duration::from_millis(50);
/// As long as no answer was measured, a call that waited so long waited in vain.
const UNMEASURED: Duration = Duration::from_secs(1);
/// And one that waited so long may have done so, in a silence three times as old as its wait.
const LEAST_WAIT: Duration = Duration::from_millis(20);
/// What a call weighs that waited in vain for long, where one that left early weighs 1.
const LONG_WAIT: u32 = 32;
/// What such a one weighs: where nine callers in ten leave, 61 in a row do so once in 600
/// times; and 64 that hang are enough.
const COLD_WAIT: u32 = 9;
/// However long a break is, a dependency that answers well for so long has recovered.
const STEADY_CAP: u64 = 1_000_000_000;
/// The largest ring: 16 KiB of bits.
const MOST_CALLS: u32 = 131_072;
/// So many failures are remembered one by one: 80 KiB.
const MOST_FAILURES: u32 = 10_000;
/// Without a word about it, a rate decides on no fewer calls than this (or than its window holds).
const AT_LEAST: u32 = 10;

/// What the machine is governed by. All times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Params {
    pub(crate) rules: Vec<Rule>,
    pub(crate) evidence_ttl: u64,
    pub(crate) abandonment: Abandonment,
    pub(crate) break_duration: Ladder,
    pub(crate) max_retry_after: u64,
    pub(crate) probes: u32,
    pub(crate) probe_deadline: Duration,
    pub(crate) close_threshold: i32,
    pub(crate) reopen_threshold: i32,
    /// Probes given up unanswered that reopen the circuit.
    pub(crate) reopen_after: u32,
    /// Half open, so long without a failed response closes.
    pub(crate) steady: u64,
    /// See [`weight`](Self::weight).
    pub(crate) probe_wait: u64,
    pub(crate) unmeasured: u64,
    pub(crate) least_wait: u64,
    /// What a call weighs that waited in vain, where one that left early weighs 1.
    pub(crate) long_wait: u32,
    pub(crate) cold_wait: u32,
    pub(crate) ramp: u64,
    pub(crate) slow_start: u64,
    pub(crate) shadow: bool,
    pub(crate) slow_after: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    Evidence(Weights),
    Consecutive { failures: u32 },
    FailuresWithin { failures: u32, within: u64 },
    FailureRate(Rate),
    SlowRate { rate: Rate },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rate {
    pub(crate) ppm: u32,
    span: Span,
    pub(crate) at_least: u32,
}

impl Rate {
    pub(crate) fn window(&self) -> Window {
        match self.span {
            Span::Calls(size) => Window::over_calls(size),
            Span::Time(span) => Window::over_time(nanos(span)),
        }
    }
}

impl Params {
    pub(crate) fn rule_states(&self) -> Box<[RuleState]> {
        self.rules.iter().map(RuleState::of).collect()
    }

    /// The memories of these rules, where each takes over that of the first old one it fits.
    pub(crate) fn rule_states_after(&self, old: Box<[RuleState]>) -> Box<[RuleState]> {
        let mut old = old.into_vec();
        let take_over = |rule| match old.iter().position(|state| state.fits(rule)) {
            Some(at) => old.remove(at),
            None => RuleState::of(rule),
        };
        self.rules.iter().map(take_over).collect()
    }

    pub(crate) fn matches(&self, states: &[RuleState]) -> bool {
        states.len() == self.rules.len()
            && states.iter().zip(&self.rules).all(|(state, rule)| state.fits(rule))
    }

    /// Whether a call that took so long is slow (`≥`).
    pub(crate) fn is_slow(&self, took: Option<u64>) -> bool {
        matches!((took, self.slow_after), (Some(took), Some(limit)) if took >= limit)
    }

    /// What a call weighs that was given up after this wait, when nobody had been answered for `silent_for`.
    ///
    /// In vain, it waited twice as long as an answer `usual`ly takes. If it waited less, it says something
    /// only where others could have been answered by then. As long as no answer was measured, what can be
    /// expected is read off the callers: they do not leave after less than a quarter of what answers take,
    /// or nobody would ask this dependency.
    pub(crate) fn weight(&self, waited: u64, usual: Option<u64>, silent_for: u64) -> u32 {
        let short = |is_old| u32::from(is_old);
        match usual {
            Some(usual) if waited >= usual.saturating_mul(2) => self.long_wait,
            Some(usual) => short(silent_for >= usual.saturating_mul(2)),
            None => {
                let is_old = silent_for >= waited.saturating_mul(3);
                if waited >= self.unmeasured {
                    self.long_wait
                } else if waited >= self.least_wait && is_old {
                    self.cold_wait
                } else {
                    short(is_old)
                }
            }
        }
    }

    /// The same of a probe. A dependency that comes back may answer more slowly than it used to.
    pub(crate) fn weight_of_probe(
        &self,
        waited: Option<u64>,
        usual: Option<u64>,
        silent_for: u64,
    ) -> u32 {
        let long = usual.unwrap_or(0).saturating_mul(2).max(self.probe_wait);
        match waited {
            Some(waited) if waited >= long => self.long_wait,
            waited => {
                let early = usual.map_or(waited.unwrap_or(0).saturating_mul(3), |_| long);
                u32::from(silent_for >= early)
            }
        }
    }

    /// How long the load comes back for after closing.
    pub(crate) fn ramp_span(&self) -> u64 {
        self.ramp.max(self.slow_start)
    }

    /// Calls at a time with which the ramp begins if every probe succeeded.
    pub(crate) fn ramp_from(&self) -> u32 {
        let doubled = 1_u32.checked_shl(self.close_threshold.unsigned_abs()).unwrap_or(u32::MAX);
        doubled.min(self.probes).saturating_mul(2)
    }

    /// The share of all draws that a slow start admits, so long after closing.
    pub(crate) fn slow_start_share(&self, passed: u64) -> u64 {
        if passed >= self.slow_start {
            return u64::MAX;
        }
        let doublings =
            u128::from(passed) * u128::from(SLOW_START_DOUBLINGS) / u128::from(self.slow_start);
        u64::MAX >> (SLOW_START_DOUBLINGS - doublings as u64)
    }

    #[expect(clippy::expect_used, reason = "a test builds from the defaults")]
    pub(crate) fn of_defaults() -> Self {
        Self::from_config(&Config::default()).expect("the defaults are valid")
    }

    /// Everything that is wrong with the settings, or the algorithm they make.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigErrors> {
        Self::from_written(config, &Written::default(), |_| ())
    }

    /// The same, where it is known which settings were `written`, and what else there is to check.
    pub(crate) fn from_written(
        config: &Config,
        written: &Written,
        more: impl FnOnce(&mut Check),
    ) -> Result<Self, ConfigErrors> {
        let mut check = Check::default();
        let rules: Vec<_> = config.trip.rules.iter().filter_map(|r| check.rule(r)).collect();
        if config.trip.rules.is_empty() {
            check.wrong("trip", &config.trip.rules, "at least one rule");
        }
        for misplaced in &config.trip.misplaced {
            check.wrong(
                misplaced,
                &config.trip.rules,
                "goes with a rate, after which it must stand",
            );
        }
        let slow: Vec<_> = config.trip.rules.iter().filter_map(TripRule::slow_after).collect();
        if slow.windows(2).any(|pair| pair[0] != pair[1]) {
            check.wrong("trip", &slow, "one threshold for all slow-call rules");
        }
        check.above_zero("break_duration", config.break_duration);
        let break_duration = Side::new(config.break_duration, BREAK_DURATION)
            .or_written(written.has("break_duration"));
        let cap = Side::new(config.max_break_duration, MAX_BREAK_DURATION)
            .or_written(written.has("max_break_duration"));
        let (break_duration, max_break_duration) =
            agree(break_duration, cap).unwrap_or_else(|| {
                check.wrong(
                    "max_break_duration",
                    config.max_break_duration,
                    format!("at least break_duration = {:?}", config.break_duration),
                );
                (config.break_duration, config.max_break_duration)
            });
        check.above_zero("evidence_ttl", config.evidence_ttl);
        check.above_zero("probe_deadline", config.probe_deadline);
        for (field, value) in [
            ("probes", config.probes),
            ("close_threshold", config.close_threshold),
            ("reopen_threshold", config.reopen_threshold),
        ] {
            if !(1..=10_000).contains(&value) {
                check.wrong(field, value, "1 to 10000");
            }
        }
        more(&mut check);
        ConfigErrors::none_of(check.problems)?;
        let small = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        Ok(Self {
            rules,
            evidence_ttl: nanos(config.evidence_ttl),
            abandonment: config.abandonment,
            break_duration: Ladder { first: nanos(break_duration), max: nanos(max_break_duration) },
            max_retry_after: nanos(config.max_retry_after),
            probes: config.probes,
            probe_deadline: config.probe_deadline,
            close_threshold: small(config.close_threshold),
            reopen_threshold: small(config.reopen_threshold),
            reopen_after: config.reopen_threshold,
            steady: (nanos(break_duration) / 2).clamp(1, STEADY_CAP),
            probe_wait: nanos(PROBE_WAIT),
            unmeasured: nanos(UNMEASURED),
            least_wait: nanos(LEAST_WAIT),
            long_wait: LONG_WAIT,
            cold_wait: COLD_WAIT,
            ramp: nanos(config.ramp),
            slow_start: nanos(config.slow_start),
            shadow: config.shadow,
            slow_after: slow.first().copied().map(nanos),
        })
    }
}

/// Gathers what is wrong.
#[derive(Default)]
pub(crate) struct Check {
    problems: Vec<ConfigError>,
}

impl Check {
    pub(crate) fn wrong(
        &mut self,
        field: &'static str,
        value: impl std::fmt::Debug,
        accepted: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        self.problems.push(ConfigError::new(field, value, accepted));
    }

    fn above_zero(&mut self, field: &'static str, value: Duration) {
        if value.is_zero() {
            self.wrong(field, value, "longer than zero");
        }
    }

    /// A ratio in parts per million; zero where it is none.
    fn ratio(&mut self, field: &'static str, value: f64, below_one: bool) -> u32 {
        let most = if below_one { 0.999_999 } else { 1.0 };
        if !(0.000_001..=most).contains(&value) {
            self.wrong(field, value, format!("a ratio from 0.000001 to {most}"));
            return 0;
        }
        (value * 1e6).round() as u32
    }

    fn rule(&mut self, rule: &TripRule) -> Option<Rule> {
        let before = self.problems.len();
        let rule = match rule {
            TripRule::Evidence { tolerated, broken, odds } => {
                let (p0, p1) = (
                    self.ratio("tolerated", *tolerated, true),
                    self.ratio("broken", *broken, true),
                );
                if p0 != 0 && p1 != 0 && p0 >= p1 {
                    self.wrong("broken", broken, format!("more than tolerated = {tolerated}"));
                }
                if *odds < 2 {
                    self.wrong("odds", odds, "at least 2");
                }
                (self.problems.len() == before)
                    .then(|| Rule::Evidence(Weights::new(p0, p1, *odds)))?
            }
            TripRule::Consecutive { failures } => {
                if *failures == 0 {
                    self.wrong("failures", failures, "at least 1");
                }
                Rule::Consecutive { failures: *failures }
            }
            TripRule::FailuresWithin { failures, within } => {
                if !(1..=MOST_FAILURES).contains(failures) {
                    self.wrong("failures", failures, format!("1 to {MOST_FAILURES}"));
                }
                self.above_zero("within", *within);
                Rule::FailuresWithin { failures: *failures, within: nanos(*within) }
            }
            TripRule::FailureRate { rate, over, at_least } => {
                Rule::FailureRate(self.rate("failure_rate", *rate, *over, *at_least))
            }
            TripRule::SlowRate { rate, threshold, over, at_least } => {
                self.above_zero("threshold", *threshold);
                Rule::SlowRate { rate: self.rate("slow_rate", *rate, *over, *at_least) }
            }
        };
        (self.problems.len() == before).then_some(rule)
    }

    fn rate(&mut self, field: &'static str, rate: f64, span: Span, at_least: Option<u32>) -> Rate {
        let ppm = self.ratio(field, rate, false);
        let mut most = u32::MAX;
        match span {
            Span::Calls(0) => self.wrong("over_calls", 0, format!("1 to {MOST_CALLS}")),
            Span::Calls(size) if size > MOST_CALLS => {
                self.wrong("over_calls", size, format!("1 to {MOST_CALLS}"));
            }
            Span::Calls(size) => most = size,
            Span::Time(span) if span < Duration::from_millis(1) => {
                self.wrong("over_time", span, "at least 1 ms");
            }
            Span::Time(_) => {}
        }
        if let Some(least) = at_least.filter(|least| !(1..=most).contains(least)) {
            self.wrong("at_least", least, format!("1 to {most} (what the window holds)"));
        }
        Rate { ppm, span, at_least: at_least.unwrap_or(AT_LEAST.min(most)) }
    }
}
