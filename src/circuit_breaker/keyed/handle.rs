//! Seeing and steering the breakers of a keyed layer.

use std::fmt;
use std::sync::Arc;

use crate::circuit_breaker::config::Config;
use crate::circuit_breaker::engine::common::Common;
use crate::circuit_breaker::engine::shared::Shared;
use crate::circuit_breaker::handle::{CircuitBreakerHandle, classified, reload};
use crate::circuit_breaker::overrides::KeyedConfig;
use crate::circuit_breaker::policy::BreakerPolicy;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::shell::keyed::Keyed;

/// Sees and steers the breakers of a keyed layer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, KeyedCircuitBreakerHandle, Trip};
/// use seawall::{Error, State};
/// use std::borrow::Cow;
/// use std::io;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// The hosts that are not called at present.
/// fn shunned(hosts: &KeyedCircuitBreakerHandle) -> Vec<String> {
///     let is_open = |host: &str| hosts.key(host).is_some_and(|it| it.state() == State::Open);
///     hosts.keys().iter().filter(|host| is_open(host)).map(|host| host.to_string()).collect()
/// }
///
/// let layer = CircuitBreakerLayer::builder("hosts")
///     .trip(Trip::consecutive(1))
///     .keyed(|host: &&'static str| Cow::from(*host))
///     .build()?;
/// let hosts = layer.handle();
/// let get = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(
///     |host: &'static str| async move {
///         if host == "b.example" { Err(io::Error::other("no route")) } else { Ok("hello") }
///     },
/// ));
///
/// assert_eq!(get.clone().oneshot("a.example").await?, "hello");
/// assert!(get.oneshot("b.example").await.is_err());
/// assert_eq!(hosts.len(), 2);
/// assert_eq!(shunned(&hosts), ["b.example"]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct KeyedCircuitBreakerHandle {
    cells: Arc<dyn Cells>,
}

/// The table, whatever says when calls are over.
trait Cells: Send + Sync {
    fn find(&self, key: &str) -> Option<Arc<Shared>>;
    fn keys(&self) -> Vec<Arc<str>>;
    fn len(&self) -> usize;
    fn set_most(&self, most: usize);
    fn common(&self) -> &Common;
}

impl<F: Send + Sync + 'static> Cells for Keyed<BreakerPolicy<F>> {
    fn find(&self, key: &str) -> Option<Arc<Shared>> {
        Keyed::find(self, key).map(|cell| Arc::clone(&cell.policy.shared))
    }

    fn keys(&self) -> Vec<Arc<str>> {
        Keyed::keys(self)
    }

    fn len(&self) -> usize {
        Keyed::len(self)
    }

    fn set_most(&self, most: usize) {
        Keyed::set_most(self, most);
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

impl KeyedCircuitBreakerHandle {
    pub(super) fn new<F: Send + Sync + 'static>(table: Arc<Keyed<BreakerPolicy<F>>>) -> Self {
        Self { cells: table }
    }

    /// The breaker of a key, if it has one of its own. It is not evicted while the handle lives.
    pub fn key(&self, key: &str) -> Option<CircuitBreakerHandle> {
        self.cells.find(key).map(CircuitBreakerHandle::new)
    }

    /// The keys that have a breaker of their own, in no order.
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.cells.keys()
    }

    /// The number of keys that have a breaker of their own.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no key has a breaker yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.cells.common().reporter.origin
    }

    /// The settings in force of all keys, as far as they have none [of their
    /// own](crate::circuit_breaker::Overrides). Those of one key are the
    /// [`config`](CircuitBreakerHandle::config) of its breaker.
    pub fn config(&self) -> Config {
        self.cells.common().written().default.clone()
    }

    /// All settings in force: of all keys, of single ones, and how many there may be.
    pub fn keyed_config(&self) -> KeyedConfig {
        KeyedConfig::clone(&self.cells.common().written())
    }

    /// Reloads the settings of all keys at once. What single keys have [of their
    /// own](crate::circuit_breaker::Overrides) they keep, and the rest they have from the new settings. The state and
    /// the evidence of each key stay, as with a [single breaker](CircuitBreakerHandle::reload).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, alone or together with those of a single key; then
    /// the old ones stay in force.
    #[allow(clippy::needless_pass_by_value)] // the same shape for every layer
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        reload(self.cells.common(), &config)
    }

    /// Reloads everything at once: what all keys have, what single keys have instead, and how many
    /// there may be. If there are too many already, those at rest go as new ones come.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload_keyed(&self, config: KeyedConfig) -> Result<(), ConfigErrors> {
        let common = self.cells.common();
        let settings = classified(config, Some("default"));
        common.reload(settings.map_err(|wrong| wrong.of_policy(self.origin()))?);
        // Of two who turn at once the last one to write wins everything.
        self.cells.set_most(common.written().max_keys);
        Ok(())
    }
}

impl fmt::Debug for KeyedCircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerHandle").field("keys", &self.len()).finish()
    }
}
