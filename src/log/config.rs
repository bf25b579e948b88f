//! The settings of a log in files.

use std::time::Duration;

use crate::core::config::{ConfigError, ConfigErrors};

/// When what was appended is brought to the disk, so that it survives a loss of power. It survives the end of the process in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Fsync {
    /// Before it is acknowledged. Appends that come at the same time share one `fsync`.
    #[default]
    Batch,
    /// At most so long after it was acknowledged: 1 ms to 1 h.
    Interval(#[cfg_attr(feature = "serde", serde(with = "humantime_serde"))] Duration),
    /// When the operating system does it.
    Never,
}

/// The settings of a [`FileLog`](crate::log::FileLog).
///
/// See the [table of defaults](crate::log#defaults). They are checked when a log is opened with them.
///
/// ```
/// use seawall::log::{Config, Fsync};
/// use std::time::Duration;
///
/// let config = Config { sync: Fsync::Interval(Duration::ZERO), queue: 0, ..Config::default() };
/// let wrong = config.validate().unwrap_err();
/// let fields: Vec<_> = wrong.iter().map(|problem| problem.field).collect();
/// assert_eq!(fields, ["sync", "queue"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// When it is brought to the disk.
    pub sync: Fsync,
    /// A file of the log is followed by the next one when it has so many bytes: 4 KiB to 4 GiB.
    pub segment: u64,
    /// The most bytes of the events of one append: 1 to 256 MiB.
    pub max_append: usize,
    /// Appends that may wait to be written at a time: 1 to 1,000,000. Further ones wait until there is room.
    pub queue: usize,
    /// Bytes that these appends may have together: 1 KiB to 4 GiB. A larger one waits until it is alone.
    pub queue_bytes: u64,
}

const SEGMENT: u64 = 256 << 20;
const MAX_APPEND: usize = 16 << 20;
const QUEUE: usize = 1024;
const QUEUE_BYTES: u64 = 64 << 20;
const MOST_INTERVAL: Duration = Duration::from_secs(60 * 60);

impl Default for Config {
    fn default() -> Self {
        Self {
            sync: Fsync::Batch,
            segment: SEGMENT,
            max_append: MAX_APPEND,
            queue: QUEUE,
            queue_bytes: QUEUE_BYTES,
        }
    }
}

impl Config {
    /// Checks these settings, as opening a log with them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut problems = Vec::new();
        if let Fsync::Interval(interval) = self.sync
            && !(Duration::from_millis(1)..=MOST_INTERVAL).contains(&interval)
        {
            problems.push(ConfigError::new("sync", interval, "1ms to 1h"));
        }
        if !(4 << 10..=4 << 30).contains(&self.segment) {
            problems.push(ConfigError::new("segment", self.segment, "4096 to 4294967296"));
        }
        if !(1..=256 << 20).contains(&self.max_append) {
            problems.push(ConfigError::new("max_append", self.max_append, "1 to 268435456"));
        }
        if !(1..=1_000_000).contains(&self.queue) {
            problems.push(ConfigError::new("queue", self.queue, "1 to 1000000"));
        }
        if !(1 << 10..=4 << 30).contains(&self.queue_bytes) {
            let wrong = ConfigError::new("queue_bytes", self.queue_bytes, "1024 to 4294967296");
            problems.push(wrong);
        }
        ConfigErrors::none_of(problems)
    }
}
