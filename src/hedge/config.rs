//! The settings of a hedge.

use std::time::Duration;

use super::machine::Params;
use crate::core::config::ConfigErrors;

/// The settings of a hedge: plain values, which can be reloaded while calls are in flight.
///
/// See the [table of defaults](crate::hedge#defaults). They are checked when a layer is built from them or a
/// running one is [reloaded](super::HedgeHandle::reload).
///
/// ```
/// use seawall::hedge::{Config, HedgeLayer};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(r#"{ "delay": "50ms", "max_hedges": 2 }"#)?;
/// assert_eq!((config.delay, config.on_failure), (Some(Duration::from_millis(50)), true));
///
/// let search = HedgeLayer::builder("search").config(config).cloned().build()?;
/// assert_eq!(search.handle().delay(), Some(Duration::from_millis(50)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// How long after the last attempt began the next begins beside it: longer than zero. `None`: the
    /// [percentile](Self::percentile) of what good answers took lately.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub delay: Option<Duration>,
    /// How many of 100 calls are answered before that delay: 50 to 99. Only calls count that were not answered at their
    /// first poll.
    pub percentile: u8,
    /// The delay that is learnt is never shorter than this.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub min_delay: Duration,
    /// Attempts beside the first one: 1 to 10.
    pub max_hedges: u32,
    /// Whether the next attempt begins at once after a transient failure.
    pub on_failure: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            delay: None,
            percentile: 95,
            min_delay: Duration::from_millis(1),
            max_hedges: 1,
            on_failure: true,
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
