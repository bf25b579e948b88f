//! What a limiter tells: rejections, and metrics.

use std::time::Duration;

use super::limiter::Limiter;
use super::meter::BulkheadMeter;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::shell::meter::{Ended, Handles, Recorder};
use crate::shell::reporter::EventContext;

impl Limiter {
    pub(super) fn reject(&self, reason: Reason, measurement: Measurement) -> Rejected {
        let context = EventContext { key: self.key.as_ref(), seq: 0 };
        self.common.reporter.reject_as(context, |fresh| self.set_levels(fresh), reason, measurement)
    }

    pub(super) fn note_wait(&self, waited: Duration) {
        self.meter(|handles| handles.record(&handles.own.wait, waited));
    }

    /// A call ended in the line, and nobody told it so.
    pub(super) fn note_abandoned(&self) {
        self.meter(|handles| handles.counted(Ended::Abandoned));
    }

    pub(super) fn note_levels(&self) {
        self.note_levels_to(Recorder::in_force());
    }

    #[inline]
    pub(super) fn note_levels_to(&self, recorder: Recorder) {
        let fresh = |fresh: &Handles<'_, _>| self.set_levels(fresh);
        self.common
            .reporter
            .meter
            .with_recorder(recorder, fresh, |handles| self.set_levels(handles));
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    fn meter(&self, record: impl FnOnce(&Handles<'_, BulkheadMeter>)) {
        self.common.reporter.meter.with(|fresh| self.set_levels(fresh), record);
    }

    /// Of many, the totals are kept whether somebody records or not, for a recorder may come later.
    #[inline]
    pub(super) fn count_seen(&self, more: i64) {
        if self.key.is_some() {
            self.common.totals.count_in_flight(more);
        }
    }

    pub(super) fn count_queued(&self, more: i64) {
        if self.key.is_some() {
            self.common.totals.count_queued(more);
        }
    }

    pub(super) fn set_levels(&self, handles: &Handles<'_, BulkheadMeter>) {
        self.set_occupancy(handles);
        if self.key.is_some() {
            return self.common.totals.tell_limit(handles);
        }
        handles.set(&handles.own.limit, f64::from(self.limit()));
    }

    pub(super) fn set_occupancy(&self, handles: &Handles<'_, BulkheadMeter>) {
        if self.key.is_some() {
            return self.common.totals.tell_occupancy(handles);
        }
        let at = self.occupancy();
        handles.set(&handles.own.in_flight, at.inside.into());
        handles.set(&handles.own.queued, at.waiting.into());
    }
}
