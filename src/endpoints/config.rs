//! The settings of a set of endpoints.

use std::time::Duration;

use super::machine::Params;
use crate::core::config::ConfigError;
use crate::core::time::nanos;

/// The settings of a set of endpoints: plain values. See the [table of defaults](super#defaults).
///
/// ```
/// use seawall::endpoints::{Balance, Config};
/// use std::time::Duration;
///
/// let config = Config { balance: Balance::LeastLoad, slow_start: Duration::from_secs(30), ..Config::default() };
/// assert_eq!(config.consecutive_failures, 5);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// So many failures in a row eject an endpoint: 1 to 10,000. 0: none do.
    pub consecutive_failures: u32,
    /// Such a share of failures ejects an endpoint by itself: above 0, at most 1.
    pub failure_rate: f64,
    /// Such a share of failures ejects it if it is [`outlier_factor`](Self::outlier_factor) times that of its peers:
    /// above 0, at most 1.
    pub outlier_failure_rate: f64,
    /// How many times the median share of failures of its peers: 1 to 1,000.
    pub outlier_factor: f64,
    /// How many times the median latency of its peers ejects an endpoint: above 1, at most 1,000. 0: none does.
    pub latency_factor: f64,
    /// Fewer calls of late say nothing about shares: 1 to 1,000,000.
    pub min_requests: u32,
    /// The first ejection lasts as long, the second twice as long, and so on: longer than zero. A good time of this
    /// length makes up for one.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub ejection_time: Duration,
    /// No ejection lasts longer: at least [`ejection_time`](Self::ejection_time).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_ejection_time: Duration,
    /// The share of the endpoints that may be ejected at once, rounded down to whole ones: 0 to 1.
    pub max_ejected: f64,
    /// When less than this share is left, all are used, ejected or not: 0 to 1.
    pub panic_threshold: f64,
    /// One call in this time is let through to an ejected endpoint, to find out how it is; less often with each
    /// further ejection and where calls are few (no more than one call in 250), but twice before it ends: longer than zero, less than
    /// [`ejection_time`](Self::ejection_time).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub probe_interval: Duration,
    /// An endpoint that is new, or returns from an ejection, gets its share of the calls over this time. Zero: at once.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub slow_start: Duration,
}

/// How an endpoint is chosen. Weights count in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Balance {
    /// Of two that are drawn, the one with less load: calls in flight, times a latency that a slow answer raises at
    /// once and fast ones lower slowly (power of two choices, peak EWMA).
    #[default]
    PeakEwma,
    /// The one with the fewest calls in flight.
    LeastLoad,
    /// One after the other.
    RoundRobin,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            consecutive_failures: 5,
            failure_rate: 0.5,
            outlier_failure_rate: 0.1,
            outlier_factor: 3.0,
            latency_factor: 3.0,
            min_requests: 20,
            ejection_time: Duration::from_secs(1),
            max_ejection_time: Duration::from_secs(30),
            max_ejected: 0.5,
            panic_threshold: 0.5,
            probe_interval: Duration::from_millis(250),
            slow_start: Duration::from_secs(5),
        }
    }
}

impl Config {
    pub(super) fn params(&self) -> Params {
        Params {
            consecutive: self.consecutive_failures,
            failure_ppm: ppm(self.failure_rate),
            outlier_ppm: ppm(self.outlier_failure_rate),
            factor: thousandths(self.outlier_factor),
            latency_factor: thousandths(self.latency_factor),
            min_requests: self.min_requests,
            ejection: nanos(self.ejection_time),
            max_ejection: nanos(self.max_ejection_time),
            max_ejected_ppm: ppm(self.max_ejected),
            panic_ppm: ppm(self.panic_threshold),
        }
    }

    /// Everything that is wrong.
    pub(super) fn check(&self, problems: &mut Vec<ConfigError>) {
        let mut need = |holds: bool, problem: ConfigError| {
            if !holds {
                problems.push(problem);
            }
        };
        let count = self.consecutive_failures;
        need(count <= 10_000, ConfigError::new("consecutive_failures", count, "0 to 10000"));
        for (field, share) in [
            ("failure_rate", self.failure_rate),
            ("outlier_failure_rate", self.outlier_failure_rate),
        ] {
            need(share > 0.0 && share <= 1.0, ConfigError::new(field, share, "above 0, at most 1"));
        }
        for (field, share) in
            [("max_ejected", self.max_ejected), ("panic_threshold", self.panic_threshold)]
        {
            need((0.0..=1.0).contains(&share), ConfigError::new(field, share, "0 to 1"));
        }
        let factor = self.outlier_factor;
        need(
            (1.0..=1_000.0).contains(&factor),
            ConfigError::new("outlier_factor", factor, "1 to 1000"),
        );
        let factor = self.latency_factor;
        let is_valid = factor == 0.0 || factor > 1.0 && factor <= 1_000.0;
        need(
            is_valid,
            ConfigError::new("latency_factor", factor, "0, or above 1 and at most 1000"),
        );
        let least = self.min_requests;
        need(
            (1..=1_000_000).contains(&least),
            ConfigError::new("min_requests", least, "1 to 1000000"),
        );
        for (field, time) in
            [("ejection_time", self.ejection_time), ("probe_interval", self.probe_interval)]
        {
            need(!time.is_zero(), ConfigError::new(field, time, "longer than zero"));
        }
        let probes = self.probe_interval;
        let accepted = format!("less than ejection_time, {:?}", self.ejection_time);
        need(probes < self.ejection_time, ConfigError::new("probe_interval", probes, accepted));
        let most = self.max_ejection_time;
        let accepted = format!("at least ejection_time, {:?}", self.ejection_time);
        need(most >= self.ejection_time, ConfigError::new("max_ejection_time", most, accepted));
    }
}

fn ppm(share: f64) -> u32 {
    (share * 1e6).round() as u32
}

fn thousandths(factor: f64) -> u64 {
    (factor * 1e3).round() as u64
}
