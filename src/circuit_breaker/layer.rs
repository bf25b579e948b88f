//! Building a breaker, and putting it around services.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::backpressure::BackpressureLayer;
use super::config::{Abandonment, Config, Trip};
use super::handle::CircuitBreakerHandle;
use super::keyed::KeyedBuilder;
use super::law::Law;
use super::policy::{Hooks, Instance, Policy};
use super::service::CircuitBreaker;
use crate::classify::{Classifier, Classify, Of};
use crate::config::ConfigErrors;
use crate::error::CallError;
use crate::event::{Observe, Observers};
use crate::finish::{AtHead, Finish};
use crate::outcome::Outcome;
use crate::rng;
use crate::shell::caller::Caller;
use crate::shell::common::Common;
use crate::shell::gate::Gate;
use crate::source::Source;

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "circuit_breaker";

/// Puts one circuit breaker around services.
///
/// All services that a layer and its clones make share one breaker. Two independent breakers are
/// two layers; one per host is a [keyed](Builder::keyed) layer.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct CircuitBreakerLayer<C = Classifier, F = AtHead> {
    gate: Arc<Gate<Policy<C, F>>>,
}

impl CircuitBreakerLayer {
    /// A breaker with every setting at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let config = Config::default();
        let law = Law::of_defaults();
        let source = Source::new(LAYER, name);
        Self::make(source, law, config, Hooks::default(), Observers::default(), rng::seed())
    }

    /// A breaker with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        Self::builder(name).config(config).build()
    }

    /// Starts to build a breaker.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            hooks: Hooks::default(),
            observers: Observers::default(),
            seed: None,
        }
    }
}

impl<C, F> CircuitBreakerLayer<C, F> {
    fn make(
        source: Source,
        law: Law,
        config: Config,
        hooks: Hooks<C, F>,
        observers: Observers,
        seed: u64,
    ) -> Self {
        let common = Common::new(source, observers, law, config, seed);
        Self { gate: Arc::new(Gate::new(Policy::new(common, Arc::new(hooks), None))) }
    }

    /// Sees and steers this breaker.
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.gate.shared))
    }

    /// The same breaker for balancers: a service that is *not ready* while the circuit is open,
    /// instead of one that refuses, and that needs no `Clone`.
    pub fn backpressure(&self) -> BackpressureLayer<C, F> {
        BackpressureLayer { gate: Arc::clone(&self.gate) }
    }

    /// The calls that are under way.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Takes no further calls, sends away those that wait for the inner service to be ready, and
    /// returns when those under way are over. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The refusing goes on if the future of
    /// this is dropped.
    pub async fn drain(&self) {
        self.stop();
        self.gate.emptied().await;
    }

    /// Takes no further calls, and returns when those under way are over, and those that wait for the
    /// inner service to be ready were made and are over too. [`drain`](Self::drain) still ends such
    /// waits.
    pub async fn drain_to_completion(&self) {
        self.gate.close();
        self.gate.shared.wake_all();
        self.gate.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.gate.stop();
        self.gate.shared.wake_all();
    }

    /// Runs an async call through this breaker, for callers without a service.
    ///
    /// `call` is not called if the circuit is open. Dropping the future abandons the call.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, circuit_breaker::CircuitBreakerLayer};
    ///
    /// # async fn query(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
    /// let breaker = CircuitBreakerLayer::new("orders-db");
    /// let orders = breaker
    ///     .run(|| async { query("SELECT count(*) FROM orders").await.map_err(Error::Inner) })
    ///     .await?;
    /// assert_eq!(orders, 7);
    /// # Ok::<(), Error<std::io::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Call, Fut, T, E>(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, C, F>
    where
        Call: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E> + Send + Sync + 'static,
        F: Finish<T> + Clone + Send + Sync + 'static,
    {
        let instance = Instance { inner: &mut Caller, readied: true };
        instance.call(&self.gate.shared, || self.gate.enter(), call)
    }
}

impl<S, C, F> Layer<S> for CircuitBreakerLayer<C, F> {
    type Service = CircuitBreaker<S, C, F>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, Arc::clone(&self.gate))
    }
}

impl<C, F> Clone for CircuitBreakerLayer<C, F> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate) }
    }
}

impl<C, F> fmt::Debug for CircuitBreakerLayer<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("breaker", &self.gate.shared).finish()
    }
}

// ===== impl Builder =====

/// Builds a [`CircuitBreakerLayer`]. Setters take any value; [`build`](Self::build) says what is
/// wrong with them, all at once.
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<C = Classifier, F = AtHead> {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) hooks: Hooks<C, F>,
    pub(super) observers: Observers,
    pub(super) seed: Option<u64>,
}

/// A setter for each setting of the same name.
macro_rules! setters {
    ($($setting:ident: $ty:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`Config::", stringify!($setting), "`].")]
            pub fn $setting(mut self, $setting: $ty) -> Self {
                self.config.$setting = $setting;
                self
            }
        )*
    };
}

impl<C, F> Builder<C, F> {
    setters! {
        trip: Trip,
        memory: Duration,
        abandonment: Abandonment,
        rest: Duration,
        rest_cap: Duration,
        hint_cap: Duration,
        probes: u32,
        probe_deadline: Duration,
        close_at: u32,
        reopen_at: u32,
        ramp: Duration,
        slow_start: Duration,
        shadow: bool,
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

    /// Seeds the jitter, so that a run can be repeated. By default every breaker draws its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Classifies with a [`Classify`] of your own.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, F> {
        let Self { name, config, hooks, observers, seed } = self;
        let hooks = Hooks { classify, finish: hooks.finish };
        Builder { name, config, hooks, observers, seed }
    }

    /// Decides when a call is over, by default [when its answer arrives](AtHead).
    pub fn finish<F2>(self, finish: F2) -> Builder<C, F2> {
        let Self { name, config, hooks, observers, seed } = self;
        let hooks = Hooks { classify: hooks.classify, finish };
        Builder { name, config, hooks, observers, seed }
    }

    /// One breaker for each key of a request, for instance for each host.
    ///
    /// ```
    /// use seawall::circuit_breaker::CircuitBreakerLayer;
    /// use std::borrow::Cow;
    ///
    /// struct Request { host: String }
    ///
    /// let layer = CircuitBreakerLayer::builder("upstreams")
    ///     .keyed(|request: &Request| Cow::from(&request.host))
    ///     .max_keys(100)
    ///     .build()?;
    /// assert!(layer.handle().is_empty()); // a host gets its breaker with its first call
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn keyed<Req, K>(self, key: K) -> KeyedBuilder<C, F, K>
    where
        K: Fn(&Req) -> Cow<'_, str>,
    {
        KeyedBuilder::new(self, key)
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, F>, ConfigErrors> {
        let seed = self.seed.unwrap_or_else(rng::seed);
        let Self { name, config, hooks, observers, .. } = self;
        let source = Source::new(LAYER, name);
        let law = Law::from_config(&config).map_err(|wrong| wrong.of_policy(&source))?;
        Ok(CircuitBreakerLayer::make(source, law, config, hooks, observers, seed))
    }
}

impl<R, E, F> Builder<Classifier<R, E>, F> {
    /// Judges responses, for instance by their status.
    pub fn classify_response<Res, J>(self, judge: J) -> Builder<Classifier<Of<J>, E>, F>
    where
        J: Fn(&Res) -> Outcome,
    {
        let Self { name, config, hooks, observers, seed } = self;
        let hooks = Hooks { classify: hooks.classify.with_response(judge), finish: hooks.finish };
        Builder { name, config, hooks, observers, seed }
    }

    /// Judges errors of the innermost service. Rejections by layers of this crate never get here.
    pub fn classify_error<Err, J>(self, judge: J) -> Builder<Classifier<R, Of<J>>, F>
    where
        J: Fn(&Err) -> Outcome,
    {
        let Self { name, config, hooks, observers, seed } = self;
        let hooks = Hooks { classify: hooks.classify.with_error(judge), finish: hooks.finish };
        Builder { name, config, hooks, observers, seed }
    }
}
