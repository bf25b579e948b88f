//! The settings of a bulkhead for each key, and what single keys have of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::{Config, Order};
use super::machine::Params;
use crate::core::config::{ConfigError, ConfigErrors};

/// Default of [`KeyedConfig::max_keys`].
pub const MAX_KEYS: usize = 10_000;

/// The settings of a [keyed](super::Builder::keyed) bulkhead: those of all keys, and what single keys
/// have [of their own](Overrides). Plain values, for instance from a file, which can be
/// [turned](super::KeyedBulkheadHandle::reload_keyed) together while calls are flying.
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
///     .keyed(|part: &String| Cow::from(part))
///     .config(config)
///     .build()?;
/// assert_eq!(tenants.handle().keyed_config().of("free-tier").limit, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct KeyedConfig {
    /// Of every key, as far as it has nothing of its own.
    pub default: Config,
    /// At most this many keys have a bulkhead of their own: at least 1. By default
    /// [10,000](MAX_KEYS). See [`max_keys`](super::KeyedBuilder::max_keys).
    pub max_keys: usize,
    /// What single keys have instead. Each must agree with [`default`](Self::default). A key that
    /// no request has does no harm.
    pub overrides: BTreeMap<String, Overrides>,
}

impl Default for KeyedConfig {
    fn default() -> Self {
        Config::default().into()
    }
}

impl From<Config> for KeyedConfig {
    /// The same for all keys.
    fn from(default: Config) -> Self {
        Self { default, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }
}

/// The parameters of all keys, and of those that have their own.
pub(super) type AllParams = (Params, BTreeMap<String, Params>);

impl KeyedConfig {
    /// The settings of this key.
    pub fn of(&self, key: &str) -> Config {
        match self.overrides.get(key) {
            Some(own) => own.over(&self.default),
            None => self.default.clone(),
        }
    }

    /// Says what is wrong with these settings, as building a layer from them would; those of a key
    /// [by its path](ConfigError::path), such as `overrides["acme"].limit`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        self.all_params(Some("default")).map(|_| ())
    }

    /// What is wrong with the default is told as `within`, once, and not of each key that has it too.
    pub(super) fn all_params(
        &self,
        within: Option<&'static str>,
    ) -> Result<AllParams, ConfigErrors> {
        let (params, of_default) = match Params::from_config(&self.default) {
            Ok(params) => (Some(params), Vec::new()),
            Err(wrong) => (None, wrong.into_problems()),
        };
        let told = ConfigErrors::of(of_default.clone());
        let mut problems = match within {
            Some(outer) => told.within(outer).into_problems(),
            None => told.into_problems(),
        };
        if self.max_keys == 0 {
            problems.push(ConfigError::new("max_keys", 0, "at least 1"));
        }
        let mut own = BTreeMap::new();
        for (key, overrides) in &self.overrides {
            match Params::from_config(&overrides.over(&self.default)) {
                Ok(params) => drop(own.insert(key.clone(), params)),
                Err(wrong) => {
                    let mut wrong = wrong.into_problems();
                    wrong.retain(|problem| !of_default.contains(problem));
                    let outer = format!("overrides[{key:?}]");
                    problems.extend(ConfigErrors::of(wrong).within(outer).into_problems());
                }
            }
        }
        match params {
            Some(params) if problems.is_empty() => Ok((params, own)),
            _ => Err(ConfigErrors::of(problems)),
        }
    }
}

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
}

impl From<&Config> for Overrides {
    /// Every setting.
    fn from(config: &Config) -> Self {
        let Config { limit, queue, max_wait, order } = *config;
        Self {
            limit: Some(limit),
            queue: Some(queue),
            max_wait: Some(max_wait),
            order: Some(order),
        }
    }
}

impl Overrides {
    /// The settings of a key that has these, where all others have `default`.
    pub fn over(&self, default: &Config) -> Config {
        Config {
            limit: self.limit.unwrap_or(default.limit),
            queue: self.queue.unwrap_or(default.queue),
            max_wait: self.max_wait.unwrap_or(default.max_wait),
            order: self.order.unwrap_or(default.order),
        }
    }
}
