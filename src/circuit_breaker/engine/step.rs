//! The one door of the machine, and what goes through it.
//!
//! The machine is the algorithm of the breaker: pure, without clock, lock, waker, task or user code. The
//! engine knocks with an [`Input`] and carries out the [`Effect`]. This is what makes replay,
//! simulation and model checking possible.

use crate::circuit_breaker::transition::{State, Transition};
use crate::core::error::{Measurement, Reason};
use crate::core::outcome::{Outcome, Sample};
use crate::core::time::{Tick, nanos};

/// What the engine has to measure for the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Vigil {
    /// A call in flight for this many nanoseconds is reported once as overdue.
    pub(crate) overdue_after: Option<u64>,
    /// Samples and abandonments need to know how long the call took.
    pub(crate) durations: bool,
    /// Abandonments need to know how long the call waited, and what an answer usually takes; once
    /// that is known, only while something is amiss.
    pub(crate) waits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// A call asks to pass.
    Admit,
    /// A call is over.
    CallGuard { pass: Pass, sample: Sample },
    /// A call is still in flight, and slow by now.
    Overdue { pass: Pass },
    /// A call ended without an answer. `waited` is the time since its first `Pending`, if known.
    /// `usual` is what an answer usually takes, if that is known.
    Abandon { pass: Pass, waited: Option<u64>, usual: Option<u64> },
    /// Somebody gave an order.
    Command(Command),
    /// The settings were turned.
    Configure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    Reset,
    HoldOpen,
    ReleaseOpen,
    HoldClosed,
    ReleaseClosed,
    /// Held open, or closed, by nobody in particular: until it is released.
    ForceOpen,
    ForceClosed,
    Release,
}

/// What a step decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub(crate) struct Effect {
    pub(crate) decision: Decision,
    pub(crate) changes: [Option<Transition>; 2],
    pub(crate) wake: Wake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Decision {
    /// Nothing was asked, or the answer counted.
    Done,
    /// The answer came from an earlier epoch and counted for nothing.
    Late,
    Admit(Pass),
    /// Rejected; asking again makes sense at `until`.
    Reject {
        until: Tick,
        reason: Reason,
        measurement: Measurement,
    },
}

/// How many of those who wait should look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wake {
    None,
    Some(u32),
    All,
}

impl Effect {
    pub(crate) const NONE: Self =
        Self { decision: Decision::Done, changes: [None, None], wake: Wake::None };

    pub(crate) const fn of(decision: Decision) -> Self {
        Self { decision, ..Self::NONE }
    }

    /// This effect, and the waiters that `other` wakes.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.wake = match (self.wake, other.wake) {
            (Wake::All, _) | (_, Wake::All) => Wake::All,
            (Wake::Some(a), Wake::Some(b)) => Wake::Some(a.max(b)),
            (Wake::Some(n), Wake::None) | (Wake::None, Wake::Some(n)) => Wake::Some(n),
            (Wake::None, Wake::None) => Wake::None,
        };
        self
    }

    pub(crate) fn and(mut self, change: Transition) -> Self {
        debug_assert!(self.changes[1].is_none(), "a step changes at most twice");
        let free = usize::from(self.changes[0].is_some());
        self.changes[free] = Some(change);
        self.wake = Wake::All;
        self
    }
}

/// What the engine may decide by itself until the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest {
    pub(crate) state: State,
    pub(crate) epoch: u64,
    /// Admitting a call and then hearing of its fast success would change nothing.
    pub(crate) quiet: bool,
    /// Every call before this tick is rejected.
    pub(crate) reject_until: Tick,
    /// The reason for that.
    pub(crate) measurement: Measurement,
}

// ===== the pass =====

/// What an admitted call carries until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pass {
    /// The epoch it was admitted in. An answer from an earlier epoch is late and decides nothing.
    pub(crate) epoch: u64,
    pub(crate) kind: PassKind,
    /// Whether the machine was told that this call is slow.
    pub(crate) overdue: bool,
    /// Whether the inner service answered `Pending` at least once.
    pub(crate) pending: bool,
    /// When it first did, if anyone needs to know.
    pub(crate) started: Option<Tick>,
    /// For the machine, which tells older calls of an epoch from newer ones by it.
    pub(crate) round: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PassKind {
    /// Nobody counts it.
    Free,
    /// It holds one of a limited number of slots.
    Slot,
    /// It would have been rejected; it is admitted only because of shadow mode, and decides
    /// nothing.
    Shadow,
}

impl Pass {
    pub(crate) const fn new(epoch: u64, kind: PassKind) -> Self {
        Self { epoch, kind, overdue: false, pending: false, started: None, round: 0 }
    }

    pub(crate) fn sample(&self, outcome: Outcome, now: Option<Tick>) -> Sample {
        Sample {
            signal: outcome.signal,
            took: match (self.started, now) {
                (Some(started), Some(now)) => Some(now.since(started)),
                _ => None,
            },
            retry_after: outcome.retry_after().map(nanos),
        }
    }
}
