//! Seeing and steering a whole stack from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::config::ClientConfig;
use super::keyed_config::{KeyOverrides, KeyedClientConfig, Spelling};
use crate::bulkhead::{self, BulkheadHandle, KeyedBulkheadHandle};
use crate::circuit_breaker::{self, CircuitBreakerHandle, KeyedCircuitBreakerHandle};
use crate::core::config::{ConfigErrors, Written};
use crate::core::origin::Origin;
use crate::retry::{Budget, RetryHandle};
use crate::shell::live::Live;
use crate::timeout::{self, TimeoutHandle};

/// Inspects and controls the whole stack around a client, with the settings `D` and the handles `B` and `L` of its
/// breaker and its bulkhead: a [`ClientHandle`] or a [`KeyedClientHandle`]. Cheap to clone.
///
/// ```
/// use seawall::{http, stack::StackHandle};
///
/// /// What a stack is doing, whether it has one circuit breaker or many.
/// fn line<D, B, L>(stack: &StackHandle<D, B, L>) -> String {
///     format!("{}: {} calls in flight", stack.origin().name(), stack.in_flight())
/// }
///
/// let (api, web) = (http::client("api").build()?, http::client("web").per_host().build()?);
/// assert_eq!(line(&api.handle()), "api: 0 calls in flight");
/// assert_eq!(line(&web.handle()), "web: 0 calls in flight");
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct StackHandle<D, B, L> {
    pub(super) frame: FrameHandle,
    pub(super) attempt: TimeoutHandle,
    pub(super) written: Arc<Live<D>>,
    pub(super) spelling: Spelling,
    pub(super) breaker: B,
    pub(super) bulkhead: L,
}

/// Inspects and controls the whole stack around a client. Cheap to clone.
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
pub type ClientHandle = StackHandle<ClientConfig, CircuitBreakerHandle, BulkheadHandle>;

/// Inspects and controls a stack with a circuit breaker and a bulkhead for each key. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::{Error, http};
/// use seawall::stack::KeyedClientHandle;
///
/// /// Keeps all calls away from one host, whatever else is called; `false` if nobody called it yet.
/// fn shun(web: &KeyedClientHandle, host: &str) -> bool {
///     web.breakers().key(host).map(|breaker| breaker.force_open()).is_some()
/// }
///
/// let web = http::client("web").per_host().build()?;
/// let get = || async { Ok::<_, Error<std::io::Error>>(::http::Response::new("hello")) };
/// web.run("a.example:443", get).await?;
/// assert!(shun(&web.handle(), "a.example:443") && !shun(&web.handle(), "b.example:443"));
/// assert!(web.run("a.example:443", get).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub type KeyedClientHandle =
    StackHandle<KeyedClientConfig, KeyedCircuitBreakerHandle, KeyedBulkheadHandle>;

impl<D, B, L> StackHandle<D, B, L> {
    /// What the stack is called in errors about its settings: `client` and its name.
    pub fn origin(&self) -> &Origin {
        &self.frame.origin
    }

    /// Inspects and controls the retry.
    pub fn retry(&self) -> &RetryHandle {
        &self.frame.retry
    }

    /// The budget that retries draw on; `None` if they draw on none.
    pub fn budget(&self) -> Option<&Budget> {
        self.frame.retry.budget()
    }

    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.frame.whole.in_flight()
    }

    /// Writes `config` down and puts it into force. Of two who reload at once the last one to write wins
    /// everything: whoever finds, when done, that somebody wrote in the meantime puts that into force.
    fn write(
        &self,
        config: D,
        in_force: impl Fn(&D) -> Result<ClientConfig, ConfigErrors>,
        put_in_force: impl Fn(&D) -> Result<(), ConfigErrors>,
    ) -> Result<(), ConfigErrors> {
        in_force(&config).map_err(|wrong| wrong.of_policy(self.origin()))?;
        self.written.set(config);
        loop {
            let latest = self.written.get();
            let force = in_force(&latest)?;
            self.frame.put_in_force(&force)?;
            let limit = force.attempt_timeout;
            self.attempt.reload(timeout::Config { limit, ..self.attempt.config() })?;
            put_in_force(&latest)?;
            if Arc::ptr_eq(&latest, &self.written.get()) {
                return Ok(());
            }
        }
    }
}

impl ClientHandle {
    /// The settings in force, as they were written. What was reloaded in one [layer](Self::breaker) alone
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
        let in_force = |config: &ClientConfig| config.in_force(&Written::default());
        self.write(config, in_force, |config| {
            self.breaker.reload(config.breaker.clone())?;
            self.bulkhead.reload(config.bulkhead.clone())
        })
    }

    /// Inspects and controls the circuit breaker.
    pub fn breaker(&self) -> &CircuitBreakerHandle {
        &self.breaker
    }

    /// Inspects and controls the bulkhead.
    pub fn bulkhead(&self) -> &BulkheadHandle {
        &self.bulkhead
    }
}

impl KeyedClientHandle {
    /// The settings in force, as they were written. What was reloaded in one [layer](Self::breakers) alone
    /// is seen here too.
    pub fn config(&self) -> KeyedClientConfig {
        let (breakers, bulkheads) = (self.breaker.keyed_config(), self.bulkhead.keyed_config());
        let mut overrides = BTreeMap::<String, KeyOverrides>::new();
        for (key, own) in breakers.overrides {
            overrides.entry(key).or_default().breaker = own;
        }
        for (key, own) in bulkheads.overrides {
            overrides.entry(key).or_default().bulkhead = own;
        }
        let default = &self.written.get().default;
        KeyedClientConfig {
            default: self.frame.config(default, breakers.default, bulkheads.default),
            max_keys: breakers.max_keys,
            overrides,
        }
    }

    /// Reloads all settings together, those of single keys too. No call in flight fails for it: each
    /// goes on under the limits it began with, and an open circuit stays open.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones all stay in force.
    pub fn reload(&self, config: KeyedClientConfig) -> Result<(), ConfigErrors> {
        let in_force = |config: &KeyedClientConfig| {
            config.in_force(&Written::default(), self.spelling, Some("default"))
        };
        self.write(config, in_force, |config| {
            self.breaker.reload_keyed(config.breakers())?;
            self.bulkhead.reload_keyed(config.bulkheads())
        })
    }

    /// Inspects and controls the circuit breakers, each by its key.
    pub fn breakers(&self) -> &KeyedCircuitBreakerHandle {
        &self.breaker
    }

    /// Inspects and controls the bulkheads, each by its key.
    pub fn bulkheads(&self) -> &KeyedBulkheadHandle {
        &self.bulkhead
    }
}

impl<D: fmt::Debug, B, L> fmt::Debug for StackHandle<D, B, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackHandle")
            .field("origin", self.origin())
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

// ===== impl FrameHandle =====

/// Inspects and controls what is one for all calls.
#[derive(Clone)]
pub(super) struct FrameHandle {
    pub(super) origin: Origin,
    pub(super) whole: TimeoutHandle,
    pub(super) retry: RetryHandle,
    pub(super) budget: Budget,
}

impl FrameHandle {
    /// The settings of these layers as they were written, and those of the others.
    pub(super) fn config(
        &self,
        written: &ClientConfig,
        breaker: circuit_breaker::Config,
        bulkhead: bulkhead::Config,
    ) -> ClientConfig {
        let retry = self.retry.config();
        // What is in force differs where one setting follows another; else it was turned by itself.
        let follows = written.in_force(&Written::default()).is_ok_and(|force| force.retry == retry);
        ClientConfig {
            deadline: written.deadline,
            attempt_timeout: written.attempt_timeout,
            retry: if follows { written.retry.clone() } else { retry },
            budget: (!self.budget.is_endless()).then(|| self.budget.config()),
            breaker,
            bulkhead,
        }
    }

    /// These settings, as they take effect, count from now on.
    pub(super) fn put_in_force(&self, force: &ClientConfig) -> Result<(), ConfigErrors> {
        self.budget.set_endless(force.budget.is_none());
        if let Some(budget) = force.budget {
            self.budget.reload(budget)?;
        }
        let limit = force.deadline;
        self.whole.reload(timeout::Config { limit, ..self.whole.config() })?;
        self.retry.reload(force.retry.clone())
    }
}
