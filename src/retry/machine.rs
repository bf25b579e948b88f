//! The law of a retry: whether to try once more, and when.

use std::time::Duration;

use super::config::{BASE, CAP, Config, Jitter, LEAST_TIME, OnRefusal, TOTAL, UNLIMITED};
use crate::config::{ConfigError, ConfigErrors, Side, Written, agree, agree_strictly};
use crate::event::Stop;
use crate::parts::backoff::{Curve, Shape};
use crate::time::nanos;

/// Config made ready: integers, all times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Law {
    pub(crate) attempts: u32,
    pub(crate) curve: Curve,
    pub(crate) hint_cap: u64,
    pub(crate) total: u64,
    pub(crate) least_time: u64,
    pub(crate) wait_for_refusals: bool,
}

/// The attempts of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempts {
    /// Attempts that counted, the one under way included.
    counted: u32,
    /// Repetitions of what was certainly never sent.
    unsent: u32,
    /// Waits for one of our own layers that refused the call.
    refused: u32,
    /// The wait before the attempt under way.
    last_wait: u64,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Failed {
    /// Whether asking again makes sense.
    pub(crate) again: bool,
    /// Nanoseconds we were told to stay away.
    pub(crate) hint: Option<u64>,
    /// The request was certainly not executed.
    pub(crate) unsent: bool,
    /// One of our own layers refused the call.
    pub(crate) refused: bool,
    /// And will refuse all calls to come.
    pub(crate) for_good: bool,
    /// A copy of the request is at hand.
    pub(crate) copied: bool,
    /// The request is a repetition by its caller.
    pub(crate) repeated: bool,
    /// The retry is being drained.
    pub(crate) draining: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// Wait for so long, then try again.
    Wait(u64),
    Stop(Stop),
}

/// What is waited for at least after a refusal by one of our own layers: 10 ms.
const LEAST_REFUSAL_WAIT: u64 = 10_000_000;
/// The most attempts, unless they are unlimited.
const MOST_ATTEMPTS: u32 = 1000;

impl Attempts {
    /// The first attempt is under way.
    pub(crate) const FIRST: Self = Self { counted: 1, unsent: 0, refused: 0, last_wait: 0 };

    /// The attempt under way, counted from 1.
    pub(crate) const fn number(&self) -> u32 {
        self.counted.saturating_add(self.unsent)
    }

    /// Repetitions of what was certainly never sent.
    pub(crate) const fn unsent(&self) -> u32 {
        self.unsent
    }

    /// Whether no further attempt can follow the one under way, so that no copy is needed. (What
    /// was never sent could still be repeated; not for the last attempt.)
    pub(crate) const fn is_last(&self, law: &Law) -> bool {
        self.counted >= law.attempts && !law.wait_for_refusals
    }

    /// Why no further attempt can follow one that failed like this, however much time is left.
    pub(crate) fn last(&self, law: &Law, how: Failed) -> Option<Stop> {
        if !how.again {
            return Some(Stop::Final);
        }
        if how.refused && (how.for_good || !law.wait_for_refusals) {
            return Some(Stop::Refused);
        }
        if how.repeated {
            return Some(Stop::Repeated); // or retries multiply along a chain (pitfall B21)
        }
        if how.draining {
            return Some(Stop::Draining);
        }
        let used = match () {
            () if how.refused => 0, // it costs time
            () if how.unsent => self.unsent.saturating_add(1),
            () => self.counted,
        };
        // For the last attempt no copy was made: the request is not to blame.
        if used >= law.attempts || (!how.copied && self.is_last(law)) {
            return Some(Stop::Exhausted);
        }
        (!how.copied).then_some(Stop::NoCopy)
    }

    /// The attempt failed with `left` nanoseconds to go, or any number of them. `own` is the wait
    /// that the user's own backoff says.
    pub(crate) fn fail(
        &mut self,
        law: &Law,
        how: Failed,
        left: Option<u64>,
        own: Option<u64>,
        draw: u64,
    ) -> Next {
        if let Some(stop) = self.last(law, how) {
            return Next::Stop(stop);
        }
        let nth = if how.refused { self.refused.saturating_add(1) } else { self.number() };
        let backoff = own.unwrap_or_else(|| law.curve.wait(nth, self.last_wait, draw));
        let mut wait = how.hint.unwrap_or(0).min(law.hint_cap).saturating_add(backoff);
        if how.refused {
            wait = wait.max(LEAST_REFUSAL_WAIT); // or it asks in a loop
        }
        if left.is_some_and(|left| wait.saturating_add(law.least_time) > left) {
            return Next::Stop(Stop::Deadline);
        }
        self.last_wait = backoff;
        let count = match () {
            () if how.refused => &mut self.refused,
            () if how.unsent => &mut self.unsent,
            () => &mut self.counted,
        };
        *count = count.saturating_add(1);
        Next::Wait(wait)
    }
}

impl Law {
    #[expect(clippy::expect_used, reason = "a test builds from the defaults")]
    pub(crate) fn of_defaults() -> Self {
        Self::from_config(&Config::default()).expect("the defaults are valid")
    }

    /// Everything that is wrong with the settings, or the law they make.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigErrors> {
        Self::from_written(config, &Written::default())
    }

    /// The same, of settings some of which a builder was told by name.
    pub(crate) fn from_written(config: &Config, written: &Written) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let mut wrong = |field, value: &dyn std::fmt::Debug, accepted: String| {
            problems.push(ConfigError::new(field, value, accepted));
        };
        let Config { attempts, backoff, hint_cap, total, least_time, on_refusal } = config;
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
        if total.is_zero() {
            wrong("total", total, "longer than zero".into());
        }
        let least = Side::new(*least_time, LEAST_TIME).or_written(written.has("least_time"));
        let all = Side::new(*total, TOTAL).or_written(written.has("total"));
        let (mut least, mut all) = agree_strictly(least, all).unwrap_or_else(|| {
            if !total.is_zero() {
                wrong("least_time", least_time, format!("less than total = {total:?}"));
            }
            (*least_time, *total)
        });
        // One that follows becomes equal, and then no second attempt would ever begin.
        if least == all && least == *least_time {
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
            hint_cap: nanos(*hint_cap),
            total: nanos(all),
            least_time: nanos(least),
            wait_for_refusals: *on_refusal == OnRefusal::Wait,
        })
    }
}
