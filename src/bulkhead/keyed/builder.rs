//! Building a bulkhead for each key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::KeyedBulkheadLayer;
use super::part::Common;
use crate::bulkhead::cost::One;
use crate::bulkhead::layer::{Builder, LAYER};
use crate::bulkhead::overrides::{KeyedConfig, MAX_KEYS, Overrides};
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::keyed::Keyed;
use crate::shell::reporter::Reporter;

/// Builds a [`KeyedBulkheadLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct KeyedBuilder<F, K, Y = NoPropagation, W = One> {
    builder: Builder<F, Y, W>,
    key: Arc<K>,
    max_keys: usize,
    overrides: BTreeMap<String, Overrides>,
}

impl<F, K, Y, W> KeyedBuilder<F, K, Y, W> {
    pub(in crate::bulkhead) const fn new(builder: Builder<F, Y, W>, key: Arc<K>) -> Self {
        Self { builder, key, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }

    /// At most this many keys have a bulkhead of their own, by default 10,000.
    ///
    /// When a new key comes and the table is full, a bulkhead with nobody in it makes room. If there
    /// is none, the key shares one overflow bulkhead, with the limit of all, with others like it, and
    /// an event and a counter say so. Keys of more than 256 bytes always share it.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// What single keys have instead of the settings of all. May be called more than once; of what is
    /// said twice of one key the last word counts.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::Error;
    /// use seawall::bulkhead::{BulkheadLayer, Overrides};
    /// use std::borrow::Cow;
    /// use std::{convert::Infallible, future::pending};
    ///
    /// let more = Overrides { limit: Some(50), ..Overrides::default() };
    /// let tenants = BulkheadLayer::builder("tenants")
    ///     .limit(10)
    ///     .keyed(|part: &String| Cow::from(part))
    ///     .overrides([("acme", more)])
    ///     .build()?;
    /// let call = |part| tenants.run(part, pending::<Result<(), Error<Infallible>>>);
    /// let _under_way = (call("acme"), call("initech"));
    /// let available = |part| tenants.handle().key(part).map(|bulkhead| bulkhead.available());
    /// assert_eq!((available("acme"), available("initech")), (Some(49), Some(9)));
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn overrides<Key: Into<String>>(
        mut self,
        overrides: impl IntoIterator<Item = (Key, Overrides)>,
    ) -> Self {
        self.overrides.extend(overrides.into_iter().map(|(key, own)| (key.into(), own)));
        self
    }

    /// Sets all settings at once: of all keys, of single ones, and how many there may be.
    pub fn config(mut self, config: KeyedConfig) -> Self {
        let KeyedConfig { default, max_keys, overrides } = config;
        self.builder = self.builder.config(default);
        (self.max_keys, self.overrides) = (max_keys, overrides);
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; those of a single key by their
    /// [path](crate::ConfigError::path), such as `overrides["acme"].limit`.
    pub fn build(self) -> Result<KeyedBulkheadLayer<F, K, Y, W>, ConfigErrors> {
        let Builder { name, config, completion, propagate, cost, observers } = self.builder;
        let origin = Origin::new(LAYER, name);
        let (max_keys, overrides) = (self.max_keys, self.overrides);
        let config = KeyedConfig { default: config, max_keys, overrides };
        let all_params = config.all_params(None).map_err(|wrong| wrong.of_policy(&origin))?;
        let common = Common::new(Reporter::new(origin, observers), all_params, config);
        let for_cells = Arc::clone(&common);
        let cells = Arc::new(Keyed::new(common, max_keys, move |key| for_cells.part(key)));
        Ok(KeyedBulkheadLayer { cells, key: self.key, completion, propagate, cost })
    }
}
