//! Building a rate limit, and putting it around services.

use std::sync::Arc;
use std::time::Duration;

use super::common::Common;
use super::config::Config;
use super::handle::RateLimitHandle;
use super::limiter::Limiter;
use super::policy::Costed;
use crate::core::config::{ConfigErrors, Written};
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::cost::{ByRequest, One};
use crate::shell::gate::{self, Gate, GateLayer, Unclassified};
use crate::shell::keyed::Settings;
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "rate_limit";

/// Limits how many calls to services begin in a time.
///
/// All services that a layer and its clones make share one limit.
pub type RateLimitLayer<W = One, K = NoPropagation> = GateLayer<Costed<W>, Unclassified, K>;

/// The service that a rate limit makes of another.
///
/// It is always ready when the inner service is: a call that comes too early is rejected, or waits in its
/// future.
pub type RateLimit<S, W = One, K = NoPropagation> = Gate<S, Costed<W>, Unclassified, K>;

/// The future of a call through a rate limit. Dropping it gives its turn back, if that has not come yet.
pub type ResponseFuture<S, Req, W = One, K = NoPropagation> =
    gate::ResponseFuture<S, Req, Costed<W>, Unclassified, K>;

impl RateLimitLayer {
    /// `limit` calls in each `period`, as many at once after a pause, and everything else at its
    /// [default](crate::rate_limit#defaults).
    ///
    /// # Errors
    ///
    /// A limit or a period that is out of range.
    pub fn new(
        name: impl Into<Arc<str>>,
        limit: u32,
        period: Duration,
    ) -> Result<Self, ConfigErrors> {
        Self::builder(name).limit(limit).period(period).build()
    }

    /// A rate limit with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        Self::builder(name).config(config).build()
    }

    /// Starts to build a rate limit.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            cost: One,
            propagate: NoPropagation,
            observers: Observers::default(),
        }
    }
}

impl<W: Send + Sync + 'static, K> RateLimitLayer<W, K> {
    /// Inspects and controls this rate limit, and takes turns ahead of time.
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(self.entrance())
    }
}

/// Builds a [`RateLimitLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<W = One, K = NoPropagation> {
    pub(super) name: Arc<str>,
    pub(super) config: Config,
    pub(super) cost: W,
    pub(super) propagate: K,
    pub(super) observers: Observers,
}

impl<W, K> Builder<W, K> {
    /// Sets [`Config::limit`].
    pub fn limit(mut self, limit: u32) -> Self {
        self.config.limit = limit;
        self
    }

    /// Sets [`Config::period`].
    pub fn period(mut self, period: Duration) -> Self {
        self.config.period = period;
        self
    }

    /// Sets [`Config::burst`].
    pub fn burst(mut self, burst: u32) -> Self {
        self.config.burst = Some(burst);
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

    /// Sets [`Config::warm_up`].
    pub fn warm_up(mut self, warm_up: Duration) -> Self {
        self.config.warm_up = warm_up;
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

    /// Asks what each request costs, in units of [`Config::limit`]. One that costs nothing always
    /// passes; one that costs more than [`Config::burst`] never does.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::rate_limit::RateLimitLayer;
    /// use seawall::{Error, Reason};
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// // A partner allows 100 rows a second, however they are asked for.
    /// let rows = RateLimitLayer::builder("rows").limit(100).cost(|rows: &u32| *rows).build()?;
    /// let partner = ServiceBuilder::new()
    ///     .layer(rows)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|rows: u32| async move { Ok::<_, Infallible>(rows) }));
    /// assert_eq!(partner.clone().oneshot(70).await?, 70);
    /// let rejected = |answer| match answer {
    ///     Err(Error::Rejected(why)) => Some((why.reason(), why.retry_after())),
    ///     _ => None,
    /// };
    /// let (reason, after) = rejected(partner.clone().oneshot(50).await).unwrap();
    /// assert_eq!(reason, Reason::RateLimited);
    /// assert_eq!(after.unwrap().as_millis(), 200); // when 20 more have come back
    /// let (reason, _) = rejected(partner.oneshot(101).await).unwrap();
    /// assert_eq!(reason, Reason::CostTooHigh);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn cost<Req, F>(self, cost: F) -> Builder<ByRequest<F>, K>
    where
        F: Fn(&Req) -> u32 + Send + Sync + 'static,
    {
        let Self { name, config, propagate, observers, .. } = self;
        Builder { name, config, cost: ByRequest(cost), propagate, observers }
    }

    /// Reads the deadline that is propagated with each request: a call whose turn would come later is rejected
    /// at once.
    pub fn propagate<K2>(self, propagate: K2) -> Builder<W, K2> {
        let Self { name, config, cost, observers, .. } = self;
        Builder { name, config, cost, propagate, observers }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<RateLimitLayer<W, K>, ConfigErrors>
    where
        W: Send + Sync + 'static,
    {
        let origin = Origin::new(LAYER, self.name);
        let settings = Settings::new(self.config.into(), &Written::default(), &origin)?;
        let common = Common::new(Reporter::new(origin, self.observers), settings);
        let limiter = Limiter::new(common, None);
        Ok(GateLayer::make(Costed::new(limiter, self.cost), Unclassified, self.propagate))
    }
}
