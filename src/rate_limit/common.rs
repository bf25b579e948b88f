//! What the rate limits of all keys have in common; or one alone has.

use std::sync::Arc;

use super::config::Config;
use crate::core::error::Reason;
use crate::core::sync::atomic::{AtomicUsize, Ordering};
use crate::shell::keyed::Settings;
use crate::shell::meter::{Ended, Gauge, Handles, Histogram, Instruments, Labels, Recorder};
use crate::shell::reporter::Reporter;

/// Calls that wait for their turn.
const QUEUED: &str = "seawall_rate_limit_queued";
/// How long calls waited for their turn.
const WAIT: &str = "seawall_rate_limit_wait_seconds";

/// Whom they speak for, by which settings, and how many wait in all of them.
pub(crate) struct Common {
    pub(super) reporter: Reporter<RateLimitMeter>,
    pub(super) settings: Settings<Config>,
    queued: AtomicUsize,
}

pub(crate) struct RateLimitMeter {
    queued: Gauge,
    pub(super) wait: Histogram,
}

impl Instruments for RateLimitMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNCLASSIFIED;
    const REASONS: &'static [Reason] =
        &[Reason::RateLimited, Reason::CostTooHigh, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            queued: labels.gauge(QUEUED, "Calls that wait for their turn."),
            wait: labels.seconds(WAIT, "How long calls waited for their turn."),
        }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.queued)
    }
}

impl Common {
    pub(super) fn new(reporter: Reporter<RateLimitMeter>, settings: Settings<Config>) -> Arc<Self> {
        let common = Self { reporter, settings, queued: AtomicUsize::new(0) };
        common.meter(|handles| common.set_queued(handles));
        Arc::new(common)
    }

    /// One more waits.
    pub(super) fn joined(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.meter(|handles| self.set_queued(handles));
    }

    /// One waits no longer.
    pub(super) fn left(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        self.meter(|handles| self.set_queued(handles));
    }

    pub(super) fn set_queued(&self, handles: &Handles<'_, RateLimitMeter>) {
        handles.set(&handles.own.queued, self.queued.load(Ordering::Relaxed) as f64);
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(super) fn meter(&self, record: impl FnOnce(&Handles<'_, RateLimitMeter>)) {
        self.reporter.meter.with(|fresh| self.set_queued(fresh), record);
    }

    /// The same, with a recorder that was asked for already.
    #[inline]
    pub(super) fn meter_to(
        &self,
        recorder: Recorder,
        record: impl FnOnce(&Handles<'_, RateLimitMeter>),
    ) {
        self.reporter.meter.with_recorder(recorder, |fresh| self.set_queued(fresh), record);
    }
}
