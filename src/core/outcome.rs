//! The outcome of a call.

use std::time::Duration;

/// The outcome of a call: is it a failure, is it retryable, was it sent.
///
/// Layers do not look at responses themselves. They get an `Outcome` from a [`Classify`](crate::Classify), so that a
/// breaker, a retry and a limit agree about the same call.
///
/// ```
/// use seawall::{Retryable, Signal, Outcome};
/// use std::time::Duration;
///
/// let busy = Outcome::PUSHBACK.after(Duration::from_secs(2));
/// assert_eq!(busy.signal, Signal::Pushback);
/// assert_eq!(busy.retryable, Retryable::Yes { after: Some(Duration::from_secs(2)) });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Outcome {
    /// Whether the dependency succeeded or failed.
    pub signal: Signal,
    /// Whether the call can be retried.
    pub retryable: Retryable,
    /// Whether the request can have been executed.
    pub sent: Sent,
    /// Whether a layer of this crate rejected the call, see [`of_rejection`](Self::of_rejection).
    pub rejected: bool,
}

impl Outcome {
    /// The dependency answered as designed.
    pub const SUCCESS: Self = Self::new(Signal::Success, Retryable::Never);
    /// The dependency failed, and would fail again.
    pub const FAILURE: Self = Self::new(Signal::Failure, Retryable::Never);
    /// The dependency failed, and a retry may succeed.
    pub const TRANSIENT: Self = Self::new(Signal::Failure, Retryable::Yes { after: None });
    /// The dependency is healthy and asks for less load.
    pub const PUSHBACK: Self = Self::new(Signal::Pushback, Retryable::Yes { after: None });
    /// The call says nothing about the dependency.
    pub const IGNORE: Self = Self::new(Signal::Ignored, Retryable::Never);

    const fn new(signal: Signal, retryable: Retryable) -> Self {
        Self { signal, retryable, sent: Sent::Unknown, rejected: false }
    }

    /// A retry makes sense, but not before `delay` has passed.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.retryable = Retryable::Yes { after: Some(delay) };
        self
    }

    /// The request was certainly not executed, so a retry is safe.
    #[must_use]
    pub const fn unsent(mut self) -> Self {
        self.sent = Sent::Never;
        self
    }

    /// The delay that the dependency asked for, if it did.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retryable {
            Retryable::Yes { after } => after,
            Retryable::Never => None,
        }
    }
}

/// Whether a call counts for or against the dependency.
///
/// This enum is complete: every layer handles all four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// It answered as designed. Counts for it.
    Success,
    /// It failed. Counts against it.
    Failure,
    /// It is healthy, and asks for less load. Limits shrink; a breaker counts it neither way.
    Pushback,
    /// It does not count, for instance because a layer of this crate rejected the call.
    Ignored,
}

/// Whether the call can be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retryable {
    /// A retry would fail the same way.
    Never,
    /// A retry may succeed.
    Yes {
        /// The delay that the dependency asked for.
        after: Option<Duration>,
    },
}

/// Whether the request can have been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It may have been.
    Unknown,
    /// It certainly was not: a retry is safe, even if it is not idempotent.
    Never,
}

/// What a machine is told of a finished call: plain integers, no user types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sample {
    pub(crate) signal: Signal,
    /// Nanoseconds from the first `Pending` to the answer, if anyone needed to know.
    pub(crate) took: Option<u64>,
    /// Nanoseconds the dependency asked us to stay away.
    pub(crate) retry_after: Option<u64>,
}
