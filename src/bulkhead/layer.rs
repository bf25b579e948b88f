//! Building a bulkhead, and putting it around services.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::{Layer, Service};

use super::backpressure::BackpressureLayer;
use super::config::{Config, Order};
use super::cost::{ByRequest, One};
use super::handle::BulkheadHandle;
use super::keyed::KeyedBuilder;
use super::machine::Law;
use super::policy::Policy;
use super::service::Bulkhead;
use crate::config::ConfigErrors;
use crate::error::CallError;
use crate::event::{Observe, Observers};
use crate::finish::{AtHead, Finish};
use crate::request::NoCarry;
use crate::shell::caller::Caller;
use crate::shell::gate::Gate;
use crate::shell::reporter::Reporter;
use crate::source::Source;

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "bulkhead";

/// Limits the calls of services that are under way at a time.
///
/// All services that a layer and its clones make share one bulkhead.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BulkheadLayer<F = AtHead, K = NoCarry, W = One> {
    gate: Arc<Gate<Policy>>,
    finish: F,
    carry: K,
    cost: W,
}

impl BulkheadLayer {
    /// A bulkhead with every setting at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let config = Config::default();
        let reporter = Reporter::new(Source::new(LAYER, name), Observers::default());
        let policy = Policy::new(reporter, Law::of_defaults(), config);
        Self { gate: Arc::new(Gate::new(policy)), finish: AtHead, carry: NoCarry, cost: One }
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
            finish: AtHead,
            carry: NoCarry,
            cost: One,
            observers: Observers::default(),
        }
    }
}

impl<F, K> BulkheadLayer<F, K> {
    /// The same bulkhead for balancers and connection loops: a service that is *not ready* while the
    /// bulkhead is full, instead of one that refuses, and that needs no `Clone`. (A call
    /// takes one place of it: what it costs is not known before it comes.)
    pub fn backpressure(&self) -> BackpressureLayer<F>
    where
        F: Clone,
    {
        BackpressureLayer { gate: Arc::clone(&self.gate), finish: self.finish.clone() }
    }
}

impl<F, K, W> BulkheadLayer<F, K, W> {
    /// Sees and steers this bulkhead.
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(Arc::clone(self.gate.policy()))
    }

    /// The calls that are under way or wait.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Takes no further calls, sends away those that wait for a place or for the inner service to be
    /// ready, and returns when those under way are over. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The refusing goes on if the future of
    /// this is dropped.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::bulkhead::BulkheadLayer;
    /// use seawall::{Error, Reason};
    /// use std::{convert::Infallible, time::Duration};
    /// use tokio::time::sleep;
    ///
    /// let reports = BulkheadLayer::builder("reports").limit(1).queue(10).build()?;
    /// let make = || async {
    ///     sleep(Duration::from_millis(100)).await;
    ///     Ok::<_, Error<Infallible>>("report")
    /// };
    /// let (first, second, ()) = tokio::join!(reports.run(make), reports.run(make), reports.drain());
    /// assert_eq!(first, Ok("report"));
    /// assert!(matches!(second, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn drain(&self) {
        self.stop();
        self.gate.emptied().await;
    }

    /// Takes no further calls, and returns when those under way and those that wait are over.
    /// [`drain`](Self::drain) still ends the waits.
    pub async fn drain_to_completion(&self) {
        self.gate.close();
        self.gate.wake_line();
        self.gate.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.gate.stop();
        self.gate.wake_line();
    }

    /// Runs an async call in this bulkhead, for callers without a service.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, bulkhead::BulkheadLayer};
    ///
    /// # async fn render(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
    /// let renderers = BulkheadLayer::builder("renderers").limit(8).build()?;
    /// let pages = renderers.run(|| async { render("report").await.map_err(Error::Inner) }).await?;
    /// assert_eq!(pages, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Call, Fut, T, E>(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, F, K, W>
    where
        Call: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        F: Finish<T> + Clone,
    {
        let (gate, finish) = (Arc::clone(&self.gate), self.finish.clone());
        Bulkhead::new(Caller, gate, finish, NoCarry, One).call(call)
    }
}

impl<S, F: Clone, K: Clone, W: Clone> Layer<S> for BulkheadLayer<F, K, W> {
    type Service = Bulkhead<S, F, K, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = Arc::clone(&self.gate);
        Bulkhead::new(inner, gate, self.finish.clone(), self.carry.clone(), self.cost.clone())
    }
}

impl<F: Clone, K: Clone, W: Clone> Clone for BulkheadLayer<F, K, W> {
    fn clone(&self) -> Self {
        let gate = Arc::clone(&self.gate);
        let (finish, carry, cost) = (self.finish.clone(), self.carry.clone(), self.cost.clone());
        Self { gate, finish, carry, cost }
    }
}

impl<F, K, W> fmt::Debug for BulkheadLayer<F, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer").field("policy", &**self.gate).finish_non_exhaustive()
    }
}

// ===== impl Builder =====

/// Builds a [`BulkheadLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<F = AtHead, K = NoCarry, W = One> {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) finish: F,
    pub(super) carry: K,
    pub(super) cost: W,
    pub(super) observers: Observers,
}

impl<F, K, W> Builder<F, K, W> {
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

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Tells `observer` of every event. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Decides when a call frees its place, by default [when its answer arrives](AtHead).
    pub fn finish<F2>(self, finish: F2) -> Builder<F2, K, W> {
        let Self { name, config, carry, cost, observers, .. } = self;
        Builder { name, config, finish, carry, cost, observers }
    }

    /// Reads the deadline that travels with each request: a call does not wait beyond it, and does
    /// not get a place that comes too late.
    pub fn carry<K2>(self, carry: K2) -> Builder<F, K2, W> {
        let Self { name, config, finish, cost, observers, .. } = self;
        Builder { name, config, finish, carry, cost, observers }
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
    /// let refused = service.call(Export { tables: 11 }).await;
    /// assert!(matches!(refused, Err(Error::Rejected(why)) if why.reason() == Reason::CostTooHigh));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn cost<Req, W2>(self, cost: W2) -> Builder<F, K, ByRequest<W2>>
    where
        W2: Fn(&Req) -> u32,
    {
        let Self { name, config, finish, carry, observers, .. } = self;
        Builder { name, config, finish, carry, cost: ByRequest(cost), observers }
    }

    /// One bulkhead for each key of a request, for instance for each tenant, so that one of them cannot
    /// take the places of all.
    ///
    /// ```
    /// use seawall::bulkhead::BulkheadLayer;
    /// use std::borrow::Cow;
    ///
    /// struct Request { tenant: String }
    ///
    /// let layer = BulkheadLayer::builder("tenants")
    ///     .limit(10)
    ///     .keyed(|request: &Request| Cow::from(&request.tenant))
    ///     .max_keys(1_000)
    ///     .build()?;
    /// assert!(layer.handle().is_empty()); // a tenant gets its bulkhead with its first call
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn keyed<Req, Key>(self, key: Key) -> KeyedBuilder<F, Key, K, W>
    where
        Key: Fn(&Req) -> Cow<'_, str>,
    {
        self.keyed_by(key)
    }

    /// The same with an [`ExtractKey`](crate::ExtractKey) of your own.
    pub fn keyed_by<Key>(self, key: Key) -> KeyedBuilder<F, Key, K, W> {
        self.keyed_as(Arc::new(key))
    }

    pub(crate) fn keyed_as<Key>(self, key: Arc<Key>) -> KeyedBuilder<F, Key, K, W> {
        KeyedBuilder::new(self, key)
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<BulkheadLayer<F, K, W>, ConfigErrors> {
        let source = Source::new(LAYER, self.name);
        let law = Law::from_config(&self.config).map_err(|wrong| wrong.of_policy(&source))?;
        let reporter = Reporter::new(source, self.observers);
        let gate = Arc::new(Gate::new(Policy::new(reporter, law, self.config)));
        Ok(BulkheadLayer { gate, finish: self.finish, carry: self.carry, cost: self.cost })
    }
}
