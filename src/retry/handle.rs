//! Seeing and steering a retry from outside.

use std::fmt;
use std::sync::Arc;

use super::config::Config;
use super::machine::Params;
use super::policy::Retries;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::shell::budget::Budget;
use crate::shell::in_flight::InFlight;
use crate::shell::retry::Core;

/// Inspects and controls one retry. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::retry::{RetryHandle, RetryLayer};
/// use seawall::{ConfigErrors, Error};
/// use std::io;
///
/// /// In an emergency: nothing is tried twice.
/// fn stop_retrying(search: &RetryHandle) -> Result<(), ConfigErrors> {
///     let mut config = search.config();
///     config.attempts = 1;
///     search.reload(config)
/// }
///
/// let search = RetryLayer::new("search");
/// let handle = search.handle();
/// let full = handle.budget().map(|budget| budget.balance());
///
/// stop_retrying(&handle)?;
/// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
/// assert!(search.run(down).await.is_err());
/// assert_eq!(handle.budget().map(|budget| budget.balance()), full); // no retry was paid for
/// assert_eq!(handle.in_flight(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct RetryHandle {
    retry: Arc<dyn Steered>,
}

/// A retry, whatever the type of its classifier.
trait Steered: Send + Sync {
    fn origin(&self) -> &Origin;
    fn config(&self) -> Config;
    fn check_bounds(&self, config: &Config) -> Result<(), ConfigErrors>;
    fn reload(&self, params: Params, config: Config);
    fn budget(&self) -> Option<&Budget>;
    fn in_flight(&self) -> usize;
}

impl<W, A, C> Steered for InFlight<Core<Retries, W, A, C>>
where
    W: Send + Sync,
    A: Send + Sync,
    C: Send + Sync,
{
    fn origin(&self) -> &Origin {
        &self.retry.reporter.origin
    }

    fn config(&self) -> Config {
        self.retry.config()
    }

    fn check_bounds(&self, config: &Config) -> Result<(), ConfigErrors> {
        self.retry.check_bounds(config)
    }

    fn reload(&self, params: Params, config: Config) {
        self.retry.reload(params, config);
    }

    fn budget(&self) -> Option<&Budget> {
        self.retry.budget.as_ref().filter(|budget| !budget.is_endless())
    }

    fn in_flight(&self) -> usize {
        InFlight::in_flight(self)
    }
}

impl RetryHandle {
    pub(crate) fn new<W, A, C>(gate: Arc<InFlight<Core<Retries, W, A, C>>>) -> Self
    where
        W: Send + Sync + 'static,
        A: Send + Sync + 'static,
        C: Send + Sync + 'static,
    {
        Self { retry: gate }
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        self.retry.origin()
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.retry.config()
    }

    /// Reloads the settings. Calls in flight follow them from their next failure on.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        let params =
            Params::from_config(&config).map_err(|wrong| wrong.of_policy(self.origin()))?;
        self.retry.check_bounds(&config)?;
        self.retry.reload(params, config);
        Ok(())
    }

    /// The budget this retry draws on, if it has one.
    pub fn budget(&self) -> Option<&Budget> {
        self.retry.budget()
    }

    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.retry.in_flight()
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryHandle")
            .field("origin", self.origin())
            .field("budget", &self.budget())
            .finish_non_exhaustive()
    }
}
