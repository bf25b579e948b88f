//! What goes wrong with a log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tower::BoxError;

use super::request::LONGEST_NAME;
use crate::core::config::ConfigErrors;
use crate::core::position::Position;

/// What went wrong with a log of this crate. A conflict is none: it is an [answer](crate::log::Appended).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use seawall::Position;
/// use seawall::log::{LogError, MemoryLog, Read};
/// use tower::ServiceExt;
///
/// // The checkpoint of a projection whose log was restored from an older backup.
/// let checkpoint = Position { era: 1, at: 900 };
/// let wrong = MemoryLog::<String>::new().oneshot(Read::all().after(checkpoint)).await.unwrap_err();
/// assert!(matches!(wrong, LogError::Ahead { .. }));
/// assert_eq!(
///     wrong.to_string(),
///     "the position 1-900 is ahead of the log, which ends at 1-0: it is of another log, or this log has lost events"
/// );
/// # });
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(ConfigErrors),
    /// A stream has no name, or a long one.
    #[error("the name of the stream has {bytes} bytes: 1 to {LONGEST_NAME} are accepted")]
    StreamName {
        /// So long it is.
        bytes: usize,
    },
    /// The log is full.
    #[error("the log is full: it holds {capacity} events")]
    Full {
        /// So many it may hold.
        capacity: usize,
    },
    /// The events of one append are too large together.
    #[error("the append has {bytes} bytes: at most {most} are accepted")]
    TooLarge {
        /// So large they are.
        bytes: usize,
        /// At most.
        most: usize,
    },
    /// A position is of a later history of the log, or of an earlier one after the two have parted.
    #[error(
        "the position {asked} is of another era than the log, which ends at {log}: what was written after the two parted may be lost"
    )]
    OtherEra {
        /// The end of the log.
        log: Position,
        /// What was asked for.
        asked: Position,
    },
    /// A position is ahead of the log.
    #[error(
        "the position {asked} is ahead of the log, which ends at {log}: it is of another log, or this log has lost events"
    )]
    Ahead {
        /// The end of the log.
        log: Position,
        /// What was asked for.
        asked: Position,
    },
    /// An event cannot be written or read by its codec.
    #[error("an event of the stream `{stream}` cannot be {what}: {error}")]
    Codec {
        /// The stream.
        stream: Arc<str>,
        /// `encoded` or `decoded`.
        what: &'static str,
        /// What the codec says.
        error: Arc<BoxError>,
    },
    /// Somebody else has the log open.
    #[error("{} is locked: another process has the log open", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// A file is no log, or one of a later version of this crate.
    #[error("{} is not a log that this version can read, at offset {offset}: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is there.
        why: String,
    },
    /// A file is damaged before its end.
    #[error("{} is damaged at offset {offset}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// The runtime lacks what is needed: threads for files (there is none), or timers, for a read that waits (it was built
    /// without `enable_time`).
    #[error(
        "the runtime has no {lacks}: build a tokio runtime with `enable_all`, and ask the log inside of it"
    )]
    Runtime {
        /// What it lacks.
        lacks: &'static str,
    },
    /// The log takes no appends any more, and a read would wait for ever: a write failed, or it was closed. What was acknowledged is
    /// there, and can be read.
    #[error("the log takes no more appends until it is opened anew: {why}")]
    Closed {
        /// Why.
        why: Arc<str>,
    },
}
