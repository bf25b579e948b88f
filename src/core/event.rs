//! What a layer tells the world, one event at a time.

mod observers;
mod outage;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::observers::Observers;
pub use self::outage::Outage;
pub(crate) use self::outage::Turn;
use crate::core::error::{Measurement, Reason};
use crate::core::origin::Origin;

mod retry;

pub use retry::{RetryReason, StopReason};

/// Something a layer did or noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Which layer, under which name.
    pub origin: Origin,
    /// Which key, if the layer keeps state by key.
    pub key: Option<Arc<str>>,
    /// For changes of state: the place of this event in the order of this policy's (or key's)
    /// changes, counted from one without gaps. Two threads may deliver out of order; this number
    /// puts events back into it. Other events carry the number of the latest change.
    pub seq: u64,
    /// Time since the policy was made.
    pub at: Duration,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The state changed.
    Changed(Transition),
    /// A call was ended by this layer.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A call flew although it would have been rejected, because the policy is in shadow.
    ShadowRejected,
    /// An answer came after the state it was asked in was over; it decides nothing.
    Late,
    /// A call ended without an answer: its future was dropped.
    Abandoned,
    /// A new key shares the overflow policy, because the table of keys is full.
    KeyOverflow,
    /// A call will be tried once more.
    Retrying {
        /// The attempt to come, counted from 1.
        attempt: u32,
        /// How long it waits first.
        wait: Duration,
        /// What the attempt before came to.
        why: RetryReason,
        /// How long the dependency, or one of our own layers, asked us to stay away, if it did.
        /// [`max_retry_after`](crate::retry::Config::max_retry_after) bounds how much of it counts.
        retry_after: Option<Duration>,
    },
    /// A failed call was answered in another way.
    FellBack {
        /// Why one of our own layers ended the call; `None`, if the dependency failed.
        reason: Option<Reason>,
    },
    /// A health check went up or down.
    Health {
        /// The new status.
        status: Status,
    },
    /// A failed call is not tried again.
    Stopped {
        /// The attempts there were.
        attempts: u32,
        /// Why there is no further one.
        stop: StopReason,
    },
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// Why.
    pub cause: TransitionCause,
    /// What was observed, against which threshold.
    pub measurement: Measurement,
}

/// The states a policy can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls pass, to see whether the dependency is back.
    HalfOpen,
    /// Held open by hand: calls are rejected until the last holder lets go.
    ForcedOpen,
    /// Held closed by hand: calls pass, whatever they bring.
    ForcedClosed,
}

impl State {
    pub(crate) const ALL: [Self; 5] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::ForcedClosed];

    /// The metric label `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitionCause {
    /// Evidence of failure reached the threshold.
    Evidence,
    /// Too many failures in a row.
    Consecutive,
    /// Too many failures within some time.
    FailuresWithin,
    /// Too large a share of calls failed.
    FailureRate,
    /// Too large a share of calls was slow.
    SlowRate,
    /// the break is over: time to probe.
    BreakOver,
    /// The probes succeeded.
    ProbesSucceeded,
    /// The probes failed.
    ProbesFailed,
    /// The probes were given up, one after the other, without an answer.
    ProbesAbandoned,
    /// Somebody holds the switch, or let go of it.
    Switch,
    /// Somebody reset the policy.
    Reset,
}

impl TransitionCause {
    /// The metric label `reason` of a transition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Consecutive => "consecutive",
            Self::FailuresWithin => "failures_within",
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::BreakOver => "break_over",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ProbesFailed => "probes_failed",
            Self::ProbesAbandoned => "probes_abandoned",
            Self::Switch => "switch",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for TransitionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How something is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Status {
    /// All is well.
    Up,
    /// It works, and something is missing. Only of a whole, never of a single check.
    Degraded,
    /// It was not checked yet, or not for so long that its last word has expired. Only of a check in
    /// the report of a [registry](crate::health::HealthRegistry).
    Unknown,
    /// It does not work.
    Down,
}

impl Status {
    /// What a whole can be.
    pub(crate) const OVERALL: [Self; 3] = [Self::Up, Self::Degraded, Self::Down];

    /// The metric label `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Someone who wants to know what a layer does.
///
/// Called on the task that caused the event, after every lock is released: an observer may call
/// back into the same policy. One that panics harms neither the call nor the next observer. One
/// that blocks holds up the call it was told of, so send what takes time to a channel.
///
/// A closure is an observer:
///
/// ```
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::{Event, EventKind};
/// use std::sync::mpsc::channel;
///
/// let (log, lines) = channel();
/// let layer = CircuitBreakerLayer::builder("payments")
///     .observe(move |event: &Event| {
///         if let EventKind::Changed(change) = event.kind {
///             log.send(format!("{}: {} → {}", event.origin, change.from, change.to)).ok();
///         }
///     })
///     .build()?;
/// layer.handle().force_open();
/// assert_eq!(lines.recv()?, "circuit_breaker `payments`: closed → forced_open");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Implement it where there is more to hold than a closure shows:
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
/// use seawall::{TransitionCause, Transition, Error, Event, EventKind, Observe, State};
/// use std::io;
/// use std::sync::mpsc::{Sender, channel};
///
/// /// Wakes somebody when a circuit opens, once: probes that fail are no news.
/// struct Pager(Sender<String>);
///
/// impl Observe for Pager {
///     fn on_event(&self, event: &Event) {
///         if let EventKind::Changed(Transition { to: State::Open, cause, measurement, .. }) = event.kind
///             && cause != TransitionCause::ProbesFailed
///         {
///             let page = format!("{} is open: {cause}, {measurement}", event.origin);
///             self.0.send(page).ok(); // nobody is on duty
///         }
///     }
/// }
///
/// let (pager, pages) = channel();
/// let breaker = CircuitBreakerLayer::builder("payments")
///     .trip(Trip::consecutive(2))
///     .observe(Pager(pager))
///     .build()?;
/// for _ in 0..2 {
///     let down = breaker.run(|| async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) });
///     assert!(down.await.is_err());
/// }
/// assert_eq!(pages.recv()?, "circuit_breaker `payments` is open: consecutive, 2 of 2 failures in a row");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub trait Observe: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observe for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}
