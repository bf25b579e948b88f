//! What single keys have of their own.

use std::sync::Arc;
use std::time::Duration;

use super::config::{Abandonment, Config, Trip};
use super::params::Params;
use crate::core::config::{ConfigErrors, PerKey, Written};

/// The settings of a [keyed](super::Builder::keyed) breaker: those of all keys, and what single keys
/// have of their own.
///
/// ```
/// use seawall::circuit_breaker::{CircuitBreakerLayer, KeyedConfig};
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
pub type KeyedConfig = crate::core::config::KeyedConfig<Config>;

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

impl PerKey for Config {
    type Overrides = Overrides;
    type Params = Arc<Params>;

    fn overridden(&self, own: &Overrides) -> Self {
        Self {
            trip: own.trip.as_ref().unwrap_or(&self.trip).clone(),
            evidence_ttl: own.evidence_ttl.unwrap_or(self.evidence_ttl),
            abandonment: own.abandonment.unwrap_or(self.abandonment),
            break_duration: own.break_duration.unwrap_or(self.break_duration),
            max_break_duration: own.max_break_duration.unwrap_or(self.max_break_duration),
            max_retry_after: own.max_retry_after.unwrap_or(self.max_retry_after),
            probes: own.probes.unwrap_or(self.probes),
            probe_deadline: own.probe_deadline.unwrap_or(self.probe_deadline),
            close_threshold: own.close_threshold.unwrap_or(self.close_threshold),
            reopen_threshold: own.reopen_threshold.unwrap_or(self.reopen_threshold),
            ramp: own.ramp.unwrap_or(self.ramp),
            slow_start: own.slow_start.unwrap_or(self.slow_start),
            shadow: own.shadow.unwrap_or(self.shadow),
        }
    }

    fn params(
        &self,
        own: Option<&Overrides>,
        written: &Written,
    ) -> Result<Arc<Params>, ConfigErrors> {
        let params = match own {
            Some(own) => Params::from_written(&self.overridden(own), &own.written(written), |_| ()),
            None => Params::from_written(self, written, |_| ()),
        };
        params.map(Arc::new)
    }
}

impl Overrides {
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
