//! Building a bulkhead, and putting it around services.

use std::sync::Arc;
use std::time::Duration;

use super::adaptive::Adaptive;
use super::backpressure::BackpressureLayer;
use super::common::Common;
use super::config::{Config, Order};
use super::handle::BulkheadHandle;
use super::limiter::Limiter;
use super::machine::Params;
use super::policy::Bounded;
use crate::core::completion::OnResponse;
use crate::core::config::{ConfigErrors, Written};
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::cost::{ByRequest, One};
use crate::shell::gate::{self, Gate, GateLayer, Unclassified};
use crate::shell::keyed::Settings;
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "bulkhead";

/// Limits how many calls to services are in flight at a time.
///
/// All services that a layer and its clones make share one bulkhead. A call that is
/// [run](GateLayer::run) without a request takes one place, whatever a request would [cost](Builder::cost).
pub type BulkheadLayer<F = OnResponse, K = NoPropagation, W = One, C = Unclassified> =
    GateLayer<Bounded<F, W>, C, K>;

/// The service that a bulkhead makes of another.
///
/// A place is taken in `call`, so that idle clones and connections hold none. The service asks the
/// inner one for readiness only while a place looks free; it is ready when it is not, to reject or
/// to wait.
pub type Bulkhead<S, F = OnResponse, K = NoPropagation, W = One, C = Unclassified> =
    Gate<S, Bounded<F, W>, C, K>;

/// The future of a call through a bulkhead. Dropping it releases its permit, in the bulkhead or in the queue,
/// at once.
pub type ResponseFuture<S, Req, F = OnResponse, K = NoPropagation, W = One, C = Unclassified> =
    gate::ResponseFuture<S, Req, Bounded<F, W>, C, K>;

impl BulkheadLayer {
    /// A bulkhead with every setting at its [default](crate::bulkhead#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let reporter = Reporter::new(Origin::new(LAYER, name), Observers::default());
        let common = Common::new(reporter, Settings::of_defaults(Params::of_defaults()));
        let limiter = Limiter::new(common, None);
        Self::make(Bounded::new(limiter, OnResponse, One), Unclassified, NoPropagation)
    }

    /// A bulkhead with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        Self::builder(name).config(config).build()
    }

    /// Starts to build a bulkhead.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            completion: OnResponse,
            propagate: NoPropagation,
            cost: One,
            classify: Unclassified,
            observers: Observers::default(),
        }
    }
}

impl<F, K: Clone> BulkheadLayer<F, K> {
    /// The same bulkhead for balancers and connection loops: a service that is *not ready* while the
    /// bulkhead is full, instead of one that rejects, and that needs no `Clone`. (A call
    /// takes one place of it: what it costs is not known before it comes.)
    pub fn backpressure(&self) -> BackpressureLayer<F, K> {
        BackpressureLayer::of(self.clone())
    }
}

impl<F, K, W, C> BulkheadLayer<F, K, W, C>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    /// Inspects and controls this bulkhead.
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(self.entrance())
    }
}

// ===== impl Builder =====

/// Builds a [`BulkheadLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<F = OnResponse, K = NoPropagation, W = One, C = Unclassified> {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) completion: F,
    pub(super) propagate: K,
    pub(super) cost: W,
    pub(super) classify: C,
    pub(super) observers: Observers,
}

impl<F, K, W, C> Builder<F, K, W, C> {
    /// Sets [`Config::limit`].
    pub fn limit(mut self, limit: u32) -> Self {
        self.config.limit = limit;
        self
    }

    /// Sets [`Config::queue`].
    pub fn queue(mut self, queue: u32) -> Self {
        self.config.queue = queue;
        self
    }

    /// Sets [`Config::max_wait`].
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.config.max_wait = max_wait;
        self
    }

    /// Sets [`Config::order`].
    pub fn order(mut self, order: Order) -> Self {
        self.config.order = order;
        self
    }

    /// Sets [`Config::adaptive`]: the limit follows what the dependency can do. See
    /// [adaptive limits](crate::bulkhead#adaptive-limits).
    pub fn adaptive(mut self, adaptive: Adaptive) -> Self {
        self.config.adaptive = Some(adaptive);
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Reports every event to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Decides when a call releases its permit, by default [when its answer arrives](OnResponse).
    pub fn completion<F2>(self, completion: F2) -> Builder<F2, K, W, C> {
        let Self { name, config, propagate, cost, classify, observers, .. } = self;
        Builder { name, config, completion, propagate, cost, classify, observers }
    }

    /// Reads the deadline that is propagated with each request: a call does not wait beyond it, and does
    /// not get a place that comes too late.
    pub fn propagate<K2>(self, propagate: K2) -> Builder<F, K2, W, C> {
        let Self { name, config, completion, cost, classify, observers, .. } = self;
        Builder { name, config, completion, propagate, cost, classify, observers }
    }

    /// Classifies answers with a [`Classify`](crate::Classify): an [adaptive](Config::adaptive) limit learns from
    /// good ones, and falls when the dependency asks for less load. Without it every response is good and every
    /// error is bad. A limit that is fixed does not care.
    pub fn classify<C2>(self, classify: C2) -> Builder<F, K, W, C2> {
        let Self { name, config, completion, propagate, cost, observers, .. } = self;
        Builder { name, config, completion, propagate, cost, classify, observers }
    }

    /// Asks how many places each request takes; one, if this is not said.
    ///
    /// One that takes none always passes, without waiting; one that takes more than [`Config::limit`]
    /// never does, and is told [`CostTooHigh`](crate::Reason::CostTooHigh) at once, as is one that waits
    /// when the limit is lowered below its cost. Who waits is not overtaken by those that cost less.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, Reason, bulkhead::BulkheadLayer};
    /// use std::{convert::Infallible, future::pending};
    /// use tower::{Layer, Service, service_fn};
    ///
    /// struct Export { tables: u32 }
    ///
    /// let exports = BulkheadLayer::builder("exports").limit(10).cost(|it: &Export| it.tables).build()?;
    /// let run = service_fn(|_: Export| pending::<Result<(), Error<Infallible>>>());
    /// let mut service = exports.layer(run);
    /// let _under_way = service.call(Export { tables: 7 });
    /// assert_eq!((exports.handle().in_flight(), exports.handle().available()), (7, 3));
    /// let rejected = service.call(Export { tables: 11 }).await;
    /// assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::CostTooHigh));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn cost<Req, W2>(self, cost: W2) -> Builder<F, K, ByRequest<W2>, C>
    where
        W2: Fn(&Req) -> u32 + Send + Sync + 'static,
    {
        let Self { name, config, completion, propagate, classify, observers, .. } = self;
        Builder { name, config, completion, propagate, cost: ByRequest(cost), classify, observers }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<BulkheadLayer<F, K, W, C>, ConfigErrors> {
        let (policy, propagate, classify) = self.pieces()?;
        Ok(GateLayer::make(policy, classify, propagate))
    }

    /// The same, for a stack, which classifies itself.
    pub(crate) fn parts(self) -> Result<(Bounded<F, W>, K), ConfigErrors> {
        self.pieces().map(|(policy, propagate, _)| (policy, propagate))
    }

    fn pieces(self) -> Result<(Bounded<F, W>, K, C), ConfigErrors> {
        let origin = Origin::new(LAYER, self.name);
        let settings = Settings::new(self.config.into(), &Written::default(), &origin)?;
        let common = Common::new(Reporter::new(origin, self.observers), settings);
        let limiter = Limiter::new(common, None);
        Ok((Bounded::new(limiter, self.completion, self.cost), self.propagate, self.classify))
    }
}
