//! What the services of one timeout share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use crate::error::{Measured, Reason, Rejected};
use crate::shell::gate::{Hold, Lane};
use crate::shell::meter::{Ended, Instruments, Labels};
use crate::shell::reporter::Reporter;
use crate::time::{self, nanos};

/// What a timeout measures: calls, rejections and durations.
#[derive(Debug)]
pub(super) struct TimeoutMeter;

impl Instruments for TimeoutMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNJUDGED;
    const REASONS: &'static [Reason] = &[Reason::TimedOut, Reason::Draining];

    fn new(_: &Labels<'_>) -> Self {
        Self
    }
}

/// One timeout.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) reporter: Reporter<TimeoutMeter>,
    limit: AtomicU64,
    cover_readiness: AtomicBool,
}

impl Policy {
    pub(super) fn new(reporter: Reporter<TimeoutMeter>, config: &Config) -> Self {
        let policy =
            Self { reporter, limit: AtomicU64::new(0), cover_readiness: AtomicBool::new(false) };
        policy.reload(config);
        policy
    }

    pub(super) fn reload(&self, config: &Config) {
        self.limit.store(nanos(config.limit), Ordering::Relaxed);
        self.cover_readiness.store(config.cover_readiness, Ordering::Relaxed);
    }

    pub(super) fn config(&self) -> Config {
        let limit = match self.limit() {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        };
        Config { limit, cover_readiness: self.covers_readiness() }
    }

    /// Nanoseconds; `u64::MAX` is no limit.
    #[inline]
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn covers_readiness(&self) -> bool {
        self.cover_readiness.load(Ordering::Relaxed)
    }
}

/// A call under way: counted once, as abandoned if it is dropped.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) hold: Hold<Lane<Policy>>,
    /// When the inner service was first found pending, if anyone needs to know.
    pub(super) started: Option<Instant>,
}

impl Flight {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Policy>>) -> Self {
        Self { hold: Hold::new(lane), started: None }
    }

    pub(super) fn policy(&self) -> Option<&Policy> {
        self.hold.get().map(|lane| &**lane)
    }

    /// The call is over.
    #[inline]
    pub(super) fn end(&mut self, how: impl FnOnce() -> Ended) {
        let Some(lane) = self.hold.end() else { return };
        lane.reporter.meter(|handles| {
            let took = self.started.map(|at| nanos(time::now().saturating_duration_since(at)));
            let how = match how() {
                Ended::Silent if took.is_none() => Ended::Refused, // too late on arrival, further in
                how => how,
            };
            handles.ended(how, took);
        });
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        let Some(lane) = self.hold.lose() else { return };
        lane.reporter.meter(|handles| {
            let took = self.started.map(|at| nanos(time::now().saturating_duration_since(at)));
            handles.ended(Ended::Abandoned, took);
        });
    }

    /// The call does not begin: the policy was drained before that.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        self.hold.lose().map(|lane| lane.reporter.reject(Reason::Draining, Measured::Nothing))
    }

    /// The call was ended by this layer, which counts it as a rejection.
    pub(super) fn forget(&mut self) {
        drop(self.hold.lose());
    }
}

impl Drop for Flight {
    #[inline]
    fn drop(&mut self) {
        if !self.hold.is_over() {
            self.be_lost();
        }
    }
}
