//! The settings of a fence.

use std::time::Duration;

use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::time::nanos;
use crate::parts::backoff::{Curve, Shape};

/// The settings of a fence.
///
/// See the [table of defaults](crate::fence#defaults). They are checked when a layer is built from them.
///
/// ```
/// use seawall::fence::Config;
/// use std::time::Duration;
///
/// let wrong = Config { queue: 2_000_000, pause: Duration::ZERO, ..Config::default() };
/// let fields: Vec<_> = wrong.validate().unwrap_err().iter().map(|problem| problem.field).collect();
/// assert_eq!(fields, ["queue", "pause"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// How many calls may wait for the store: 0 to 1,000,000. Further ones are rejected.
    pub queue: u32,
    /// How long a call may wait for the store: longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_wait: Duration,
    /// How long the store may take to answer: 1 ms to 1 h.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub ask_timeout: Duration,
    /// From one question to the next at least, and up to half as long again at random: 1 ms to 1 h. While the store does
    /// not answer it doubles, up to 8 times as long.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub pause: Duration,
    /// Whether calls pass that are made by no epoch.
    pub allow_without_epoch: bool,
}

/// Default [`Config::queue`].
pub(crate) const QUEUE: u32 = 1_000;
/// Default [`Config::max_wait`].
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(1);
/// Default [`Config::ask_timeout`].
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// Default [`Config::pause`]: a stranger who says new epochs all the time costs the store ten questions a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

const MOST_QUEUED: u32 = 1_000_000;
const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_secs(3_600);
/// By which factor the pause grows at most.
const MOST_PAUSES: u64 = 8;

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: QUEUE,
            max_wait: MAX_WAIT,
            ask_timeout: ASK_TIMEOUT,
            pause: PAUSE,
            allow_without_epoch: false,
        }
    }
}

impl Config {
    /// Checks these settings, as building a layer from them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        ConfigErrors::none_of(self.problems())
    }

    pub(super) fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if self.queue > MOST_QUEUED {
            problems.push(ConfigError::new("queue", self.queue, format!("0 to {MOST_QUEUED}")));
        }
        if self.max_wait.is_zero() {
            problems.push(ConfigError::new("max_wait", self.max_wait, "longer than zero"));
        }
        for (field, value) in [("ask_timeout", self.ask_timeout), ("pause", self.pause)] {
            if !(LEAST..=MOST).contains(&value) {
                problems.push(ConfigError::new(field, value, format!("{LEAST:?} to {MOST:?}")));
            }
        }
        problems
    }

    /// The pauses between questions: at least `pause`, up to half as long again.
    pub(super) fn curve(&self) -> Curve {
        let base = nanos(self.pause).saturating_mul(3) / 2;
        Curve {
            base,
            factor: 2_000,
            cap: base.saturating_mul(MOST_PAUSES),
            shape: Shape::Symmetric(33),
        }
    }
}
