//! Building a timeout, and putting it around services.

use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::handle::TimeoutHandle;
use super::policy::{ByRequest, Fixed, LimitOn, Limited, Timeouts};
use crate::core::config::ConfigErrors;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::gate::{self, Gate, GateLayer, Unclassified};
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "timeout";

/// Puts a time limit on the calls of services.
pub type TimeoutLayer<L = Fixed, K = NoPropagation> = GateLayer<Limited<L>, Unclassified, K>;

/// The service that a timeout makes of another: it ends calls that take too long.
pub type Timeout<S, L = Fixed, K = NoPropagation> = Gate<S, Limited<L>, Unclassified, K>;

/// The future of a call through a timeout.
///
/// The inner service is asked first: an answer that is there at the moment the time is up wins.
/// When the time is up, the inner future is dropped before the caller is told. Dropping this future
/// drops the inner one.
pub type ResponseFuture<S, Req, L = Fixed, K = NoPropagation> =
    gate::ResponseFuture<S, Req, Limited<L>, Unclassified, K>;

impl TimeoutLayer {
    /// Every call may take `limit`, and everything else is at its [default](crate::timeout#defaults).
    pub fn new(name: impl Into<Arc<str>>, limit: Duration) -> Self {
        Self::builder(name).config(Config::from(limit)).made()
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
            by: Fixed,
            of: LimitOn::default(),
            propagate: NoPropagation,
            observers: Observers::default(),
        }
    }
}

impl<L: Send + Sync + 'static, K> TimeoutLayer<L, K> {
    /// Inspects and controls this timeout.
    pub fn handle(&self) -> TimeoutHandle {
        TimeoutHandle::new(self.entrance())
    }
}

// ===== impl Builder =====

/// Builds a [`TimeoutLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<L = Fixed, K = NoPropagation> {
    name: Arc<str>,
    config: Config,
    by: L,
    of: LimitOn,
    propagate: K,
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

    /// Reports every event to `observer`. May be called more than once.
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
        F: Fn(&Req) -> Option<Duration> + Send + Sync + 'static,
    {
        let Self { name, config, of, propagate, observers, .. } = self;
        Builder { name, config, by: ByRequest(limit), of, propagate, observers }
    }

    /// Reads the deadline that is propagated with each request, ends the call when it has passed, and
    /// writes what is left for those further in. A deadline only ever moves closer: to the limit of this
    /// layer, unless that is the limit of [one attempt](Self::per_attempt).
    pub fn propagate<K2>(self, propagate: K2) -> Builder<L, K2> {
        let Self { name, config, by, of, observers, .. } = self;
        Builder { name, config, by, of, propagate, observers }
    }

    /// The limit is that of one attempt, and is not written into the deadline that those further in are
    /// told: whoever is told a deadline ends the body of its answer by it too, and the limit of an
    /// attempt ends with the head.
    ///
    /// A timeout inside a [retry](crate::retry) knows by itself that it is one, if both
    /// [carry](Self::propagate) the number of the attempt. Say it where the retry does not carry, and
    /// where there is none.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::Error;
    /// use seawall::propagate::{FromWithContext, WithContext};
    /// use seawall::timeout::TimeoutLayer;
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let limit = TimeoutLayer::builder("feed").limit(Duration::from_millis(300));
    /// let feed = ServiceBuilder::new()
    ///     .layer(limit.propagate(FromWithContext).per_attempt().build()?)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|request: WithContext<&'static str>| async move {
    ///         Ok::<_, Infallible>(request.call.deadline) // what a server would be told
    ///     }));
    /// assert_eq!(feed.oneshot(WithContext::from("news")).await?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn per_attempt(mut self) -> Self {
        self.of = LimitOn::Attempt;
        self
    }

    /// The limit is that of the whole call, and bounds the body of its answer where the client can.
    pub(crate) fn of_whole_call(mut self) -> Self {
        self.of = LimitOn::Whole;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// None at present: every value is valid.
    pub fn build(self) -> Result<TimeoutLayer<L, K>, ConfigErrors>
    where
        L: Send + Sync + 'static,
    {
        Ok(self.made())
    }

    fn made(self) -> TimeoutLayer<L, K>
    where
        L: Send + Sync + 'static,
    {
        let (limited, propagate) = self.parts();
        GateLayer::make(limited, Unclassified, propagate)
    }

    /// The same, for a stack.
    pub(crate) fn parts(self) -> (Limited<L>, K) {
        let reporter = Reporter::new(Origin::new(LAYER, self.name), self.observers);
        let timeout = Timeouts::new(reporter, &self.config);
        (Limited { timeout, by: self.by, of: self.of }, self.propagate)
    }
}
