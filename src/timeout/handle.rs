//! Seeing and steering a timeout from outside.

use std::fmt;
use std::sync::Arc;

use super::config::Config;
use super::policy::Timeouts;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::shell::gate::Entrance;

/// Inspects and controls one timeout. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::timeout::{TimeoutHandle, TimeoutLayer};
/// use seawall::{ConfigErrors, Error};
/// use std::{convert::Infallible, time::Duration};
/// use tokio::time::sleep;
///
/// /// While the index is rebuilt, answers are slow and better than none.
/// fn be_patient(search: &TimeoutHandle) -> Result<(), ConfigErrors> {
///     let mut config = search.config();
///     config.limit *= 10;
///     search.reload(config)
/// }
///
/// let search = TimeoutLayer::new("search", Duration::from_millis(100));
/// let slow = || async {
///     sleep(Duration::from_millis(500)).await;
///     Ok::<_, Error<Infallible>>("found")
/// };
/// assert!(search.run(slow).await.is_err());
/// be_patient(&search.handle())?;
/// assert_eq!(search.run(slow).await?, "found");
/// assert_eq!(search.handle().in_flight(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct TimeoutHandle {
    entrance: Arc<dyn Entrance<Timeouts>>,
}

impl TimeoutHandle {
    pub(crate) fn new(entrance: Arc<dyn Entrance<Timeouts>>) -> Self {
        Self { entrance }
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.entrance.policy().reporter.origin
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.entrance.policy().config()
    }

    /// Reloads the settings. Calls in flight keep the limit they began with.
    ///
    /// # Errors
    ///
    /// None at present: every value is valid.
    #[allow(clippy::needless_pass_by_value)] // the same shape for every layer
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        self.entrance.policy().reload(&config);
        Ok(())
    }

    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.entrance.in_flight()
    }
}

impl fmt::Debug for TimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutHandle").field("config", &self.config()).finish_non_exhaustive()
    }
}
