//! What single keys have of their own.

use std::time::Duration;

use super::config::Config;
use super::machine::Params;
use crate::core::config::{ConfigErrors, PerKey, Written};

/// The settings of a [keyed](super::Builder::keyed) rate limit: those of all keys, and what single keys
/// have of their own.
pub type KeyedConfig = crate::core::config::KeyedConfig<Config>;

/// What one key has instead of the settings of all; see [`KeyedConfig`]. What is `None`, or is not in
/// the file, it has from them, also after they were reloaded.
///
/// ```
/// use seawall::rate_limit::{RateLimitLayer, Overrides};
/// use std::borrow::Cow;
///
/// // A tenant that pays for more. Its burst grows with its limit.
/// let more = Overrides { limit: Some(500), ..Overrides::default() };
/// let tenants = RateLimitLayer::builder("tenants")
///     .limit(100)
///     .keyed(|tenant: &String| Cow::from(tenant))
///     .overrides([("acme", more)])
///     .build()?;
/// let config = tenants.handle().keyed_config();
/// assert_eq!((config.of("acme").limit, config.of("other").limit), (500, 100));
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Overrides {
    /// Instead of [`Config::limit`]: 1 to 1,000,000,000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub limit: Option<u32>,
    /// Instead of [`Config::period`]: 1 µs to 1 day.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub period: Option<Duration>,
    /// Instead of [`Config::burst`]: 1 to 1,000,000,000, and no more than come in 30 days.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub burst: Option<u32>,
    /// Instead of [`Config::queue`]: at most 10,000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub queue: Option<u32>,
    /// Instead of [`Config::max_wait`]: longer than zero, if any may wait.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_wait: Option<Duration>,
    /// Instead of [`Config::warm_up`]: at most 1 day.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub warm_up: Option<Duration>,
}

impl From<&Config> for Overrides {
    /// Every setting. A burst that is as large as the limit is written down as such.
    fn from(config: &Config) -> Self {
        let Config { limit, period, burst, queue, max_wait, warm_up } = *config;
        Self {
            limit: Some(limit),
            period: Some(period),
            burst: Some(burst.unwrap_or(limit)),
            queue: Some(queue),
            max_wait: Some(max_wait),
            warm_up: Some(warm_up),
        }
    }
}

impl PerKey for Config {
    type Overrides = Overrides;
    type Params = Params;

    fn overridden(&self, own: &Overrides) -> Self {
        Self {
            limit: own.limit.unwrap_or(self.limit),
            period: own.period.unwrap_or(self.period),
            burst: own.burst.or(self.burst),
            queue: own.queue.unwrap_or(self.queue),
            max_wait: own.max_wait.unwrap_or(self.max_wait),
            warm_up: own.warm_up.unwrap_or(self.warm_up),
        }
    }

    fn params(&self, own: Option<&Overrides>, _: &Written) -> Result<Params, ConfigErrors> {
        match own {
            Some(own) => Params::from_config(&self.overridden(own)),
            None => Params::from_config(self),
        }
    }
}
