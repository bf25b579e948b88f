//! The states of a breaker.

use crate::error::Measured;
use crate::event::{Cause, State};
use crate::time::Tick;

/// Why and when the breaker last opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Trip {
    pub(crate) at: Tick,
    pub(crate) cause: Cause,
    pub(crate) measured: Measured,
}

/// The states, and what they hold.
///
/// ```text
///              evidence                    rest over
///  ┌────────┐ ──────────▶ ┌──────┐ ─────────────────────▶ ┌───────────┐
///  │ Closed │             │ Open │                        │ Half-open │
///  └────────┘             └──────┘ ◀───────────────────── └───────────┘
///       ▲                            first Bad, or net −3,       │
///       │                            or 3 given up unanswered    │
///       └────────────────────────────────────────────────────────┘
///                                 net +6
///  Forced open, forced closed: from anywhere while held; released to Closed.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Closed { ramp: Option<Ramp> },
    Open { until: Tick },
    HalfOpen(Probing),
    ForcedOpen,
    ForcedClosed,
}

/// After a recovery the load comes back step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ramp {
    pub(super) allowed: u32,
    pub(super) in_flight: u32,
}

/// A slow start that weighs its evidence (Wald 1947).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Probing {
    pub(super) allowed: u32,
    pub(super) in_flight: u32,
    /// `None` until the first answer, which decides alone.
    pub(super) score: Option<i32>,
    /// Calls given up without an answer, in a row.
    pub(super) unanswered: u32,
    /// From then on one more may go, though the others have not come back: a probe that hangs
    /// must not wedge the breaker (pitfall B2).
    pub(super) next_at: Tick,
}

impl Probing {
    pub(super) fn admits(&self, now: Tick) -> bool {
        self.in_flight < self.allowed || now >= self.next_at
    }

    /// Until when every call is refused.
    pub(super) fn full_until(&self) -> Tick {
        if self.in_flight < self.allowed { Tick::ZERO } else { self.next_at }
    }
}

impl Phase {
    pub(super) const fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
            Self::ForcedOpen => State::ForcedOpen,
            Self::ForcedClosed => State::ForcedClosed,
        }
    }
}
