//! Building a hedge, and putting it around services.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::config::Config;
use super::handle::HedgeHandle;
use super::machine::Params;
use super::service::{Hedge, Shared};
use super::terms::{Gauging, Terms};
use crate::core::classify::{Classification, Classifier, OfResult};
use crate::core::config::ConfigErrors;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::Cloned;
use crate::shell::budget::Budget;
use crate::shell::copy::{Chosen, CopyBy, CopyIsChosen, Unsaid};
use crate::shell::in_flight::InFlight;
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "hedge";
/// The budget, unless another is set: one hedge for ten successes, up to forty at once.
const CAP: f64 = 40.0;
const PER_SUCCESS: f64 = 0.1;

/// Attempts slow calls again, beside the first attempt, and takes the first good answer.
///
/// All services that a layer and its clones make share one delay and one budget.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct HedgeLayer<C, R> {
    gate: Arc<InFlight<Shared<C>>>,
    copy: R,
}

impl HedgeLayer<Classifier, Unsaid> {
    /// Starts to build a hedge.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            classify: Classifier::default(),
            copy: Unsaid,
            payment: Payment::Own,
            only_if: None,
            observers: Observers::default(),
        }
    }
}

impl<C, R> HedgeLayer<C, R> {
    /// Inspects and controls this hedge.
    pub fn handle(&self) -> HedgeHandle
    where
        C: Send + Sync + 'static,
    {
        HedgeHandle::new(Arc::clone(self.gate.policy()) as Arc<_>)
    }

    /// The calls that were made and are not over: each once, however many attempts are in flight.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }
}

impl<S, C, R: Clone> Layer<S> for HedgeLayer<C, R> {
    type Service = Hedge<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Hedge::new(inner, Arc::clone(&self.gate), self.copy.clone())
    }
}

impl<C, R: Clone> Clone for HedgeLayer<C, R> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate), copy: self.copy.clone() }
    }
}

impl<C, R> fmt::Debug for HedgeLayer<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeLayer").field("terms", &self.gate.terms).finish_non_exhaustive()
    }
}

// ===== impl Builder =====

/// Builds a [`HedgeLayer`].
#[must_use = "call `build`"]
#[derive(Clone)]
pub struct Builder<C = Classifier, R = Unsaid> {
    name: Arc<str>,
    config: Config,
    classify: C,
    copy: R,
    payment: Payment,
    only_if: Option<Gauging>,
    observers: Observers,
}

/// What pays for hedges.
#[derive(Debug, Clone)]
enum Payment {
    Own,
    Shared(Budget),
    Nothing,
}

impl<C, R> Builder<C, R> {
    /// Sets [`Config::delay`]: the next attempt begins after this time, instead of after a percentile.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.config.delay = Some(delay);
        self
    }

    /// Sets [`Config::percentile`], and no fixed [delay](Config::delay).
    pub fn percentile(mut self, percentile: u8) -> Self {
        (self.config.percentile, self.config.delay) = (percentile, None);
        self
    }

    /// Sets [`Config::max_hedges`].
    pub fn max_hedges(mut self, max_hedges: u32) -> Self {
        self.config.max_hedges = max_hedges;
        self
    }

    /// Sets [`Config::on_failure`].
    pub fn on_failure(mut self, on_failure: bool) -> Self {
        self.config.on_failure = on_failure;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Uses this budget, which a retry may share: then both together stay within it, and the retry fills it.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.payment = Payment::Shared(budget);
        self
    }

    /// Hedges without a budget. Then a dependency that becomes slow gets twice the load just then.
    pub fn no_budget(mut self) -> Self {
        self.payment = Payment::Nothing;
        self
    }

    /// Asks a closure before each hedge if there is room for one: for example, only while less than half of a
    /// bulkhead is taken. Must not block.
    ///
    /// ```
    /// use seawall::{bulkhead::BulkheadLayer, hedge::HedgeLayer};
    ///
    /// let places = BulkheadLayer::new("search");
    /// let bulkhead = places.handle();
    /// let hedge = HedgeLayer::builder("search")
    ///     .only_if(move || bulkhead.in_flight() * 2 < bulkhead.limit())
    ///     .cloned()
    ///     .build()?;
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn only_if(mut self, has_room: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.only_if = Some(Arc::new(has_room));
        self
    }

    /// Reports every event to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Classifies with a [`Classify`](crate::Classify) of your own.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, R> {
        let Self { name, config, copy, payment, only_if, observers, .. } = self;
        Builder { name, config, classify, copy, payment, only_if, observers }
    }

    /// Classifies whole results with one closure, responses and the errors of the innermost service.
    /// Rejections by layers of this crate never get here.
    pub fn classify_result<Res, Err, V, J>(self, rule: J) -> Builder<OfResult<J, Res, Err>, R>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Classification>,
    {
        self.classify(OfResult::new(rule))
    }

    /// Copies requests through their `Clone`. Only you know that they are idempotent.
    pub fn cloned(self) -> Builder<C, Chosen<Cloned>> {
        self.copy_with(Cloned)
    }

    /// Copies requests with a closure; a request for which it returns `None` is not hedged.
    pub fn copy<Req, F>(self, copy: F) -> Builder<C, Chosen<CopyBy<F>>>
    where
        F: Fn(&Req) -> Option<Req>,
    {
        self.copy_with(CopyBy::new(copy))
    }

    /// Copies requests with a [`CloneRequest`](crate::retry::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> Builder<C, Chosen<R2>> {
        let Self { name, config, classify, payment, only_if, observers, .. } = self;
        Builder { name, config, classify, copy: Chosen::new(copy), payment, only_if, observers }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<HedgeLayer<C, R::Strategy>, ConfigErrors>
    where
        R: CopyIsChosen,
    {
        let Self { name, config, classify, copy, payment, only_if, observers } = self;
        let origin = Origin::new(LAYER, name);
        let params = Params::from_config(&config).map_err(|wrong| wrong.of_policy(&origin))?;
        let (budget, fills) = match payment {
            Payment::Own => {
                (Some(Budget::builder().cap(CAP).per_success(PER_SUCCESS).build()?), true)
            }
            Payment::Shared(budget) => (Some(budget), false),
            Payment::Nothing => (None, false),
        };
        let reporter = Reporter::new(origin, observers);
        let terms = Terms::new(reporter, config, params, budget, fills, only_if);
        let gate = Arc::new(InFlight::new(Shared { terms, classify }));
        Ok(HedgeLayer { gate, copy: copy.strategy() })
    }
}

impl<C, R> fmt::Debug for Builder<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
