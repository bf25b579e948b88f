//! Building a policy for each key.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::config::{ConfigErrors, KeyedConfig, MAX_KEYS, PerKey};

/// The builder of a layer of which there can be one policy for each key that an `X` finds.
///
/// Every layer that can be keyed implements it for its builder; users see [`KeyedBuilder`].
pub trait BuildKeyed<X>: Sized {
    /// The settings of a policy.
    type Config: PerKey;
    /// What is built.
    type Layer;

    /// Sets all settings of all keys.
    #[doc(hidden)]
    #[must_use]
    fn with_config(self, config: Self::Config) -> Self;

    /// Builds the layer. The settings of all keys are the builder's.
    #[doc(hidden)]
    fn build_keyed(
        self,
        key: Arc<X>,
        max_keys: usize,
        overrides: BTreeMap<String, <Self::Config as PerKey>::Overrides>,
    ) -> Result<Self::Layer, ConfigErrors>;
}

/// Builds a layer with one policy for each key, from the builder `B` of a layer with one for all.
///
/// ```
/// use seawall::rate_limit::{Overrides, RateLimitLayer};
/// use std::borrow::Cow;
///
/// let more = Overrides { limit: Some(500), ..Overrides::default() };
/// let tenants = RateLimitLayer::builder("tenants")
///     .limit(10)
///     .keyed(|tenant: &String| Cow::from(tenant))
///     .max_keys(1_000)
///     .overrides([("acme", more)])
///     .build()?;
/// let config = tenants.handle().keyed_config();
/// assert_eq!((config.of("acme").limit, config.of("other").limit), (500, 10));
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct KeyedBuilder<B: BuildKeyed<X>, X> {
    builder: B,
    key: Arc<X>,
    max_keys: usize,
    overrides: BTreeMap<String, <B::Config as PerKey>::Overrides>,
}

impl<B: BuildKeyed<X>, X> KeyedBuilder<B, X> {
    pub(crate) fn new(builder: B, key: Arc<X>) -> Self {
        Self { builder, key, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }

    /// At most this many keys have a policy of their own, by default 10,000.
    ///
    /// When a new key comes and the table is full, a key makes room that is at rest (nothing would be
    /// lost by forgetting it), has no call in flight and is in nobody's hands. If there is none, the new
    /// key shares one overflow policy, with the settings of all, with others like it, and an event and a
    /// counter say so. Keys of more than 256 bytes always share it.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// What single keys have instead of the settings of all. May be called more than once; of what is
    /// said twice of one key the last word counts.
    pub fn overrides<Key: Into<String>>(
        mut self,
        overrides: impl IntoIterator<Item = (Key, <B::Config as PerKey>::Overrides)>,
    ) -> Self {
        self.overrides.extend(overrides.into_iter().map(|(key, own)| (key.into(), own)));
        self
    }

    /// Sets all settings at once: of all keys, of single ones, and how many there may be.
    pub fn config(mut self, config: KeyedConfig<B::Config>) -> Self {
        let KeyedConfig { default, max_keys, overrides } = config;
        self.builder = self.builder.with_config(default);
        (self.max_keys, self.overrides) = (max_keys, overrides);
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; those of a single key by their
    /// [path](crate::ConfigError::path), such as `overrides["acme"].limit`.
    pub fn build(self) -> Result<B::Layer, ConfigErrors> {
        self.builder.build_keyed(self.key, self.max_keys, self.overrides)
    }
}
