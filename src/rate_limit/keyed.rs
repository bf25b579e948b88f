//! One rate limit for each key.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::common::{Common, RateLimitMeter};
use super::config::Config;
use super::handle::RateLimitHandle;
use super::layer::{Builder, LAYER};
use super::limiter::Limiter;
use super::overrides::Overrides;
use super::policy::Costed;
use crate::core::config::{ConfigErrors, KeyedConfig, Written};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::cost::One;
use crate::shell::gate::{ByKey, Gate, GateLayer, Unclassified};
use crate::shell::keyed::{self, BuildKeyed, Keyed, KeyedHandle, Settings, Steered, Watched};
use crate::shell::member::{Member, Stamp};
use crate::shell::reporter::Reporter;

/// Puts one rate limit per key around services; see [`Builder::keyed`].
pub type KeyedRateLimitLayer<X, W = One, K = NoPropagation> =
    GateLayer<ByKey<Costed<Arc<W>>, X>, Unclassified, K>;

/// The service that a [`KeyedRateLimitLayer`] makes of another.
///
/// It is always ready: which limit decides is not known before the request is. A call that passes waits
/// for the readiness of a clone of the inner service.
pub type KeyedRateLimit<S, X, W = One, K = NoPropagation> =
    Gate<S, ByKey<Costed<Arc<W>>, X>, Unclassified, K>;

/// Builds a [`KeyedRateLimitLayer`].
pub type KeyedBuilder<X, W = One, K = NoPropagation> = keyed::KeyedBuilder<Builder<W, K>, X>;

/// Inspects and controls the rate limits of a keyed layer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::rate_limit::{KeyedRateLimitHandle, RateLimitLayer};
/// use std::borrow::Cow;
///
/// /// What is left of each tenant's quota.
/// fn left(tenants: &KeyedRateLimitHandle) -> Vec<u32> {
///     let keys = tenants.keys().into_iter();
///     keys.filter_map(|tenant| Some(tenants.key(&tenant)?.available())).collect()
/// }
///
/// let tenants = RateLimitLayer::builder("tenants").limit(5).keyed(|it: &String| Cow::from(it));
/// let tenants = tenants.build()?;
/// tenants.run("acme", || async { Ok::<_, seawall::Error<std::io::Error>>(()) }).await?;
/// assert_eq!(left(&tenants.handle()), [4]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub type KeyedRateLimitHandle = KeyedHandle<RateLimitHandle, Config>;

impl<X, W, K> KeyedRateLimitLayer<X, W, K>
where
    X: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    /// Inspects and controls the rate limits of this layer.
    pub fn handle(&self) -> KeyedRateLimitHandle {
        self.policy().handle()
    }
}

impl<W, K> Builder<W, K> {
    /// One rate limit for each key of a request, for instance for each tenant, so that none of them can
    /// use up what is for all.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::{Error, Reason, rate_limit::RateLimitLayer};
    /// use std::{borrow::Cow, convert::Infallible};
    /// use tower::{Service, ServiceBuilder, service_fn};
    ///
    /// struct Query { tenant: &'static str }
    ///
    /// let mut search = ServiceBuilder::new()
    ///     .layer(
    ///         RateLimitLayer::builder("tenants")
    ///             .limit(1)
    ///             .keyed(|query: &Query| Cow::from(query.tenant))
    ///             .max_keys(1_000)
    ///             .build()?,
    ///     )
    ///     .service(service_fn(|_: Query| async { Ok::<_, Error<Infallible>>(7) }));
    ///
    /// assert_eq!(search.call(Query { tenant: "acme" }).await?, 7);
    /// let Err(Error::Rejected(why)) = search.call(Query { tenant: "acme" }).await else { panic!() };
    /// assert_eq!(why.reason(), Reason::RateLimited);
    /// assert_eq!(search.call(Query { tenant: "initech" }).await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn keyed<Req, X>(self, key: X) -> KeyedBuilder<X, W, K>
    where
        X: Fn(&Req) -> Cow<'_, str> + Send + Sync + 'static,
        W: Send + Sync + 'static,
    {
        self.keyed_by(key)
    }

    /// The same with an [`ExtractKey`](crate::keyed::ExtractKey) of your own.
    pub fn keyed_by<X>(self, key: X) -> KeyedBuilder<X, W, K>
    where
        X: Send + Sync + 'static,
        W: Send + Sync + 'static,
    {
        keyed::KeyedBuilder::new(self, Arc::new(key))
    }
}

impl<X, W, K> BuildKeyed<X> for Builder<W, K>
where
    X: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    type Config = Config;
    type Layer = KeyedRateLimitLayer<X, W, K>;

    fn with_config(self, config: Config) -> Self {
        self.config(config)
    }

    fn build_keyed(
        self,
        key: Arc<X>,
        max_keys: usize,
        overrides: BTreeMap<String, Overrides>,
    ) -> Result<Self::Layer, ConfigErrors> {
        let origin = Origin::new(LAYER, self.name);
        let config = KeyedConfig { default: self.config, max_keys, overrides };
        let settings = Settings::new(config, &Written::default(), &origin)?;
        let common = Common::new(Reporter::new(origin, self.observers), settings);
        let (for_keys, cost) = (Arc::clone(&common), Arc::new(self.cost));
        let table = Keyed::new(common, max_keys, move |key| {
            Costed::new(Limiter::new(Arc::clone(&for_keys), Some(key)), Arc::clone(&cost))
        });
        Ok(GateLayer::make(ByKey::new(table, key), Unclassified, self.propagate))
    }
}

impl<W: Send + Sync + 'static> Member for Costed<W> {
    type Common = Common;
    type Meter = RateLimitMeter;

    fn reporter(common: &Common) -> &Reporter<RateLimitMeter> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.limiter().key.as_ref()
    }

    fn at_rest(&self) -> Option<Stamp> {
        self.limiter().is_at_rest().then(|| self.stamp())
    }

    fn stamp(&self) -> Stamp {
        Some(self.limiter().full())
    }

    /// Whoever reloaded all of them since it was made did not find it.
    fn settle_in(&self) {
        self.limiter().keep_up();
    }
}

impl<W: Send + Sync + 'static> Steered for Costed<W> {
    type Config = Config;
    type Handle = RateLimitHandle;

    fn handle(watched: Watched<Self>) -> RateLimitHandle {
        RateLimitHandle::new(Arc::new(watched))
    }

    fn settings(common: &Common) -> &Settings<Config> {
        &common.settings
    }

    fn keep_up(&self) {
        self.limiter().keep_up();
    }
}

impl<W> Costed<W> {
    fn limiter(&self) -> &Limiter {
        self.borrow()
    }
}
