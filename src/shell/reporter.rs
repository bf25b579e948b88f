//! How a policy tells the world: under its name, on its clock, to its meter and its observers.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Measured, Reason, Rejected};
use crate::event::{Change, Event, EventKind, Observers, Outage, Turn};
use crate::shell::meter::{Handles, Instruments, Meter};
use crate::source::Source;
use crate::time::{Clock, Tick};

/// What a policy says, and in whose name.
#[derive(Debug)]
pub(crate) struct Reporter<I> {
    pub(crate) source: Source,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter<I>,
    observers: Observers,
}

/// Who speaks within a policy: one of its keys, after so many changes of state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speaker<'a> {
    pub(crate) key: Option<&'a Arc<str>>,
    pub(crate) seq: u64,
}

impl<I: Instruments> Reporter<I> {
    pub(crate) fn new(source: Source, observers: Observers) -> Self {
        Self { meter: Meter::new(source.clone()), source, clock: Clock::start(), observers }
    }

    /// Whether anyone listens to events.
    #[inline]
    pub(crate) fn has_observers(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Tells the observers. Never called with a lock held.
    pub(crate) fn tell(&self, speaker: Speaker<'_>, at: Tick, kind: EventKind) {
        if self.observers.is_empty() {
            return;
        }
        self.observers.tell(&Event {
            source: self.source.clone(),
            key: speaker.key.cloned(),
            seq: speaker.seq,
            at: Duration::from_nanos(at.0),
            kind,
        });
    }

    /// Tells those who asked of an outage that begins or is over. Never called with a lock held.
    pub(crate) fn tell_outage(&self, speaker: Speaker<'_>, change: &Change, turn: Turn) {
        self.observers.tell_outage(&Outage {
            source: self.source.clone(),
            key: speaker.key.cloned(),
            cause: change.cause,
            measured: change.measured,
            lasted: match turn {
                Turn::Began => None,
                Turn::Over { lasted } => Some(lasted),
            },
        });
    }

    /// Tells the observers of something that happened just now, if there are any.
    #[inline]
    pub(crate) fn tell_now(&self, speaker: Speaker<'_>, kind: EventKind) {
        if self.has_observers() {
            self.tell(speaker, self.clock.now(), kind);
        }
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(crate) fn meter(&self, record: impl FnOnce(&Handles<I>)) {
        self.meter.with(|_| (), record);
    }

    /// A call is ended here: counts it, tells of it, and gives what the caller is told.
    pub(crate) fn reject(&self, reason: Reason, measured: Measured) -> Rejected {
        self.reject_with(|_| (), reason, measured)
    }

    /// The same for a policy with levels, which are set first if these handles are fresh: a refusal
    /// may be the first that a recorder hears of it.
    pub(crate) fn reject_with(
        &self,
        levels: impl FnOnce(&Handles<I>),
        reason: Reason,
        measured: Measured,
    ) -> Rejected {
        self.reject_as(Speaker::default(), levels, reason, measured)
    }

    /// The same, in the name of a key.
    pub(crate) fn reject_as(
        &self,
        speaker: Speaker<'_>,
        levels: impl FnOnce(&Handles<I>),
        reason: Reason,
        measured: Measured,
    ) -> Rejected {
        self.meter.with(levels, |handles| handles.rejected(reason));
        self.tell_now(speaker, EventKind::Rejected { reason });
        Rejected::new(self.source.clone(), reason, measured)
    }
}
