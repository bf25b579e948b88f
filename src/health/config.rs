//! The settings of a health check.

use std::time::Duration;

use super::machine::Params;
use crate::core::config::ConfigErrors;
use crate::health::status::Status;

/// The settings of a health check: plain values, which can be turned while it runs.
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
    /// The same while it is down, and until the first good check: longer than zero. `None`: as
    /// [`interval`](Self::interval). (What `downinter` is to `HAProxy`.)
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub down_interval: Option<Duration>,
    /// Both intervals are spread evenly over so much of themselves to both sides: 0 to 1.
    pub jitter: f64,
    /// A check that takes longer has failed: longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub timeout: Duration,
    /// It is up again after so many good checks in a row: 1 to 10,000.
    pub rise: u32,
    /// At the start it is up after so many good checks in a row, until it has been up or down by what
    /// the checks say: 1 to 10,000. (Kubernetes and `HAProxy` take one for enough.)
    pub initial_rise: u32,
    /// It is down after so many bad checks in a row: 1 to 10,000.
    pub fall: u32,
    /// What calls take it for until it is known: up or down. A
    /// [registry](super::HealthRegistry) waits for a good check whatever this says.
    pub initial: Status,
    /// While it is down, one call in so many is let through all the same, from 1. Zero: none. Where there
    /// is no check, zero is rejected if it was written, and is [10](PROBE_ONE_IN) if it was not.
    pub probe_one_in: u32,
    /// While it is down a call is also let through when none was for so long: longer than zero. It takes
    /// [`probe_one_in`](Self::probe_one_in) to let any through. With few calls it would otherwise
    /// take hours to find that all is well again.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub probe_interval: Duration,
    /// Whether the outcomes of live calls count like checks. Where there is no check they always do.
    pub passive: bool,
}

/// Default [`Config::interval`].
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Default [`Config::jitter`].
pub const JITTER: f64 = 0.1;
/// Default [`Config::timeout`].
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// Default [`Config::rise`].
pub const RISE: u32 = 2;
/// Default [`Config::initial_rise`].
pub const INITIAL_RISE: u32 = 1;
/// Default [`Config::fall`].
pub const FALL: u32 = 3;
/// Default [`Config::probe_one_in`] where there is no check.
pub const PROBE_ONE_IN: u32 = 10;
/// Default [`Config::probe_interval`].
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);

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
    /// Says what is wrong with these settings. (A builder without a check that was told not to learn, or to
    /// let no call through, rejects [that too](super::Builder::build).)
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        Params::from_config(self, true).map(|_| ())
    }
}
