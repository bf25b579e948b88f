//! What single keys have of their own.

use std::time::Duration;

use super::adaptive::Adaptive;
use super::config::{Config, Order};
use super::machine::Params;
use crate::core::config::{ConfigErrors, PerKey, Written};

/// The settings of a [keyed](super::Builder::keyed) bulkhead: those of all keys, and what single keys
/// have of their own.
///
/// ```
/// use seawall::bulkhead::{BulkheadLayer, KeyedConfig};
/// use std::borrow::Cow;
///
/// // From a file (with the feature `serde`). What a key does not name it has from `default`.
/// let config: KeyedConfig = serde_json::from_str(
///     r#"{
///         "default": { "limit": 10, "queue": 20 },
///         "max_keys": 1000,
///         "overrides": { "acme": { "limit": 50 }, "free-tier": { "limit": 2, "queue": 0 } }
///     }"#,
/// )?;
/// assert_eq!((config.of("acme").limit, config.of("acme").queue), (50, 20));
///
/// let tenants = BulkheadLayer::builder("tenants")
///     .keyed(|tenant: &String| Cow::from(tenant))
///     .config(config)
///     .build()?;
/// assert_eq!(tenants.handle().keyed_config().of("free-tier").limit, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type KeyedConfig = crate::core::config::KeyedConfig<Config>;

/// What one key has instead of the settings of all; see [`KeyedConfig`]. What is `None`, or is not in
/// the file, it has from them, also after they were reloaded.
///
/// ```
/// use seawall::bulkhead::{BulkheadLayer, Overrides};
/// use std::borrow::Cow;
///
/// // A tenant that pays for more.
/// let more = Overrides { limit: Some(50), ..Overrides::default() };
/// let tenants = BulkheadLayer::builder("tenants")
///     .limit(10)
///     .keyed(|part: &String| Cow::from(part))
///     .overrides([("acme", more)])
///     .build()?;
/// let config = tenants.handle().keyed_config();
/// assert_eq!((config.of("acme").limit, config.of("other").limit), (50, 10));
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Overrides {
    /// Instead of [`Config::limit`]: 1 to 1,000,000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub limit: Option<u32>,
    /// Instead of [`Config::queue`]: at most 1,000,000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub queue: Option<u32>,
    /// Instead of [`Config::max_wait`]: longer than zero, if any may wait.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_wait: Option<Duration>,
    /// Instead of [`Config::order`]: either.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub order: Option<Order>,
    /// Instead of [`Config::adaptive`]. A key that has a [`limit`](Self::limit) of its own, and not this, has a fixed limit.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub adaptive: Option<Adaptive>,
}

impl From<&Config> for Overrides {
    /// Every setting.
    fn from(config: &Config) -> Self {
        let Config { limit, queue, max_wait, order, ref adaptive } = *config;
        Self {
            limit: Some(limit),
            queue: Some(queue),
            max_wait: Some(max_wait),
            order: Some(order),
            adaptive: adaptive.clone(),
        }
    }
}

impl PerKey for Config {
    type Overrides = Overrides;
    type Params = Params;

    fn overridden(&self, own: &Overrides) -> Self {
        Self {
            limit: own.limit.unwrap_or(self.limit),
            queue: own.queue.unwrap_or(self.queue),
            max_wait: own.max_wait.unwrap_or(self.max_wait),
            order: own.order.unwrap_or(self.order),
            adaptive: match (own.limit, &own.adaptive) {
                (_, Some(adaptive)) => Some(adaptive.clone()),
                (Some(_), None) => None,
                (None, None) => self.adaptive.clone(),
            },
        }
    }

    fn params(&self, own: Option<&Overrides>, _: &Written) -> Result<Params, ConfigErrors> {
        match own {
            Some(own) => Params::from_config(&self.overridden(own)),
            None => Params::from_config(self),
        }
    }
}
