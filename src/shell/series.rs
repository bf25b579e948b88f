//! One series of a metric: registered when it is first used, and again when it is no longer there.
//!
//! A handle that was registered once is good for as long as its recorder keeps the series. An exporter
//! with an idle timeout lets go of what was not used for a while, and a recorder that is scoped to a
//! thread goes altogether; what is recorded after that goes nowhere, and nothing says so. But a recorder
//! that can let go of a series has to keep its key, and the key shares the text of its name with us:
//! when nobody but us holds that text, the series is gone. That costs one load for each use, and no
//! clock. (A recorder that keeps no keys is taken at its address.)

use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{Key, Label, Level, Metadata, Recorder, SharedString, Unit};

use crate::core::sync::Mutex;
use crate::shell::lock;

/// Registrations that are kept beside the first: recorders that are scoped to a thread, and what was
/// gone once.
const KEPT: usize = 4;

/// A kind of metric, as the facade has it.
pub(crate) trait Kind: Sized {
    fn describe(recorder: &dyn Recorder, metric: &Metric);
    fn register(recorder: &dyn Recorder, key: &Key) -> Self;
}

/// A series, and what it is registered as.
pub(crate) struct Series<H> {
    name: Name,
    /// Never taken back, so that whoever has one recorder for good takes no lock.
    first: OnceLock<Registered<H>>,
    later: Mutex<Vec<Arc<Registered<H>>>>,
}

/// What a series is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) metric: &'static str,
    pub(crate) unit: Unit,
    pub(crate) about: &'static str,
}

struct Name {
    metric: Metric,
    /// The value of the label `name`.
    name: Arc<str>,
    /// The other labels.
    labels: Vec<(&'static str, &'static str)>,
}

struct Registered<H> {
    /// The address of the recorder.
    recorder: usize,
    /// The text that the recorder's key shares.
    text: Arc<str>,
    /// Whether the recorder keeps its keys.
    is_kept: bool,
    handle: H,
}

// ===== impl Series =====

impl<H: Kind> Series<H> {
    pub(crate) fn new(
        metric: Metric,
        name: Arc<str>,
        labels: Vec<(&'static str, &'static str)>,
    ) -> Self {
        let name = Name { metric, name, labels };
        Self { name, first: OnceLock::new(), later: Mutex::default() }
    }

    /// Runs `record` with the handle of the recorder in force.
    #[inline]
    pub(super) fn with_recorder(&self, recorder: usize, record: impl FnOnce(&H)) {
        match self.first.get() {
            Some(first) if first.is_of(recorder) => record(&first.handle),
            _ => record(&self.registered(recorder).handle),
        }
    }

    /// Makes sure that it is there, at zero if it is new.
    pub(crate) fn touch(&self) {
        if let Some(recorder) = live_recorder() {
            self.with_recorder(recorder, |_| ());
        }
    }

    /// Whether it is there, at this recorder.
    #[inline]
    pub(crate) fn is_there(&self, recorder: usize) -> bool {
        match self.first.get() {
            None => false, // nor was it ever
            Some(first) if first.is_of(recorder) => true,
            Some(_) => lock(&self.later).iter().any(|one| one.is_of(recorder)),
        }
    }

    #[inline(never)]
    fn registered(&self, recorder: usize) -> Found<'_, H> {
        let known = lock(&self.later).iter().find(|one| one.is_of(recorder)).cloned();
        if let Some(known) = known {
            return Found::Later(known);
        }
        let mut fresh = Some(Registered::new(&self.name, recorder));
        if let Some(first) = fresh.take_if(|_| self.first.get().is_none()) {
            let first = self.first.get_or_init(|| first);
            if first.is_of(recorder) {
                return Found::First(first);
            }
        }
        let fresh = fresh.unwrap_or_else(|| Registered::new(&self.name, recorder));
        let fresh = Arc::new(fresh);
        let mut later = lock(&self.later);
        let gone = later.iter().position(|one| one.recorder == recorder || !one.is_there());
        let gone = gone.or((later.len() >= KEPT).then_some(0)).map(|gone| later.remove(gone));
        later.push(Arc::clone(&fresh));
        drop(later);
        drop(gone); // after the unlock: it drops a handle of the recorder's
        Found::Later(fresh)
    }
}

/// A registration, wherever it is kept.
enum Found<'a, H> {
    First(&'a Registered<H>),
    Later(Arc<Registered<H>>),
}

impl<H> std::ops::Deref for Found<'_, H> {
    type Target = Registered<H>;

    fn deref(&self) -> &Registered<H> {
        match self {
            Self::First(registered) => registered,
            Self::Later(registered) => registered,
        }
    }
}

impl<H: Kind> Registered<H> {
    fn new(name: &Name, recorder: usize) -> Self {
        let text: Arc<str> = Arc::from(&*name.name);
        let mut labels: Vec<_> = name
            .labels
            .iter()
            .map(|(label, value)| Label::from_static_parts(label, value))
            .collect();
        // The order of labels is part of a key: the kind of layer comes first, if there is one.
        let at = usize::from(name.labels.first().is_some_and(|(label, _)| *label == "layer"));
        labels.insert(at, Label::new("name", SharedString::from(Arc::clone(&text))));
        let key = Key::from_parts(name.metric.metric, labels);
        let handle = metrics::with_recorder(|recorder| {
            H::describe(recorder, &name.metric);
            H::register(recorder, &key)
        });
        drop(key);
        let is_kept = Arc::strong_count(&text) > 1;
        Self { recorder, text, is_kept, handle }
    }
}

impl<H> Registered<H> {
    #[inline]
    fn is_of(&self, recorder: usize) -> bool {
        self.recorder == recorder && self.is_there()
    }

    #[inline]
    fn is_there(&self) -> bool {
        !self.is_kept || Arc::strong_count(&self.text) > 1
    }
}

impl<H> fmt::Debug for Series<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series")
            .field("metric", &self.name.metric.metric)
            .field("name", &self.name.name)
            .field("labels", &self.name.labels)
            .finish_non_exhaustive()
    }
}

// ===== the three kinds =====

pub(crate) type Counter = Series<metrics::Counter>;
pub(crate) type Gauge = Series<metrics::Gauge>;
pub(crate) type Histogram = Series<metrics::Histogram>;

impl Counter {
    /// So many more, for one who does not know who records.
    #[allow(dead_code, reason = "not every set of features counts so")]
    pub(crate) fn increment(&self, by: u64) {
        if let Some(recorder) = live_recorder() {
            self.with_recorder(recorder, |counter| counter.increment(by));
        }
    }
}

impl Gauge {
    /// Sets it, for one who does not know who records.
    #[allow(dead_code, reason = "only sets have levels of that kind")]
    pub(crate) fn set(&self, value: f64) {
        if let Some(recorder) = live_recorder() {
            self.with_recorder(recorder, |gauge| gauge.set(value));
        }
    }
}

/// Where a handle was asked for, as the macros of the facade would say.
const METADATA: Metadata<'static> = Metadata::new("seawall", Level::INFO, Some("seawall"));

impl Kind for metrics::Counter {
    fn describe(recorder: &dyn Recorder, metric: &Metric) {
        recorder.describe_counter(metric.metric.into(), Some(metric.unit), metric.about.into());
    }

    fn register(recorder: &dyn Recorder, key: &Key) -> Self {
        recorder.register_counter(key, &METADATA)
    }
}

impl Kind for metrics::Gauge {
    fn describe(recorder: &dyn Recorder, metric: &Metric) {
        recorder.describe_gauge(metric.metric.into(), Some(metric.unit), metric.about.into());
    }

    fn register(recorder: &dyn Recorder, key: &Key) -> Self {
        recorder.register_gauge(key, &METADATA)
    }
}

impl Kind for metrics::Histogram {
    fn describe(recorder: &dyn Recorder, metric: &Metric) {
        recorder.describe_histogram(metric.metric.into(), Some(metric.unit), metric.about.into());
    }

    fn register(recorder: &dyn Recorder, key: &Key) -> Self {
        recorder.register_histogram(key, &METADATA)
    }
}

/// The address of the recorder in force; `None` for the facade's no-op recorder.
///
/// The facade does not tell whether a recorder is installed, but its no-op recorder is a static
/// without size. A recorder of a user's without size is boxed when it is installed, and a box of
/// nothing has no address but its alignment.
#[inline]
pub(crate) fn live_recorder() -> Option<usize> {
    metrics::with_recorder(|recorder: &dyn Recorder| {
        let address = std::ptr::from_ref(recorder).cast::<()>() as usize;
        let live = size_of_val(recorder) != 0 || address == align_of_val(recorder);
        live.then_some(address)
    })
}
