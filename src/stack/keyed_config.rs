//! The settings of a whole stack for each key.

use std::collections::BTreeMap;

use super::config::ClientConfig;
use crate::bulkhead;
use crate::circuit_breaker::{self, MAX_KEYS};
use crate::core::config::{ConfigError, ConfigErrors, Written};

/// The settings of a whole stack with a circuit breaker and a bulkhead for each key: those of all, and what single keys
/// have of their own. Plain values, for instance from a file, which can be
/// [turned](super::KeyedClientHandle::reload) together while calls are flying.
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
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct KeyedClientConfig {
    /// Of every key, as far as it has nothing of its own.
    pub default: ClientConfig,
    /// At most this many keys have a circuit breaker and a bulkhead of their own: at least 1. By default
    /// [10,000](MAX_KEYS). When there is no room, and none is at rest, new ones
    /// [share one](crate::circuit_breaker::KeyedBuilder::max_keys).
    pub max_keys: usize,
    /// What single keys have instead. A key has to be spelt as requests spell it: for hosts in lower
    /// case and with its port (`example.com:443`), for methods of gRPC as a path
    /// (`/shop.Orders/Count`). Each must agree with [`default`](Self::default).
    pub overrides: BTreeMap<String, KeyOverrides>,
}

impl Default for KeyedClientConfig {
    fn default() -> Self {
        ClientConfig::default().into()
    }
}

impl From<ClientConfig> for KeyedClientConfig {
    /// The same for all keys.
    fn from(default: ClientConfig) -> Self {
        Self { default, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }
}

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

impl KeyedClientConfig {
    /// Says what is wrong with these settings, as building a stack from them would (which also says
    /// which keys no request can have); those of a key [by its path](ConfigError::path), such as
    /// `overrides["reports.example:443"].breaker.rest`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        self.in_force(&Written::default(), Spelling::ANY, Some("default")).map(|_| ())
    }

    /// The settings of all keys as they take effect, or what is wrong with any. What is wrong with those
    /// of all is told as `within`, once, and not of each key that has it too.
    pub(super) fn in_force(
        &self,
        written: &Written,
        spelling: Spelling,
        within: Option<&'static str>,
    ) -> Result<ClientConfig, ConfigErrors> {
        let mut problems = Vec::new();
        let force = self.default.in_force(written).map_err(|wrong| {
            problems.extend(match within {
                Some(outer) => wrong.within(outer).into_problems(),
                None => wrong.into_problems(),
            });
        });
        if self.max_keys == 0 {
            problems.push(ConfigError::new("max_keys", 0, "at least 1"));
        }
        let of_default = [self.default.breaker.validate(), self.default.bulkhead.validate()];
        let of_default = of_default.into_iter().filter_map(Result::err);
        let of_default: Vec<_> = of_default.flat_map(ConfigErrors::into_problems).collect();
        for (key, own) in &self.overrides {
            if let Some(accepted) = spelling.objects(key) {
                problems.push(ConfigError::new("overrides", key, accepted));
            }
            let classified = [
                ("breaker", own.breaker.validate_over(&self.default.breaker)),
                ("bulkhead", own.bulkhead.over(&self.default.bulkhead).validate()),
            ];
            for (layer, wrong) in
                classified.into_iter().filter_map(|(layer, it)| Some((layer, it.err()?)))
            {
                let mut wrong = wrong.into_problems();
                wrong.retain(|problem| !of_default.contains(problem));
                let wrong = ConfigErrors::of(wrong).within(layer);
                problems.extend(wrong.within(format!("overrides[{key:?}]")).into_problems());
            }
        }
        match force {
            Ok(force) if problems.is_empty() => Ok(force),
            _ => Err(ConfigErrors::of(problems)),
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

/// How keys are spelt. An override under another spelling would wait for its key for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spelling {
    /// Whether some request may have this key.
    pub(crate) is_right: fn(&str) -> bool,
    pub(crate) accepted: &'static str,
}

impl Spelling {
    pub(super) const ANY: Self = Self { is_right: |_| true, accepted: "any" };

    fn objects(&self, key: &str) -> Option<&'static str> {
        (!(self.is_right)(key)).then_some(self.accepted)
    }
}
