//! Seeing and steering a policy for each key.

use std::fmt;
use std::sync::Arc;

use super::Keyed;
use super::settings::{Changed, Settings};
use super::watch::Watched;
use crate::core::config::{ConfigErrors, KeyedConfig, PerKey};
use crate::core::origin::Origin;
use crate::shell::member::Member;

/// A member whose settings may differ from key to key, and that can be seen and steered.
pub(crate) trait Steered: Member + Sized {
    /// Its settings.
    type Config: PerKey;
    /// What somebody outside holds of one key.
    type Handle;

    fn handle(watched: Watched<Self>) -> Self::Handle;

    fn settings(common: &Self::Common) -> &Settings<Self::Config>;

    /// The settings of all were reloaded.
    fn reloaded(_: &Self::Common) {}

    /// Brings the settings in force to it, if it does not look at each step whether they are new.
    fn keep_up(&self) {}
}

/// The table, whatever the type of what is in it.
trait Table<H, C: PerKey>: Send + Sync {
    fn origin(&self) -> &Origin;
    fn handle(&self, key: &str) -> Option<H>;
    fn keys(&self) -> Vec<Arc<str>>;
    fn len(&self) -> usize;
    fn config(&self) -> KeyedConfig<C>;
    fn reload(&self, change: &dyn Fn(&KeyedConfig<C>) -> Changed<C>) -> Result<(), ConfigErrors>;
}

impl<M: Steered> Table<M::Handle, M::Config> for Keyed<M> {
    fn origin(&self) -> &Origin {
        &M::reporter(&self.common).origin
    }

    fn handle(&self, key: &str) -> Option<M::Handle> {
        self.find(key).map(|cell| M::handle(Watched::new(cell)))
    }

    fn keys(&self) -> Vec<Arc<str>> {
        Self::keys(self)
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn config(&self) -> KeyedConfig<M::Config> {
        M::settings(&self.common).get().written.clone()
    }

    fn reload(
        &self,
        change: &dyn Fn(&KeyedConfig<M::Config>) -> Changed<M::Config>,
    ) -> Result<(), ConfigErrors> {
        let settings = M::settings(&self.common);
        settings.reload(self.origin(), change)?;
        settings.bring(|in_force| self.set_most(in_force.written.max_keys));
        M::reloaded(&self.common);
        self.each(M::keep_up);
        Ok(())
    }
}

/// Inspects and controls the policies of a keyed layer, each by a handle `H` of its own. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::keyed::KeyedHandle;
/// use seawall::rate_limit::{Config, RateLimitHandle, RateLimitLayer};
/// use std::{borrow::Cow, convert::Infallible};
///
/// /// The tenants that have used up what they may.
/// fn greedy(tenants: &KeyedHandle<RateLimitHandle, Config>) -> Vec<String> {
///     let is_greedy = |tenant: &str| tenants.key(tenant).is_some_and(|it| it.available() == 0);
///     let keys = tenants.keys().into_iter();
///     keys.filter(|tenant| is_greedy(tenant)).map(|tenant| tenant.to_string()).collect()
/// }
///
/// let layer = RateLimitLayer::builder("tenants")
///     .limit(2)
///     .keyed(|tenant: &String| Cow::from(tenant))
///     .build()?;
/// for part in ["acme", "acme", "initech"] {
///     layer.run(part, || async { Ok::<_, Error<Infallible>>(()) }).await?;
/// }
/// assert_eq!(layer.handle().len(), 2);
/// assert_eq!(greedy(&layer.handle()), ["acme"]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct KeyedHandle<H, C: PerKey> {
    table: Arc<dyn Table<H, C>>,
}

impl<H, C: PerKey> KeyedHandle<H, C> {
    pub(crate) fn new<M>(table: Arc<Keyed<M>>) -> Self
    where
        M: Steered<Handle = H, Config = C>,
    {
        Self { table }
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        self.table.origin()
    }

    /// The policy of a key, if it has one of its own. It is not evicted while the handle lives.
    pub fn key(&self, key: &str) -> Option<H> {
        self.table.handle(key)
    }

    /// The keys that have a policy of their own, in no order.
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.table.keys()
    }

    /// The number of keys that have a policy of their own.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key has a policy yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The settings in force of all keys, as far as they have none of their own.
    pub fn config(&self) -> C {
        self.keyed_config().default
    }

    /// All settings in force: of all keys, of single ones, and how many there may be.
    pub fn keyed_config(&self) -> KeyedConfig<C> {
        self.table.config()
    }

    /// Reloads the settings of all keys at once. What single keys have of their own they keep, and the
    /// rest they have from the new settings.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, alone or together with those of a single key; then
    /// the old ones stay in force.
    #[allow(clippy::needless_pass_by_value)] // the same shape for every layer
    pub fn reload(&self, config: C) -> Result<(), ConfigErrors> {
        self.table.reload(&|old| (KeyedConfig { default: config.clone(), ..old.clone() }, None))
    }

    /// Reloads everything at once: what all keys have, what single keys have instead, and how many
    /// there may be. If there are more than that, those at rest go as new ones come.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    #[allow(clippy::needless_pass_by_value)]
    pub fn reload_keyed(&self, config: KeyedConfig<C>) -> Result<(), ConfigErrors> {
        self.table.reload(&|_| (config.clone(), Some("default")))
    }
}

impl<H, C: PerKey> Clone for KeyedHandle<H, C> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table) }
    }
}

impl<H, C: PerKey> fmt::Debug for KeyedHandle<H, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHandle")
            .field("origin", self.origin())
            .field("keys", &self.len())
            .finish()
    }
}
