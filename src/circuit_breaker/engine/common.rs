//! What all breakers of a layer share: its name, its settings, and the count of their states.

use std::sync::Arc;

use metrics::Unit;

use crate::circuit_breaker::config::Config;
use crate::circuit_breaker::machine::Breaker;
use crate::circuit_breaker::outage::{Listeners, Outage, OutageListeners, Turn};
use crate::circuit_breaker::params::Params;
use crate::circuit_breaker::transition::{State, Transition};
use crate::core::config::ConfigErrors;
use crate::core::error::Reason;
use crate::core::origin::Origin;
use crate::core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::core::time::Tick;
use crate::shell::keyed::Settings;
use crate::shell::meter::{Counter, Gauge, Handles, Instruments, Labels, Recorder};
use crate::shell::reporter::{EventContext, Reporter};

/// One series per state: 1 or 0, or the number of keys in it.
const STATE: &str = "seawall_circuit_breaker_state";
/// Changes of state.
const TRANSITIONS: &str = "seawall_circuit_breaker_transitions_total";
/// Calls that flew only because the policy is in shadow.
const SHADOW: &str = "seawall_circuit_breaker_shadow_rejections_total";
/// Answers that came after the state they were asked in was over.
const LATE: &str = "seawall_late_answers_total";

/// What the cells of a policy have in common.
pub(crate) struct Common {
    pub(crate) reporter: Reporter<StateMeter>,
    outages: OutageListeners,
    settings: Settings<Config>,
    /// Of the settings; a cell that knows an older version takes the newer one at its next step.
    version: AtomicU64,
    durations: AtomicU64,
    waits: AtomicU64,
    /// How many cells are in each state.
    census: [AtomicI64; State::ALL.len()],
    /// Of all chance in this policy; each key makes its own of it.
    pub(crate) seed: u64,
}

/// What a policy with states measures.
pub(crate) struct StateMeter {
    gauges: [Gauge; State::ALL.len()],
    pub(crate) shadow: Counter,
    pub(crate) late: Counter,
}

impl Instruments for StateMeter {
    const REASONS: &'static [Reason] = &[Reason::CircuitOpen, Reason::Recovering, Reason::Draining];

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            gauges: labels.gauges(
                STATE,
                "1 for the state the breaker is in, else 0; for a keyed one, keys by state.",
                "state",
                State::ALL.map(State::as_str),
            ),
            shadow: labels
                .counter(SHADOW, "Calls that flew only because the breaker is in shadow."),
            late: labels
                .counter(LATE, "Answers that came after the state they were asked in was over."),
        }
    }

    fn prime(&self) {
        self.late.touch(); // and the other only where there is a shadow
    }

    fn level(&self) -> Option<&Gauge> {
        self.gauges.first()
    }
}

// ===== impl Common =====

impl Common {
    pub(crate) fn new(
        origin: Origin,
        listeners: Listeners,
        settings: Settings<Config>,
        seed: u64,
    ) -> Arc<Self> {
        let common = Self {
            reporter: Reporter::new(origin, listeners.observers),
            outages: listeners.outages,
            settings,
            version: AtomicU64::new(0),
            durations: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            census: Default::default(),
            seed,
        };
        common.reloaded();
        Arc::new(common)
    }

    /// What governs the cell of this key.
    pub(crate) fn params(&self, key: Option<&str>) -> Arc<Params> {
        Arc::clone(self.settings.get().params(key))
    }

    pub(crate) const fn settings(&self) -> &Settings<Config> {
        &self.settings
    }

    /// Replaces the settings of one key, which it has of its own from now on; or of all.
    pub(crate) fn reload(&self, key: Option<&str>, config: &Config) -> Result<(), ConfigErrors> {
        self.settings.reload_one(&self.reporter.origin, key, config)?;
        self.reloaded();
        Ok(())
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The settings were replaced. Each cell takes notice at its next step.
    pub(crate) fn reloaded(&self) {
        self.settings.bring(|in_force| {
            let vigils = in_force.all_params().map(|params| Breaker::vigil(params));
            let (mut durations, mut waits) = (false, false);
            for vigil in vigils {
                (durations, waits) = (durations | vigil.durations, waits | vigil.waits);
            }
            self.durations.store(durations.into(), Ordering::Relaxed);
            self.waits.store(waits.into(), Ordering::Relaxed);
            // A cell asks for the settings after this, and gets these, or newer ones.
            self.version.fetch_max(in_force.version(), Ordering::Release);
        });
    }

    /// Whether the settings need to know how long calls take.
    #[inline]
    pub(crate) fn needs_durations(&self) -> bool {
        self.durations.load(Ordering::Relaxed) != 0
    }

    /// Whether the settings need to know how long calls wait.
    #[inline]
    pub(crate) fn needs_waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed) != 0
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(crate) fn meter(&self, record: impl FnOnce(&Handles<'_, StateMeter>)) {
        self.reporter.meter.with(|fresh| self.set_levels(fresh), record);
    }

    /// The same, with a recorder that was asked for already.
    #[inline]
    pub(crate) fn meter_to(
        &self,
        recorder: Recorder,
        record: impl FnOnce(&Handles<'_, StateMeter>),
    ) {
        self.reporter.meter.with_recorder(recorder, |fresh| self.set_levels(fresh), record);
    }

    /// A cell in this state came (`1`) or went (`-1`).
    pub(crate) fn count_cell(&self, state: State, difference: i64) {
        self.census[state.index()].fetch_add(difference, Ordering::Relaxed);
        self.meter(|handles| self.set_levels(handles));
    }

    /// A cell changed its state.
    pub(crate) fn count_change(&self, change: &Transition) {
        self.census[change.from.index()].fetch_sub(1, Ordering::Relaxed);
        self.census[change.to.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether anyone is told of changes of state.
    pub(crate) fn has_listeners(&self) -> bool {
        self.reporter.has_observers() || !self.outages.is_empty()
    }

    /// Tells of a change, and of the outage that it begins or ends. Never called with a lock held.
    pub(crate) fn tell_change(
        &self,
        context: EventContext<'_>,
        at: Tick,
        change: Transition,
        turn: Option<Turn>,
    ) {
        self.reporter.tell(context, at, change.into());
        let Some(turn) = turn else { return };
        self.outages.tell(&Outage {
            origin: self.reporter.origin.clone(),
            key: context.key.cloned(),
            cause: change.cause,
            measurement: change.measurement,
            lasted: match turn {
                Turn::Began => None,
                Turn::Over { lasted } => Some(lasted),
            },
        });
    }

    /// Publishes a change that was counted. Rare, so its handle is not kept.
    pub(crate) fn meter_change(&self, change: &Transition) {
        self.meter(|handles| {
            self.set_levels(handles);
            metrics::describe_counter!(TRANSITIONS, Unit::Count, "Changes of state, by cause.");
            metrics::counter!(
                TRANSITIONS,
                "layer" => self.reporter.origin.layer(),
                "name" => self.reporter.origin.name().to_owned(),
                "from" => change.from.as_str(),
                "to" => change.to.as_str(),
                "reason" => change.cause.as_str(),
            )
            .increment(1);
        });
    }

    fn set_levels(&self, handles: &Handles<'_, StateMeter>) {
        for (gauge, count) in handles.own.gauges.iter().zip(&self.census) {
            handles.set(gauge, count.load(Ordering::Relaxed) as f64);
        }
    }
}

/// What an answer usually takes, after one that `took` so long. It follows slower answers sooner than
/// faster ones, so that most take no longer.
pub(crate) fn usual_after(usual: u64, took: u64) -> u64 {
    let next = match usual {
        0 => took,
        _ if took > usual => usual + (took - usual) / 4,
        _ => usual - (usual - took) / 16,
    };
    next.max(1)
}
