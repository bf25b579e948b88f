//! What the services of one hedge share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::machine::{Latencies, Params};
use crate::core::config::ConfigErrors;
use crate::core::event::EventKind;
use crate::core::sync::atomic::{AtomicU64, Ordering};
use crate::core::time::Tick;
use crate::shell::budget::Budget;
use crate::shell::live::Live;
use crate::shell::locked::Locked;
use crate::shell::meter::{Counter, Ended, Gauge, Handles, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};

/// Attempts beside the first.
const HEDGES: &str = "seawall_hedges_total";
/// After which time the next attempt begins.
const DELAY: &str = "seawall_hedge_delay_seconds";

/// However long the dependency asks for, nothing is hedged for so long at most.
const LONGEST_QUIET: Duration = Duration::from_secs(30);

/// Says whether there is room for another attempt.
pub(super) type Gauging = Arc<dyn Fn() -> bool + Send + Sync>;

/// Settings, delay, budget and voice of a hedge.
pub(crate) struct Terms {
    pub(super) reporter: Reporter<HedgeMeter>,
    params: Live<(Config, Params)>,
    latencies: Locked<Latencies>,
    /// The percentile, in nanoseconds; zero while it is unknown.
    percentile: AtomicU64,
    /// Until when the dependency wants less load.
    quiet_until: AtomicU64,
    pub(super) budget: Option<Budget>,
    /// Whether answers fill the budget here, and not in a retry that shares it.
    pub(super) fills: bool,
    pub(super) only_if: Option<Gauging>,
}

pub(crate) struct HedgeMeter {
    won: Counter,
    lost: Counter,
    failed: Counter,
    no_budget: Counter,
    delay: Gauge,
}

impl Instruments for HedgeMeter {
    // The layers further in count their calls.
    const OUTCOMES: &'static [Ended] = &[];

    fn new(labels: &Labels<'_>) -> Self {
        let about = "Attempts beside the first one, by what came of them.";
        let outcomes = ["won", "lost", "failed", "no_budget"];
        let [won, lost, failed, no_budget] = labels.counters(HEDGES, about, "outcome", outcomes);
        let delay = labels.gauge(DELAY, "After which time the next attempt begins.");
        Self { won, lost, failed, no_budget, delay }
    }

    fn prime(&self) {
        for counter in [&self.won, &self.lost, &self.failed, &self.no_budget] {
            counter.touch();
        }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.delay)
    }
}

/// What came of an attempt beside the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Its result is that of the call.
    Won,
    /// Another one was faster, or nobody waits any longer.
    Lost,
    /// It failed, and the call went on.
    Failed,
    /// It did not begin, for the budget has nothing left.
    NoBudget,
}

impl Terms {
    pub(super) fn new(
        reporter: Reporter<HedgeMeter>,
        config: Config,
        params: Params,
        budget: Option<Budget>,
        fills: bool,
        only_if: Option<Gauging>,
    ) -> Self {
        Self {
            reporter,
            params: Live::new((config, params)),
            latencies: Locked::new(Latencies::new()),
            percentile: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            budget,
            fills,
            only_if,
        }
    }

    pub(super) fn config(&self) -> Config {
        self.params.get().0.clone()
    }

    pub(super) fn params(&self) -> Params {
        self.params.get().1
    }

    pub(super) fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        let params =
            Params::from_config(&config).map_err(|wrong| wrong.of_policy(&self.reporter.origin))?;
        self.params.set((config, params));
        self.meter(|handles| self.set_level(handles));
        Ok(())
    }

    /// After which time the next attempt begins, if that is known.
    pub(super) fn delay(&self) -> Option<Duration> {
        let params = self.params();
        let percentile = self.percentile.load(Ordering::Relaxed);
        let learnt = (percentile > 0).then(|| percentile.max(params.min_delay));
        params.delay.or(learnt).map(Duration::from_nanos)
    }

    /// A good answer came after so long.
    pub(super) fn answered(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let percentile = self.params().percentile;
        if let Some(fresh) = self.latencies.with(|latencies| latencies.note(took, percentile)) {
            self.percentile.store(fresh.max(1), Ordering::Relaxed);
            self.meter(|handles| self.set_level(handles));
        }
    }

    /// A success pays in, if nobody else sees to that.
    #[inline]
    pub(super) fn deposit(&self) {
        if let Some(budget) = self.budget.as_ref().filter(|_| self.fills) {
            budget.deposit();
        }
    }

    /// The dependency asks for less load, for so long.
    pub(super) fn push_back(&self, for_as_long: Duration) {
        let for_as_long = for_as_long.min(LONGEST_QUIET);
        let until = self.reporter.clock.now().plus(crate::core::time::nanos(for_as_long));
        self.quiet_until.fetch_max(until.0, Ordering::Relaxed);
    }

    /// Whether another attempt may begin now; it is paid for then.
    pub(super) fn pays(&self) -> bool {
        let is_quiet = Tick(self.quiet_until.load(Ordering::Relaxed)) > self.reporter.clock.now();
        if is_quiet || self.only_if.as_ref().is_some_and(|only_if| !only_if()) {
            return false;
        }
        // What it costs is not given back: an attempt that wins is load all the same.
        let is_paid = self.budget.as_ref().is_none_or(|budget| budget.withdraw().is_some());
        if !is_paid {
            self.came(Came::NoBudget);
        }
        is_paid
    }

    /// Another attempt begins.
    pub(super) fn begins(&self, attempt: u32, after: Duration) {
        let kind = EventKind::Hedging { attempt, after };
        self.reporter.tell_now(EventContext::default(), kind);
    }

    /// A call comes: whoever records is to see from the first on what can be counted.
    #[inline]
    pub(super) fn called(&self) {
        self.meter(|_| ());
    }

    #[inline]
    fn meter(&self, record: impl FnOnce(&Handles<'_, HedgeMeter>)) {
        self.reporter.meter.with(|fresh| self.set_level(fresh), record);
    }

    fn set_level(&self, handles: &Handles<'_, HedgeMeter>) {
        handles.set(&handles.own.delay, self.delay().unwrap_or_default().as_secs_f64());
    }

    pub(super) fn came(&self, came: Came) {
        self.meter(|handles| {
            let own = handles.own;
            handles.increment(match came {
                Came::Won => &own.won,
                Came::Lost => &own.lost,
                Came::Failed => &own.failed,
                Came::NoBudget => &own.no_budget,
            });
        });
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("origin", &self.reporter.origin)
            .field("config", &self.config())
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}
