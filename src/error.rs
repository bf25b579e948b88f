//! The one error type of a stack, and what is in it when a layer ended the call itself.

mod measured;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use tower::{BoxError, Service};

pub use self::measured::Measured;
use crate::source::Source;

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
    /// The deadline that came with the request has passed.
    DeadlineExceeded,
    /// The policy is being drained: it takes no further calls.
    Draining,
    /// As many calls as may are under way, and as many as may wait for one to end.
    Full,
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
        Self::Recovering,
        Self::TimedOut,
        Self::DeadlineExceeded,
        Self::Draining,
        Self::Full,
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
            Self::DeadlineExceeded => "the caller's deadline has passed",
            Self::Draining => "is being drained",
            Self::Full => "is full",
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
        match (self.reason, self.measured) {
            // A circuit that calls opened knows by which numbers.
            (Reason::CircuitOpen, Measured::Nothing) => f.write_str(" (held open by hand)")?,
            (_, Measured::Nothing) => {}
            (_, measured) => write!(f, " ({measured})")?,
        }
        if let Some(delay) = self.retry_after {
            write!(f, ", try again in {delay:?}")?;
        }
        Ok(())
    }
}

impl StdError for Rejected {}

/// What a stack asks of its error type: that it can hold a [`Rejected`], and show it again.
///
/// [`Error`] is ready made and typed; [`BoxError`] works too, and so does an enum of your own:
///
/// ```
/// use seawall::{CallError, Rejected};
///
/// #[derive(Debug, thiserror::Error)]
/// enum PaymentError {
///     #[error("the payment service said no")]
///     Declined,
///     #[error(transparent)]
///     NotTried(#[from] Rejected),
/// }
///
/// impl CallError for PaymentError {
///     fn rejected(&self) -> Option<&Rejected> {
///         match self {
///             Self::NotTried(rejected) => Some(rejected),
///             Self::Declined => None,
///         }
///     }
/// }
///
/// assert_eq!(PaymentError::Declined.rejected(), None); // the service's own word, not a layer's
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold a rejection, so it cannot be the error of a seawall stack",
    label = "this service fails with `{Self}`",
    note = "put `.map_err(seawall::Error::Inner)` just above the innermost service",
    note = "or implement `seawall::CallError` and `From<seawall::Rejected>` for your own error type"
)]
pub trait CallError: From<Rejected> {
    /// The rejection in this error, if one of this stack's layers ended the call.
    fn rejected(&self) -> Option<&Rejected>;
}

/// The error of a stack: a layer ended the call, or the innermost service failed.
///
/// The inner error is the [`source`](StdError::source), so that whoever looks for it by walking
/// the chain finds it. It must be an error itself: a [`BoxError`] is none, and is a [`CallError`]
/// as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error<E> {
    /// A layer of the stack ended the call.
    Rejected(Rejected),
    /// The innermost service failed.
    Inner(E),
}

impl<E> Error<E> {
    /// The error of the innermost service, if it was reached and failed.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E> CallError for Error<E> {
    fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }
}

impl CallError for BoxError {
    fn rejected(&self) -> Option<&Rejected> {
        Rejected::find(&**self)
    }
}

/// Returns `service` as it is, and makes the compiler say in one sentence what a stack is missing.
///
/// Without it, a forgotten `map_err` shows up as a long complaint about trait bounds at the first
/// call. It costs nothing.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # use std::{convert::Infallible, time::Duration};
/// use seawall::{Error, timeout::TimeoutLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::new("payments", Duration::from_secs(1)))
///     .map_err(Error::Inner)
///     .service(service_fn(|amount: u32| async move { Ok::<_, Infallible>(amount) }));
/// assert_eq!(seawall::check(service).oneshot(100).await?, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn check<S, Req>(service: S) -> S
where
    S: Service<Req>,
    S::Error: CallError,
{
    service
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_small() {
        assert!(size_of::<Rejected>() <= 48, "{}", size_of::<Rejected>());
    }

    #[test]
    fn a_rejection_is_found_behind_boxes_and_io_errors() {
        let source = Source::new("timeout", "x");
        let rejected = Rejected::new(source, Reason::TimedOut, Measured::Nothing);
        let boxed: BoxError = io::Error::other(Error::<io::Error>::Rejected(rejected)).into();
        assert_eq!(boxed.rejected().map(Rejected::reason), Some(Reason::TimedOut));
        assert!(BoxError::from("something else").rejected().is_none());
    }

    #[test]
    fn every_reason_is_listed_once() {
        let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
