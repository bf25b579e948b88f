//! Seeing a health check from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::checker::tend;
use super::config::Config;
use super::machine::Params;
use super::monitor::Monitor;
use super::watch::Watch;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::health::status::Status;

/// Sees one health check, and keeps it going. Cheap to clone.
///
/// The checks go on while a layer, a service or a handle of it is left, and end with the last.
#[derive(Clone)]
pub struct HealthHandle {
    pub(super) monitor: Arc<Monitor>,
}

impl HealthHandle {
    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.monitor.reporter.origin
    }

    /// Up or down.
    pub fn status(&self) -> Status {
        tend(&self.monitor);
        self.monitor.status()
    }

    /// The status in the reports of a registry: unknown before the first successful check, and when the
    /// last word has expired.
    pub(super) fn reported(&self) -> Status {
        self.monitor.reported()
    }

    /// Sees to it that somebody checks.
    pub(super) fn tend(&self) {
        tend(&self.monitor);
    }

    /// How long it has been so.
    pub fn since(&self) -> Duration {
        let now = self.monitor.reporter.clock.now();
        Duration::from_nanos(now.since(self.monitor.latest().at))
    }

    /// What the last check found wrong; `None` if it was good.
    pub fn last_error(&self) -> Option<Arc<str>> {
        tend(&self.monitor);
        self.monitor.last_error()
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.monitor.config()
    }

    /// Reloads the settings. They count from now on: also a pause or a check in flight ends when they
    /// say so.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        let params = Params::from_config(&config, self.monitor.checker.exists())
            .map_err(|wrong| wrong.of_policy(self.origin()))?;
        self.monitor.reload(params, config);
        tend(&self.monitor);
        Ok(())
    }

    /// Watches the status.
    pub fn watch(&self) -> Watch {
        Watch::of_check(&self.monitor)
    }
}

impl fmt::Debug for HealthHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthHandle")
            .field("origin", self.origin())
            .field("status", &self.status())
            .finish()
    }
}
