//! The settings of a breaker for each key, and what single keys have of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::{Abandonment, Config, Trip};
use super::params::Params;
use crate::core::config::{ConfigError, ConfigErrors, Written};

/// Default of [`KeyedConfig::max_keys`].
pub const MAX_KEYS: usize = 10_000;

/// The settings of a [keyed](super::Builder::keyed) breaker: those of all keys, and what single keys
/// have [of their own](Overrides). Plain values, for instance from a file, which can be
/// [turned](super::KeyedCircuitBreakerHandle::reload_keyed) together while calls are flying.
///
/// ```
/// use seawall::circuit_breaker::{CircuitBreakerLayer, KeyedConfig, Overrides};
/// use std::borrow::Cow;
/// use std::time::Duration;
///
/// // From a file (with the feature `serde`). What a key does not name it has from `default`.
/// let config: KeyedConfig = serde_json::from_str(
///     r#"{
///         "default": { "break_duration": "1s", "max_break_duration": "30s" },
///         "max_keys": 100,
///         "overrides": {
///             "reports.example": { "break_duration": "10s" },
///             "legacy.example": { "trip": [{ "consecutive": { "failures": 5 } }], "probes": 1 }
///         }
///     }"#,
/// )?;
/// let reports = config.of("reports.example");
/// assert_eq!((reports.break_duration, reports.max_break_duration), (Duration::from_secs(10), Duration::from_secs(30)));
///
/// let hosts = CircuitBreakerLayer::builder("hosts")
///     .keyed(|host: &String| Cow::from(host))
///     .config(config)
///     .build()?;
/// assert_eq!(hosts.handle().keyed_config().of("legacy.example").probes, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct KeyedConfig {
    /// Of every key, as far as it has nothing of its own.
    pub default: Config,
    /// At most this many keys have a breaker of their own: at least 1. By default
    /// [10,000](MAX_KEYS). See [`max_keys`](super::KeyedBuilder::max_keys).
    pub max_keys: usize,
    /// What single keys have instead. Each must agree with [`default`](Self::default). A key that
    /// no request has does no harm.
    pub overrides: BTreeMap<String, Overrides>,
}

impl Default for KeyedConfig {
    fn default() -> Self {
        Config::default().into()
    }
}

impl From<Config> for KeyedConfig {
    /// The same for all keys.
    fn from(default: Config) -> Self {
        Self { default, max_keys: MAX_KEYS, overrides: BTreeMap::new() }
    }
}

/// The parameters of all keys, and of those that have their own.
pub(super) type AllParams = (Params, BTreeMap<String, Params>);

impl KeyedConfig {
    /// The settings of this key.
    pub fn of(&self, key: &str) -> Config {
        match self.overrides.get(key) {
            Some(own) => own.over(&self.default),
            None => self.default.clone(),
        }
    }

    /// The same where a key has all of its settings of its own.
    pub(super) fn with_own(&self, key: &str, config: &Config) -> Self {
        let mut new = self.clone();
        new.overrides.insert(key.to_owned(), Overrides::from(config));
        new
    }

    /// Says what is wrong with these settings, as building a layer from them would; those of a key
    /// [by its path](ConfigError::path), such as `overrides["reports.example"].break_duration`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        self.all_params(&Written::default(), Some("default")).map(|_| ())
    }

    /// What is wrong with the default is told as `within`, once, and not of each key that has it too.
    pub(super) fn all_params(
        &self,
        written: &Written,
        within: Option<&'static str>,
    ) -> Result<AllParams, ConfigErrors> {
        let mut problems = Vec::new();
        let params = Params::from_written(&self.default, written, |_| ());
        let (params, of_default) = match params {
            Ok(params) => (Some(params), Vec::new()),
            Err(wrong) => (None, wrong.into_problems()),
        };
        let told = ConfigErrors::of(of_default.clone());
        problems.extend(match within {
            Some(outer) => told.within(outer).into_problems(),
            None => told.into_problems(),
        });
        if self.max_keys == 0 {
            problems.push(ConfigError::new("max_keys", 0, "at least 1"));
        }
        let mut own = BTreeMap::new();
        for (key, overrides) in &self.overrides {
            match overrides.params(&self.default, written) {
                Ok(params) => drop(own.insert(key.clone(), params)),
                Err(wrong) => {
                    let mut wrong = wrong.into_problems();
                    wrong.retain(|problem| !of_default.contains(problem));
                    let outer = format!("overrides[{key:?}]");
                    problems.extend(ConfigErrors::of(wrong).within(outer).into_problems());
                }
            }
        }
        match params {
            Some(params) if problems.is_empty() => Ok((params, own)),
            _ => Err(ConfigErrors::of(problems)),
        }
    }
}

/// What one key has instead of the settings of all; see [`KeyedConfig`]. What is `None`, or is not in
/// the file, it has from them, also after they were reloaded.
///
/// ```
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Overrides};
/// use std::borrow::Cow;
/// use std::time::Duration;
///
/// // The rest may be longer than all others' may grow to, if it is told how long it may.
/// let slow = Overrides { break_duration: Some(Duration::from_secs(60)), ..Overrides::default() };
/// let hosts = CircuitBreakerLayer::builder("hosts")
///     .max_break_duration(Duration::from_secs(30))
///     .keyed(|host: &String| Cow::from(host))
///     .overrides([("slow.example", slow)]);
/// let wrong = hosts.build().unwrap_err().to_string();
/// assert!(wrong.ends_with(r#"overrides["slow.example"].max_break_duration = 30s: at least break_duration = 60s"#));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Overrides {
    /// Instead of [`Config::trip`], all of it: at least one rule.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub trip: Option<Trip>,
    /// Instead of [`Config::evidence_ttl`]: longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub evidence_ttl: Option<Duration>,
    /// Instead of [`Config::abandonment`]: any.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub abandonment: Option<Abandonment>,
    /// Instead of [`Config::break_duration`]: longer than zero, at most [`max_break_duration`](Self::max_break_duration).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub break_duration: Option<Duration>,
    /// Instead of [`Config::max_break_duration`]: at least [`break_duration`](Self::break_duration).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_break_duration: Option<Duration>,
    /// Instead of [`Config::max_retry_after`]: any.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub max_retry_after: Option<Duration>,
    /// Instead of [`Config::probes`]: 1 to 10,000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub probes: Option<u32>,
    /// Instead of [`Config::probe_deadline`]: longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub probe_deadline: Option<Duration>,
    /// Instead of [`Config::close_threshold`]: 1 to 10,000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub close_threshold: Option<u32>,
    /// Instead of [`Config::reopen_threshold`]: 1 to 10,000.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub reopen_threshold: Option<u32>,
    /// Instead of [`Config::ramp`]: any.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub ramp: Option<Duration>,
    /// Instead of [`Config::slow_start`]: any.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde::option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub slow_start: Option<Duration>,
    /// Instead of [`Config::shadow`]: either.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub shadow: Option<bool>,
}

impl From<&Config> for Overrides {
    /// Every setting.
    fn from(config: &Config) -> Self {
        Self {
            trip: Some(config.trip.clone()),
            evidence_ttl: Some(config.evidence_ttl),
            abandonment: Some(config.abandonment),
            break_duration: Some(config.break_duration),
            max_break_duration: Some(config.max_break_duration),
            max_retry_after: Some(config.max_retry_after),
            probes: Some(config.probes),
            probe_deadline: Some(config.probe_deadline),
            close_threshold: Some(config.close_threshold),
            reopen_threshold: Some(config.reopen_threshold),
            ramp: Some(config.ramp),
            slow_start: Some(config.slow_start),
            shadow: Some(config.shadow),
        }
    }
}

impl Overrides {
    /// The settings of a key that has these, where all others have `default`.
    pub fn over(&self, default: &Config) -> Config {
        Config {
            trip: self.trip.as_ref().unwrap_or(&default.trip).clone(),
            evidence_ttl: self.evidence_ttl.unwrap_or(default.evidence_ttl),
            abandonment: self.abandonment.unwrap_or(default.abandonment),
            break_duration: self.break_duration.unwrap_or(default.break_duration),
            max_break_duration: self.max_break_duration.unwrap_or(default.max_break_duration),
            max_retry_after: self.max_retry_after.unwrap_or(default.max_retry_after),
            probes: self.probes.unwrap_or(default.probes),
            probe_deadline: self.probe_deadline.unwrap_or(default.probe_deadline),
            close_threshold: self.close_threshold.unwrap_or(default.close_threshold),
            reopen_threshold: self.reopen_threshold.unwrap_or(default.reopen_threshold),
            ramp: self.ramp.unwrap_or(default.ramp),
            slow_start: self.slow_start.unwrap_or(default.slow_start),
            shadow: self.shadow.unwrap_or(default.shadow),
        }
    }

    /// Says what is wrong with the settings of a key that has these, where all others have `default`.
    pub(crate) fn validate_over(&self, default: &Config) -> Result<(), ConfigErrors> {
        self.params(default, &Written::default()).map(|_| ())
    }

    fn params(&self, default: &Config, written: &Written) -> Result<Params, ConfigErrors> {
        Params::from_written(&self.over(default), &self.written(written), |_| ())
    }

    /// Which settings that must agree with others were written, here or for all.
    fn written(&self, for_all: &Written) -> Written {
        let mut written = for_all.clone();
        for (field, own) in [
            ("break_duration", self.break_duration),
            ("max_break_duration", self.max_break_duration),
        ] {
            if own.is_some() {
                written.add(field);
            }
        }
        written
    }
}
