//! Metrics, through the `metrics` facade.
//!
//! A recorder that is installed after the layer was built is noticed, as is one that goes, or that lets
//! go of a [series](crate::shell::series). Labels are bounded: `layer`, `name`, and words from a fixed
//! list. What a layer can count is there from its first call on, at zero; what only a setting brings
//! about, once it happens.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::Unit;

use crate::core::error::Reason;
use crate::core::origin::Origin;
use crate::core::outcome::{Outcome, Sent, Signal};
use crate::core::sync::atomic::{AtomicUsize, Ordering};
use crate::shell::series::{self, Metric};
pub(crate) use crate::shell::series::{Counter, Gauge, Histogram};

/// Calls that were let through, by outcome.
const CALLS: &str = "seawall_calls_total";
/// Calls that a layer ended itself, by reason.
const REJECTIONS: &str = "seawall_rejections_total";
/// From the first `Pending` of the inner service to its answer.
const DURATION: &str = "seawall_call_duration_seconds";

/// Recorders that a policy remembers to have met.
const MET: usize = 4;

/// Who records at this moment: asked once where several tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorder(Option<usize>);

/// What a layer measures besides calls, rejections and durations.
pub(crate) trait Instruments: Send + Sync + 'static {
    /// How calls can end that go through this policy; none where none do.
    const OUTCOMES: &'static [Ended] = &Ended::ALL;
    /// Why it ends calls itself.
    const REASONS: &'static [Reason] = &[];
    /// Whether it measures how long they take.
    const TIMES_CALLS: bool = true;

    /// Names its series.
    fn new(labels: &Labels<'_>) -> Self;

    /// Registers what there is to see before anything has happened, but for what has a level.
    fn prime(&self) {}

    /// A series of those that have a level: if it is gone, all are set anew.
    fn level(&self) -> Option<&Gauge> {
        None
    }
}

/// How a call ended, for the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Success,
    Failure,
    Pushback,
    Ignored,
    Abandoned,
    /// An inner layer rejected it, so no call was made: ignored, and without duration.
    Rejected,
}

impl Ended {
    pub(crate) const ALL: [Self; 5] =
        [Self::Success, Self::Failure, Self::Pushback, Self::Ignored, Self::Abandoned];
    /// Where nothing tells a pushback from an answer.
    pub(crate) const UNCLASSIFIED: [Self; 4] =
        [Self::Success, Self::Failure, Self::Ignored, Self::Abandoned];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Pushback => "pushback",
            Self::Ignored | Self::Rejected => "ignored",
            Self::Abandoned => "abandoned",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Rejected => Self::Ignored as usize,
            other => other as usize,
        }
    }
}

impl From<Signal> for Ended {
    fn from(health: Signal) -> Self {
        match health {
            Signal::Success => Self::Success,
            Signal::Failure => Self::Failure,
            Signal::Pushback => Self::Pushback,
            Signal::Ignored => Self::Ignored,
        }
    }
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome.signal {
            Signal::Ignored if outcome.sent == Sent::Never => Self::Rejected,
            health => health.into(),
        }
    }
}

/// The metrics of one policy.
pub(crate) struct Meter<I> {
    origin: Origin,
    series: OnceLock<AllSeries<I>>,
    /// The addresses of the recorders that it has met, zero for none.
    met: [AtomicUsize; MET],
    meetings: AtomicUsize,
}

/// The series of one policy, and who records now.
pub(crate) struct Handles<'a, I> {
    all: &'a AllSeries<I>,
    pub(crate) own: &'a I,
    recorder: usize,
}

/// The series of one policy.
struct AllSeries<I> {
    calls: [Counter; Ended::ALL.len()],
    rejections: [Counter; Reason::ALL.len()],
    duration: Histogram,
    own: I,
}

// ===== impl Meter =====

impl<I: Instruments> Meter<I> {
    pub(crate) fn new(origin: Origin) -> Self {
        let met = std::array::from_fn(|_| AtomicUsize::new(0));
        Self { origin, series: OnceLock::new(), met, meetings: AtomicUsize::new(0) }
    }

    /// Runs `record` with the series, if anybody records. `fresh` is called first where the levels are
    /// not to be seen, to set what is a level and not a count.
    #[inline]
    pub(crate) fn with(
        &self,
        fresh: impl FnOnce(&Handles<'_, I>),
        record: impl FnOnce(&Handles<'_, I>),
    ) {
        self.with_recorder(Recorder::in_force(), fresh, record);
    }

    /// The same, of one who was asked for already.
    #[inline]
    pub(crate) fn with_recorder(
        &self,
        recorder: Recorder,
        fresh: impl FnOnce(&Handles<'_, I>),
        record: impl FnOnce(&Handles<'_, I>),
    ) {
        if let Some(recorder) = recorder.0 {
            self.with_recorder_at(recorder, fresh, record);
        }
    }

    #[inline(never)]
    fn with_recorder_at(
        &self,
        recorder: usize,
        fresh: impl FnOnce(&Handles<'_, I>),
        record: impl FnOnce(&Handles<'_, I>),
    ) {
        let all = match self.series.get() {
            Some(all) => all,
            None => self.name_series(),
        };
        let handles = Handles { all, own: &all.own, recorder };
        let is_known = self.met.iter().any(|met| met.load(Ordering::Relaxed) == recorder);
        if !is_known {
            self.meet(all, recorder);
        }
        if !is_known || all.own.level().is_some_and(|level| !level.is_there(recorder)) {
            fresh(&handles);
        }
        record(&handles);
    }

    #[cold]
    fn name_series(&self) -> &AllSeries<I> {
        self.series.get_or_init(|| AllSeries::new(&self.labels()))
    }

    #[cold]
    fn meet(&self, all: &AllSeries<I>, recorder: usize) {
        let nth = self.meetings.fetch_add(1, Ordering::Relaxed);
        self.met[nth % MET].store(recorder, Ordering::Relaxed);
        all.prime();
    }

    fn labels(&self) -> Labels<'_> {
        Labels { layer: self.origin.layer(), name: self.origin.name() }
    }
}

impl<I> fmt::Debug for Meter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Recorder {
    #[inline]
    pub(crate) fn in_force() -> Self {
        Self(series::live_recorder())
    }

    /// Whether anybody records.
    #[inline]
    pub(crate) const fn is_live(self) -> bool {
        self.0.is_some()
    }
}

// ===== impl AllSeries =====

impl<I: Instruments> AllSeries<I> {
    fn new(labels: &Labels<'_>) -> Self {
        let calls =
            Metric { metric: CALLS, unit: Unit::Count, about: "Admitted calls, by outcome." };
        let outcome = |ended: Ended| labels.series(calls, Some(("outcome", ended.as_str())));
        let about = "Calls that a layer rejected, by reason.";
        let rejections = Metric { metric: REJECTIONS, unit: Unit::Count, about };
        let reason = |reason: Reason| labels.series(rejections, Some(("reason", reason.as_str())));
        Self {
            calls: Ended::ALL.map(outcome),
            rejections: Reason::ALL.map(reason),
            duration: labels
                .seconds(DURATION, "Time from the first Pending of a call to its answer."),
            own: I::new(labels),
        }
    }

    fn prime(&self) {
        for ended in I::OUTCOMES {
            self.calls[ended.index()].touch();
        }
        for (reason, series) in Reason::ALL.iter().zip(&self.rejections) {
            if I::REASONS.contains(reason) {
                series.touch();
            }
        }
        if I::TIMES_CALLS && !I::OUTCOMES.is_empty() {
            self.duration.touch();
        }
        self.own.prime();
    }
}

// ===== impl Handles =====

impl<I> Handles<'_, I> {
    /// A call that was let through is over, and nobody measured it.
    pub(crate) fn counted(&self, how: Ended) {
        self.increment(&self.all.calls[how.index()]);
    }

    /// A call that was let through is over. Without a time it was answered at once.
    pub(crate) fn ended(&self, how: Ended, took: Option<u64>) {
        self.counted(how);
        if !matches!(how, Ended::Abandoned | Ended::Rejected) {
            // Most took no time at all.
            let seconds = took.map_or(0.0, |took| Duration::from_nanos(took).as_secs_f64());
            self.record(&self.all.duration, seconds);
        }
    }

    pub(crate) fn rejected(&self, reason: Reason) {
        if let Some(index) = Reason::ALL.iter().position(|one| *one == reason) {
            self.increment(&self.all.rejections[index]);
        }
    }

    /// One more.
    #[inline]
    pub(crate) fn increment(&self, counter: &Counter) {
        counter.with_recorder(self.recorder, |counter| counter.increment(1));
    }

    #[inline]
    pub(crate) fn record(&self, histogram: &Histogram, value: impl metrics::IntoF64) {
        histogram.with_recorder(self.recorder, |histogram| histogram.record(value));
    }

    #[inline]
    pub(crate) fn set(&self, gauge: &Gauge, value: f64) {
        gauge.with_recorder(self.recorder, |gauge| gauge.set(value));
    }
}

// ===== impl Labels =====

/// The labels that every metric of a policy bears, and the ways to name a series with them.
pub(crate) struct Labels<'a> {
    layer: &'static str,
    name: &'a str,
}

impl Labels<'_> {
    fn series<H: series::Kind>(
        &self,
        metric: Metric,
        more: Option<(&'static str, &'static str)>,
    ) -> series::Series<H> {
        let labels = [("layer", self.layer)].into_iter().chain(more).collect();
        series::Series::new(metric, Arc::from(self.name), labels)
    }

    /// A series of no layer's.
    pub(crate) fn of_no_layer<const N: usize>(
        &self,
        metric: &'static str,
        about: &'static str,
        labels: [(&'static str, &'static str); N],
    ) -> Gauge {
        let metric = Metric { metric, unit: Unit::Count, about };
        series::Series::new(metric, Arc::from(self.name), labels.to_vec())
    }

    pub(crate) fn counter(&self, metric: &'static str, about: &'static str) -> Counter {
        self.series(Metric { metric, unit: Unit::Count, about }, None)
    }

    /// One counter for each value of one more label.
    pub(crate) fn counters<const N: usize>(
        &self,
        metric: &'static str,
        about: &'static str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Counter; N] {
        let metric = Metric { metric, unit: Unit::Count, about };
        values.map(|value| self.series(metric, Some((label, value))))
    }

    pub(crate) fn gauge(&self, metric: &'static str, about: &'static str) -> Gauge {
        self.series(Metric { metric, unit: Unit::Count, about }, None)
    }

    /// One gauge for each value of one more label.
    pub(crate) fn gauges<const N: usize>(
        &self,
        metric: &'static str,
        about: &'static str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Gauge; N] {
        let metric = Metric { metric, unit: Unit::Count, about };
        values.map(|value| self.series(metric, Some((label, value))))
    }

    pub(crate) fn seconds(&self, metric: &'static str, about: &'static str) -> Histogram {
        self.series(Metric { metric, unit: Unit::Seconds, about }, None)
    }
}
