//! How the calls of a stack are divided among circuit breakers and bulkheads.

use std::collections::BTreeMap;

use super::client::ClientBuilder;
use super::keyed_config::{KeyOverrides, KeyedClientConfig, Spelling};
use crate::core::config::MAX_KEYS;

/// Not at all: one circuit breaker and one bulkhead for all calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undivided;

/// One for each key.
#[derive(Debug, Clone)]
pub struct PerKey<X> {
    pub(super) key: X,
    pub(super) spelling: Spelling,
    pub(super) max_keys: usize,
    pub(super) overrides: BTreeMap<String, KeyOverrides>,
}

impl<X> PerKey<X> {
    pub(super) fn new(key: X) -> Self {
        Self { key, spelling: Spelling::ANY, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }

    /// The same, where not any text can be a key.
    #[cfg(feature = "http")]
    pub(crate) fn spelt(key: X, spelling: Spelling) -> Self {
        Self { spelling, ..Self::new(key) }
    }
}

impl<C, R, K, F, H, A, Q> ClientBuilder<C, R, K, F, H, A, Q> {
    pub(crate) fn divided<Q2>(self, division: Q2) -> ClientBuilder<C, R, K, F, H, A, Q2> {
        self.redivided(|_| division)
    }

    /// The same with another division, which is made of the present one.
    pub(super) fn redivided<Q2>(
        self,
        change: impl FnOnce(Q) -> Q2,
    ) -> ClientBuilder<C, R, K, F, H, A, Q2> {
        ClientBuilder {
            name: self.name,
            config: self.config,
            written: self.written,
            budget: self.budget,
            classify: self.classify,
            copy: self.copy,
            propagate: self.propagate,
            completion: self.completion,
            permit_completion: self.permit_completion,
            tell: self.tell,
            observers: self.observers,
            division: change(self.division),
        }
    }
}

impl<C, R, K, F, H, A, X> ClientBuilder<C, R, K, F, H, A, PerKey<X>> {
    /// Sets [`KeyedClientConfig::max_keys`].
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.division.max_keys = max_keys;
        self
    }

    /// What single keys have instead of the settings of all; see
    /// [`KeyedClientConfig::overrides`]. May be called more than once; of what is said twice of one key
    /// the last word counts.
    pub fn overrides<Key: Into<String>>(
        mut self,
        overrides: impl IntoIterator<Item = (Key, KeyOverrides)>,
    ) -> Self {
        let overrides = overrides.into_iter().map(|(key, own)| (key.into(), own));
        self.division.overrides.extend(overrides);
        self
    }

    /// Sets all settings at once, for instance from a file: those of all keys, of single ones, and how
    /// many there may be.
    pub fn keyed_config(mut self, config: KeyedClientConfig) -> Self {
        let KeyedClientConfig { default, max_keys, overrides } = config;
        (self.division.max_keys, self.division.overrides) = (max_keys, overrides);
        self.config(default)
    }
}
