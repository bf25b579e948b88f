//! Seeing and steering a bulkhead from outside.

use std::fmt;
use std::sync::Arc;

use super::config::Config;
use super::limiter::Limiter;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::shell::gate::Entrance;

/// Inspects and controls one bulkhead. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::bulkhead::{BulkheadHandle, BulkheadLayer};
/// use seawall::{ConfigErrors, Error};
/// use std::convert::Infallible;
/// use std::future::pending;
///
/// /// What an operator's command does.
/// fn set_limit(reports: &BulkheadHandle, limit: u32) -> Result<(), ConfigErrors> {
///     let mut config = reports.config();
///     config.limit = limit;
///     reports.reload(config)
/// }
///
/// let reports = BulkheadLayer::builder("reports").limit(1).queue(10).build()?;
/// let handle = reports.handle();
/// let _first = reports.run(|| pending::<Result<(), Error<Infallible>>>());
/// let _second = reports.run(|| pending::<Result<(), Error<Infallible>>>());
/// assert_eq!((handle.in_flight(), handle.available(), handle.queued()), (1, 0, 1));
///
/// set_limit(&handle, 8)?;
/// assert_eq!((handle.in_flight(), handle.available(), handle.queued()), (2, 6, 0));
/// assert!(set_limit(&handle, 0).is_err());
/// assert_eq!(handle.limit(), 8); // what was wrong changed nothing
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct BulkheadHandle {
    entrance: Arc<dyn Entrance<Limiter>>,
}

impl BulkheadHandle {
    pub(crate) fn new(entrance: Arc<dyn Entrance<Limiter>>) -> Self {
        Self { entrance }
    }

    fn limiter(&self) -> &Limiter {
        self.entrance.policy()
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.limiter().common.reporter.origin
    }

    /// Places there are: as many as were [set](Config::limit), or as an [adaptive](Config::adaptive) limit is now.
    pub fn limit(&self) -> u32 {
        self.limiter().limit()
    }

    /// Places that are taken: of each call that has come in as many as it [costs](super::Builder::cost). While threads
    /// come and go, some that were just left may be among them.
    pub fn in_flight(&self) -> u32 {
        self.limiter().occupancy().inside
    }

    /// Places that are free. None while more calls are in flight than a new limit allows.
    pub fn available(&self) -> u32 {
        self.limit().saturating_sub(self.in_flight())
    }

    /// Calls that wait for a permit.
    pub fn queued(&self) -> u32 {
        self.limiter().occupancy().waiting
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.limiter().config()
    }

    /// Reloads the settings. Calls in flight keep their permits, though the limit is lower now; if it is
    /// higher, those who wait come in. Those who wait keep the patience they came with.
    ///
    /// Of a key of a [keyed](super::Builder::keyed) bulkhead this reloads the settings of that key alone:
    /// from now on it has all of them [of its own](super::Overrides), also when it comes back after it was
    /// forgotten. Those of all keys are reloaded by the handle of them all.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    #[allow(clippy::needless_pass_by_value)] // the same shape for every layer
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        self.limiter().reload(&config)
    }
}

impl fmt::Debug for BulkheadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadHandle")
            .field("origin", self.origin())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .finish()
    }
}
