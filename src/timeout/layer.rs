//! Building a timeout, and putting it around services.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::{Layer, Service};

use super::config::Config;
use super::handle::TimeoutHandle;
use super::policy::Policy;
use super::service::{ByRequest, Fixed, Hooks, LimitOn, Timeout};
use crate::config::ConfigErrors;
use crate::error::CallError;
use crate::event::{Observe, Observers};
use crate::request::NoCarry;
use crate::shell::caller::Caller;
use crate::shell::gate::Gate;
use crate::shell::reporter::Reporter;
use crate::source::Source;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "timeout";

/// Puts a time limit on the calls of services.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct TimeoutLayer<L = Fixed, K = NoCarry> {
    gate: Arc<Gate<Policy>>,
    hooks: Hooks<L, K>,
}

impl TimeoutLayer {
    /// Every call may take `limit`, and everything else is at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>, limit: Duration) -> Self {
        Self::make(name.into(), &Config::from(limit), Hooks::default(), Observers::default())
    }

    /// A timeout with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// None at present: every value is valid.
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        Self::builder(name).config(config).build()
    }

    /// Starts to build a timeout.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            hooks: Hooks::default(),
            observers: Observers::default(),
        }
    }
}

impl<L, K> TimeoutLayer<L, K> {
    fn make(name: Arc<str>, config: &Config, hooks: Hooks<L, K>, observers: Observers) -> Self {
        let reporter = Reporter::new(Source::new(LAYER, name), observers);
        Self { gate: Arc::new(Gate::new(Policy::new(reporter, config))), hooks }
    }

    /// Sees and steers this timeout.
    pub fn handle(&self) -> TimeoutHandle {
        TimeoutHandle::new(Arc::clone(&self.gate))
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
        self.gate.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.gate.stop();
    }

    /// Runs an async call under this time limit, for callers without a service.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, timeout::TimeoutLayer};
    /// use std::time::Duration;
    ///
    /// # async fn lookup(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
    /// let patience = TimeoutLayer::new("lookup", Duration::from_millis(200));
    /// let found = patience.run(|| async { lookup("seven").await.map_err(Error::Inner) }).await?;
    /// assert_eq!(found, 7);
    /// # Ok::<(), Error<std::io::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Call, Fut, T, E>(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<T, E>> + use<Call, Fut, T, E, L, K>
    where
        Call: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
    {
        let hooks = Hooks { limit: Fixed, carry: NoCarry, of: LimitOn::Request };
        Timeout::new(Caller, Arc::clone(&self.gate), hooks).call(call)
    }
}

impl<S, L: Clone, K: Clone> Layer<S> for TimeoutLayer<L, K> {
    type Service = Timeout<S, L, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, Arc::clone(&self.gate), self.hooks.clone())
    }
}

impl<L: Clone, K: Clone> Clone for TimeoutLayer<L, K> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate), hooks: self.hooks.clone() }
    }
}

impl<L, K> fmt::Debug for TimeoutLayer<L, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer").field("config", &self.gate.config()).finish_non_exhaustive()
    }
}

// ===== impl Builder =====

/// Builds a [`TimeoutLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<L = Fixed, K = NoCarry> {
    name: Arc<str>,
    config: Config,
    hooks: Hooks<L, K>,
    observers: Observers,
}

impl<L, K> Builder<L, K> {
    /// Sets [`Config::limit`].
    pub fn limit(mut self, limit: Duration) -> Self {
        self.config.limit = limit;
        self
    }

    /// Sets [`Config::cover_readiness`].
    pub fn cover_readiness(mut self, cover_readiness: bool) -> Self {
        self.config.cover_readiness = cover_readiness;
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

    /// Asks how long each request may take; `None` stands for the layer's own limit.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::{Error, timeout::TimeoutLayer};
    /// use std::{convert::Infallible, time::Duration};
    /// use tokio::time::sleep;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// enum Query {
    ///     Lookup,
    ///     Report,
    /// }
    ///
    /// let limits = TimeoutLayer::builder("database")
    ///     .limit(Duration::from_secs(1))
    ///     .limit_by(|query: &Query| match query {
    ///         Query::Lookup => None,
    ///         Query::Report => Some(Duration::from_secs(60)),
    ///     })
    ///     .build()?;
    /// let database = ServiceBuilder::new().layer(limits).map_err(Error::Inner).service(service_fn(
    ///     |_: Query| async {
    ///         sleep(Duration::from_secs(5)).await;
    ///         Ok::<_, Infallible>("rows")
    ///     },
    /// ));
    /// assert!(database.clone().oneshot(Query::Lookup).await.is_err());
    /// assert_eq!(database.oneshot(Query::Report).await?, "rows");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn limit_by<Req, F>(self, limit: F) -> Builder<ByRequest<F>, K>
    where
        F: Fn(&Req) -> Option<Duration>,
    {
        let Self { name, config, hooks, observers } = self;
        let Hooks { carry, of, .. } = hooks;
        let hooks = Hooks { limit: ByRequest(limit), carry, of };
        Builder { name, config, hooks, observers }
    }

    /// Reads the deadline that travels with each request, ends the call when it has passed, and
    /// writes what is left for those further in. A deadline only ever moves closer: to the limit of this
    /// layer, unless that is the limit of [one attempt](Self::per_attempt).
    pub fn carry<K2>(self, carry: K2) -> Builder<L, K2> {
        let Self { name, config, hooks, observers } = self;
        let Hooks { limit, of, .. } = hooks;
        Builder { name, config, hooks: Hooks { limit, carry, of }, observers }
    }

    /// The limit is that of one attempt, and is not written into the deadline that those further in are
    /// told: whoever is told a deadline ends the body of its answer by it too, and the limit of an
    /// attempt ends with the head.
    ///
    /// A timeout inside a [retry](crate::retry) knows by itself that it is one, if both
    /// [carry](Self::carry) the number of the attempt. Say it where the retry does not carry, and
    /// where there is none.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Carried, Error, InCarried, timeout::TimeoutLayer};
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let limit = TimeoutLayer::builder("feed").limit(Duration::from_millis(300));
    /// let feed = ServiceBuilder::new()
    ///     .layer(limit.carry(InCarried).per_attempt().build()?)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|request: Carried<&'static str>| async move {
    ///         Ok::<_, Infallible>(request.call.deadline) // what a server would be told
    ///     }));
    /// assert_eq!(feed.oneshot(Carried::from("news")).await?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn per_attempt(mut self) -> Self {
        self.hooks.of = LimitOn::Attempt;
        self
    }

    /// The limit is that of the whole call, and bounds the body of its answer where the client can.
    pub(crate) fn of_whole_call(mut self) -> Self {
        self.hooks.of = LimitOn::Whole;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// None at present: every value is valid.
    pub fn build(self) -> Result<TimeoutLayer<L, K>, ConfigErrors> {
        Ok(TimeoutLayer::make(self.name, &self.config, self.hooks, self.observers))
    }
}
