//! The settings of a candidate.

use std::time::Duration;

use super::machine::Params;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::time::nanos;

/// The settings of a candidate.
///
/// See the [table of defaults](crate::leader#defaults). They are checked when a candidate is built from them.
///
/// ```
/// use seawall::leader::Config;
/// use std::time::Duration;
///
/// let hasty = Config { ttl: Duration::from_secs(2), ..Config::default() };
/// let wrong = hasty.validate().unwrap_err();
/// let fields: Vec<_> = wrong.iter().map(|problem| problem.field).collect();
/// assert_eq!(fields, ["ttl", "renew"]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// For how long the lease is asked for: at least three times [`ask_timeout`](Self::ask_timeout) and
    /// [`stop`](Self::stop) together, so that one question in vain costs no term; at most 1 day.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub ttl: Duration,
    /// From one renewal to the next: longer than zero, and less than half of [`ttl`](Self::ttl).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub renew: Duration,
    /// How long one question to the store may take: 1 ms to 1 h.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub ask_timeout: Duration,
    /// By which share the clocks of the store and of this machine may differ in speed: 0 to 0.1. A term ends
    /// earlier by it.
    pub drift: f64,
    /// No call begins in this last part of a term.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub stop: Duration,
}

/// Default [`Config::ttl`]: as Kubernetes' client-go has it.
pub(crate) const TTL: Duration = Duration::from_secs(15);
/// Default [`Config::renew`]: a third, so that two renewals may fail.
pub(crate) const RENEW: Duration = Duration::from_secs(5);
/// Default [`Config::ask_timeout`].
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Default [`Config::drift`]: a hundred times what quartz does.
pub(crate) const DRIFT: f64 = 0.01;
/// Default [`Config::stop`].
pub(crate) const STOP: Duration = Duration::from_millis(500);

const MOST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_ASK_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const MOST_DRIFT: f64 = 0.1;

impl Default for Config {
    fn default() -> Self {
        Self { ttl: TTL, renew: RENEW, ask_timeout: ASK_TIMEOUT, drift: DRIFT, stop: STOP }
    }
}

impl Config {
    /// Checks these settings, as building a candidate from them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut problems = Vec::new();
        let least = self.ask_timeout.saturating_mul(3).saturating_add(self.stop);
        if self.ttl < least || self.ttl > MOST_TTL {
            let accepted = format!("{least:?} (three times ask_timeout, and stop) to {MOST_TTL:?}");
            problems.push(ConfigError::new("ttl", self.ttl, accepted));
        }
        if self.renew.is_zero() || self.renew >= self.ttl / 2 {
            let accepted = format!("more than 0, less than {:?} (half of ttl)", self.ttl / 2);
            problems.push(ConfigError::new("renew", self.renew, accepted));
        }
        if self.ask_timeout < Duration::from_millis(1) || self.ask_timeout > MOST_ASK_TIMEOUT {
            let accepted = format!("1ms to {MOST_ASK_TIMEOUT:?}");
            problems.push(ConfigError::new("ask_timeout", self.ask_timeout, accepted));
        }
        if !(0.0..=MOST_DRIFT).contains(&self.drift) {
            problems.push(ConfigError::new("drift", self.drift, "0.0 to 0.1"));
        }
        ConfigErrors::none_of(problems)
    }

    pub(super) fn params(&self) -> Result<Params, ConfigErrors> {
        self.validate()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 100,000
        let drift = (self.drift * 1e6).ceil() as u64;
        let ttl = nanos(self.ttl);
        Ok(Params { ttl, renew: nanos(self.renew), retry: (ttl / 15).max(1), drift })
    }
}
