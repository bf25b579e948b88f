//! The settings of a fallback.

use std::time::Duration;

use crate::core::config::{ConfigError, ConfigErrors};

/// The settings of a fallback: plain values, which can be reloaded while calls are in flight.
///
/// See the [table of defaults](crate::fallback#defaults). They are checked when a layer is built from
/// them or a running one is [reloaded](super::FallbackHandle::reload).
///
/// ```
/// use seawall::fallback::{Config, FallbackLayer};
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(r#"{ "max_age": "10m", "max_keys": 500 }"#)?;
/// assert!(config.enabled);
/// let prices = FallbackLayer::builder("prices").value(0).config(config).build()?;
/// assert_eq!(prices.handle().config().max_keys, 500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// Whether it answers at all. If not, every failure is passed on.
    pub enabled: bool,
    /// How old a [kept](super::Builder::last_good) answer may be: longer than zero. It is passed on as long
    /// as it is not older.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_age: Duration,
    /// Answers that are [kept](super::Builder::last_good) at most, one for each key: at least 1.
    pub max_keys: usize,
}

/// Default of [`Config::max_age`].
const MAX_AGE: Duration = Duration::from_secs(300);
/// Default of [`Config::max_keys`].
const MAX_KEYS: usize = 1_000;

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, max_age: MAX_AGE, max_keys: MAX_KEYS }
    }
}

impl Config {
    /// Checks these settings, as building a layer from them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut problems = Vec::new();
        if self.max_age.is_zero() {
            problems.push(ConfigError::new("max_age", self.max_age, "longer than zero"));
        }
        if self.max_keys == 0 {
            problems.push(ConfigError::new("max_keys", self.max_keys, "at least 1"));
        }
        ConfigErrors::none_of(problems)
    }
}
