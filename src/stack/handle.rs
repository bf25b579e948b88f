//! Seeing and steering a whole stack from outside.

use std::fmt;
use std::sync::Arc;

use super::config::ClientConfig;
use super::frame::{self, FrameHandle};
use crate::bulkhead::BulkheadHandle;
use crate::circuit_breaker::CircuitBreakerHandle;
use crate::core::config::{ConfigErrors, Written};
use crate::core::origin::Origin;
use crate::retry::{Budget, RetryHandle};
use crate::shell::live::Live;

/// Sees and steers the whole stack around a client. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::stack::{self, ClientConfig, ClientHandle};
/// use std::time::Duration;
///
/// /// Called when the file has changed: all of it counts from now on, or none of it.
/// fn reload(payments: &ClientHandle, file: &str) -> Result<(), Box<dyn std::error::Error>> {
///     payments.reload(serde_json::from_str(file)?)?;
///     Ok(())
/// }
///
/// let client = stack::client("payments").cloned().build()?;
/// let payments = client.handle();
/// reload(&payments, r#"{ "deadline": "2s", "bulkhead": { "limit": 200 } }"#)?;
/// assert_eq!(payments.config().deadline, Duration::from_secs(2));
///
/// let wrong = reload(&payments, r#"{ "deadline": "9s", "retry": { "attempts": 0 } }"#);
/// assert_eq!(
///     wrong.unwrap_err().to_string(),
///     "invalid configuration of client `payments`: retry.attempts = 0: 1 to 1000, or unlimited",
/// );
/// assert_eq!(payments.config().deadline, Duration::from_secs(2)); // still
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct ClientHandle {
    pub(super) frame: FrameHandle,
    pub(super) written: Arc<Live<ClientConfig>>,
    pub(super) breaker: CircuitBreakerHandle,
    pub(super) bulkhead: BulkheadHandle,
}

impl ClientHandle {
    /// What the stack is called in errors about its settings: `client` and its name.
    pub fn origin(&self) -> &Origin {
        &self.frame.origin
    }

    /// The settings in force, as they were written. What was turned in one [layer](Self::breaker) alone
    /// is seen here too.
    pub fn config(&self) -> ClientConfig {
        let (breaker, bulkhead) = (self.breaker.config(), self.bulkhead.config());
        self.frame.config(&self.written.get(), breaker, bulkhead)
    }

    /// Reloads all settings together, those of both timeouts and of the [budget](Self::budget) too
    /// (for all who share it). No call in flight fails for it: each goes on under the limits it began
    /// with, and an open circuit stays open.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones all stay in force.
    pub fn reload(&self, config: ClientConfig) -> Result<(), ConfigErrors> {
        let classified = config.in_force(&Written::default());
        classified.map_err(|wrong| wrong.of_policy(self.origin()))?;
        frame::turn(&self.written, config, |config| {
            let force = config.in_force(&Written::default())?;
            self.frame.put_in_force(&force)?;
            self.breaker.reload(force.breaker)?;
            self.bulkhead.reload(force.bulkhead)
        })
    }

    /// Sees and steers the retry.
    pub fn retry(&self) -> &RetryHandle {
        &self.frame.retry
    }

    /// The budget that retries draw on; `None` if they draw on none.
    pub fn budget(&self) -> Option<&Budget> {
        self.frame.retry.budget()
    }

    /// Sees and steers the circuit breaker.
    pub fn breaker(&self) -> &CircuitBreakerHandle {
        &self.breaker
    }

    /// Sees and steers the bulkhead.
    pub fn bulkhead(&self) -> &BulkheadHandle {
        &self.bulkhead
    }

    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.frame.whole.in_flight()
    }
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandle")
            .field("origin", self.origin())
            .field("config", &self.config())
            .finish_non_exhaustive()
    }
}
