//! Building a breaker for each key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::KeyedCircuitBreakerLayer;
use crate::circuit_breaker::engine::common::{Common, Settings};
use crate::circuit_breaker::layer::Builder;
use crate::circuit_breaker::overrides::{KeyedConfig, MAX_KEYS, Overrides};
use crate::circuit_breaker::policy::BreakerPolicy;
use crate::core::config::ConfigErrors;
use crate::core::request::NoPropagation;
use crate::core::rng;
use crate::shell::gate::{ByKey, GateLayer};
use crate::shell::keyed::Keyed;

/// Builds a [`KeyedCircuitBreakerLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct KeyedBuilder<C, F, K, Y = NoPropagation> {
    builder: Builder<C, F, Y>,
    key: Arc<K>,
    max_keys: usize,
    overrides: BTreeMap<String, Overrides>,
}

impl<C, F, K, Y> KeyedBuilder<C, F, K, Y> {
    pub(in crate::circuit_breaker) fn new(builder: Builder<C, F, Y>, key: Arc<K>) -> Self {
        Self { builder, key, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }

    /// At most this many keys have a breaker of their own, by default 10,000.
    ///
    /// When a new key comes and the table is full, a breaker that is at rest and has no call in
    /// flight makes room. If there is none, the key shares one overflow breaker with others like
    /// it, and an event and a counter say so. Keys of more than 256 bytes always share it.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// What single keys have instead of the settings of all. May be called more than once; of what is
    /// said twice of one key the last word counts.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::circuit_breaker::{CircuitBreakerLayer, Overrides, Trip};
    /// use seawall::{Error, State};
    /// use std::borrow::Cow;
    /// use std::io;
    ///
    /// let touchy = Overrides { trip: Some(Trip::consecutive(1)), ..Overrides::default() };
    /// let hosts = CircuitBreakerLayer::builder("hosts")
    ///     .keyed(|host: &String| Cow::from(host))
    ///     .overrides([("legacy.example", touchy)])
    ///     .build()?;
    /// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
    /// for host in ["legacy.example", "search.example"] {
    ///     assert!(hosts.run(host, down).await.is_err());
    /// }
    /// let state = |host| hosts.handle().key(host).map(|breaker| breaker.state());
    /// assert_eq!(state("legacy.example"), Some(State::Open));
    /// assert_eq!(state("search.example"), Some(State::Closed));
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
    /// [path](crate::ConfigError::path), such as `overrides["legacy.example"].break_duration`.
    pub fn build(self) -> Result<KeyedCircuitBreakerLayer<C, F, K, Y>, ConfigErrors>
    where
        F: Send + Sync + 'static,
    {
        let Builder { origin, config, written, classify, completion, propagate, observers, seed } =
            self.builder;
        let (max_keys, overrides) = (self.max_keys, self.overrides);
        let config = KeyedConfig { default: config, max_keys, overrides };
        let all_params = config.all_params(&written, None);
        let (params, own) = all_params.map_err(|wrong| wrong.of_policy(&origin))?;
        let settings = Settings::new(params, config).with_own(own);
        let seed = seed.unwrap_or_else(rng::seed);
        let common = Common::new(origin, observers, settings, seed);
        let (for_keys, completion) = (Arc::clone(&common), Arc::new(completion));
        let table = Keyed::new(common, max_keys, move |key| {
            BreakerPolicy::new(Arc::clone(&for_keys), Arc::clone(&completion), Some(key))
        });
        Ok(GateLayer::make(ByKey::new(table, self.key), classify, propagate))
    }
}
