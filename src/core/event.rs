//! Events of layers, and their observers.

mod observers;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::observers::Observers;
#[cfg(any(feature = "leader", feature = "shards"))]
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, Reason};
use crate::core::origin::Origin;
#[cfg(feature = "log")]
use crate::core::position::Position;

/// An event of a layer.
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

/// What happened, in terms of any layer.
///
/// Reasons and states of single layers are words here, the same as in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The state of the policy changed. The layer reads these words for you: a circuit breaker's with
    /// [`Transition::of`](crate::circuit_breaker::Transition::of), a health check's with
    /// [`Status::of`](crate::health::Status::of).
    Changed {
        /// The state that ended.
        from: &'static str,
        /// The state that began.
        to: &'static str,
        /// The reason.
        cause: &'static str,
        /// What was observed, against which threshold.
        measurement: Measurement,
    },
    /// A call was ended by this layer.
    Rejected {
        /// The reason.
        reason: Reason,
    },
    /// A call was admitted that would have been rejected without shadow mode.
    ShadowRejected,
    /// A response came after the state of its call had ended. It decides nothing.
    Late,
    /// A call ended without a response: its future was dropped.
    Abandoned,
    /// A new key shares the overflow policy, because the table of keys is full.
    KeyOverflow,
    /// A call will be retried.
    Retrying {
        /// The number of the next attempt, counted from 1.
        attempt: u32,
        /// The backoff before it.
        wait: Duration,
        /// Why: a [`RetryReason`](crate::retry::RetryReason).
        why: &'static str,
        /// The delay that the dependency or an inner layer asked for, if it did.
        /// [`max_retry_after`](crate::retry::Config::max_retry_after) bounds how much of it counts.
        retry_after: Option<Duration>,
    },
    /// An attempt begins beside one that has not answered, or after one that failed.
    Hedging {
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// How long after the call was first found pending.
        after: Duration,
    },
    /// A fallback answered a failed call.
    FellBack {
        /// The reason if a layer had rejected the call; `None` if the dependency failed.
        reason: Option<Reason>,
    },
    /// A later epoch is known: a fence goes by it, or calls go to its leader.
    #[cfg(feature = "leader")]
    EpochRaised {
        /// The highest before; [`NOBODY`](Epoch::NOBODY)'s if none was known.
        from: Epoch,
        /// The highest now.
        to: Epoch,
    },
    /// Another map of owners is in force.
    #[cfg(feature = "shards")]
    MapAdopted {
        /// The epoch of the map before.
        from: Epoch,
        /// Its epoch.
        to: Epoch,
    },
    /// A call goes to another member of a set, because the one that it was sent to says so.
    #[cfg(feature = "shards")]
    Redirected {
        /// The epoch of the map that says so.
        epoch: Epoch,
    },
    /// A call goes to somebody else than the owner of its key, because that is `down` or `overloaded`.
    #[cfg(feature = "shards")]
    PassedOver {
        /// Which of the two.
        cause: &'static str,
    },
    /// A lasting hint was forgotten, to make room for a later one: calls with that key go by the map again, and by way of the owner
    /// that it names.
    #[cfg(feature = "shards")]
    HintForgotten {
        /// The epoch of the map that said so.
        epoch: Epoch,
    },
    /// An owner holds writes for longer than one of them waits: the move that they wait for is not over.
    #[cfg(feature = "shards")]
    HoldOverdue {
        /// The epoch of the map that the move is to come to; that of the map in force, if the owner has yet to
        /// [open](crate::shards::OwnsHandle::open).
        epoch: Epoch,
        /// For how long.
        age: Duration,
    },
    /// Another list of endpoints is in force.
    #[cfg(feature = "endpoints")]
    EndpointsAdopted {
        /// How many there are.
        members: u32,
    },
    /// A source of endpoints or maps gave none, or none that could be taken. The last good one stays in force.
    #[cfg(any(feature = "endpoints", feature = "shards"))]
    SourceFailed {
        /// How old that is.
        age: Duration,
    },
    /// Another command of the stream was first: the command is decided again.
    #[cfg(feature = "log")]
    DecidedAgain {
        /// The number of this attempt, counted from 1.
        attempt: u32,
    },
    /// A projection passes over an event that could not be applied.
    #[cfg(feature = "log")]
    EventSkipped {
        /// Where it is in the log.
        position: Position,
    },
    /// A subscriber has lost events, because it was slow.
    #[cfg(feature = "bus")]
    EventsLost {
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// A failed call is not retried.
    Stopped {
        /// The number of attempts.
        attempts: u32,
        /// Why: a [`StopReason`](crate::retry::StopReason).
        why: &'static str,
    },
}

/// Receives the events of a layer.
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
///         if let EventKind::Changed { from, to, .. } = event.kind {
///             log.send(format!("{}: {from} → {to}", event.origin)).ok();
///         }
///     })
///     .build()?;
/// layer.handle().force_open();
/// assert_eq!(lines.recv()?, "circuit_breaker `payments`: closed → forced_open");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Implement it if an observer needs state of its own:
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, State, Transition, TransitionCause, Trip};
/// use seawall::{Error, Event, Observe};
/// use std::io;
/// use std::sync::mpsc::{Sender, channel};
///
/// /// Wakes somebody when a circuit opens, once: probes that fail are no news.
/// struct Pager(Sender<String>);
///
/// impl Observe for Pager {
///     fn on_event(&self, event: &Event) {
///         let change = Transition::of(&event.kind);
///         if let Some(Transition { to: State::Open, cause, measurement, .. }) = change
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
