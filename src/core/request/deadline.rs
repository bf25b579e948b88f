//! Until when an answer is of use, and who says so.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::time;

/// The moment at which an answer stops being of use to the one who asked.
///
/// A deadline is absolute and can only move closer: the one operation on two of them is
/// [`min`](Self::min).
///
/// ```
/// use seawall::Deadline;
/// use std::time::Duration;
///
/// let asked = Deadline::after(Duration::from_secs(2));
/// let ours = Deadline::after(Duration::from_secs(30));
/// assert_eq!(asked.min(ours), asked);
/// assert!(!asked.is_past());
/// assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline of a caller who waits for ever.
    pub const NEVER: Self = Self(None);

    /// `limit` from now. A limit too long for the clock is [`NEVER`](Self::NEVER).
    pub fn after(limit: Duration) -> Self {
        Self(time::now().checked_add(limit))
    }

    /// At `instant`.
    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// The earlier of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// The time left: zero once past, `Duration::MAX` for [`NEVER`](Self::NEVER).
    pub fn remaining(&self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(time::now()))
    }

    /// Whether it has been reached. An answer at the very instant of a deadline is in time; asking
    /// at that instant is too late.
    pub fn is_past(&self) -> bool {
        self.0.is_some_and(|at| at <= time::now())
    }

    /// Whether it has been reached by then.
    #[inline]
    pub(crate) fn is_past_at(&self, now: impl FnOnce() -> Instant) -> bool {
        self.0.is_some_and(|at| at <= now())
    }

    /// The instant, unless it is [`NEVER`](Self::NEVER).
    pub const fn instant(&self) -> Option<Instant> {
        self.0
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(_) => write!(f, "Deadline(in {:?})", self.remaining()),
            None => f.write_str("Deadline(never)"),
        }
    }
}

/// A deadline that a layer set, and the one that the caller had set before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(super) to: Deadline,
    pub(super) from: Option<Deadline>,
    /// The limit of the layer, in nanoseconds.
    pub(super) limit: u64,
    /// Whether the limit is known to be that of a whole call, its body included.
    #[cfg_attr(not(feature = "reqwest"), allow(dead_code))]
    pub(super) whole: bool,
}

/// Whether a time limit of so many nanoseconds, which ends at `end`, comes no later than a deadline.
///
/// A deadline that comes before the end by no more than a hundredth of the limit, with at least 1 ms (the
/// grain of timers) and at most 10 ms, is as late: who sets a deadline of a second for a layer
/// whose limit is a second does so some moments before the call arrives there. The callee then had all
/// the time that the layer gives it.
pub(crate) fn is_no_later(end: Instant, deadline: Instant, limit: u64) -> bool {
    let grain = (limit / 100).clamp(GRAIN_MIN, GRAIN_MAX).min(limit / 2);
    end <= deadline || end.duration_since(deadline) <= Duration::from_nanos(grain)
}

const GRAIN_MIN: u64 = 1_000_000;
const GRAIN_MAX: u64 = 10_000_000;
