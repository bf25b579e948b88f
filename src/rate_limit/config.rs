//! The settings of a rate limit.

use std::time::Duration;

use super::machine::Params;
use crate::core::config::ConfigErrors;

/// The settings of a rate limit: plain values, which can be reloaded while calls are in flight.
///
/// See the [table of defaults](crate::rate_limit#defaults). They are checked when a layer is built from
/// them or a running one is [reloaded](super::RateLimitHandle::reload).
///
/// ```
/// use seawall::rate_limit::{Config, RateLimitLayer};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(r#"{ "limit": 50, "period": "1s", "burst": 10 }"#)?;
/// let partner = RateLimitLayer::from_config("partner-api", config)?;
/// assert_eq!(partner.handle().config().burst, Some(10));
///
/// let wrong = RateLimitLayer::from_config("partner-api", Config { limit: 0, ..Config::default() });
/// assert_eq!(
///     wrong.unwrap_err().to_string(),
///     "invalid configuration of rate_limit `partner-api`: limit = 0: 1 to 1000000000",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// Calls in each [`period`](Self::period), or units of their cost: 1 to 1,000,000,000.
    pub limit: u32,
    /// 1 µs to 1 day.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub period: Duration,
    /// Calls that may come at once after a pause: 1 to 1,000,000,000, and no more than come in 30 days.
    /// `None`: as many as [`limit`](Self::limit).
    pub burst: Option<u32>,
    /// Calls that may wait for their turn, [reservations](super::RateLimitHandle::reserve) that were not used
    /// included. Zero: a call that comes too early is rejected at once. At most 10,000.
    pub queue: u32,
    /// How long a call waits at most: longer than zero, if any may [wait](Self::queue). One whose turn
    /// comes later is rejected at once.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_wait: Duration,
    /// How long the rate takes to grow from a third to all of [`limit`](Self::limit), from when the
    /// layer is built and after each pause of the same length. Zero: it is there at once. At most 1 day.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub warm_up: Duration,
}

/// Default [`Config::limit`].
pub(crate) const LIMIT: u32 = 100;
/// Default [`Config::period`].
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// Default [`Config::queue`].
pub(crate) const QUEUE: u32 = 0;
/// Default [`Config::max_wait`].
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(1);

impl Default for Config {
    fn default() -> Self {
        Self {
            limit: LIMIT,
            period: PERIOD,
            burst: None,
            queue: QUEUE,
            max_wait: MAX_WAIT,
            warm_up: Duration::ZERO,
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
}
