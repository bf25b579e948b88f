//! The settings of a bulkhead.

use std::time::Duration;

use super::adaptive::Adaptive;
use super::machine::Params;
use crate::core::config::ConfigErrors;

/// The settings of a bulkhead: plain values, which can be reloaded while calls are in flight.
///
/// See the [table of defaults](crate::bulkhead#defaults). They are checked when a layer is built
/// from them or a running policy is [reloaded](super::BulkheadHandle::reload).
///
/// ```
/// use seawall::bulkhead::{BulkheadLayer, Config, Order};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let text = r#"{ "limit": 20, "queue": 100, "max_wait": "200ms", "order": "newest_first" }"#;
/// let config: Config = serde_json::from_str(text)?;
/// assert_eq!((config.max_wait, config.order), (Duration::from_millis(200), Order::NewestFirst));
///
/// let reports = BulkheadLayer::from_config("reports", config)?;
/// assert_eq!(reports.handle().limit(), 20);
/// assert!(serde_json::from_str::<Config>(r#"{ "limits": 20 }"#).is_err()); // there is no such setting
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// Concurrent calls: 1 to 1,000,000. With an [adaptive](Self::adaptive) limit this is not used.
    pub limit: u32,
    /// Calls that may wait for a permit. Zero: a call is rejected at once if no permit is free. At most
    /// 1,000,000.
    pub queue: u32,
    /// How long a call waits at most: longer than zero, if any may [wait](Self::queue).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_wait: Duration,
    /// Which waiting call is next: any.
    pub order: Order,
    /// A limit that follows what the dependency can do, instead of a fixed [`limit`](Self::limit).
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub adaptive: Option<Adaptive>,
}

/// Default [`Config::limit`].
pub(crate) const LIMIT: u32 = 64;
/// Default [`Config::queue`].
pub(crate) const QUEUE: u32 = 0;
/// Default [`Config::max_wait`].
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(1);

impl Default for Config {
    fn default() -> Self {
        Self {
            limit: LIMIT,
            queue: QUEUE,
            max_wait: MAX_WAIT,
            order: Order::OldestFirst,
            adaptive: None,
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

/// Which waiting call is next.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::bulkhead::{BulkheadLayer, Order};
/// use seawall::{Error, Reason};
/// use std::{convert::Infallible, time::Duration};
/// use tokio::time::sleep;
///
/// // Each report takes a second, nobody waits for one longer than 1.5 s, and two want theirs at once.
/// let reports = BulkheadLayer::builder("reports")
///     .limit(1)
///     .queue(2)
///     .max_wait(Duration::from_millis(1500))
///     .order(Order::NewestFirst)
///     .build()?;
/// let make = || async {
///     sleep(Duration::from_secs(1)).await;
///     Ok::<_, Error<Infallible>>("report")
/// };
/// let (first, second, third) = tokio::join!(reports.run(make), reports.run(make), reports.run(make));
/// assert!(first.is_ok() && third.is_ok());
/// assert!(matches!(second, Err(Error::Rejected(why)) if why.reason() == Reason::QueueTimeout));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Order {
    /// First come, first served.
    #[default]
    OldestFirst,
    /// The newest first: under lasting overload a few are served in time, instead of all too late.
    NewestFirst,
}
