//! The settings of a body timeout.

use std::time::Duration;

use crate::core::config::{ConfigError, ConfigErrors, Side, Written, agree};

/// The settings of a body timeout: plain values, which can be turned while bodies are flowing.
///
/// `Duration::MAX` is no limit.
///
/// ```
/// use seawall::http::body_timeout::{BodyTimeoutLayer, Config};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(r#"{ "idle": "3s" }"#)?;
/// assert_eq!((config.idle, config.total), (Duration::from_secs(3), Duration::MAX));
///
/// let files = BodyTimeoutLayer::from_config("files", config)?;
/// assert_eq!(files.handle().config().idle, Duration::from_secs(3));
/// assert!(serde_json::from_str::<Config>(r#"{ "idol": "3s" }"#).is_err()); // there is no such setting
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// How long the reader may wait for one frame: longer than zero. Left at its default it is cut to
    /// [`total`](Self::total).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub idle: Duration,
    /// How long the reader may wait in all: no shorter than [`idle`](Self::idle).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub total: Duration,
}

/// Default [`Config::idle`].
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// Default [`Config::total`]: none.
pub(crate) const TOTAL: Duration = Duration::MAX;

impl Default for Config {
    fn default() -> Self {
        Self { idle: IDLE, total: TOTAL }
    }
}

impl Config {
    /// Checks these settings, as building a layer from them does.
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
        for (field, limit) in [("idle", self.idle), ("total", self.total)] {
            if limit.is_zero() {
                problems.push(ConfigError::new(field, limit, "more than nothing"));
            }
        }
        // An idle limit of `MAX` is none, so it is no longer than any total.
        let idle = if self.idle == Duration::MAX { Duration::ZERO } else { self.idle };
        let idle = Side::new(idle, IDLE).or_written(written.has("idle"));
        let total = Side::new(self.total, TOTAL).or_written(written.has("total"));
        match agree(idle, total) {
            Some((idle, total)) => {
                ConfigErrors::none_of(problems)?;
                Ok(Self { idle: if idle.is_zero() { self.idle } else { idle }, total })
            }
            None => {
                if problems.is_empty() {
                    let accepted = "at most `total`, or it would never be reached";
                    problems.push(ConfigError::new("idle", self.idle, accepted));
                }
                Err(ConfigErrors::of(problems))
            }
        }
    }
}
