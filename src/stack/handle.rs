//! Seeing and steering a whole stack from outside.

use std::fmt;
use std::sync::Arc;

use super::config::ClientConfig;
use crate::bulkhead::BulkheadHandle;
use crate::circuit_breaker::CircuitBreakerHandle;
use crate::config::{ConfigErrors, Written};
use crate::retry::{Budget, RetryHandle};
use crate::shell::live::Live;
use crate::source::Source;
use crate::timeout::{self, TimeoutHandle};

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
    pub(super) source: Source,
    pub(super) written: Arc<Live<ClientConfig>>,
    pub(super) whole: TimeoutHandle,
    pub(super) retry: RetryHandle,
    pub(super) budget: Budget,
    pub(super) breaker: CircuitBreakerHandle,
    pub(super) bulkhead: BulkheadHandle,
    pub(super) attempt: TimeoutHandle,
}

impl ClientHandle {
    /// What the stack is called in errors about its settings: `client` and its name.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The settings in force, as they were written. What was turned in one [layer](Self::breaker) alone
    /// is seen here too.
    pub fn config(&self) -> ClientConfig {
        let written = self.written.get();
        let retry = self.retry.config();
        // What is in force differs where one setting follows another; else it was turned by itself.
        let follows = written.in_force(&Written::default()).is_ok_and(|force| force.retry == retry);
        ClientConfig {
            deadline: written.deadline,
            attempt_timeout: written.attempt_timeout,
            retry: if follows { written.retry.clone() } else { retry },
            budget: (!self.budget.is_endless()).then(|| self.budget.config()),
            breaker: self.breaker.config(),
            bulkhead: self.bulkhead.config(),
        }
    }

    /// Reloads all settings together, those of both timeouts and of the [budget](Self::budget) too
    /// (for all who share it). No call under way fails for it: each goes on under the limits it began
    /// with, and an open circuit stays open.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones all stay in force.
    pub fn reload(&self, config: ClientConfig) -> Result<(), ConfigErrors> {
        let judged = config.in_force(&Written::default());
        judged.map_err(|wrong| wrong.of_policy(&self.source))?;
        self.written.set(config);
        // Of two who turn at once the last one to write wins everything: whoever finds, when done,
        // that somebody wrote in the meantime puts that into force.
        loop {
            let latest = self.written.get();
            self.put_in_force(&latest)?;
            if Arc::ptr_eq(&latest, &self.written.get()) {
                return Ok(());
            }
        }
    }

    fn put_in_force(&self, config: &ClientConfig) -> Result<(), ConfigErrors> {
        let force = config.in_force(&Written::default())?;
        self.budget.set_endless(force.budget.is_none());
        if let Some(budget) = force.budget {
            self.budget.reload(budget)?;
        }
        let limit = |limit, timeout: &TimeoutHandle| timeout::Config { limit, ..timeout.config() };
        self.whole.reload(limit(force.deadline, &self.whole))?;
        self.attempt.reload(limit(force.attempt_timeout, &self.attempt))?;
        self.retry.reload(force.retry)?;
        self.breaker.reload(force.breaker)?;
        self.bulkhead.reload(force.bulkhead)
    }

    /// Sees and steers the retry.
    pub fn retry(&self) -> &RetryHandle {
        &self.retry
    }

    /// The budget that retries draw on; `None` if they draw on none.
    pub fn budget(&self) -> Option<&Budget> {
        self.retry.budget()
    }

    /// Sees and steers the circuit breaker.
    pub fn breaker(&self) -> &CircuitBreakerHandle {
        &self.breaker
    }

    /// Sees and steers the bulkhead.
    pub fn bulkhead(&self) -> &BulkheadHandle {
        &self.bulkhead
    }

    /// The calls that are under way.
    pub fn in_flight(&self) -> usize {
        self.whole.in_flight()
    }
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandle")
            .field("source", &self.source)
            .field("config", &self.config())
            .finish_non_exhaustive()
    }
}
