//! What a finished call says about the one who answered it.

use std::time::Duration;

/// What a finished call says: three answers to three questions.
///
/// Layers never look at a response themselves. They are told an `Outcome` by a
/// [`Classify`](crate::Classify), so that a breaker, a retry and a limit that see the same call
/// agree on what it was.
///
/// ```
/// use seawall::{Again, Health, Outcome};
/// use std::time::Duration;
///
/// let busy = Outcome::PUSHBACK.after(Duration::from_secs(2));
/// assert_eq!(busy.health, Health::Pushback);
/// assert_eq!(busy.again, Again::Yes { after: Some(Duration::from_secs(2)) });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Outcome {
    /// What the call says about the health of the dependency.
    pub health: Health,
    /// Whether asking again makes sense.
    pub again: Again,
    /// Whether the request can have been executed.
    pub sent: Sent,
    /// Whether one of this crate's layers refused the call, as
    /// [`of_rejection`](Self::of_rejection) says.
    pub refused: bool,
}

impl Outcome {
    /// The dependency answered as designed.
    pub const SUCCESS: Self = Self::new(Health::Good, Again::Never);
    /// The dependency failed, and would fail again.
    pub const FAILURE: Self = Self::new(Health::Bad, Again::Never);
    /// The dependency failed, and may succeed when asked again.
    pub const TRANSIENT: Self = Self::new(Health::Bad, Again::Yes { after: None });
    /// The dependency is well and asked for less.
    pub const PUSHBACK: Self = Self::new(Health::Pushback, Again::Yes { after: None });
    /// The call says nothing about the dependency.
    pub const IGNORE: Self = Self::new(Health::Silent, Again::Never);

    const fn new(health: Health, again: Again) -> Self {
        Self { health, again, sent: Sent::Unknown, refused: false }
    }

    /// Asking again makes sense, but not before `delay` has passed.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.again = Again::Yes { after: Some(delay) };
        self
    }

    /// The request was certainly not executed, so that repeating it is safe.
    #[must_use]
    pub const fn unsent(mut self) -> Self {
        self.sent = Sent::Never;
        self
    }

    /// How long the dependency asked us to stay away, if it did.
    pub const fn hint(&self) -> Option<Duration> {
        match self.again {
            Again::Yes { after } => after,
            Again::Never => None,
        }
    }
}

/// What a call says about the health of a dependency.
///
/// This enum is complete: every layer answers for all four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answered as designed. Clears suspicion.
    Good,
    /// It failed. Counts against it.
    Bad,
    /// It is well, and asks for less. Limits shrink; a breaker counts it neither way.
    Pushback,
    /// Nothing was learnt, for instance because one of our own layers refused the call.
    Silent,
}

/// Whether asking again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Again {
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
    pub(crate) health: Health,
    /// Nanoseconds from the first `Pending` to the answer, if anyone needed to know.
    pub(crate) took: Option<u64>,
    /// Nanoseconds the dependency asked us to stay away.
    pub(crate) hint: Option<u64>,
}
