//! Building a breaker, and putting it around services.

use std::sync::Arc;
use std::time::Duration;

use super::backpressure::BackpressureLayer;
use super::config::{Abandonment, Config, Trip};
use super::engine::common::Common;
use super::handle::CircuitBreakerHandle;
use super::outage::{Listeners, Outage};
use super::params::Params;
use super::policy::BreakerPolicy;
use crate::core::classify::{Classification, Classifier, Of, OfError, OfResult};
use crate::core::completion::OnResponse;
use crate::core::config::{ConfigErrors, Written};
use crate::core::event::Observe;
use crate::core::origin::Origin;
use crate::core::outcome::Outcome;
use crate::core::request::NoPropagation;
use crate::core::rng;
use crate::shell::gate::{self, Gate, GateLayer};
use crate::shell::keyed::Settings;

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "circuit_breaker";

/// Puts one circuit breaker around services.
///
/// All services that a layer and its clones make share one breaker. Two independent breakers are
/// two layers; one per host is a [keyed](Builder::keyed) layer. A call that [runs](GateLayer::run) is not
/// made if the circuit is open, and dropping its future abandons it.
pub type CircuitBreakerLayer<C = Classifier, F = OnResponse, K = NoPropagation> =
    GateLayer<BreakerPolicy<F>, C, K>;

/// Calls the inner service while the circuit is closed, and rejects at once while it is open.
///
/// It is always ready when the circuit is not closed: a rejection needs no inner service, and a probe
/// waits for one by itself. It never fails in `poll_ready`, unless the inner service does; then that
/// call has failed, and is counted.
pub type CircuitBreaker<S, C, F, K = NoPropagation> = Gate<S, BreakerPolicy<F>, C, K>;

/// The future of a call through a breaker.
///
/// Dropping it before it is ready abandons the call: see [`Abandonment`].
pub type ResponseFuture<S, Req, C, F, K = NoPropagation> =
    gate::ResponseFuture<S, Req, BreakerPolicy<F>, C, K>;

impl CircuitBreakerLayer {
    /// A breaker with every setting at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let settings = Settings::of_defaults(Arc::new(Params::of_defaults()));
        let (policy, classify, propagate) = Self::builder(name).made(settings);
        Self::make(policy, classify, propagate)
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
            origin: Origin::new(LAYER, name),
            config: Config::default(),
            written: Written::default(),
            classify: Classifier::default(),
            completion: OnResponse,
            propagate: NoPropagation,
            observers: Listeners::default(),
            seed: None,
        }
    }
}

impl<C, F, K> CircuitBreakerLayer<C, F, K> {
    /// Inspects and controls this breaker.
    pub fn handle(&self) -> CircuitBreakerHandle {
        self.policy().handle()
    }

    /// The same breaker for balancers: a service that is *not ready* while the circuit is open,
    /// instead of one that rejects, and that needs no `Clone`.
    pub fn backpressure(&self) -> BackpressureLayer<C, F, K>
    where
        K: Clone,
    {
        BackpressureLayer::of(self.clone())
    }
}

// ===== impl Builder =====

/// Builds a [`CircuitBreakerLayer`]. Setters take any value; [`build`](Self::build) says what is
/// wrong with them, all at once.
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<C = Classifier, F = OnResponse, K = NoPropagation> {
    pub(super) origin: Origin,
    pub(super) config: Config,
    /// Which settings were told by name.
    pub(super) written: Written,
    pub(super) classify: C,
    pub(super) completion: F,
    pub(super) propagate: K,
    pub(super) observers: Listeners,
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
        evidence_ttl: Duration,
        abandonment: Abandonment,
        break_duration: Duration,
        max_break_duration: Duration,
        max_retry_after: Duration,
        probes: u32,
        probe_deadline: Duration,
        close_threshold: u32,
        reopen_threshold: u32,
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

    /// Reports every event to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.observers.add(observer);
        self
    }

    /// Tells of each outage once, when it begins: the circuit opened, by itself or by a hand, and calls
    /// are kept away. Probes that fail are part of the same outage. May be called more than once.
    ///
    /// Like an [observer](Self::observe) it is called on the task that caused it, after every lock is
    /// released, and in order. Of a [keyed](Self::keyed) breaker it tells the key. In
    /// [shadow](Config::shadow) it tells what would have been.
    pub fn on_open(mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) -> Self {
        self.observers.outages.on_open(tell);
        self
    }

    /// Tells of each outage once more, when it is over: the circuit is closed again, with how long it
    /// lasted. Of a key that is forgotten while its circuit is open there is no further word.
    pub fn on_close(mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) -> Self {
        self.observers.outages.on_close(tell);
        self
    }

    /// Seeds the jitter, so that a run can be repeated. By default every breaker draws its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Classifies with a [`Classify`](crate::Classify) of your own.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, F, K> {
        self.with(|_, completion, propagate| (classify, completion, propagate))
    }

    /// Classifies whole results with one closure: responses, and the errors of the innermost service.
    /// Rejections by layers of this crate never get here.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::circuit_breaker::CircuitBreakerLayer;
    /// use seawall::{Error, Outcome};
    /// use std::io;
    ///
    /// let rule = |result: Result<&String, &io::Error>| match result {
    ///     Ok(line) if line.starts_with("BUSY") => Outcome::PUSHBACK,
    ///     Ok(_) => Outcome::SUCCESS,
    ///     Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::SUCCESS,
    ///     Err(_) => Outcome::TRANSIENT,
    /// };
    /// let breaker = CircuitBreakerLayer::builder("store").classify_result(rule).build()?;
    /// let missing = || async { Err::<String, _>(Error::Inner(io::ErrorKind::NotFound.into())) };
    /// for _ in 0..100 {
    ///     assert!(matches!(breaker.run(missing).await, Err(Error::Inner(_))));
    /// }
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn classify_result<Res, Err, V, J>(self, rule: J) -> Builder<OfResult<J, Res, Err>, F, K>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Classification>,
    {
        self.classify(OfResult::new(rule))
    }

    /// Decides when a call is over, by default [when its answer arrives](OnResponse).
    pub fn completion<F2>(self, completion: F2) -> Builder<C, F2, K> {
        self.with(|classify, _, propagate| (classify, completion, propagate))
    }

    /// Reads the deadline that is propagated with each request, so that what is due to the deadline of its
    /// caller is no evidence against the dependency: see
    /// [`ClassifyContext`](crate::ClassifyContext). Writes nothing.
    pub fn propagate<K2>(self, propagate: K2) -> Builder<C, F, K2> {
        self.with(|classify, completion, _| (classify, completion, propagate))
    }

    fn with<C2, F2, K2>(self, change: impl FnOnce(C, F, K) -> (C2, F2, K2)) -> Builder<C2, F2, K2> {
        let Self { origin, config, written, classify, completion, propagate, observers, seed } =
            self;
        let (classify, completion, propagate) = change(classify, completion, propagate);
        Builder { origin, config, written, classify, completion, propagate, observers, seed }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, F, K>, ConfigErrors> {
        let (policy, classify, propagate) = self.parts()?;
        Ok(GateLayer::make(policy, classify, propagate))
    }

    /// The same, for a stack.
    pub(crate) fn parts(self) -> Result<(BreakerPolicy<F>, C, K), ConfigErrors> {
        let settings = Settings::new(self.config.clone().into(), &self.written, &self.origin)?;
        Ok(self.made(settings))
    }

    fn made(self, settings: Settings<Config>) -> (BreakerPolicy<F>, C, K) {
        let seed = self.seed.unwrap_or_else(rng::seed);
        let common = Common::new(self.origin, self.observers, settings, seed);
        (BreakerPolicy::new(common, self.completion, None), self.classify, self.propagate)
    }
}

impl<R, E, F, K> Builder<Classifier<R, E>, F, K> {
    /// Classifies responses, for instance by their status.
    pub fn classify_response<Res, J>(self, rule: J) -> Builder<Classifier<Of<J>, E>, F, K>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with_classify(|classify| classify.with_response(rule))
    }

    /// Classifies errors of the innermost service: an [`Error<E>`](crate::Error), or the `E` in it.
    /// Rejections by layers of this crate never get here.
    pub fn classify_error<Err, J>(self, rule: J) -> Builder<Classifier<R, OfError<J, Err>>, F, K>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with_classify(|classify| classify.with_error(rule))
    }

    fn with_classify<C2>(self, change: impl FnOnce(Classifier<R, E>) -> C2) -> Builder<C2, F, K> {
        self.with(|classify, completion, propagate| (change(classify), completion, propagate))
    }
}
