//! Seeing and steering a hedge from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::terms::Terms;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::shell::budget::Budget;

/// Inspects and controls one hedge. Cheap to clone.
///
/// ```
/// use seawall::hedge::{Config, HedgeHandle, HedgeLayer};
/// use std::time::Duration;
///
/// /// What an operator's command does.
/// fn hedge_after(search: &HedgeHandle, delay: Duration) -> Result<(), seawall::ConfigErrors> {
///     search.reload(Config { delay: Some(delay), ..search.config() })
/// }
///
/// let search = HedgeLayer::builder("search").cloned().build()?;
/// assert_eq!(search.handle().delay(), None); // until enough answers were seen
/// hedge_after(&search.handle(), Duration::from_millis(40))?;
/// assert_eq!(search.handle().delay(), Some(Duration::from_millis(40)));
/// assert!(hedge_after(&search.handle(), Duration::ZERO).is_err());
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct HedgeHandle {
    terms: Arc<dyn AsRef<Terms> + Send + Sync>,
}

impl HedgeHandle {
    pub(super) fn new(terms: Arc<dyn AsRef<Terms> + Send + Sync>) -> Self {
        Self { terms }
    }

    fn terms(&self) -> &Terms {
        (*self.terms).as_ref()
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.terms().reporter.origin
    }

    /// After which time the next attempt begins; `None` while too few answers were seen.
    pub fn delay(&self) -> Option<Duration> {
        self.terms().delay()
    }

    /// The budget that pays for attempts, if there is one.
    pub fn budget(&self) -> Option<&Budget> {
        self.terms().budget.as_ref()
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.terms().config()
    }

    /// Reloads the settings. Calls in flight go by the new ones at their next attempt.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        self.terms().reload(config)
    }
}

impl fmt::Debug for HedgeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeHandle")
            .field("origin", self.origin())
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}
