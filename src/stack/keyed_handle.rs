//! Seeing and steering a stack with a circuit breaker and a bulkhead for each key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::frame::{self, FrameHandle};
use super::keyed_config::{KeyOverrides, KeyedClientConfig, Spelling};
use crate::bulkhead::KeyedBulkheadHandle;
use crate::circuit_breaker::KeyedCircuitBreakerHandle;
use crate::core::config::{ConfigErrors, Written};
use crate::core::origin::Origin;
use crate::retry::{Budget, RetryHandle};
use crate::shell::live::Live;

/// Sees and steers a stack with a circuit breaker and a bulkhead for each key. Cheap to clone.
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
#[derive(Clone)]
pub struct KeyedClientHandle {
    pub(super) frame: FrameHandle,
    pub(super) written: Arc<Live<KeyedClientConfig>>,
    pub(super) spelling: Spelling,
    pub(super) breakers: KeyedCircuitBreakerHandle,
    pub(super) bulkheads: KeyedBulkheadHandle,
}

impl KeyedClientHandle {
    /// What the stack is called in errors about its settings: `client` and its name.
    pub fn origin(&self) -> &Origin {
        &self.frame.origin
    }

    /// The settings in force, as they were written. What was turned in one [layer](Self::breakers) alone
    /// is seen here too.
    pub fn config(&self) -> KeyedClientConfig {
        let (breakers, bulkheads) = (self.breakers.keyed_config(), self.bulkheads.keyed_config());
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
        let classified = config.in_force(&Written::default(), self.spelling, Some("default"));
        classified.map_err(|wrong| wrong.of_policy(self.origin()))?;
        frame::turn(&self.written, config, |config| {
            let force = config.default.in_force(&Written::default())?;
            self.frame.put_in_force(&force)?;
            self.breakers.reload_keyed(config.breakers())?;
            self.bulkheads.reload_keyed(config.bulkheads())
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

    /// Sees and steers the circuit breakers, each by its key.
    pub fn breakers(&self) -> &KeyedCircuitBreakerHandle {
        &self.breakers
    }

    /// Sees and steers the bulkheads, each by its key.
    pub fn bulkheads(&self) -> &KeyedBulkheadHandle {
        &self.bulkheads
    }

    /// The calls that are in flight, of all keys.
    pub fn in_flight(&self) -> usize {
        self.frame.whole.in_flight()
    }
}

impl fmt::Debug for KeyedClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedClientHandle")
            .field("origin", self.origin())
            .field("keys", &self.breakers.len())
            .finish_non_exhaustive()
    }
}
