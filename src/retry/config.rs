//! The settings of a retry.

use std::time::Duration;

use super::factor::Factor;
use super::machine::Params;
use crate::core::config::{ConfigError, ConfigErrors};

/// The settings of a retry: plain values, which can be reloaded while calls are in flight.
///
/// See the [table of defaults](crate::retry#defaults). They are checked when a layer is built from
/// them or a running policy is [reloaded](super::RetryHandle::reload).
///
/// ```
/// use seawall::retry::{Backoff, Config, Jitter, OnRejection, RetryLayer};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(
///     r#"{
///         "attempts": 4,
///         "backoff": { "base": "50ms", "cap": "2s", "jitter": "equal" },
///         "on_rejection": "wait"
///     }"#,
/// )?;
/// let backoff = Backoff::exponential(Duration::from_millis(50), Duration::from_secs(2));
/// assert_eq!(config.backoff, backoff.jitter(Jitter::Equal));
/// assert_eq!(config.on_rejection, OnRejection::Wait);
///
/// let search = RetryLayer::from_config("search", config)?;
/// assert_eq!(search.handle().config().attempts, 4);
/// assert!(serde_json::from_str::<Config>(r#"{ "tries": 4 }"#).is_err()); // there is no such setting
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// Attempts in all, the first included: 1 to 1,000, or [`UNLIMITED`] (in files `"unlimited"`), where
    /// [`max_elapsed`](Self::max_elapsed) and the budget bound them. A request that was certainly never sent does
    /// not count as an attempt, but is not retried more often than this either.
    #[cfg_attr(feature = "serde", serde(with = "attempts"))]
    pub attempts: u32,
    /// The wait between attempts: each of its fields says what is accepted.
    pub backoff: Backoff,
    /// A `Retry-After` of the server counts for no more than this. The backoff is added to it, so that not all
    /// retries come at once. Any value is accepted.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_retry_after: Duration,
    /// No attempt begins later than this after the first. It does not end an attempt in flight; use a timeout for
    /// that. Longer than zero, and than [`min_attempt_time`](Self::min_attempt_time); the default becomes twice that if
    /// necessary.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_elapsed: Duration,
    /// No attempt begins with less time left than this, to [`max_elapsed`](Self::max_elapsed) or to the deadline of
    /// the request. Less than [`max_elapsed`](Self::max_elapsed); the default becomes zero if necessary.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub min_attempt_time: Duration,
    /// What to do when an inner layer rejects the call: any.
    pub on_rejection: OnRejection,
}

/// No limit on the [attempts](Config::attempts), other than time and the budget.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::retry::{Backoff, RetryLayer};
/// use seawall::{Error, Outcome};
/// use std::io;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
///
/// // Asks every second for up to ten minutes whether a report is ready. That it is not yet is no
/// // failure, and costs no budget.
/// let report = RetryLayer::builder("report")
///     .unlimited_attempts()
///     .backoff(Backoff::fixed(Duration::from_secs(1)))
///     .max_elapsed(Duration::from_secs(600))
///     .classify_response(|status: &u16| match status {
///         202 => Outcome::SUCCESS.after(Duration::ZERO),
///         _ => Outcome::SUCCESS,
///     })
///     .build()?;
/// let asked = AtomicU32::new(0);
/// let ask = || async {
///     let nth = asked.fetch_add(1, Ordering::Relaxed);
///     Ok::<_, Error<io::Error>>(if nth < 200 { 202_u16 } else { 200 })
/// };
/// assert_eq!(report.run(ask).await?, 200);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
// Not the largest number, which is what a mistake looks like.
pub const UNLIMITED: u32 = u32::MAX - 1;
/// Default [`Config::attempts`].
pub(crate) const ATTEMPTS: u32 = 3;
/// Default [`Backoff::base`].
pub(crate) const BASE: Duration = Duration::from_millis(25);
/// Default [`Backoff::factor`].
pub(crate) const FACTOR: Factor = Factor::thousandths(2000);
/// Default [`Backoff::cap`].
pub(crate) const CAP: Duration = Duration::from_secs(1);
/// Default [`Config::max_retry_after`].
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Default [`Config::max_elapsed`].
pub(crate) const MAX_ELAPSED: Duration = Duration::from_secs(30);
/// Default [`Config::min_attempt_time`].
pub(crate) const MIN_ATTEMPT_TIME: Duration = Duration::from_millis(1);

impl Default for Config {
    fn default() -> Self {
        Self {
            attempts: ATTEMPTS,
            backoff: Backoff::default(),
            max_retry_after: MAX_RETRY_AFTER,
            max_elapsed: MAX_ELAPSED,
            min_attempt_time: MIN_ATTEMPT_TIME,
            on_rejection: OnRejection::Stop,
        }
    }
}

impl Config {
    /// Checks these settings, as building a layer from them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        Params::from_config(self).map(|_| ())
    }

    /// Something has to end the attempts: their number, time, or what they cost.
    pub(crate) fn check_bounds(&self, has_budget: bool) -> Result<(), ConfigErrors> {
        if self.attempts != UNLIMITED || self.max_elapsed != Duration::MAX || has_budget {
            return Ok(());
        }
        let accepted = "shorter than for ever, for unlimited attempts without a budget";
        Err(ConfigErrors::of(vec![ConfigError::new("max_elapsed", self.max_elapsed, accepted)]))
    }
}

/// The wait before the `n`-th retry: `base × factor^(n−1)`, at most `cap`, then jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Backoff {
    /// The wait before the first retry. At most [`cap`](Self::cap), whose default grows with it.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub base: Duration,
    /// The factor by which it grows: 1 (not at all) to 10, in steps of a thousandth.
    pub factor: Factor,
    /// The longest wait. At least [`base`](Self::base); the default grows to that if necessary.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub cap: Duration,
    /// The kind of jitter: any, of which [`Symmetric`](Jitter::Symmetric) takes 1 to 100 percent.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: BASE, factor: FACTOR, cap: CAP, jitter: Jitter::Full }
    }
}

impl Backoff {
    /// Doubles from `base` up to `cap`, with full jitter.
    pub fn exponential(base: Duration, cap: Duration) -> Self {
        Self { base, cap, ..Self::default() }
    }

    /// Always waits `delay`, without jitter.
    pub fn fixed(delay: Duration) -> Self {
        Self { base: delay, factor: Factor::thousandths(1000), cap: delay, jitter: Jitter::None }
    }

    /// Does not wait.
    pub fn none() -> Self {
        Self::fixed(Duration::ZERO)
    }

    /// The same with other jitter.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The same, growing by `factor` each time: a whole number or one like 1.5.
    #[must_use]
    pub fn factor(mut self, factor: impl Into<Factor>) -> Self {
        self.factor = factor.into();
        self
    }
}

/// The random part of a wait (Brooker, AWS Architecture Blog, 2015).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::retry::{Backoff, Jitter, RetryLayer};
/// use std::{io, time::Duration};
/// use tokio::time::Instant;
///
/// // A nightly job, alone with its dependency: nobody to keep out of step with.
/// let wait = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60));
/// let export = RetryLayer::builder("export").backoff(wait.jitter(Jitter::None)).build()?;
///
/// let started = Instant::now();
/// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
/// assert!(export.run(down).await.is_err());
/// assert_eq!(started.elapsed().as_secs(), 1 + 2); // between three attempts
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Jitter {
    /// From zero to the whole wait. Spreads retries best.
    #[default]
    Full,
    /// The upper half of the wait.
    Equal,
    /// From `base` to three times the wait before, at most `cap`.
    Decorrelated,
    /// No jitter: calls that failed together are retried together.
    None,
    /// Up to this percentage more or less than the wait, at most `cap`: a randomization factor of 0.2 in other
    /// libraries is 20 here.
    Symmetric {
        /// 1 to 100.
        percent: u8,
    },
}

/// What to do when an inner layer rejects the call, such as an open circuit or a full bulkhead.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
/// use seawall::retry::{OnRejection, RetryLayer};
/// use seawall::Error;
/// use std::io;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// // A worker that has time: it waits until the circuit lets a probe through.
/// static DOWN: AtomicBool = AtomicBool::new(true);
/// let worker = ServiceBuilder::new()
///     .layer(RetryLayer::builder("store").on_rejection(OnRejection::Wait).cloned().build()?)
///     .layer(CircuitBreakerLayer::builder("store").trip(Trip::consecutive(1)).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: u32| async {
///         if DOWN.swap(false, Ordering::Relaxed) { Err(io::Error::other("reset")) } else { Ok("stored") }
///     }));
/// assert_eq!(worker.oneshot(7).await?, "stored");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnRejection {
    /// Stop at once, because the layer that rejected the call knows better.
    #[default]
    Stop,
    /// Wait for the `retry_after` of the rejection, if there is one, plus the backoff, and try again, as often as
    /// [`max_elapsed`](Config::max_elapsed) and the deadline of the request allow. Nothing was sent, so these waits cost no
    /// attempts and no budget. Each is at least 10 ms.
    Wait,
}

/// How the attempts are written in files: a number, or `"unlimited"`.
#[cfg(feature = "serde")]
pub(crate) mod attempts {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    use super::UNLIMITED;

    const WORD: &str = "unlimited";

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(crate) fn serialize<S: Serializer>(attempts: &u32, to: S) -> Result<S::Ok, S::Error> {
        if *attempts == UNLIMITED { to.serialize_str(WORD) } else { to.serialize_u32(*attempts) }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        struct Attempts;

        impl Visitor<'_> for Attempts {
            type Value = u32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of attempts, or \"unlimited\"")
            }

            fn visit_u64<E: Error>(self, attempts: u64) -> Result<u32, E> {
                // What is too large is rejected with all else that is wrong, by name.
                Ok(u32::try_from(attempts).unwrap_or(u32::MAX))
            }

            fn visit_i64<E: Error>(self, attempts: i64) -> Result<u32, E> {
                self.visit_u64(u64::try_from(attempts).unwrap_or(0))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<u32, E> {
                if word == WORD {
                    Ok(UNLIMITED)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
                }
            }
        }

        from.deserialize_any(Attempts)
    }
}
