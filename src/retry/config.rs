//! The settings of a retry.

use std::time::Duration;

use super::machine::Law;
use crate::config::ConfigErrors;

/// The settings of a retry: plain values, which can be turned while calls are flying.
///
/// See the [table of defaults](crate::retry#defaults). They are checked when a layer is built from
/// them or a running policy is [reloaded](super::RetryHandle::reload).
///
/// ```
/// use seawall::retry::{Backoff, Config, Jitter, OnRefusal, RetryLayer};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(
///     r#"{
///         "attempts": 4,
///         "backoff": { "base": "50ms", "cap": "2s", "jitter": "equal" },
///         "on_refusal": "wait"
///     }"#,
/// )?;
/// let backoff = Backoff::exponential(Duration::from_millis(50), Duration::from_secs(2));
/// assert_eq!(config.backoff, backoff.jitter(Jitter::Equal));
/// assert_eq!(config.on_refusal, OnRefusal::Wait);
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
    /// Attempts in all, the first included. What was certainly never sent is not counted, but is
    /// not repeated more often than this either.
    pub attempts: u32,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// A hint of the server ("come back after …") counts for no more than this. The own backoff
    /// comes on top, so that not all come back at once.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub hint_cap: Duration,
    /// No attempt begins later than this after the first. An attempt that is under way is not cut
    /// short; put a timeout around for that.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub total: Duration,
    /// No attempt begins that has less time left than this, to [`total`](Self::total) or to the
    /// deadline of the request.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub least_time: Duration,
    /// What to do when one of our own layers further in refuses the call.
    pub on_refusal: OnRefusal,
}

/// Default [`Config::attempts`].
pub const ATTEMPTS: u32 = 3;
/// Default [`Backoff::base`].
pub const BASE: Duration = Duration::from_millis(25);
/// Default [`Backoff::factor`].
pub const FACTOR: u32 = 2;
/// Default [`Backoff::cap`].
pub const CAP: Duration = Duration::from_secs(1);
/// Default [`Config::hint_cap`].
pub const HINT_CAP: Duration = Duration::from_secs(30);
/// Default [`Config::total`].
pub const TOTAL: Duration = Duration::from_secs(30);
/// Default [`Config::least_time`].
pub const LEAST_TIME: Duration = Duration::from_millis(1);

impl Default for Config {
    fn default() -> Self {
        Self {
            attempts: ATTEMPTS,
            backoff: Backoff::default(),
            hint_cap: HINT_CAP,
            total: TOTAL,
            least_time: LEAST_TIME,
            on_refusal: OnRefusal::Stop,
        }
    }
}

impl Config {
    /// Says what is wrong with these settings, as building a layer from them would.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        Law::from_config(self).map(|_| ())
    }
}

/// How long to wait before the `n`-th repetition: `base × factor^(n−1)`, at most `cap`, and then
/// jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Backoff {
    /// Before the first repetition.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub base: Duration,
    /// How it grows: 1 (not at all) to 10.
    pub factor: u32,
    /// At most.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub cap: Duration,
    /// How chance comes in.
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
        Self { base: delay, factor: 1, cap: delay, jitter: Jitter::None }
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

    /// The same, growing by `factor` each time.
    #[must_use]
    pub fn factor(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }
}

/// How chance comes into a wait (Brooker, AWS Architecture Blog, 2015).
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
    /// Anything from nothing to the whole wait. Spreads a herd best.
    #[default]
    Full,
    /// The upper half of the wait.
    Equal,
    /// From `base` to three times the wait before, at most `cap`.
    Decorrelated,
    /// No chance at all: those who failed together come back together.
    None,
}

/// What to do when one of our own layers further in refuses the call: an open circuit, a full
/// bulkhead.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
/// use seawall::retry::{OnRefusal, RetryLayer};
/// use seawall::Error;
/// use std::io;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// // A worker that has time: it waits until the circuit lets a probe through.
/// static DOWN: AtomicBool = AtomicBool::new(true);
/// let worker = ServiceBuilder::new()
///     .layer(RetryLayer::builder("store").on_refusal(OnRefusal::Wait).cloned().build()?)
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
pub enum OnRefusal {
    /// Stop at once: the layer knows better.
    #[default]
    Stop,
    /// Come back after the time that the refusal names, if it names one.
    Wait,
}
