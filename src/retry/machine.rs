//! The algorithm of a retry: whether to try once more, and when.

use std::time::Duration;

use super::config::{
    BASE, CAP, Config, Jitter, MAX_ELAPSED, MIN_ATTEMPT_TIME, OnRejection, UNLIMITED,
};
use crate::core::config::{ConfigError, ConfigErrors, Side, Written, agree, agree_strictly};
use crate::core::time::nanos;
use crate::parts::backoff::{Curve, Shape};
use crate::retry::reasons::StopReason;

/// Config made ready: integers, all times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Params {
    pub(crate) attempts: u32,
    pub(crate) curve: Curve,
    pub(crate) max_retry_after: u64,
    pub(crate) max_elapsed: u64,
    pub(crate) min_attempt_time: u64,
    pub(crate) wait_for_rejections: bool,
}

/// The attempts of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempts {
    /// Attempts that counted, the one in flight included.
    counted: u32,
    /// Retries of what was certainly never sent.
    unsent: u32,
    /// Waits for one of our own layers that rejected the call.
    rejected: u32,
    /// The wait before the attempt in flight.
    last_wait: u64,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Failed {
    /// Whether asking again makes sense.
    pub(crate) again: bool,
    /// Nanoseconds we were told to stay away.
    pub(crate) retry_after: Option<u64>,
    /// The request was certainly not executed.
    pub(crate) unsent: bool,
    /// One of our own layers rejected the call.
    pub(crate) rejected: bool,
    /// One of several did, and another may take the call at once.
    pub(crate) elsewhere: bool,
    /// And will reject all calls to come.
    pub(crate) for_good: bool,
    /// A copy of the request is at hand.
    pub(crate) copied: bool,
    /// The request is a retry by its caller.
    pub(crate) repeated: bool,
    /// The retry is being drained.
    pub(crate) draining: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// Wait for so long, then try again.
    Wait(u64),
    Stop(StopReason),
}

/// What is waited for at least after a rejection by one of our own layers: 10 ms.
const LEAST_REFUSAL_WAIT: u64 = 10_000_000;
/// The most attempts, unless they are unlimited.
const MOST_ATTEMPTS: u32 = 1000;

impl Attempts {
    /// The first attempt is in flight.
    pub(crate) const FIRST: Self = Self { counted: 1, unsent: 0, rejected: 0, last_wait: 0 };

    /// The attempt in flight, counted from 1.
    pub(crate) const fn number(&self) -> u32 {
        self.counted.saturating_add(self.unsent)
    }

    /// Retries of what was certainly never sent.
    pub(crate) const fn unsent(&self) -> u32 {
        self.unsent
    }

    /// Whether no further attempt can follow the one in flight, so that no copy is needed. (What
    /// was never sent could still be retried; not for the last attempt.)
    pub(crate) const fn is_last(&self, params: &Params) -> bool {
        self.counted >= params.attempts && !params.wait_for_rejections
    }

    /// Why no further attempt can follow one that failed like this, however much time is left.
    pub(crate) fn last(&self, params: &Params, how: Failed) -> Option<StopReason> {
        if !how.again {
            return Some(StopReason::Final);
        }
        if how.rejected && (how.for_good || !params.wait_for_rejections) {
            return Some(StopReason::Rejected);
        }
        if how.repeated {
            return Some(StopReason::Repeated); // or retries multiply along a chain (pitfall B21)
        }
        if how.draining {
            return Some(StopReason::Draining);
        }
        let used = match () {
            () if how.rejected => 0, // it costs time
            () if how.unsent => self.unsent.saturating_add(1),
            () => self.counted,
        };
        // For the last attempt no copy was made: the request is not to blame.
        if used >= params.attempts || (!how.copied && self.is_last(params)) {
            return Some(StopReason::Exhausted);
        }
        (!how.copied).then_some(StopReason::NoCopy)
    }

    /// The attempt failed with `left` nanoseconds to go, or any number of them. `own` is the wait
    /// that the user's own backoff says.
    pub(crate) fn fail(
        &mut self,
        params: &Params,
        how: Failed,
        left: Option<u64>,
        own: Option<u64>,
        draw: u64,
    ) -> Next {
        if let Some(stop) = self.last(params, how) {
            return Next::Stop(stop);
        }
        let nth = if how.rejected { self.rejected.saturating_add(1) } else { self.number() };
        let backoff = own.unwrap_or_else(|| params.curve.wait(nth, self.last_wait, draw));
        let mut wait =
            how.retry_after.unwrap_or(0).min(params.max_retry_after).saturating_add(backoff);
        if how.rejected {
            wait = wait.max(LEAST_REFUSAL_WAIT); // or it asks in a loop
        }
        if left.is_some_and(|left| wait.saturating_add(params.min_attempt_time) > left) {
            return Next::Stop(StopReason::Deadline);
        }
        self.last_wait = backoff;
        let count = match () {
            () if how.rejected => &mut self.rejected,
            () if how.unsent => &mut self.unsent,
            () => &mut self.counted,
        };
        *count = count.saturating_add(1);
        Next::Wait(wait)
    }
}

impl Params {
    #[expect(clippy::expect_used, reason = "a test builds from the defaults")]
    pub(crate) fn of_defaults() -> Self {
        Self::from_config(&Config::default()).expect("the defaults are valid")
    }

    /// Everything that is wrong with the settings, or the algorithm they make.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigErrors> {
        Self::from_written(config, &Written::default())
    }

    /// The same, of settings some of which a builder was told by name.
    pub(crate) fn from_written(config: &Config, written: &Written) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let mut wrong = |field, value: &dyn std::fmt::Debug, accepted: String| {
            problems.push(ConfigError::new(field, value, accepted));
        };
        let Config {
            attempts,
            backoff,
            max_retry_after,
            max_elapsed,
            min_attempt_time,
            on_rejection,
        } = config;
        if !(1..=MOST_ATTEMPTS).contains(attempts) && *attempts != UNLIMITED {
            wrong("attempts", attempts, format!("1 to {MOST_ATTEMPTS}, or unlimited"));
        }
        if !(1000..=10_000).contains(&backoff.factor.as_thousandths()) {
            wrong("backoff.factor", &backoff.factor, "1 to 10".into());
        }
        let (base, cap) = (Side::new(backoff.base, BASE), Side::new(backoff.cap, CAP));
        let (base, cap) = agree(base, cap).unwrap_or_else(|| {
            let accepted = format!("at least backoff.base = {:?}", backoff.base);
            wrong("backoff.cap", &backoff.cap, accepted);
            (backoff.base, backoff.cap)
        });
        if let Jitter::Symmetric { percent } = &backoff.jitter
            && !(1..=100).contains(percent)
        {
            wrong("backoff.jitter.percent", percent, "1 to 100".into());
        }
        if max_elapsed.is_zero() {
            wrong("max_elapsed", max_elapsed, "longer than zero".into());
        }
        let least = Side::new(*min_attempt_time, MIN_ATTEMPT_TIME)
            .or_written(written.has("min_attempt_time"));
        let all = Side::new(*max_elapsed, MAX_ELAPSED).or_written(written.has("max_elapsed"));
        let (mut least, mut all) = agree_strictly(least, all).unwrap_or_else(|| {
            if !max_elapsed.is_zero() {
                wrong(
                    "min_attempt_time",
                    min_attempt_time,
                    format!("less than max_elapsed = {max_elapsed:?}"),
                );
            }
            (*min_attempt_time, *max_elapsed)
        });
        // One that follows becomes equal, and then no second attempt would ever begin.
        if least == all && least == *min_attempt_time {
            all = all.saturating_mul(2);
        } else if least == all {
            least = Duration::ZERO;
        }
        ConfigErrors::none_of(problems)?;
        let shape = match backoff.jitter {
            Jitter::Full => Shape::Full,
            Jitter::Equal => Shape::Equal,
            Jitter::Decorrelated => Shape::Decorrelated,
            Jitter::None => Shape::None,
            Jitter::Symmetric { percent } => Shape::Symmetric(percent),
        };
        let (base, cap) = (nanos(base), nanos(cap));
        Ok(Self {
            attempts: *attempts,
            curve: Curve { base, factor: backoff.factor.as_thousandths(), cap, shape },
            max_retry_after: nanos(*max_retry_after),
            max_elapsed: nanos(all),
            min_attempt_time: nanos(least),
            wait_for_rejections: *on_rejection == OnRejection::Wait,
        })
    }
}
