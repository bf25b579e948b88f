//! The settings of a whole stack.

use std::time::Duration;

use crate::core::config::{ConfigError, ConfigErrors, Side, Written, agree_strictly};
use crate::retry::BudgetConfig;
use crate::{bulkhead, circuit_breaker, retry};

/// The settings of the whole stack around a client: plain values, for instance from a file, which can be
/// [reloaded](super::ClientHandle::reload) together while calls are in flight.
///
/// ```
/// use seawall::stack::{self, ClientConfig};
/// use std::time::Duration;
///
/// // With the feature `serde`; what the file does not name has its default.
/// let config: ClientConfig = serde_json::from_str(
///     r#"{
///         "deadline": "2s",
///         "attempt_timeout": "300ms",
///         "retry": { "backoff": { "base": "50ms" } },
///         "budget": { "cap": 20 },
///         "breaker": { "break_duration": "1s", "max_break_duration": "30s" },
///         "bulkhead": { "limit": 100 }
///     }"#,
/// )?;
/// assert_eq!(config.attempt_timeout, Duration::from_millis(300));
/// assert_eq!(config.retry.attempts, ClientConfig::default().retry.attempts);
/// assert!(serde_json::from_str::<ClientConfig>(r#"{ "retries": {} }"#).is_err()); // no such setting
///
/// // In code, with what is to be different.
/// let config = ClientConfig { deadline: Duration::from_secs(1), ..config };
/// config.validate()?;
/// let client = stack::client("payments").config(config).cloned().build()?;
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ClientConfig {
    /// How long a call may take, all attempts and backoff included: longer than zero; `Duration::MAX` is no limit. The default
    /// grows to [`attempt_timeout`](Self::attempt_timeout) if necessary. Waiting in `poll_ready` is not part of the call.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub deadline: Duration,
    /// How long one attempt may take: less than [`deadline`](Self::deadline), or `Duration::MAX` for no other limit. The default
    /// is cut to the deadline.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub attempt_timeout: Duration,
    /// The settings of the retry. Its [`max_elapsed`](retry::Config::max_elapsed) is cut to the deadline. The default here is
    /// 5 attempts, in files and in [`ClientConfig::default`](Self::default); `retry::Config::default()`
    /// has fewer.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Retry::deserialize"))]
    pub retry: retry::Config,
    /// The settings of the retry budget; `None` (in files `null`) for none.
    pub budget: Option<BudgetConfig>,
    /// The settings of the circuit breaker.
    pub breaker: circuit_breaker::Config,
    /// The settings of the bulkhead. The default here is a queue of 1,024 calls, each for at most
    /// [`max_wait`](bulkhead::Config::max_wait), in files and in [`ClientConfig::default`](Self::default);
    /// `bulkhead::Config::default()` has no queue.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Places::deserialize"))]
    pub bulkhead: bulkhead::Config,
}

/// Default of [`ClientConfig::deadline`].
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// Default of [`ClientConfig::attempt_timeout`].
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Default of the attempts in all. More than a retry makes by itself: here a breaker, a budget and a
/// deadline bound what they may cost.
pub(crate) const ATTEMPTS: u32 = 5;
/// Default of the calls that may wait for a place. More than a bulkhead lets wait by itself: here a
/// deadline bounds the wait, and a burst is no reason to turn calls away from a healthy dependency.
// Envoy's `max_pending_requests`.
pub(crate) const QUEUE: u32 = 1024;

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            deadline: DEADLINE,
            attempt_timeout: ATTEMPT_TIMEOUT,
            retry: default_retry(),
            budget: Some(BudgetConfig::default()),
            breaker: circuit_breaker::Config::default(),
            bulkhead: default_bulkhead(),
        }
    }
}

fn default_bulkhead() -> bulkhead::Config {
    bulkhead::Config { queue: QUEUE, ..bulkhead::Config::default() }
}

fn default_retry() -> retry::Config {
    retry::Config { attempts: ATTEMPTS, ..retry::Config::default() }
}

impl ClientConfig {
    /// Checks these settings, as building a stack from them does; those of its layers [by path](ConfigError::path), such as
    /// `retry.backoff.cap`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        self.in_force(&Written::default()).map(|_| ())
    }

    /// The same settings as they take effect, or what is wrong with them.
    pub(super) fn in_force(&self, written: &Written) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let mut force = self.clone();
        if force.deadline.is_zero() {
            problems.push(ConfigError::new("deadline", force.deadline, "longer than zero"));
        } else if force.attempt_timeout != Duration::MAX {
            let attempt = Side::new(self.attempt_timeout, ATTEMPT_TIMEOUT)
                .or_written(written.has("attempt_timeout"));
            let whole = Side::new(self.deadline, DEADLINE).or_written(written.has("deadline"));
            match agree_strictly(attempt, whole) {
                Some(agreed) => (force.attempt_timeout, force.deadline) = agreed,
                None => {
                    let accepted = format!("less than deadline = {:?}", self.deadline);
                    let wrong = ConfigError::new("attempt_timeout", self.attempt_timeout, accepted);
                    problems.push(wrong);
                }
            }
        }
        let wrong = force.cut_retry().err().into_iter().chain(force.retry.validate().err());
        let wrong = wrong.chain(force.retry.check_bounds(self.budget.is_some()).err());
        problems.extend(wrong.flat_map(|wrong| wrong.within("retry").into_problems()));
        let others = [
            ("budget", self.budget.map_or(Ok(()), |budget| budget.validate())),
            ("breaker", self.breaker.validate()),
            ("bulkhead", self.bulkhead.validate()),
        ];
        for (outer, classified) in others {
            let wrong = classified.err().into_iter();
            problems.extend(wrong.flat_map(|wrong| wrong.within(outer).into_problems()));
        }
        ConfigErrors::none_of(problems)?;
        Ok(force)
    }

    /// Without this a retry whose requests carry no deadline would begin waits that lead beyond it.
    fn cut_retry(&mut self) -> Result<(), ConfigErrors> {
        let retry = &mut self.retry;
        if self.deadline.is_zero() || retry.max_elapsed <= self.deadline {
            return Ok(());
        }
        if retry.min_attempt_time < self.deadline {
            retry.max_elapsed = self.deadline;
            return Ok(());
        }
        if retry.min_attempt_time == retry::MIN_ATTEMPT_TIME {
            (retry.max_elapsed, retry.min_attempt_time) = (self.deadline, Duration::ZERO);
            return Ok(());
        }
        let accepted = format!("less than deadline = {:?}", self.deadline);
        let wrong = ConfigError::new("min_attempt_time", retry.min_attempt_time, accepted);
        Err(ConfigErrors::of(vec![wrong]))
    }
}

/// The settings of a retry in a file of the whole stack: other defaults than where it stands alone.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(remote = "bulkhead::Config", default = "default_bulkhead", deny_unknown_fields)]
struct Places {
    limit: u32,
    queue: u32,
    #[serde(with = "humantime_serde")]
    max_wait: Duration,
    order: bulkhead::Order,
    adaptive: Option<bulkhead::Adaptive>,
}

/// The same for the retry.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
#[serde(remote = "retry::Config", default = "default_retry", deny_unknown_fields)]
struct Retry {
    #[serde(deserialize_with = "retry::attempts::deserialize")]
    attempts: u32,
    backoff: retry::Backoff,
    #[serde(with = "humantime_serde")]
    max_retry_after: Duration,
    #[serde(with = "humantime_serde")]
    max_elapsed: Duration,
    #[serde(with = "humantime_serde")]
    min_attempt_time: Duration,
    on_rejection: retry::OnRejection,
}
