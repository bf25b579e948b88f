//! Seeing and steering a body timeout from outside.

use std::fmt;
use std::sync::Arc;

use super::config::Config;
use super::layer::Policy;
use super::layer::Settings;
use crate::core::config::{ConfigErrors, Written};
use crate::core::origin::Origin;

/// Inspects and controls one body timeout. Cheap to clone.
///
/// ```
/// use seawall::ConfigErrors;
/// use seawall::http::body_timeout::{BodyTimeoutHandle, BodyTimeoutLayer};
/// use std::time::Duration;
///
/// /// What an operator's command does, for the bodies to come.
/// fn set_idle(files: &BodyTimeoutHandle, idle: Duration) -> Result<(), ConfigErrors> {
///     let mut config = files.config();
///     config.idle = idle;
///     files.reload(config)
/// }
///
/// let files = BodyTimeoutLayer::new("files");
/// let handle = files.handle();
/// set_idle(&handle, Duration::from_secs(30))?;
/// assert_eq!(handle.config().idle, Duration::from_secs(30));
/// assert!(set_idle(&handle, Duration::ZERO).is_err());
/// assert_eq!(handle.config().idle, Duration::from_secs(30)); // what was wrong changed nothing
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct BodyTimeoutHandle {
    policy: Arc<Policy>,
}

impl BodyTimeoutHandle {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.policy.reporter.origin
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.policy.config.get().written
    }

    /// Reloads the settings. Bodies that are in flight keep the limits they began with.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; the old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        let in_force = config.in_force(&Written::default());
        let in_force = in_force.map_err(|wrong| wrong.of_policy(self.origin()))?;
        self.policy.config.set(Settings { written: config, in_force });
        Ok(())
    }
}

impl fmt::Debug for BodyTimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyTimeoutHandle").field("config", &self.config()).finish_non_exhaustive()
    }
}
