//! Settings of a layer that keeps one policy for each key.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{ConfigError, ConfigErrors, Written};

/// Default of [`KeyedConfig::max_keys`].
pub(crate) const MAX_KEYS: usize = 10_000;

/// The settings of a layer, of which single keys can have some of their own.
///
/// Every layer that can be keyed implements it for its `Config`.
///
/// ```
/// use seawall::keyed::{KeyedConfig, PerKey};
///
/// /// The keys whose settings differ from those of all others.
/// fn special<C: PerKey>(config: &KeyedConfig<C>) -> Vec<&str> {
///     let differs = |key: &&str| config.of(key) != config.default;
///     config.overrides.keys().map(String::as_str).filter(differs).collect()
/// }
///
/// use seawall::rate_limit::{Config, Overrides};
/// let mut config = KeyedConfig::from(Config::default());
/// config.overrides.insert("acme".into(), Overrides { limit: Some(500), ..Overrides::default() });
/// config.overrides.insert("other".into(), Overrides::default());
/// assert_eq!(special(&config), ["acme"]);
/// ```
pub trait PerKey: Clone + Default + PartialEq + Debug + Send + Sync + 'static {
    /// What one key has instead of the settings of all. What it does not say, it has from them.
    type Overrides: Clone
        + Default
        + PartialEq
        + Debug
        + Send
        + Sync
        + 'static
        + for<'a> From<&'a Self>;
    /// The settings made ready.
    #[doc(hidden)]
    type Params: Clone + Send + Sync + 'static;

    /// The settings of a key that has these of its own.
    #[must_use]
    fn overridden(&self, own: &Self::Overrides) -> Self;

    /// The settings of all keys made ready, or those of a key that has some of its `own`. A builder
    /// knows which were `written`.
    #[doc(hidden)]
    fn params(
        &self,
        own: Option<&Self::Overrides>,
        written: &Written,
    ) -> Result<Self::Params, ConfigErrors>;
}

/// The settings of a keyed layer: those of all keys, and what single keys have of their own. Plain
/// values, for instance from a file, which can be [reloaded](crate::keyed::KeyedHandle::reload_keyed) together
/// while calls are in flight.
///
/// ```
/// use seawall::rate_limit::{KeyedConfig, RateLimitLayer};
/// use std::borrow::Cow;
///
/// // From a file (with the feature `serde`). What a key does not name it has from `default`.
/// let config: KeyedConfig = serde_json::from_str(
///     r#"{
///         "default": { "limit": 10, "burst": 20 },
///         "max_keys": 1000,
///         "overrides": { "acme": { "limit": 50 }, "free-tier": { "limit": 2, "burst": 1 } }
///     }"#,
/// )?;
/// assert_eq!((config.of("acme").limit, config.of("acme").burst), (50, Some(20)));
///
/// let tenants = RateLimitLayer::builder("tenants")
///     .keyed(|part: &String| Cow::from(part))
///     .config(config)
///     .build()?;
/// assert_eq!(tenants.handle().keyed_config().of("free-tier").limit, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "C: serde::Serialize, C::Overrides: serde::Serialize",
        deserialize = "C: serde::Deserialize<'de>, C::Overrides: serde::Deserialize<'de>"
    ))
)]
pub struct KeyedConfig<C: PerKey> {
    /// Of every key, as far as it has nothing of its own.
    pub default: C,
    /// At most this many keys have a policy of their own: at least 1. By default 10,000. See
    /// [`max_keys`](crate::keyed::KeyedBuilder::max_keys).
    pub max_keys: usize,
    /// What single keys have instead. Each must agree with [`default`](Self::default). A key that no
    /// request has does no harm.
    pub overrides: BTreeMap<String, C::Overrides>,
}

/// The settings of all keys made ready, and those of keys that have their own.
#[derive(Debug, Clone)]
pub(crate) struct KeyedParams<P> {
    pub(crate) default: P,
    pub(crate) own: BTreeMap<String, P>,
}

impl<C: PerKey> Default for KeyedConfig<C> {
    fn default() -> Self {
        C::default().into()
    }
}

impl<C: PerKey> From<C> for KeyedConfig<C> {
    /// The same for all keys.
    fn from(default: C) -> Self {
        Self { default, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }
}

impl<C: PerKey> KeyedConfig<C> {
    /// The settings of this key.
    pub fn of(&self, key: &str) -> C {
        match self.overrides.get(key) {
            Some(own) => self.default.overridden(own),
            None => self.default.clone(),
        }
    }

    /// The same where a key has all of its settings of its own.
    pub(crate) fn with_own(&self, key: &str, config: &C) -> Self {
        let mut new = self.clone();
        new.overrides.insert(key.to_owned(), config.into());
        new
    }

    /// Checks these settings, as building a layer from them does; those of a key
    /// [by its path](ConfigError::path), such as `overrides["acme"].limit`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        self.params(&Written::default(), Some("default")).map(|_| ())
    }

    /// The settings made ready. What is wrong with the default is told as `within`, once, and not of
    /// each key that has it too.
    pub(crate) fn params(
        &self,
        written: &Written,
        within: Option<&'static str>,
    ) -> Result<KeyedParams<C::Params>, ConfigErrors> {
        let (default, of_default) = match self.default.params(None, written) {
            Ok(params) => (Some(params), Vec::new()),
            Err(wrong) => (None, wrong.into_problems()),
        };
        let told = ConfigErrors::of(of_default.clone());
        let mut problems = match within {
            Some(outer) => told.within(outer).into_problems(),
            None => told.into_problems(),
        };
        if self.max_keys == 0 {
            problems.push(ConfigError::new("max_keys", 0, "at least 1"));
        }
        let mut own = BTreeMap::new();
        for (key, overrides) in &self.overrides {
            match self.default.params(Some(overrides), written) {
                Ok(params) => drop(own.insert(key.clone(), params)),
                Err(wrong) => {
                    let mut wrong = wrong.into_problems();
                    wrong.retain(|problem| !of_default.contains(problem));
                    let outer = format!("overrides[{key:?}]");
                    problems.extend(ConfigErrors::of(wrong).within(outer).into_problems());
                }
            }
        }
        match default {
            Some(default) if problems.is_empty() => Ok(KeyedParams { default, own }),
            _ => Err(ConfigErrors::of(problems)),
        }
    }
}

impl<P> KeyedParams<P> {
    /// Those of a key, or of a policy that has none.
    pub(crate) fn of(&self, key: Option<&str>) -> &P {
        key.and_then(|key| self.own.get(key)).unwrap_or(&self.default)
    }
}
