//! The algorithm of a hedge: when the next attempt begins, and which result is that of the call.

use super::config::Config;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::time::nanos;

/// Answers whose latencies are kept.
const WINDOW: usize = 256;
/// Answers after which the delay is known, and after which it is computed anew.
const ENOUGH: usize = 64;
const EVERY: usize = 32;

/// Config made ready: times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Params {
    pub(crate) delay: Option<u64>,
    pub(crate) percentile: u8,
    pub(crate) min_delay: u64,
    pub(crate) max_hedges: u32,
    pub(crate) on_failure: bool,
}

impl Params {
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigErrors> {
        let Config { delay, percentile, min_delay, max_hedges, on_failure } = config;
        let mut problems = Vec::new();
        if delay.is_some_and(|delay| delay.is_zero()) {
            problems.push(ConfigError::new("delay", "0ns", "longer than zero"));
        }
        if !(50..=99).contains(percentile) {
            problems.push(ConfigError::new("percentile", percentile, "50 to 99"));
        }
        if !(1..=10).contains(max_hedges) {
            problems.push(ConfigError::new("max_hedges", max_hedges, "1 to 10"));
        }
        ConfigErrors::none_of(problems)?;
        Ok(Self {
            delay: delay.map(nanos),
            percentile: *percentile,
            min_delay: nanos(*min_delay),
            max_hedges: *max_hedges,
            on_failure: *on_failure,
        })
    }
}

/// The attempts of one call that race each other.
///
/// ```text
///   one in flight ──Slow──▶ two in flight ──…──▶ 1 + max_hedges in flight
///     │ a good answer of anyone, or a failure that is final: the result of the call; the others are dropped
///     │ a transient failure, and others are in flight: they go on without it
///     └ a transient failure, and nobody else is: the next begins at once, or this is the result
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Race {
    begun: u32,
    in_flight: u32,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// Another attempt would fail the same way, or is not wanted.
    Final,
    /// Another attempt may succeed.
    Transient,
    /// A layer of ours rejected it: another attempt would be rejected too, but one in flight was not.
    Rejected,
}

/// What comes of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// It is that of the call.
    End,
    /// Another attempt may do better.
    Wait,
    /// Another attempt is to begin at once; if it cannot, this is the result of the call.
    Next,
}

impl Race {
    /// The first attempt is in flight.
    pub(crate) const fn begin() -> Self {
        Self { begun: 1, in_flight: 1 }
    }

    /// Attempts that were begun.
    pub(crate) const fn begun(self) -> u32 {
        self.begun
    }

    /// Whether another one may begin.
    pub(crate) const fn has_room(self, params: &Params) -> bool {
        self.begun <= params.max_hedges
    }

    /// Another one has begun.
    pub(crate) const fn begin_another(&mut self) {
        self.begun += 1;
        self.in_flight += 1;
    }

    /// One has a result: a good answer, or a failure.
    pub(crate) const fn result(&mut self, params: &Params, failure: Option<Failure>) -> Verdict {
        self.in_flight = self.in_flight.saturating_sub(1);
        match failure {
            None | Some(Failure::Final) => Verdict::End,
            Some(_) if self.in_flight > 0 => Verdict::Wait,
            Some(Failure::Transient) if params.on_failure && self.has_room(params) => Verdict::Next,
            Some(_) => Verdict::End,
        }
    }
}

/// What good answers took lately.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// In microseconds.
    window: [u32; WINDOW],
    len: usize,
    next: usize,
    fresh: usize,
}

impl Latencies {
    pub(crate) const fn new() -> Self {
        Self { window: [0; WINDOW], len: 0, next: 0, fresh: 0 }
    }

    /// A good answer took so many nanoseconds. Gives the percentile now and then.
    pub(crate) fn note(&mut self, took: u64, percentile: u8) -> Option<u64> {
        self.window[self.next] = u32::try_from(took / 1_000).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
        self.fresh += 1;
        if self.len < ENOUGH || self.fresh < EVERY {
            return None;
        }
        self.fresh = 0;
        let mut sorted = self.window;
        let nth = (self.len - 1) * usize::from(percentile) / 100;
        let (_, at, _) = sorted[..self.len].select_nth_unstable(nth);
        Some(u64::from(*at) * 1_000)
    }
}
