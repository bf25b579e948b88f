//! The settings of the stack of a server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::bulkhead::{self, BulkheadHandle};
use crate::core::config::{ConfigError, ConfigErrors, Side, Written, agree_strictly};
use crate::core::origin::Origin;
use crate::shell::live::Live;
use crate::timeout::{self, TimeoutHandle};

/// The settings of the whole [stack of a server](crate::http::server): plain values, for instance from a file,
/// which can be [reloaded](crate::http::ServerHandle::reload) together while requests are in flight.
///
/// ```
/// use seawall::http::{self, ServerConfig};
/// use std::time::Duration;
///
/// // With the feature `serde`; what the file does not name has its default.
/// let config: ServerConfig = serde_json::from_str(
///     r#"{ "deadline": "5s", "bulkhead": { "limit": 200, "queue": 50, "max_wait": "100ms" } }"#,
/// )?;
/// assert!(serde_json::from_str::<ServerConfig>(r#"{ "limits": 200 }"#).is_err()); // no such setting
///
/// // In code, with what is to be different.
/// let config = ServerConfig { deadline: Duration::from_secs(1), ..config };
/// config.validate()?;
/// let server = http::server("orders").config(config).build()?;
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ServerConfig {
    /// How long a request may take until its answer begins, the wait for its turn included;
    /// `Duration::MAX` is no limit. Left at its default it grows to the wait in the queue.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub deadline: Duration,
    /// Of the bulkhead. A [`max_wait`](bulkhead::Config::max_wait) must be shorter than the deadline, where
    /// there is a queue; left at its default it is cut to that.
    pub bulkhead: bulkhead::Config,
}

/// Default of [`ServerConfig::deadline`].
pub(crate) const SERVER_DEADLINE: Duration = Duration::from_secs(10);

impl Default for ServerConfig {
    fn default() -> Self {
        Self { deadline: SERVER_DEADLINE, bulkhead: bulkhead::Config::default() }
    }
}

impl ServerConfig {
    /// Checks these settings, as building a stack from them does; those of the bulkhead
    /// [by their path](ConfigError::path), such as `bulkhead.limit`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        self.in_force(&Written::default()).map(|_| ())
    }

    /// The same settings as they take effect, or what is wrong with them.
    pub(super) fn in_force(&self, written: &Written) -> Result<Self, ConfigErrors> {
        let mut force = self.clone();
        let mut problems = Vec::new();
        let bulkhead::Config { queue, max_wait, .. } = self.bulkhead;
        if queue > 0 {
            let wait = Side::new(max_wait, bulkhead::MAX_WAIT).or_written(written.has("max_wait"));
            let whole =
                Side::new(self.deadline, SERVER_DEADLINE).or_written(written.has("deadline"));
            match agree_strictly(wait, whole) {
                Some(agreed) => (force.bulkhead.max_wait, force.deadline) = agreed,
                None => {
                    let accepted = format!("less than deadline = {:?}", self.deadline);
                    let wrong = vec![ConfigError::new("max_wait", max_wait, accepted)];
                    problems = ConfigErrors::of(wrong).within("bulkhead").into_problems();
                }
            }
        }
        let wrong = self.bulkhead.validate().err().into_iter();
        problems.extend(wrong.flat_map(|wrong| wrong.within("bulkhead").into_problems()));
        ConfigErrors::none_of(problems)?;
        Ok(force)
    }
}

// ===== impl ServerHandle =====

/// Inspects and controls the whole [stack of a server](crate::http::server). Cheap to clone.
///
/// ```
/// use seawall::http::{self, ServerConfig, ServerHandle};
/// use std::time::Duration;
///
/// /// In an emergency: less at a time, and no line.
/// fn shrink(orders: &ServerHandle) -> Result<(), seawall::ConfigErrors> {
///     let mut config = orders.config();
///     (config.bulkhead.limit, config.bulkhead.queue) = (20, 0);
///     orders.reload(config)
/// }
///
/// let server = http::server("orders").limit(200).queue(50, Duration::from_millis(100)).build()?;
/// shrink(&server.handle())?;
/// assert_eq!(server.bulkhead().limit(), 20);
///
/// let none = ServerConfig { bulkhead: seawall::bulkhead::Config { limit: 0, ..Default::default() }, ..Default::default() };
/// assert!(server.handle().reload(none).is_err());
/// assert_eq!(server.bulkhead().limit(), 20); // still
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct ServerHandle {
    pub(super) origin: Origin,
    pub(super) written: Arc<Live<ServerConfig>>,
    pub(super) timeout: TimeoutHandle,
    pub(super) places: BulkheadHandle,
}

impl ServerHandle {
    /// What the stack is called in errors about its settings: `server` and its name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The settings in force, as they were written. What was turned in the [bulkhead](Self::bulkhead)
    /// alone is seen here too.
    pub fn config(&self) -> ServerConfig {
        let written = self.written.get();
        let places = self.places.config();
        // What is in force differs where one setting follows another; else it was turned by itself.
        let force = written.in_force(&Written::default());
        if force.is_ok_and(|force| force.bulkhead == places) {
            return (*written).clone();
        }
        ServerConfig { deadline: written.deadline, bulkhead: places }
    }

    /// Reloads all settings together. No request in flight fails for it: each goes on under the deadline
    /// it began with.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones all stay in force.
    pub fn reload(&self, config: ServerConfig) -> Result<(), ConfigErrors> {
        let classified = config.in_force(&Written::default());
        classified.map_err(|wrong| wrong.of_policy(&self.origin))?;
        self.written.set(config);
        // Of two who turn at once the last one to write wins everything.
        loop {
            let latest = self.written.get();
            let force = latest.in_force(&Written::default())?;
            let limit = force.deadline;
            self.timeout.reload(timeout::Config { limit, ..self.timeout.config() })?;
            self.places.reload(force.bulkhead)?;
            if Arc::ptr_eq(&latest, &self.written.get()) {
                return Ok(());
            }
        }
    }

    /// Inspects and controls the bulkhead.
    pub fn bulkhead(&self) -> &BulkheadHandle {
        &self.places
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("origin", &self.origin)
            .field("config", &self.config())
            .finish_non_exhaustive()
    }
}
