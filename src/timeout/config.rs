//! The settings of a timeout.

use std::time::Duration;

use crate::core::config::ConfigErrors;

/// The settings of a timeout: plain values, which can be reloaded while calls are in flight.
///
/// Every value is valid: `ZERO` gives only answers that are there at once, `Duration::MAX` is no
/// limit.
///
/// ```
/// use seawall::timeout::{Config, TimeoutLayer};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(r#"{ "limit": "250ms" }"#)?;
/// assert_eq!(config, Duration::from_millis(250).into());
///
/// let search = TimeoutLayer::from_config("search", config)?;
/// assert_eq!(search.handle().config().limit, Duration::from_millis(250));
/// assert!(serde_json::from_str::<Config>(r#"{ "timeout": "250ms" }"#).is_err()); // no such setting
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// A call that takes longer than this, from the first time the inner service is found pending,
    /// is ended. `ZERO` (only what is there at once) to `Duration::MAX` (no limit).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub limit: Duration,
    /// Whether waiting for the inner service to become ready is part of the call: either.
    pub cover_readiness: bool,
}

/// Default [`Config::limit`].
pub(crate) const LIMIT: Duration = Duration::from_secs(1);

impl Default for Config {
    fn default() -> Self {
        Self { limit: LIMIT, cover_readiness: false }
    }
}

impl Config {
    /// Checks these settings: nothing at present, every value is valid.
    ///
    /// # Errors
    ///
    /// None at present.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)] // the same shape for every layer
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        Ok(())
    }
}

impl From<Duration> for Config {
    /// This limit, and the other settings at their defaults.
    fn from(limit: Duration) -> Self {
        Self { limit, ..Self::default() }
    }
}
