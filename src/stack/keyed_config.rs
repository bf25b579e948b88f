//! The settings of a whole stack for each key.

use super::config::ClientConfig;
use crate::bulkhead;
use crate::circuit_breaker;
use crate::core::config::{ConfigError, ConfigErrors, KeyedConfig, PerKey, Written};

/// The settings of a whole stack with a circuit breaker and a bulkhead for each key: those of all, and what single keys
/// have of their own. Plain values, for instance from a file, which can be
/// [reloaded](super::KeyedClientHandle::reload) together while calls are in flight.
///
/// ```
/// use seawall::http;
/// use seawall::stack::KeyedClientConfig;
/// use std::time::Duration;
///
/// // With the feature `serde`; what the file does not name has its default.
/// let config: KeyedClientConfig = serde_json::from_str(
///     r#"{
///         "default": { "deadline": "2s", "breaker": { "break_duration": "1s", "max_break_duration": "30s" } },
///         "max_keys": 500,
///         "overrides": {
///             "reports.example:443": { "breaker": { "break_duration": "10s" }, "bulkhead": { "limit": 4 } }
///         }
///     }"#,
/// )?;
/// config.validate()?;
/// let web = http::client("web").per_host().keyed_config(config).build()?;
/// assert_eq!(web.handle().config().default.deadline, Duration::from_secs(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A key of an override has to be spelt as requests spell it: for hosts in lower case and with its port
/// (`example.com:443`), for methods of gRPC as a path (`/shop.Orders/Count`). Building a stack, or reloading
/// one, says which keys no request can have.
pub type KeyedClientConfig = KeyedConfig<ClientConfig>;

/// What one key has instead of the settings of all. What is not in the file it has from them, also after
/// they were reloaded.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct KeyOverrides {
    /// Of its circuit breaker.
    pub breaker: circuit_breaker::Overrides,
    /// Of its bulkhead.
    pub bulkhead: bulkhead::Overrides,
}

impl From<&ClientConfig> for KeyOverrides {
    /// Every setting that a key can have of its own.
    fn from(config: &ClientConfig) -> Self {
        Self { breaker: (&config.breaker).into(), bulkhead: (&config.bulkhead).into() }
    }
}

impl PerKey for ClientConfig {
    type Overrides = KeyOverrides;
    /// As they take effect.
    type Params = Self;

    fn overridden(&self, own: &KeyOverrides) -> Self {
        Self {
            breaker: self.breaker.overridden(&own.breaker),
            bulkhead: self.bulkhead.overridden(&own.bulkhead),
            ..self.clone()
        }
    }

    fn params(&self, own: Option<&KeyOverrides>, written: &Written) -> Result<Self, ConfigErrors> {
        let Some(own) = own else { return self.in_force(written) };
        let classified = [
            ("breaker", check(&self.breaker, &own.breaker)),
            ("bulkhead", check(&self.bulkhead, &own.bulkhead)),
        ];
        let wrong = classified.into_iter().filter_map(|(layer, it)| Some(it.err()?.within(layer)));
        ConfigErrors::none_of(wrong.flat_map(ConfigErrors::into_problems).collect())?;
        Ok(self.overridden(own))
    }
}

impl KeyedClientConfig {
    /// The settings of all keys as they take effect, or what is wrong with any. What is wrong with those
    /// of all is told as `within`, once, and not of each key that has it too.
    pub(super) fn in_force(
        &self,
        written: &Written,
        spelling: Spelling,
        within: Option<&'static str>,
    ) -> Result<ClientConfig, ConfigErrors> {
        let misspelt = self.overrides.keys().filter(|key| !(spelling.is_right)(key));
        let misspelt: Vec<_> =
            misspelt.map(|key| ConfigError::new("overrides", key, spelling.accepted)).collect();
        match self.params(written, within) {
            Ok(params) if misspelt.is_empty() => Ok(params.default),
            params => {
                let mut wrong = params.err().map_or_else(Vec::new, ConfigErrors::into_problems);
                let of_a_key = |it: &ConfigError| it.path().starts_with("overrides[");
                let at = wrong.iter().position(of_a_key).unwrap_or(wrong.len());
                wrong.splice(at..at, misspelt);
                Err(ConfigErrors::of(wrong))
            }
        }
    }

    /// Those of the bulkheads.
    pub(super) fn bulkheads(&self) -> bulkhead::KeyedConfig {
        let own = |(key, own): (&String, &KeyOverrides)| (key.clone(), own.bulkhead.clone());
        bulkhead::KeyedConfig {
            default: self.default.bulkhead.clone(),
            max_keys: self.max_keys,
            overrides: self.overrides.iter().map(own).collect(),
        }
    }

    /// Those of the breakers.
    pub(super) fn breakers(&self) -> circuit_breaker::KeyedConfig {
        let own = |(key, own): (&String, &KeyOverrides)| (key.clone(), own.breaker.clone());
        circuit_breaker::KeyedConfig {
            default: self.default.breaker.clone(),
            max_keys: self.max_keys,
            overrides: self.overrides.iter().map(own).collect(),
        }
    }
}

/// What is wrong with the settings of a key that has these of its own.
fn check<C: PerKey>(default: &C, own: &C::Overrides) -> Result<(), ConfigErrors> {
    default.params(Some(own), &Written::default()).map(|_| ())
}

/// How keys are spelt. An override under another spelling would wait for its key for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelling {
    /// Whether some request may have this key.
    pub(crate) is_right: fn(&str) -> bool,
    pub(crate) accepted: &'static str,
}

impl Spelling {
    pub(super) const ANY: Self = Self { is_right: |_| true, accepted: "any" };
}
