//! The one error type of a stack, and what is in it when a layer ended the call itself.

mod measured;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

pub use self::measured::{Measured, SetBy};
use crate::source::Source;

mod call_error;

pub use call_error::{CallError, Error, check};

/// A layer ended the call itself: which one, why, after how long to come back, and what was
/// observed against which threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    source: Source,
    retry_after: Option<Duration>,
    measured: Measured,
    reason: Reason,
}

/// Why a layer ended a call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: recent calls failed, or someone holds it open.
    CircuitOpen,
    /// The circuit has just closed, and the load comes back step by step.
    Recovering,
    /// The time limit of this layer ran out.
    TimedOut,
    /// The deadline that came with the request has passed. [`Measured::Deadline`] says who had set it.
    DeadlineExceeded,
    /// The policy is being drained: it takes no further calls.
    Draining,
    /// As many calls as may are under way, and as many as may wait for one to end.
    Full,
    /// As many calls as may are under way, and this one has waited for one to end as long as it may.
    QueueTimeout,
    /// The call came too early for the rate limit.
    RateLimited,
    /// The call costs more than a whole burst of the rate limit, so that it can never pass.
    CostTooHigh,
    /// The dependency failed its health check.
    Unhealthy,
    /// The caller kept us waiting for the body of its request for too long (HTTP 408).
    RequestTimeout,
    /// The body of the caller's request broke off.
    RequestBroken,
}

impl Reason {
    pub(crate) const ALL: [Self; 12] = [
        Self::CircuitOpen,
        Self::Recovering,
        Self::TimedOut,
        Self::DeadlineExceeded,
        Self::Draining,
        Self::Full,
        Self::QueueTimeout,
        Self::RateLimited,
        Self::CostTooHigh,
        Self::Unhealthy,
        Self::RequestTimeout,
        Self::RequestBroken,
    ];

    /// The metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::Recovering => "recovering",
            Self::TimedOut => "timed_out",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::QueueTimeout => "queue_timeout",
            Self::RateLimited => "rate_limited",
            Self::CostTooHigh => "cost_too_high",
            Self::Unhealthy => "unhealthy",
            Self::RequestTimeout => "request_timeout",
            Self::RequestBroken => "request_broken",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit is open",
            Self::Recovering => "is recovering",
            Self::TimedOut => "timed out",
            Self::DeadlineExceeded => "the deadline has passed",
            Self::Draining => "is being drained",
            Self::Full => "is full, and so is its queue",
            Self::QueueTimeout => "is full, and the call has waited in its queue as long as it may",
            Self::RateLimited => "has reached its rate limit",
            Self::CostTooHigh => "cannot admit a call of such a cost",
            Self::Unhealthy => "is unhealthy",
            Self::RequestTimeout => "the caller did not send its request in time",
            Self::RequestBroken => "the body of the caller's request broke off",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl Rejected {
    pub(crate) fn new(source: Source, reason: Reason, measured: Measured) -> Self {
        Self { source, retry_after: None, measured, reason }
    }

    pub(crate) fn retry_in(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// Why the call was ended.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The layer that ended it.
    pub const fn origin(&self) -> &Source {
        &self.source
    }

    /// After how long asking again makes sense, if the layer knows.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What was observed, against which threshold.
    pub const fn measured(&self) -> Measured {
        self.measured
    }

    /// One word for the reason, for those outside: of two that mean that time ran out it is the one that
    /// says whose. A deadline that we had set ourselves is our limit.
    #[cfg(feature = "http")]
    pub(crate) const fn word(&self) -> &'static str {
        match (self.reason, self.measured) {
            (Reason::DeadlineExceeded, Measured::Deadline { set_by: SetBy::Layer, .. }) => {
                Reason::TimedOut.as_str()
            }
            _ => self.reason.as_str(),
        }
    }

    /// Whether a deadline ended the call that this side may have set, and not certainly the caller.
    pub(crate) const fn is_of_own_deadline(&self) -> bool {
        match (self.reason, self.measured) {
            (_, Measured::Deadline { set_by: SetBy::Caller, .. }) => false,
            (reason, _) => matches!(reason, Reason::DeadlineExceeded),
        }
    }

    /// Finds the rejection behind an error, however deep it is wrapped.
    ///
    /// Walks the [`source`](StdError::source) chain, through tower's boxed errors and through any
    /// error that names its cause.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        causes(error).find_map(|cause| cause.downcast_ref())
    }
}

/// An error, what caused it, what caused that, and so on.
///
/// An [`io::Error`] that was made of another error names as its source not that error but the source
/// of it, so it is looked into.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

/// Whose deadline it was, where it was that of the caller.
const BY_CALLER: &str = "the caller's deadline has passed";

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        match self.measured {
            Measured::Deadline { set_by: SetBy::Caller, .. } => f.write_str(BY_CALLER)?,
            _ => fmt::Display::fmt(&self.reason, f)?,
        }
        match (self.reason, self.measured) {
            // A circuit that calls opened knows by which numbers.
            (Reason::CircuitOpen, Measured::Nothing) => f.write_str(" (held open by hand)")?,
            (_, Measured::Nothing | Measured::Deadline { set_by: SetBy::Caller, .. }) => {}
            (_, measured) => write!(f, " ({measured})")?,
        }
        if let Some(delay) = self.retry_after {
            write!(f, ", try again in {delay:?}")?;
        }
        Ok(())
    }
}

impl StdError for Rejected {}

#[cfg(test)]
mod tests;
