//! What the services of one fallback share, but for what they answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use crate::core::error::Reason;
use crate::core::event::EventKind;
use crate::core::origin::Origin;
use crate::core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::core::time::nanos;
use crate::shell::live::Live;
use crate::shell::meter::{Counter, Ended, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};

/// Failed calls that were answered otherwise, or were to be.
const FALLBACKS: &str = "seawall_fallbacks_total";

/// Settings, clock and voice of a fallback.
pub struct Terms {
    pub(super) reporter: Arc<Reporter<FallbackMeter>>,
    written: Live<Config>,
    enabled: AtomicBool,
    max_age: AtomicU64,
    max_keys: AtomicUsize,
    /// Rejections that are passed on.
    pub(super) shown: Vec<Reason>,
}

/// Says that an answer was given instead of a failure, and instead of which.
///
/// [`mark`](super::Builder::mark) puts it where readers of the response find it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FellBack {
    /// The fallback that answered.
    pub origin: Origin,
    /// Why one of our own layers ended the call, if one did; `None`, if the dependency failed.
    pub reason: Option<Reason>,
    /// How old the answer is, if it was [kept](super::Builder::last_good).
    pub age: Option<Duration>,
}

pub(crate) struct FallbackMeter {
    answered: Counter,
    failed: Counter,
}

impl Instruments for FallbackMeter {
    // The layers further in count their calls.
    const OUTCOMES: &'static [Ended] = &[];

    fn new(labels: &Labels<'_>) -> Self {
        let about = "Failed calls for which a fallback was asked, by what came of it.";
        let [answered, failed] =
            labels.counters(FALLBACKS, about, "outcome", ["answered", "failed"]);
        Self { answered, failed }
    }

    fn prime(&self) {
        self.answered.touch();
        self.failed.touch();
    }
}

impl Terms {
    pub(super) fn new(
        reporter: Reporter<FallbackMeter>,
        config: Config,
        shown: Vec<Reason>,
    ) -> Self {
        Self {
            reporter: Arc::new(reporter),
            enabled: AtomicBool::new(config.enabled),
            max_age: AtomicU64::new(nanos(config.max_age)),
            max_keys: AtomicUsize::new(config.max_keys),
            written: Live::new(config),
            shown,
        }
    }

    pub(super) fn config(&self) -> Config {
        Config::clone(&self.written.get())
    }

    /// Of two who reload at once the last one to write wins everything.
    pub(super) fn reload(&self, config: Config) {
        self.written.set(config);
        loop {
            let latest = self.written.get();
            self.enabled.store(latest.enabled, Ordering::Relaxed);
            self.max_age.store(nanos(latest.max_age), Ordering::Relaxed);
            self.max_keys.store(latest.max_keys, Ordering::Relaxed);
            if Arc::ptr_eq(&latest, &self.written.get()) {
                return;
            }
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(super) fn max_age(&self) -> u64 {
        self.max_age.load(Ordering::Relaxed)
    }

    pub(super) fn max_keys(&self) -> usize {
        self.max_keys.load(Ordering::Relaxed)
    }

    /// A call comes: whoever records is to see from the first on what can be counted.
    #[inline]
    pub(super) fn called(&self) {
        self.reporter.meter(|_| ());
    }

    /// A failed call was answered.
    pub(super) fn answered(&self, reason: Option<Reason>) {
        self.reporter.meter(|handles| handles.increment(&handles.own.answered));
        self.reporter.tell_now(EventContext::default(), EventKind::FellBack { reason });
    }

    /// The other service failed too.
    pub(super) fn failed(&self) {
        self.reporter.meter(|handles| handles.increment(&handles.own.failed));
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("origin", &self.reporter.origin)
            .field("config", &self.written)
            .finish_non_exhaustive()
    }
}
