//! What a bulkhead measures.

use crate::core::error::Reason;
use crate::core::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use crate::shell::meter::{Ended, Gauge, Handles, Histogram, Instruments, Labels};

/// Places that are taken.
const IN_FLIGHT: &str = "seawall_bulkhead_in_flight";
/// Places there are.
const LIMIT: &str = "seawall_bulkhead_limit";
/// Calls that wait for a permit.
const QUEUED: &str = "seawall_bulkhead_queued";
/// How long calls waited that got a permit.
const WAIT: &str = "seawall_bulkhead_wait_seconds";

pub(crate) struct BulkheadMeter {
    pub(super) in_flight: Gauge,
    pub(super) limit: Gauge,
    pub(super) queued: Gauge,
    pub(super) wait: Histogram,
}

impl Instruments for BulkheadMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNCLASSIFIED;
    const REASONS: &'static [Reason] = &[Reason::Full, Reason::QueueTimeout, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            in_flight: labels.gauge(IN_FLIGHT, "Places that are taken."),
            limit: labels.gauge(LIMIT, "Places there are."),
            queued: labels.gauge(QUEUED, "Calls that wait for a place."),
            wait: labels.seconds(WAIT, "How long calls waited that got a place."),
        }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.limit)
    }
}

/// What the bulkheads of all keys come to. Aligned, for it is written by calls that read what is beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Totals {
    /// Of each key that has none of its own.
    limit: AtomicU32,
    /// Calls in flight that were found pending: one that is answered at once is never seen.
    in_flight: AtomicI64,
    queued: AtomicI64,
}

impl Totals {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: AtomicU32::new(limit),
            in_flight: AtomicI64::new(0),
            queued: AtomicI64::new(0),
        }
    }

    /// All keys have another limit.
    pub(super) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(super) fn count_in_flight(&self, more: i64) {
        self.in_flight.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn count_queued(&self, more: i64) {
        self.queued.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn tell_limit(&self, handles: &Handles<'_, BulkheadMeter>) {
        handles.set(&handles.own.limit, self.limit.load(Ordering::Relaxed).into());
    }

    pub(super) fn tell_occupancy(&self, handles: &Handles<'_, BulkheadMeter>) {
        handles.set(&handles.own.in_flight, self.in_flight.load(Ordering::Relaxed) as f64);
        handles.set(&handles.own.queued, self.queued.load(Ordering::Relaxed) as f64);
    }
}
