//! Seeing and steering a fallback from outside.

use std::fmt;
use std::sync::Arc;

use super::config::Config;
use super::service::Shared;
use super::terms::Terms;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;

/// Inspects and controls one fallback. Cheap to clone.
///
/// ```
/// use seawall::fallback::{Config, FallbackHandle, FallbackLayer};
///
/// /// During a rehearsal everybody is to see the failures.
/// fn rehearse(fallback: &FallbackHandle) -> Result<(), seawall::ConfigErrors> {
///     fallback.reload(Config { enabled: false, ..fallback.config() })
/// }
///
/// let prices = FallbackLayer::builder("prices").value(0_u32).build()?;
/// rehearse(&prices.handle())?;
/// assert!(!prices.handle().config().enabled);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct FallbackHandle {
    shared: Arc<dyn HasTerms>,
}

/// What a handle needs, whatever is answered.
trait HasTerms: Send + Sync {
    fn terms(&self) -> &Terms;
}

impl<A: Send + Sync, C: Send + Sync> HasTerms for Shared<A, C> {
    fn terms(&self) -> &Terms {
        &self.terms
    }
}

impl FallbackHandle {
    pub(super) fn new<A, C>(shared: Arc<Shared<A, C>>) -> Self
    where
        A: Send + Sync + 'static,
        C: Send + Sync + 'static,
    {
        Self { shared }
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.shared.terms().reporter.origin
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.shared.terms().config()
    }

    /// Reloads the settings. Calls in flight go by the new ones when they fail; what was kept stays
    /// kept, as far as there is room.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        config.validate().map_err(|wrong| wrong.of_policy(self.origin()))?;
        self.shared.terms().reload(config);
        Ok(())
    }
}

impl fmt::Debug for FallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackHandle").field("origin", self.origin()).finish_non_exhaustive()
    }
}
