//! How a policy tells the world: under its name, on its clock, to its meter and its observers.

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::{Event, EventKind, Observers};
use crate::core::origin::Origin;
use crate::core::time::{Clock, Tick};
use crate::shell::meter::{Handles, Instruments, Meter, Recorder};

/// What a policy says, and in whose name.
#[derive(Debug)]
pub(crate) struct Reporter<I> {
    pub(crate) origin: Origin,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter<I>,
    observers: Observers,
}

/// Who speaks within a policy: one of its keys, after so many changes of state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventContext<'a> {
    pub(crate) key: Option<&'a Arc<str>>,
    pub(crate) seq: u64,
}

impl<I: Instruments> Reporter<I> {
    pub(crate) fn new(origin: Origin, observers: Observers) -> Self {
        Self { meter: Meter::new(origin.clone()), origin, clock: Clock::start(), observers }
    }

    /// Whether anyone listens to events.
    #[inline]
    pub(crate) fn has_observers(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Tells the observers. Never called with a lock held.
    pub(crate) fn tell(&self, context: EventContext<'_>, at: Tick, kind: EventKind) {
        if self.observers.is_empty() {
            return;
        }
        self.observers.tell(&Event {
            origin: self.origin.clone(),
            key: context.key.cloned(),
            seq: context.seq,
            at: Duration::from_nanos(at.0),
            kind,
        });
    }

    /// Tells the observers of something that happened just now, if there are any.
    #[inline]
    pub(crate) fn tell_now(&self, context: EventContext<'_>, kind: EventKind) {
        if self.has_observers() {
            self.tell(context, self.clock.now(), kind);
        }
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(crate) fn meter(&self, record: impl FnOnce(&Handles<'_, I>)) {
        self.meter.with(|_| (), record);
    }

    /// The same, of a recorder that was asked for already.
    #[inline]
    pub(crate) fn meter_to(&self, recorder: Recorder, record: impl FnOnce(&Handles<'_, I>)) {
        self.meter.with_recorder(recorder, |_| (), record);
    }

    /// A call is ended here: counts it, tells of it, and gives what the caller is told.
    pub(crate) fn reject(&self, reason: Reason, measurement: Measurement) -> Rejected {
        self.reject_with(|_| (), reason, measurement)
    }

    /// The same for a policy with levels, which are set first if these handles are fresh: a rejection
    /// may be the first that a recorder hears of it.
    pub(crate) fn reject_with(
        &self,
        levels: impl FnOnce(&Handles<'_, I>),
        reason: Reason,
        measurement: Measurement,
    ) -> Rejected {
        self.reject_as(EventContext::default(), levels, reason, measurement)
    }

    /// The same, in the name of a key.
    pub(crate) fn reject_as(
        &self,
        context: EventContext<'_>,
        levels: impl FnOnce(&Handles<'_, I>),
        reason: Reason,
        measurement: Measurement,
    ) -> Rejected {
        self.meter.with(levels, |handles| handles.rejected(reason));
        if self.has_observers() {
            self.tell_now(context, EventKind::Rejected { reason });
        }
        Rejected::new(self.origin.clone(), reason, measurement)
    }
}
