//! Metrics, through the `metrics` facade.
//!
//! Handles are cached, and a recorder that is installed after the layer was built is noticed: every
//! use compares the recorder it meets with the one its handles belong to. Labels are bounded:
//! `layer`, `name`, and words from a fixed list.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Recorder, Unit};

use crate::error::{CallError, Reason};
use crate::outcome::{Health, Outcome};
use crate::source::Source;

/// Calls that were let through, by outcome.
const CALLS: &str = "seawall_calls_total";
/// Calls that a layer ended itself, by reason.
const REJECTIONS: &str = "seawall_rejections_total";
/// From the first `Pending` of the inner service to its answer.
const DURATION: &str = "seawall_call_duration_seconds";

/// What a layer measures besides calls, rejections and durations.
pub(crate) trait Instruments: Send + Sync + 'static {
    /// Whether calls go through this policy. Where none do there is no series that stays empty.
    const COUNTS_CALLS: bool = true;
    /// Whether it measures how long they take.
    const TIMES_CALLS: bool = true;

    /// Describes the metrics and takes a handle of each from the recorder in force.
    fn register(labels: &Labels<'_>) -> Self;
}

impl Instruments for () {
    fn register(_: &Labels<'_>) -> Self {}
}

/// How a call ended, for the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Good,
    Bad,
    Pushback,
    Silent,
    Abandoned,
}

impl Ended {
    const ALL: [&'static str; 5] = ["good", "bad", "pushback", "silent", "abandoned"];

    /// How a call ended in a layer that has no classifier.
    pub(crate) fn of<T, E: CallError>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Good,
            Err(error) => match error.rejected() {
                Some(rejected) => Outcome::of_rejection(rejected).health.into(),
                None => Self::Bad,
            },
        }
    }
}

impl From<Health> for Ended {
    fn from(health: Health) -> Self {
        match health {
            Health::Good => Self::Good,
            Health::Bad => Self::Bad,
            Health::Pushback => Self::Pushback,
            Health::Silent => Self::Silent,
        }
    }
}

/// The metric handles of one policy.
pub(crate) struct Meter<I> {
    source: Source,
    /// The handles, and the address of the recorder they belong to.
    cached: OnceLock<(usize, Handles<I>)>,
}

/// Handles of one policy at one recorder.
pub(crate) struct Handles<I> {
    calls: [Counter; Ended::ALL.len()],
    rejections: [Counter; Reason::ALL.len()],
    duration: Histogram,
    pub(crate) own: I,
}

// ===== impl Meter =====

impl<I: Instruments> Meter<I> {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, cached: OnceLock::new() }
    }

    /// Runs `record` with the handles for the recorder in force, if there is one. `fresh` is called
    /// first with handles that were just made, to set what is a level and not a count.
    #[inline]
    pub(crate) fn with(&self, fresh: impl FnOnce(&Handles<I>), record: impl FnOnce(&Handles<I>)) {
        if let Some(address) = live_recorder() {
            self.with_recorder_at(address, fresh, record);
        }
    }

    #[inline(never)]
    fn with_recorder_at(
        &self,
        address: usize,
        fresh: impl FnOnce(&Handles<I>),
        record: impl FnOnce(&Handles<I>),
    ) {
        match self.cached.get() {
            Some((cached, handles)) if *cached == address => record(handles),
            Some(_) => {
                // Another recorder than before, as in tests with a recorder each: not cached.
                let handles = Handles::register(&self.labels());
                fresh(&handles);
                record(&handles);
            }
            None => {
                let register = || (address, Handles::register(&self.labels()));
                let (_, handles) = self.cached.get_or_init(register);
                fresh(handles);
                record(handles);
            }
        }
    }

    fn labels(&self) -> Labels<'_> {
        Labels { layer: self.source.layer(), name: self.source.name() }
    }
}

impl<I> fmt::Debug for Meter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

/// Whether anybody records.
#[inline]
pub(crate) fn is_live() -> bool {
    live_recorder().is_some()
}

/// The address of the recorder in force; `None` for the facade's no-op recorder.
///
/// The facade does not tell whether a recorder is installed, but its no-op recorder is a static
/// without size. A recorder of a user's without size is boxed when it is installed, and a box of
/// nothing has no address but its alignment.
#[inline]
fn live_recorder() -> Option<usize> {
    metrics::with_recorder(|recorder: &dyn Recorder| {
        let address = std::ptr::from_ref(recorder).cast::<()>() as usize;
        let live = size_of_val(recorder) != 0 || address == align_of_val(recorder);
        live.then_some(address)
    })
}

// ===== impl Handles =====

impl<I: Instruments> Handles<I> {
    fn register(labels: &Labels<'_>) -> Self {
        Self {
            calls: if I::COUNTS_CALLS {
                let about = "Calls let through, by outcome.";
                labels.counters(CALLS, about, "outcome", Ended::ALL)
            } else {
                std::array::from_fn(|_| Counter::noop())
            },
            rejections: if I::COUNTS_CALLS {
                let about = "Calls that a layer ended itself, by reason.";
                labels.counters(REJECTIONS, about, "reason", Reason::ALL.map(Reason::as_str))
            } else {
                std::array::from_fn(|_| Counter::noop())
            },
            duration: if I::TIMES_CALLS {
                labels.seconds(DURATION, "Time from the first Pending of a call to its answer.")
            } else {
                Histogram::noop()
            },
            own: I::register(labels),
        }
    }

    /// A call that was let through is over, and nobody measured it.
    pub(crate) fn counted(&self, how: Ended) {
        self.calls[how as usize].increment(1);
    }

    /// A call that was let through is over. Without a time it was answered at once.
    pub(crate) fn ended(&self, how: Ended, took: Option<u64>) {
        self.counted(how);
        if how != Ended::Abandoned {
            self.duration.record(Duration::from_nanos(took.unwrap_or(0)));
        }
    }

    pub(crate) fn rejected(&self, reason: Reason) {
        self.rejections[reason as usize].increment(1);
    }
}

// ===== impl Labels =====

/// The labels that every metric of a policy bears, and the ways to take a handle with them.
pub(crate) struct Labels<'a> {
    layer: &'static str,
    name: &'a str,
}

impl Labels<'_> {
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    pub(crate) fn counter(&self, metric: &'static str, about: &'static str) -> Counter {
        metrics::describe_counter!(metric, Unit::Count, about);
        metrics::counter!(metric, "layer" => self.layer, "name" => self.name.to_owned())
    }

    /// One counter for each value of one more label.
    pub(crate) fn counters<const N: usize>(
        &self,
        metric: &'static str,
        about: &'static str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Counter; N] {
        metrics::describe_counter!(metric, Unit::Count, about);
        values.map(|value| {
            metrics::counter!(metric, "layer" => self.layer, "name" => self.name.to_owned(), label => value)
        })
    }

    pub(crate) fn gauge(&self, metric: &'static str, about: &'static str) -> Gauge {
        metrics::describe_gauge!(metric, Unit::Count, about);
        metrics::gauge!(metric, "layer" => self.layer, "name" => self.name.to_owned())
    }

    /// One gauge for each value of one more label.
    pub(crate) fn gauges<const N: usize>(
        &self,
        metric: &'static str,
        about: &'static str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Gauge; N] {
        metrics::describe_gauge!(metric, Unit::Count, about);
        values.map(|value| {
            metrics::gauge!(metric, "layer" => self.layer, "name" => self.name.to_owned(), label => value)
        })
    }

    pub(crate) fn seconds(&self, metric: &'static str, about: &'static str) -> Histogram {
        metrics::describe_histogram!(metric, Unit::Seconds, about);
        metrics::histogram!(metric, "layer" => self.layer, "name" => self.name.to_owned())
    }
}
