//! What a finished call says about the one who answered it.

use std::time::Duration;

/// What a finished call says: three answers to three questions.
///
/// Layers never look at a response themselves. They are told an `Outcome` by a
/// [`Classify`](crate::Classify), so that a breaker, a retry and a limit that see the same call
/// agree on what it was.
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
    /// What the call says about the health of the dependency.
    pub signal: Signal,
    /// Whether asking again makes sense.
    pub retryable: Retryable,
    /// Whether the request can have been executed.
    pub sent: Sent,
    /// Whether one of this crate's layers rejected the call, as
    /// [`of_rejection`](Self::of_rejection) says.
    pub rejected: bool,
}

impl Outcome {
    /// The dependency answered as designed.
    pub const SUCCESS: Self = Self::new(Signal::Success, Retryable::Never);
    /// The dependency failed, and would fail again.
    pub const FAILURE: Self = Self::new(Signal::Failure, Retryable::Never);
    /// The dependency failed, and may succeed when asked again.
    pub const TRANSIENT: Self = Self::new(Signal::Failure, Retryable::Yes { after: None });
    /// The dependency is well and asked for less.
    pub const PUSHBACK: Self = Self::new(Signal::Pushback, Retryable::Yes { after: None });
    /// The call says nothing about the dependency.
    pub const IGNORE: Self = Self::new(Signal::Ignored, Retryable::Never);

    const fn new(signal: Signal, retryable: Retryable) -> Self {
        Self { signal, retryable, sent: Sent::Unknown, rejected: false }
    }

    /// Asking again makes sense, but not before `delay` has passed.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.retryable = Retryable::Yes { after: Some(delay) };
        self
    }

    /// The request was certainly not executed, so that repeating it is safe.
    #[must_use]
    pub const fn unsent(mut self) -> Self {
        self.sent = Sent::Never;
        self
    }

    /// How long the dependency asked us to stay away, if it did.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retryable {
            Retryable::Yes { after } => after,
            Retryable::Never => None,
        }
    }
}

/// What a call says about the health of a dependency.
///
/// This enum is complete: every layer answers for all four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// It answered as designed. Clears suspicion.
    Success,
    /// It failed. Counts against it.
    Failure,
    /// It is well, and asks for less. Limits shrink; a breaker counts it neither way.
    Pushback,
    /// Nothing was learnt, for instance because one of our own layers rejected the call.
    Ignored,
}

/// Whether asking again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retryable {
    /// The answer would be the same.
    Never,
    /// Another attempt may fare better.
    Yes {
        /// How long the dependency asked us to wait first.
        after: Option<Duration>,
    },
}

/// Whether the request can have been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It may have been.
    Unknown,
    /// It certainly was not: safe to repeat, even if it is not idempotent.
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
