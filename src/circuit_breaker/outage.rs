//! When calls were kept away from a dependency, and when they were let back.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::transition::{State, Transition, TransitionCause};
use crate::core::error::Measurement;
use crate::core::event::Observers;
use crate::core::origin::Origin;

/// An outage, as a circuit breaker sees it: from the moment at which its circuit opens until it is
/// closed again, however many probes fail in between.
///
/// Told by [`on_open`](crate::circuit_breaker::Builder::on_open) when it begins and by
/// [`on_close`](crate::circuit_breaker::Builder::on_close) when it is over. Its `Display` is a line
/// for an alert.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Outage, Trip};
/// use std::io;
/// use std::sync::mpsc::channel;
///
/// let (pager, pages) = channel();
/// let resolved = pager.clone();
/// let payments = CircuitBreakerLayer::builder("payments")
///     .trip(Trip::consecutive(2))
///     .on_open(move |outage: &Outage| drop(pager.send(outage.to_string())))
///     .on_close(move |outage| drop(resolved.send(format!("over: {:?}", outage.cause))))
///     .build()?;
/// for _ in 0..2 {
///     let down = payments.run(|| async { Err::<(), _>(Error::Inner(io::Error::other("down"))) });
///     assert!(down.await.is_err());
/// }
/// payments.handle().reset();
/// let told: Vec<_> = pages.try_iter().collect();
/// assert_eq!(told, [
///     "circuit_breaker `payments` opened: consecutive (2 of 2 failures in a row)",
///     "over: Reset",
/// ]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// Whose circuit.
    pub origin: Origin,
    /// Of which key, if there is one for each.
    pub key: Option<Arc<str>>,
    /// Why it opened, or closed.
    pub cause: TransitionCause,
    /// What was observed when it opened, against which threshold; nothing when it closed.
    pub measurement: Measurement,
    /// How long it lasted, once it is over. Until then `None`.
    pub lasted: Option<Duration>,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)?;
        if let Some(key) = &self.key {
            write!(f, " for {key:?}")?;
        }
        match self.lasted {
            None => write!(f, " opened: {}", self.cause)?,
            Some(lasted) => write!(f, " closed after {lasted:?}: {}", self.cause)?,
        }
        if self.measurement != Measurement::Nothing {
            write!(f, " ({})", self.measurement)?;
        }
        Ok(())
    }
}

/// What a change of state means to those who are told of outages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Began,
    Over { lasted: Duration },
}

impl Turn {
    /// From the states before and after; `since` is when an outage began that goes on, in nanoseconds
    /// as `now` is.
    pub(crate) fn of(change: &Transition, since: &mut Option<u64>, now: u64) -> Option<Self> {
        let passes = |state| matches!(state, State::Closed | State::ForcedClosed);
        match (passes(change.from), passes(change.to)) {
            (true, false) => {
                *since = Some(now);
                Some(Self::Began)
            }
            (false, true) => {
                let began = since.take()?;
                Some(Self::Over { lasted: Duration::from_nanos(now.saturating_sub(began)) })
            }
            _ => None,
        }
    }
}

/// Who is told of what a breaker does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) observers: Observers,
    pub(crate) outages: OutageListeners,
}

/// Who asked to be told of outages.
#[derive(Clone, Default)]
pub(crate) struct OutageListeners {
    opened: Vec<OnOutage>,
    closed: Vec<OnOutage>,
}

type OnOutage = Arc<dyn Fn(&Outage) + Send + Sync>;

impl OutageListeners {
    pub(crate) fn on_open(&mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) {
        self.opened.push(Arc::new(tell));
    }

    pub(crate) fn on_close(&mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) {
        self.closed.push(Arc::new(tell));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.closed.is_empty()
    }

    /// Tells them. A panic stays with whoever made it.
    pub(crate) fn tell(&self, outage: &Outage) {
        let listeners = if outage.lasted.is_none() { &self.opened } else { &self.closed };
        for tell in listeners {
            let _ = catch_unwind(AssertUnwindSafe(|| tell(outage)));
        }
    }
}

impl fmt::Debug for OutageListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutageListeners({})", self.opened.len() + self.closed.len())
    }
}
