//! The one error type of a stack, and what is in it when a layer ended the call itself.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

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
    /// The time limit of this layer ran out.
    TimedOut,
    /// The deadline that came with the request has passed.
    DeadlineExceeded,
    /// The policy is being drained: it takes no further calls.
    Draining,
    /// As many calls as may are under way, and as many as may wait for one to end.
    Full,
    /// As many calls as may are under way, and this one has waited for one to end as long as it may.
    QueueTimeout,
    /// The dependency failed its health check.
    Unhealthy,
    /// The caller kept us waiting for the body of its request for too long (HTTP 408).
    RequestTimeout,
    /// The body of the caller's request broke off.
    RequestBroken,
}

impl Reason {
    pub(crate) const ALL: [Self; 9] = [
        Self::CircuitOpen,
        Self::TimedOut,
        Self::DeadlineExceeded,
        Self::Draining,
        Self::Full,
        Self::QueueTimeout,
        Self::Unhealthy,
        Self::RequestTimeout,
        Self::RequestBroken,
    ];

    /// The metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::TimedOut => "timed_out",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::QueueTimeout => "queue_timeout",
            Self::Unhealthy => "unhealthy",
            Self::RequestTimeout => "request_timeout",
            Self::RequestBroken => "request_broken",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit is open",
            Self::TimedOut => "timed out",
            Self::DeadlineExceeded => "the caller's deadline has passed",
            Self::Draining => "is being drained",
            Self::Full => "is full, and so is its queue",
            Self::QueueTimeout => "is full, and the call has waited in its queue as long as it may",
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

/// What was observed, against which threshold, in which unit.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::{CallError, Error, Measured, timeout::TimeoutLayer};
/// use std::{convert::Infallible, future::pending, time::Duration};
///
/// let search = TimeoutLayer::new("search", Duration::from_millis(50));
/// let error = search.run(|| pending::<Result<(), Error<Infallible>>>()).await.unwrap_err();
/// let measured = error.rejected().unwrap().measured();
/// assert_eq!(measured, Measured::Elapsed { limit: 50_000_000 });
/// assert_eq!(measured.to_string(), "the limit is 50ms");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measured {
    /// Nothing was measured: the decision was made by hand, or by an absolute deadline.
    Nothing,
    /// Evidence of failure, in thousandths of a nat (natural logarithm of the odds).
    Evidence {
        /// What had gathered.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// A count, for instance of failures in a row.
    Count {
        /// What was counted.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// The share of failed calls, in parts per million.
    FailureRate {
        /// What was seen.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// The share of slow calls, in parts per million.
    SlowRate {
        /// What was seen.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// Calls under way, and calls that wait for one to end.
    Occupied {
        /// Under way.
        in_flight: u32,
        /// What may be under way at a time.
        limit: u32,
        /// What waits.
        queued: u32,
    },
    /// A time limit, in nanoseconds.
    Elapsed {
        /// The limit.
        limit: u64,
    },
}

impl Measured {
    /// How near to its threshold something is, in parts per million.
    pub(crate) fn nearness(&self) -> u64 {
        match *self {
            Self::Evidence { observed, threshold }
            | Self::Count { observed, threshold }
            | Self::FailureRate { observed, threshold }
            | Self::SlowRate { observed, threshold } => {
                u64::from(observed) * 1_000_000 / u64::from(threshold).max(1)
            }
            Self::Nothing | Self::Elapsed { .. } | Self::Occupied { .. } => 0,
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
        match *self {
            Self::Nothing => Ok(()),
            Self::Evidence { observed, threshold } => write!(
                f,
                "failure evidence {:.1} of {:.1} nats",
                f64::from(observed) / 1000.0,
                f64::from(threshold) / 1000.0
            ),
            Self::Count { observed, threshold } => write!(f, "{observed} of {threshold} in a row"),
            Self::FailureRate { observed, threshold } => write!(
                f,
                "{:.4} % failed, {:.4} % is the limit",
                percent(observed),
                percent(threshold)
            ),
            Self::SlowRate { observed, threshold } => write!(
                f,
                "{:.4} % were slow, {:.4} % is the limit",
                percent(observed),
                percent(threshold)
            ),
            Self::Occupied { in_flight, limit, queued } => {
                write!(f, "{in_flight} of {limit} in flight, {queued} waiting")
            }
            Self::Elapsed { limit } => {
                write!(f, "the limit is {:?}", Duration::from_nanos(limit))
            }
        }
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

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.reason)?;
        if self.measured != Measured::Nothing {
            write!(f, " ({})", self.measured)?;
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
