//! What a log is asked, and what it answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::LogError;
use super::machine::Expect;
use crate::core::epoch::Epoch;
use crate::core::position::Position;

/// The longest name of a stream, in bytes.
pub(super) const LONGEST_NAME: usize = 256;
/// Default of [`Read::most`].
const MOST: usize = 1_000;

/// Appends events to a stream: all of them or none.
///
/// See [`log`](crate::log) for an example.
pub struct Append<E> {
    pub(super) stream: Arc<str>,
    pub(super) events: Vec<Arc<E>>,
    pub(super) expect: Expect,
    pub(super) fence: Option<Epoch>,
}

impl<E> Append<E> {
    /// Appends these events to the stream of this name, whatever its version. A name has 1 to 256 bytes.
    pub fn new(stream: impl Into<Arc<str>>, events: impl IntoIterator<Item = E>) -> Self {
        Self::shared(stream, events.into_iter().map(Arc::new).collect())
    }

    /// The same of events that others have too.
    pub fn shared(stream: impl Into<Arc<str>>, events: Vec<Arc<E>>) -> Self {
        Self { stream: stream.into(), events, expect: Expect::Any, fence: None }
    }

    /// Only if the stream has this version.
    #[must_use]
    pub fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    /// In the name of a leader, or of an owner, of this epoch: only if no later one has appended to this log. The log compares
    /// epochs and does not ask whose they are, so all fenced appends to one log must be fenced by the same leadership.
    /// Take no epochs from strangers: one that is very high locks everybody out.
    #[must_use]
    pub fn fence(mut self, epoch: impl Into<Option<Epoch>>) -> Self {
        self.fence = epoch.into();
        self
    }

    /// The name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The name of the stream, to be kept.
    pub fn stream_name(&self) -> Arc<str> {
        Arc::clone(&self.stream)
    }

    /// What the version of the stream must be.
    pub const fn expected(&self) -> Expect {
        self.expect
    }

    /// The epoch of who appends.
    pub const fn epoch(&self) -> Option<Epoch> {
        self.fence
    }

    /// The events.
    pub fn events(&self) -> &[Arc<E>] {
        &self.events
    }

    /// Checks what any log asks of an append.
    ///
    /// # Errors
    ///
    /// [`LogError::StreamName`].
    pub fn check(&self) -> Result<(), LogError> {
        check_name(&self.stream)
    }
}

pub(super) fn check_name(name: &str) -> Result<(), LogError> {
    if (1..=LONGEST_NAME).contains(&name.len()) {
        return Ok(());
    }
    Err(LogError::StreamName { bytes: name.len() })
}

impl<E> Clone for Append<E> {
    fn clone(&self) -> Self {
        let Self { stream, events, expect, fence } = self;
        Self { stream: Arc::clone(stream), events: events.clone(), expect: *expect, fence: *fence }
    }
}

impl<E> fmt::Debug for Append<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("stream", &self.stream)
            .field("events", &self.events.len())
            .field("expect", &self.expect)
            .field("fence", &self.fence)
            .finish()
    }
}

/// What came of an [`Append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Appended {
    /// All events are in the log.
    Stored {
        /// The position of the last of them; of an append of no events the end of the log.
        position: Position,
        /// The version of the stream now.
        version: u64,
    },
    /// The stream does not have the expected version. Nothing was appended.
    Conflict {
        /// Its version.
        at: u64,
    },
    /// A later leader has appended. Nothing was appended.
    Fenced {
        /// Its epoch.
        highest: Epoch,
    },
}

/// Reads events, of one stream or of all, in the order of the log.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use seawall::log::{Append, MemoryLog, Page, Read};
/// use tower::ServiceExt;
///
/// let log = MemoryLog::new();
/// log.clone().oneshot(Append::new("a", ["one", "two"])).await?;
/// log.clone().oneshot(Append::new("b", ["three"])).await?;
///
/// let first: Page<&str> = log.clone().oneshot(Read::all().most(2)).await?;
/// assert_eq!((first.events.len(), first.is_last), (2, false));
/// let rest = log.clone().oneshot(Read::all().after(first.end)).await?;
/// assert_eq!(*rest.events[0].event, "three");
///
/// let a = log.oneshot(Read::stream("a").after_version(1)).await?;
/// assert_eq!((a.events.len(), a.events[0].version), (1, 2));
/// # Ok::<(), seawall::log::LogError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub(super) of: Of,
    pub(super) most: usize,
    pub(super) wait: Duration,
}

/// Of what, from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    All { after: Option<Position> },
    Stream { name: Arc<str>, after: u64 },
}

impl Read {
    /// Events of all streams, from the beginning.
    pub const fn all() -> Self {
        Self { of: Of::All { after: None }, most: MOST, wait: Duration::ZERO }
    }

    /// Events of this stream, from the beginning.
    pub fn stream(name: impl Into<Arc<str>>) -> Self {
        let of = Of::Stream { name: name.into(), after: 0 };
        Self { of, most: MOST, wait: Duration::ZERO }
    }

    /// Events of all streams after this position.
    #[must_use]
    pub fn after(mut self, position: impl Into<Option<Position>>) -> Self {
        self.of = Of::All { after: position.into() };
        self
    }

    /// Of the stream, what is after this version.
    #[must_use]
    pub fn after_version(mut self, version: u64) -> Self {
        if let Of::Stream { after, .. } = &mut self.of {
            *after = version;
        }
        self
    }

    /// At most so many events: at least 1. By default 1,000. A log may return fewer.
    #[must_use]
    pub fn most(mut self, events: usize) -> Self {
        self.most = events.max(1);
        self
    }

    /// If there is nothing to read, waits for so long until there is. By default it does not wait.
    #[must_use]
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.wait = at_most;
        self
    }

    /// The stream, and the version after which it is read; `None` if all streams are.
    pub fn of_stream(&self) -> Option<(&str, u64)> {
        match &self.of {
            Of::Stream { name, after } => Some((name, *after)),
            Of::All { .. } => None,
        }
    }

    /// After which position all streams are read; `None` from the beginning, or if only one stream is.
    pub const fn position(&self) -> Option<Position> {
        match self.of {
            Of::All { after } => after,
            Of::Stream { .. } => None,
        }
    }

    /// At most so many events.
    pub const fn limit(&self) -> usize {
        self.most
    }

    /// How long it waits if there is nothing to read.
    pub const fn patience(&self) -> Duration {
        self.wait
    }

    /// After which number it reads all, of a log that is at `end`.
    ///
    /// # Errors
    ///
    /// [`LogError::OtherEra`], [`LogError::Ahead`].
    pub fn checked_after(&self, end: Position) -> Result<u64, LogError> {
        match self.position() {
            None => Ok(0),
            Some(asked) if asked.era != end.era => Err(LogError::OtherEra { log: end, asked }),
            Some(asked) if asked.at > end.at => Err(LogError::Ahead { log: end, asked }),
            Some(asked) => Ok(asked.at),
        }
    }
}

/// The answer to a [`Read`].
pub struct Page<E> {
    /// The events, in the order of the log.
    pub events: Vec<Recorded<E>>,
    /// Up to here the reader has seen everything that it asked for: continue [after](Read::after) it.
    pub end: Position,
    /// The version of the stream that was read: how many events it has in all. 0 where all streams were read.
    pub version: u64,
    /// There is nothing after it, for now.
    pub is_last: bool,
}

impl<E> fmt::Debug for Page<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("events", &self.events.len())
            .field("end", &self.end)
            .field("version", &self.version)
            .field("is_last", &self.is_last)
            .finish()
    }
}

impl<E> Clone for Page<E> {
    fn clone(&self) -> Self {
        let Self { events, end, version, is_last } = self;
        Self { events: events.clone(), end: *end, version: *version, is_last: *is_last }
    }
}

/// An event in a log.
///
/// It has no time: put the time into your event, by your clock, if anybody needs it.
pub struct Recorded<E> {
    /// The name of its stream.
    pub stream: Arc<str>,
    /// Its number in the stream, counted from 1 without gaps.
    pub version: u64,
    /// Where it is in the log.
    pub position: Position,
    /// The event.
    pub event: Arc<E>,
}

impl<E> Clone for Recorded<E> {
    fn clone(&self) -> Self {
        Self {
            stream: Arc::clone(&self.stream),
            version: self.version,
            position: self.position,
            event: Arc::clone(&self.event),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for Recorded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("position", &self.position)
            .field("event", &self.event)
            .finish()
    }
}
