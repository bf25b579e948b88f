//! Building a breaker, and putting it around services.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::backpressure::BackpressureLayer;
use super::config::{Abandonment, Config, Trip};
use super::engine::common::{Common, Settings};
use super::handle::CircuitBreakerHandle;
use super::keyed::KeyedBuilder;
use super::law::Law;
use super::policy::{Hooks, Instance, Policy};
use super::service::CircuitBreaker;
use crate::classify::{Classifier, Classify, Of, OfError, OfResult, Verdict};
use crate::config::{ConfigErrors, Written};
use crate::error::CallError;
use crate::event::{Observe, Observers, Outage};
use crate::finish::{AtHead, Finish};
use crate::outcome::Outcome;
use crate::request::NoCarry;
use crate::rng;
use crate::shell::caller::Caller;
use crate::shell::gate::Gate;
use crate::source::Source;

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "circuit_breaker";

/// Puts one circuit breaker around services.
///
/// All services that a layer and its clones make share one breaker. Two independent breakers are
/// two layers; one per host is a [keyed](Builder::keyed) layer.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct CircuitBreakerLayer<C = Classifier, F = AtHead, K = NoCarry> {
    gate: Arc<Gate<Policy<C, F>>>,
    carry: K,
}

impl CircuitBreakerLayer {
    /// A breaker with every setting at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let config = Config::default();
        let law = Law::of_defaults();
        let source = Source::new(LAYER, name);
        let (hooks, observers) = (Hooks::default(), Observers::default());
        Self::make(source, law, config, hooks, NoCarry, observers, rng::seed())
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
            written: Written::default(),
            hooks: Hooks::default(),
            carry: NoCarry,
            observers: Observers::default(),
            seed: None,
        }
    }
}

impl<C, F, K> CircuitBreakerLayer<C, F, K> {
    fn make(
        source: Source,
        law: Law,
        config: Config,
        hooks: Hooks<C, F>,
        carry: K,
        observers: Observers,
        seed: u64,
    ) -> Self {
        let settings = Settings::new(law, config.into());
        let common = Common::new(source, observers, settings, seed);
        Self { gate: Arc::new(Gate::new(Policy::new(common, Arc::new(hooks), None))), carry }
    }

    /// Sees and steers this breaker.
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.gate.shared))
    }

    /// The same breaker for balancers: a service that is *not ready* while the circuit is open,
    /// instead of one that refuses, and that needs no `Clone`.
    pub fn backpressure(&self) -> BackpressureLayer<C, F, K>
    where
        K: Clone,
    {
        BackpressureLayer { gate: Arc::clone(&self.gate), carry: self.carry.clone() }
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
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, C, F, K>
    where
        Call: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E> + Send + Sync + 'static,
        F: Finish<T> + Clone + Send + Sync + 'static,
    {
        let instance = Instance { inner: &mut Caller, readied: true };
        instance.call(&self.gate.shared, || self.gate.enter(), &NoCarry, call)
    }
}

impl<S, C, F, K: Clone> Layer<S> for CircuitBreakerLayer<C, F, K> {
    type Service = CircuitBreaker<S, C, F, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, Arc::clone(&self.gate), self.carry.clone())
    }
}

impl<C, F, K: Clone> Clone for CircuitBreakerLayer<C, F, K> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate), carry: self.carry.clone() }
    }
}

impl<C, F, K> fmt::Debug for CircuitBreakerLayer<C, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("breaker", &self.gate.shared).finish()
    }
}

// ===== impl Builder =====

/// Builds a [`CircuitBreakerLayer`]. Setters take any value; [`build`](Self::build) says what is
/// wrong with them, all at once.
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<C = Classifier, F = AtHead, K = NoCarry> {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    /// Which settings were told by name.
    pub(super) written: Written,
    pub(super) hooks: Hooks<C, F>,
    pub(super) carry: K,
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
                self.written.add(stringify!($setting));
                self
            }
        )*
    };
}

impl<C, F, K> Builder<C, F, K> {
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
        self.written = Written::default();
        self
    }

    /// Tells `observer` of every event. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Tells of each outage once, when it begins: the circuit opened, by itself or by a hand, and calls
    /// are kept away. Probes that fail are part of the same outage. May be called more than once.
    ///
    /// Like an [observer](Self::observe) it is called on the task that caused it, after every lock is
    /// released, and in order. Of a [keyed](Self::keyed) breaker it tells the key. In
    /// [shadow](Config::shadow) it tells what would have been.
    pub fn on_open(mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) -> Self {
        self.observers.on_open(tell);
        self
    }

    /// Tells of each outage once more, when it is over: the circuit is closed again, with how long it
    /// lasted. Of a key that is forgotten while its circuit is open there is no further word.
    pub fn on_close(mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) -> Self {
        self.observers.on_close(tell);
        self
    }

    /// Seeds the jitter, so that a run can be repeated. By default every breaker draws its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Classifies with a [`Classify`] of your own.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, F, K> {
        self.with(|hooks, carry| (Hooks { classify, finish: hooks.finish }, carry))
    }

    /// Judges whole results with one closure: responses, and the errors of the innermost service.
    /// Rejections by layers of this crate never get here.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::circuit_breaker::CircuitBreakerLayer;
    /// use seawall::{Error, Outcome};
    /// use std::io;
    ///
    /// let judge = |result: Result<&String, &io::Error>| match result {
    ///     Ok(line) if line.starts_with("BUSY") => Outcome::PUSHBACK,
    ///     Ok(_) => Outcome::SUCCESS,
    ///     Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::SUCCESS,
    ///     Err(_) => Outcome::TRANSIENT,
    /// };
    /// let breaker = CircuitBreakerLayer::builder("store").classify_result(judge).build()?;
    /// let missing = || async { Err::<String, _>(Error::Inner(io::ErrorKind::NotFound.into())) };
    /// for _ in 0..100 {
    ///     assert!(matches!(breaker.run(missing).await, Err(Error::Inner(_))));
    /// }
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn classify_result<Res, Err, V, J>(self, judge: J) -> Builder<OfResult<J, Res, Err>, F, K>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classify(OfResult::new(judge))
    }

    /// Decides when a call is over, by default [when its answer arrives](AtHead).
    pub fn finish<F2>(self, finish: F2) -> Builder<C, F2, K> {
        self.with(|hooks, carry| (Hooks { classify: hooks.classify, finish }, carry))
    }

    /// Reads the deadline that travels with each request, so that what is due to the deadline of its
    /// caller is no evidence against the dependency: see
    /// [`CallContext`](crate::CallContext). Writes nothing.
    pub fn carry<K2>(self, carry: K2) -> Builder<C, F, K2> {
        self.with(|hooks, _| (hooks, carry))
    }

    fn with<C2, F2, K2>(
        self,
        change: impl FnOnce(Hooks<C, F>, K) -> (Hooks<C2, F2>, K2),
    ) -> Builder<C2, F2, K2> {
        let Self { name, config, written, hooks, carry, observers, seed } = self;
        let (hooks, carry) = change(hooks, carry);
        Builder { name, config, written, hooks, carry, observers, seed }
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
    pub fn keyed<Req, Key>(self, key: Key) -> KeyedBuilder<C, F, Key, K>
    where
        Key: Fn(&Req) -> Cow<'_, str>,
    {
        self.keyed_by(key)
    }

    /// The same with an [`ExtractKey`](crate::ExtractKey) of your own.
    pub fn keyed_by<Key>(self, key: Key) -> KeyedBuilder<C, F, Key, K> {
        self.keyed_as(Arc::new(key))
    }

    pub(crate) fn keyed_as<Key>(self, key: Arc<Key>) -> KeyedBuilder<C, F, Key, K> {
        KeyedBuilder::new(self, key)
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, F, K>, ConfigErrors> {
        let seed = self.seed.unwrap_or_else(rng::seed);
        let Self { name, config, written, hooks, carry, observers, .. } = self;
        let source = Source::new(LAYER, name);
        let law = Law::from_written(&config, &written, |_| ());
        let law = law.map_err(|wrong| wrong.of_policy(&source))?;
        Ok(CircuitBreakerLayer::make(source, law, config, hooks, carry, observers, seed))
    }
}

impl<R, E, F, K> Builder<Classifier<R, E>, F, K> {
    /// Judges responses, for instance by their status.
    pub fn classify_response<Res, J>(self, judge: J) -> Builder<Classifier<Of<J>, E>, F, K>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with_classify(|classify| classify.with_response(judge))
    }

    /// Judges errors of the innermost service: an [`Error<E>`](crate::Error), or the `E` in it.
    /// Rejections by layers of this crate never get here.
    pub fn classify_error<Err, J>(self, judge: J) -> Builder<Classifier<R, OfError<J, Err>>, F, K>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with_classify(|classify| classify.with_error(judge))
    }

    fn with_classify<C2>(self, change: impl FnOnce(Classifier<R, E>) -> C2) -> Builder<C2, F, K> {
        self.with(|Hooks { classify, finish }, carry| {
            (Hooks { classify: change(classify), finish }, carry)
        })
    }
}
