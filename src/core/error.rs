//! The error type of a stack, and rejections by its layers.

mod measurement;
mod reason;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

pub use self::measurement::{Measurement, SetBy};
pub(crate) use self::reason::Means;
pub use self::reason::Reason;
#[cfg(feature = "shards")]
use crate::core::epoch::Epoch;
#[cfg(feature = "shards")]
use crate::core::hint::Hint;
use crate::core::origin::Origin;
use crate::core::time;

mod call_error;

pub use call_error::{CallError, Error, check_service};

/// A rejection: which layer ended the call, the reason, when to try again, and what was measured against which
/// threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    origin: Origin,
    /// In nanoseconds; all ones: nobody knows.
    retry_after: u64,
    #[cfg(feature = "shards")]
    hint: Option<Box<Hinted>>,
    measurement: Measurement,
    reason: Reason,
    /// Whether another member of a set may take the call.
    elsewhere: bool,
    /// The call had begun when it was ended: the request may have been executed.
    begun: bool,
}

/// Who is to be asked instead, by the owner's map; and the epoch of the router's, if that is known.
#[cfg(feature = "shards")]
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hinted {
    hint: Hint,
    router: Option<Epoch>,
}

impl Rejected {
    pub(crate) fn new(origin: Origin, reason: Reason, measurement: Measurement) -> Self {
        Self {
            origin,
            retry_after: u64::MAX,
            #[cfg(feature = "shards")]
            hint: None,
            measurement,
            reason,
            elsewhere: false,
            begun: false,
        }
    }

    /// Another member of a set may take the call.
    #[cfg(any(feature = "endpoints", feature = "failover", feature = "shards", feature = "split"))]
    pub(crate) const fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Whether another member of a set may take the call.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// The call had begun when it was ended.
    #[cfg(feature = "leader")]
    pub(crate) const fn after_it_began(mut self) -> Self {
        self.begun = true;
        self
    }

    /// Whether the call had begun when it was ended, though this reason is otherwise that of calls which never did.
    pub(crate) const fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn retry_in(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay.map_or(u64::MAX, time::nanos);
        self
    }

    /// Somebody else should be asked.
    #[cfg(feature = "shards")]
    pub(crate) fn hinting(mut self, hint: Hint, router: Option<Epoch>) -> Self {
        self.hint = Some(Box::new(Hinted { hint, router }));
        self
    }

    /// The reason.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The layer that rejected the call.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// When to try again, if the layer knows.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_after {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Who should be asked instead, if the layer knows: the owner of a key. Nothing was done with the request.
    #[cfg(feature = "shards")]
    pub fn hint(&self) -> Option<&Hint> {
        self.hint.as_deref().map(|hinted| &hinted.hint)
    }

    /// What was measured, against which threshold.
    pub const fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// The reason as one word, for responses. If a deadline passed that a layer of this process had set, it is
    /// `timed_out`; if the caller had set it, `deadline_exceeded`.
    #[cfg(feature = "http")]
    pub(crate) const fn word(&self) -> &'static str {
        match (self.reason, self.measurement) {
            (Reason::DeadlineExceeded, Measurement::Deadline { set_by: SetBy::Layer, .. }) => {
                Reason::TimedOut.as_str()
            }
            _ => self.reason.as_str(),
        }
    }

    /// Whether a deadline ended the call that this side may have set, and not certainly the caller.
    pub(crate) const fn is_of_own_deadline(&self) -> bool {
        match (self.reason, self.measurement) {
            (_, Measurement::Deadline { set_by: SetBy::Caller, .. }) => false,
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
        write!(f, "{}: ", self.origin)?;
        match self.measurement {
            Measurement::Deadline { set_by: SetBy::Caller, .. } => f.write_str(BY_CALLER)?,
            _ => fmt::Display::fmt(&self.reason, f)?,
        }
        match (self.reason, self.measurement) {
            // A circuit that calls opened knows by which numbers.
            (Reason::CircuitOpen, Measurement::Nothing) => f.write_str(" (held open by hand)")?,
            (_, Measurement::Nothing | Measurement::Deadline { set_by: SetBy::Caller, .. }) => {}
            (_, measurement) => write!(f, " ({measurement})")?,
        }
        #[cfg(feature = "shards")]
        if let Some(Hinted { hint, router: Some(router) }) = self.hint.as_deref() {
            write!(
                f,
                " (by the owner's map of epoch {}, by the router's of epoch {router})",
                hint.epoch()
            )?;
        }
        if let Some(delay) = self.retry_after() {
            write!(f, ", try again in {delay:?}")?;
        }
        Ok(())
    }
}

impl StdError for Rejected {}

#[cfg(test)]
mod tests;
