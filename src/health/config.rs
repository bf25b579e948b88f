//! The settings of a health check.

use std::time::Duration;

use super::machine::Params;
use crate::core::config::ConfigErrors;
use crate::health::status::Status;

/// The settings of a health check: plain values, which can be reloaded while it runs.
///
/// See the [table of defaults](crate::health#defaults). They are checked when a layer is built from
/// them or a running one is [reloaded](super::HealthHandle::reload).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::health::{Config, HealthLayer, Status};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(r#"{ "interval": "2s", "fall": 5, "initial": "down" }"#)?;
/// assert_eq!((config.interval, config.initial), (Duration::from_secs(2), Status::Down));
/// assert!(serde_json::from_str::<Config>(r#"{ "falls": 5 }"#).is_err()); // there is no such setting
///
/// # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
/// let database = HealthLayer::builder("database").check(|| ping()).config(config).build()?;
/// assert_eq!(database.handle().status(), Status::Down); // until it was checked
/// assert_eq!(database.handle().config().fall, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// From the end of one check to the beginning of the next: longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub interval: Duration,
    /// The same while it is down, and until the first success: longer than zero. `None`: as
    /// [`interval`](Self::interval). (`downinter` in `HAProxy`.)
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub down_interval: Option<Duration>,
    /// Both intervals become shorter or longer by up to this share, evenly: 0 to 1.
    pub jitter: f64,
    /// A check that takes longer has failed: longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub timeout: Duration,
    /// Consecutive successes until it is up again: 1 to 10,000.
    pub rise: u32,
    /// Consecutive successes until it is up for the first time: 1 to 10,000. (One in Kubernetes and `HAProxy`.)
    pub initial_rise: u32,
    /// Consecutive failures until it is down: 1 to 10,000.
    pub fall: u32,
    /// The status for calls before the first result: up or down. A [registry](super::HealthRegistry) waits for a
    /// success in any case.
    pub initial: Status,
    /// While it is down, one call in this number is admitted all the same, from 1. Zero: none. Without a check, zero
    /// is rejected if you set it, and is 10 by default.
    pub probe_one_in: u32,
    /// While it is down, a call is also admitted when none was for this long: longer than zero. It has an effect only
    /// with [`probe_one_in`](Self::probe_one_in). Without it, recovery would take hours if there are few calls.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub probe_interval: Duration,
    /// Whether the outcomes of live calls count like checks. Without a check they always do.
    pub passive: bool,
}

/// Default [`Config::interval`].
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Default [`Config::jitter`].
pub(crate) const JITTER: f64 = 0.1;
/// Default [`Config::timeout`].
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
/// Default [`Config::rise`].
pub(crate) const RISE: u32 = 2;
/// Default [`Config::initial_rise`].
pub(crate) const INITIAL_RISE: u32 = 1;
/// Default [`Config::fall`].
pub(crate) const FALL: u32 = 3;
/// Default [`Config::probe_one_in`] where there is no check.
pub(crate) const PROBE_ONE_IN: u32 = 10;
/// Default [`Config::probe_interval`].
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(5);

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: INTERVAL,
            down_interval: None,
            jitter: JITTER,
            timeout: TIMEOUT,
            rise: RISE,
            initial_rise: INITIAL_RISE,
            fall: FALL,
            initial: Status::Up,
            probe_one_in: 0,
            probe_interval: PROBE_INTERVAL,
            passive: false,
        }
    }
}

impl Config {
    /// Checks these settings. (A builder without a check also rejects `passive(false)` and `probe_one_in(0)`, see
    /// [`build`](super::Builder::build).)
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        Params::from_config(self, true).map(|_| ())
    }
}
