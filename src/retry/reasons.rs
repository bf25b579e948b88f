//! Why a retry tries again, and why it does not.

use std::fmt;

use crate::core::event::EventKind;

/// Why a call is tried again: what the attempt before came to.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::retry::{Backoff, RetryLayer, RetryReason};
/// use seawall::{Error, Event};
/// use std::io;
/// use std::sync::mpsc::channel;
///
/// let (tell, told) = channel();
/// let search = RetryLayer::builder("search")
///     .attempts(2)
///     .backoff(Backoff::none())
///     .observe(move |event: &Event| {
///         if let Some(why) = RetryReason::of(&event.kind) {
///             tell.send(why).ok();
///         }
///     })
///     .build()?;
/// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
/// assert!(search.run(down).await.is_err());
/// assert_eq!(told.recv()?, RetryReason::Failure);
/// assert_eq!(RetryReason::Failure.to_string(), "failure"); // as in the metrics
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryReason {
    /// It failed.
    Failure,
    /// It ran out of time.
    Timeout,
    /// The dependency asked for less.
    Pushback,
    /// One of our own layers rejected it.
    Rejected,
    /// It was certainly never sent.
    Unsent,
    /// It was answered well, with the word to ask again: a job that is not ready yet.
    NotReady,
}

impl RetryReason {
    pub(crate) const ALL: [Self; 6] = [
        Self::Failure,
        Self::Timeout,
        Self::Pushback,
        Self::Rejected,
        Self::Unsent,
        Self::NotReady,
    ];

    /// Reads it off an event; `None` if that tells of something else.
    pub fn of(kind: &EventKind) -> Option<Self> {
        let EventKind::Retrying { why: name, .. } = *kind else { return None };
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Pushback => "pushback",
            Self::Rejected => "rejected",
            Self::Unsent => "unsent",
            Self::NotReady => "not_ready",
        }
    }
}

impl fmt::Display for RetryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a failed call is not tried again.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::retry::{Backoff, Budget, RetryLayer, StopReason};
/// use seawall::{Error, Event};
/// use std::io;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// // Calls that a retry would have saved, had there been more to spend.
/// let unaffordable = Arc::new(AtomicU32::new(0));
/// let count = unaffordable.clone();
/// let search = RetryLayer::builder("search")
///     .budget(Budget::builder().cap(2.0).price(2.0).build()?) // one retry
///     .backoff(Backoff::none())
///     .observe(move |event: &Event| {
///         if StopReason::of(&event.kind) == Some(StopReason::Budget) {
///             count.fetch_add(1, Ordering::Relaxed);
///         }
///     })
///     .build()?;
///
/// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
/// assert!(search.run(down).await.is_err());
/// assert_eq!(unaffordable.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// Asking again makes no sense: the answer is final.
    Final,
    /// All attempts are used up.
    Exhausted,
    /// The budget is.
    Budget,
    /// Too little time is left, to the total or to the deadline of the request.
    Deadline,
    /// The request cannot be copied, or its copy can no longer be sent.
    NoCopy,
    /// One of our own layers rejected the call.
    Rejected,
    /// The request is a retry by its caller, who goes on repeating it if anybody does.
    Repeated,
    /// The retry is being drained: nothing that is not in flight begins any more.
    Draining,
}

impl StopReason {
    pub(crate) const ALL: [Self; 8] = [
        Self::Final,
        Self::Exhausted,
        Self::Budget,
        Self::Deadline,
        Self::NoCopy,
        Self::Rejected,
        Self::Repeated,
        Self::Draining,
    ];

    /// Reads it off an event; `None` if that tells of something else.
    pub fn of(kind: &EventKind) -> Option<Self> {
        let EventKind::Stopped { why: name, .. } = *kind else { return None };
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// The metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Exhausted => "exhausted",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::NoCopy => "no_copy",
            Self::Rejected => "rejected",
            Self::Repeated => "repeated",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
