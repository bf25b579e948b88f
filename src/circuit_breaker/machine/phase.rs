//! The states of a breaker.

use crate::circuit_breaker::transition::{State, TransitionCause};
use crate::core::error::Measurement;
use crate::core::time::Tick;

/// Why and when the breaker last opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Trip {
    pub(crate) at: Tick,
    pub(crate) cause: TransitionCause,
    pub(crate) measurement: Measurement,
}

/// The states, and what they hold.
///
/// ```text
///              evidence                    break_duration over
///  ┌────────┐ ──────────▶ ┌──────┐ ─────────────────────▶ ┌───────────┐
///  │ Closed │             │ Open │                        │ Half-open │
///  └────────┘             └──────┘ ◀───────────────────── └───────────┘
///       ▲                            first Failure, or net −3,       │
///       │                            or 3 given up unanswered    │
///       └────────────────────────────────────────────────────────┘
///                net +7, or half a break_duration without a bad answer
///  Forced open, forced closed: from anywhere while held; released to Closed, with a ramp.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Closed {
        ramp: Option<Ramp>,
    },
    Open {
        until: Tick,
    },
    HalfOpen(Probing),
    ForcedOpen,
    /// `flowing_since`: when calls began to pass again, had they been kept away before.
    ForcedClosed {
        flowing_since: Option<Tick>,
    },
}

/// After a recovery the load comes back step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ramp {
    pub(super) since: Tick,
    pub(super) allowed: u32,
    pub(super) in_flight: u32,
}

impl Ramp {
    /// Where it stands, with this share of all draws admitted.
    pub(super) fn measurement(&self, share: u64) -> Measurement {
        let share = u128::from(share) * 1_000_000 / u128::from(u64::MAX);
        Measurement::Recovering {
            in_flight: self.in_flight,
            limit: self.allowed,
            share: share as u32, // at most a million
        }
    }
}

/// A slow start that weighs its evidence (Wald 1947).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Probing {
    pub(super) allowed: u32,
    pub(super) in_flight: u32,
    /// `None` until the first answer, which decides alone if it is bad.
    pub(super) score: Option<i32>,
    /// Whether anything at all was answered: then it is not silent, whoever leaves.
    pub(super) answered: bool,
    /// Calls given up while nothing was answered, as in [`Silence::weight`](super::Silence).
    pub(super) unanswered: u32,
    /// Since when no answer was bad, if one was good.
    pub(super) steady_since: Tick,
    /// Probes that were out when that had lasted long enough, and are out still.
    pub(super) awaited: Option<u32>,
    /// How often there was such a count: tells those probes from later ones.
    pub(super) rounds: u8,
    /// From then on one more may go, though the others have not come back: a probe that hangs
    /// must not wedge the breaker (pitfall B2).
    pub(super) next_at: Tick,
}

impl Probing {
    pub(super) const fn new(next_at: Tick) -> Self {
        Self {
            allowed: 1,
            in_flight: 0,
            score: None,
            answered: false,
            unanswered: 0,
            steady_since: Tick::ZERO,
            awaited: None,
            rounds: 0,
            next_at,
        }
    }

    pub(super) fn admits(&self, now: Tick) -> bool {
        self.in_flight < self.allowed || now >= self.next_at
    }

    /// Until when every call is rejected.
    pub(super) fn full_until(&self) -> Tick {
        if self.in_flight < self.allowed { Tick::ZERO } else { self.next_at }
    }

    /// Whether no answer was bad for as long as `span`, and not more were bad than good before.
    pub(super) fn is_steady(&self, span: u64, now: Tick) -> bool {
        self.score.is_some_and(|score| score >= 0) && now.since(self.steady_since) >= span
    }

    /// A probe came back, however it ended.
    pub(super) fn land(&mut self, round: u8) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(awaited) = &mut self.awaited
            && round < self.rounds
        {
            *awaited = awaited.saturating_sub(1);
        }
    }
}

impl Phase {
    pub(super) const fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen(_) => State::HalfOpen,
            Self::ForcedOpen => State::ForcedOpen,
            Self::ForcedClosed { .. } => State::ForcedClosed,
        }
    }
}
