//! Seeing and steering the bulkheads of a keyed layer.

use std::fmt;
use std::sync::Arc;

use super::part::{KeyedPart, reload, reload_all};
use crate::bulkhead::config::Config;
use crate::bulkhead::handle::BulkheadHandle;
use crate::bulkhead::overrides::KeyedConfig;
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::shell::keyed::Keyed;

/// Sees and steers the bulkheads of a keyed layer. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::bulkhead::{BulkheadLayer, KeyedBulkheadHandle};
/// use std::borrow::Cow;
/// use std::{convert::Infallible, future::pending};
///
/// /// The tenants that take all they may.
/// fn busy(tenants: &KeyedBulkheadHandle) -> Vec<String> {
///     let is_full = |part: &str| tenants.key(part).is_some_and(|it| it.available() == 0);
///     let busy = tenants.keys().into_iter().filter(|part| is_full(part));
///     busy.map(|part| part.to_string()).collect()
/// }
///
/// let layer = BulkheadLayer::builder("tenants")
///     .limit(1)
///     .keyed(|part: &String| Cow::from(part))
///     .build()?;
/// let tenants = layer.handle();
/// let under_way = layer.run("acme", pending::<Result<(), Error<Infallible>>>);
/// assert_eq!(layer.run("initech", || async { Ok::<_, Error<Infallible>>(7) }).await, Ok(7));
/// assert_eq!((tenants.len(), busy(&tenants)), (2, vec!["acme".to_owned()]));
/// # drop(under_way);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct KeyedBulkheadHandle {
    cells: Arc<Keyed<KeyedPart>>,
}

impl KeyedBulkheadHandle {
    pub(super) const fn new(cells: Arc<Keyed<KeyedPart>>) -> Self {
        Self { cells }
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.cells.common.reporter.origin
    }

    /// The bulkhead of a key, if it has one of its own. It is not evicted while the handle lives.
    pub fn key(&self, key: &str) -> Option<BulkheadHandle> {
        let cell = self.cells.find(key)?;
        let limiter = Arc::clone(cell.policy.bulkhead());
        Some(BulkheadHandle::of_key(limiter, Arc::clone(&self.cells)))
    }

    /// The keys that have a bulkhead of their own, in no order.
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.cells.keys()
    }

    /// The number of keys that have a bulkhead of their own.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no key has a bulkhead yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The settings in force, for all keys that have none [of its own](crate::bulkhead::Overrides).
    pub fn config(&self) -> Config {
        self.keyed_config().default
    }

    /// The settings in force, of all keys and of single ones.
    pub fn keyed_config(&self) -> KeyedConfig {
        self.cells.common.written()
    }

    /// Reloads the settings of all keys at once; what single keys have of their own they keep. Who is
    /// inside and who waits is treated as by [`BulkheadHandle::reload`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, also together with those of single keys; then the
    /// old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        reload_all(&self.cells, config)
    }

    /// Reloads all settings: of all keys, of single ones, and how many there may be. If there are more
    /// keys now than there may be, those that rest go as new ones come.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload_keyed(&self, config: KeyedConfig) -> Result<(), ConfigErrors> {
        reload(&self.cells, move |_| (config.clone(), Some("default")))
    }
}

impl fmt::Debug for KeyedBulkheadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBulkheadHandle")
            .field("origin", self.origin())
            .field("keys", &self.len())
            .finish()
    }
}
