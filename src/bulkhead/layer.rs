//! Building a bulkhead, and putting it around services.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::{Layer, Service};

use super::backpressure::BackpressureLayer;
use super::config::{Config, Order};
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
pub struct BulkheadLayer<F = AtHead, K = NoCarry> {
    gate: Arc<Gate<Policy>>,
    finish: F,
    carry: K,
}

impl BulkheadLayer {
    /// A bulkhead with every setting at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let config = Config::default();
        let reporter = Reporter::new(Source::new(LAYER, name), Observers::default());
        let policy = Policy::new(reporter, Law::of_defaults(), config);
        Self { gate: Arc::new(Gate::new(policy)), finish: AtHead, carry: NoCarry }
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
            observers: Observers::default(),
        }
    }
}

impl<F, K> BulkheadLayer<F, K> {
    /// Sees and steers this bulkhead.
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(Arc::clone(self.gate.policy()))
    }

    /// The same bulkhead for balancers and connection loops: a service that is *not ready* while the
    /// bulkhead is full, instead of one that refuses, and that needs no `Clone`.
    pub fn backpressure(&self) -> BackpressureLayer<F>
    where
        F: Clone,
    {
        BackpressureLayer { gate: Arc::clone(&self.gate), finish: self.finish.clone() }
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
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, F, K>
    where
        Call: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        F: Finish<T> + Clone,
    {
        Bulkhead::new(Caller, Arc::clone(&self.gate), self.finish.clone(), NoCarry).call(call)
    }
}

impl<S, F: Clone, K: Clone> Layer<S> for BulkheadLayer<F, K> {
    type Service = Bulkhead<S, F, K>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = Arc::clone(&self.gate);
        Bulkhead::new(inner, gate, self.finish.clone(), self.carry.clone())
    }
}

impl<F: Clone, K: Clone> Clone for BulkheadLayer<F, K> {
    fn clone(&self) -> Self {
        let gate = Arc::clone(&self.gate);
        Self { gate, finish: self.finish.clone(), carry: self.carry.clone() }
    }
}

impl<F, K> fmt::Debug for BulkheadLayer<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer").field("policy", &**self.gate).finish_non_exhaustive()
    }
}

// ===== impl Builder =====

/// Builds a [`BulkheadLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<F = AtHead, K = NoCarry> {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) finish: F,
    pub(super) carry: K,
    pub(super) observers: Observers,
}

impl<F, K> Builder<F, K> {
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
    pub fn finish<F2>(self, finish: F2) -> Builder<F2, K> {
        let Self { name, config, carry, observers, .. } = self;
        Builder { name, config, finish, carry, observers }
    }

    /// Reads the deadline that travels with each request: a call does not wait beyond it, and does
    /// not get a place that comes too late.
    pub fn carry<K2>(self, carry: K2) -> Builder<F, K2> {
        let Self { name, config, finish, observers, .. } = self;
        Builder { name, config, finish, carry, observers }
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
    pub fn keyed<Req, Key>(self, key: Key) -> KeyedBuilder<F, Key, K>
    where
        Key: Fn(&Req) -> Cow<'_, str>,
    {
        self.keyed_by(key)
    }

    /// The same with an [`ExtractKey`](crate::ExtractKey) of your own.
    pub fn keyed_by<Key>(self, key: Key) -> KeyedBuilder<F, Key, K> {
        self.keyed_as(Arc::new(key))
    }

    pub(crate) fn keyed_as<Key>(self, key: Arc<Key>) -> KeyedBuilder<F, Key, K> {
        KeyedBuilder::new(self, key)
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<BulkheadLayer<F, K>, ConfigErrors> {
        let source = Source::new(LAYER, self.name);
        let law = Law::from_config(&self.config).map_err(|wrong| wrong.of_policy(&source))?;
        let reporter = Reporter::new(source, self.observers);
        let gate = Arc::new(Gate::new(Policy::new(reporter, law, self.config)));
        Ok(BulkheadLayer { gate, finish: self.finish, carry: self.carry })
    }
}
