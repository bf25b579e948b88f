//! One breaker for each key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::Config;
use super::engine::common::{Common, StateMeter};
use super::handle::CircuitBreakerHandle;
use super::layer::Builder;
use super::overrides::Overrides;
use super::policy::BreakerPolicy;
use crate::core::config::{ConfigErrors, KeyedConfig};
use crate::core::request::NoPropagation;
use crate::core::rng;
use crate::shell::gate::{ByKey, Entrance, Gate, GateLayer};
use crate::shell::keyed::{self, BuildKeyed, Keyed, KeyedHandle, Settings, Steered, Watched};
use crate::shell::member::{Member, Stamp};
use crate::shell::reporter::Reporter;

/// Puts one circuit breaker per key around services; see [`Builder::keyed`]. Draining it drains all of
/// them.
pub type KeyedCircuitBreakerLayer<C, F, X, K = NoPropagation> =
    GateLayer<ByKey<BreakerPolicy<Arc<F>>, X>, C, K>;

/// Calls the inner service under the breaker of the request's key.
///
/// It is always ready: which breaker decides is not known before the request is. A call that may
/// pass waits for the readiness of a clone of the inner service; a probe for no longer than
/// [`Config::probe_deadline`].
pub type KeyedCircuitBreaker<S, C, F, X, K = NoPropagation> =
    Gate<S, ByKey<BreakerPolicy<Arc<F>>, X>, C, K>;

/// Builds a [`KeyedCircuitBreakerLayer`].
pub type KeyedBuilder<C, F, X, K = NoPropagation> = keyed::KeyedBuilder<Builder<C, F, K>, X>;

/// Inspects and controls the breakers of a keyed layer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, KeyedCircuitBreakerHandle, State, Trip};
/// use seawall::Error;
/// use std::borrow::Cow;
/// use std::io;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// The hosts that are not called at present.
/// fn shunned(hosts: &KeyedCircuitBreakerHandle) -> Vec<String> {
///     let is_open = |host: &str| hosts.key(host).is_some_and(|it| it.state() == State::Open);
///     hosts.keys().iter().filter(|host| is_open(host)).map(|host| host.to_string()).collect()
/// }
///
/// let layer = CircuitBreakerLayer::builder("hosts")
///     .trip(Trip::consecutive(1))
///     .keyed(|host: &&'static str| Cow::from(*host))
///     .build()?;
/// let hosts = layer.handle();
/// let get = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(
///     |host: &'static str| async move {
///         if host == "b.example" { Err(io::Error::other("no route")) } else { Ok("hello") }
///     },
/// ));
///
/// assert_eq!(get.clone().oneshot("a.example").await?, "hello");
/// assert!(get.oneshot("b.example").await.is_err());
/// assert_eq!(hosts.len(), 2);
/// assert_eq!(shunned(&hosts), ["b.example"]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub type KeyedCircuitBreakerHandle = KeyedHandle<CircuitBreakerHandle, Config>;

impl<C, F, X, K> KeyedCircuitBreakerLayer<C, F, X, K>
where
    F: Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    /// Inspects and controls the breakers of this layer.
    pub fn handle(&self) -> KeyedCircuitBreakerHandle {
        self.policy().handle()
    }
}

impl<C, F, K> Builder<C, F, K>
where
    F: Send + Sync + 'static,
{
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
    pub fn keyed<Req, X>(self, key: X) -> KeyedBuilder<C, F, X, K>
    where
        X: Fn(&Req) -> Cow<'_, str> + Send + Sync + 'static,
    {
        self.keyed_by(key)
    }

    /// The same with an [`ExtractKey`](crate::keyed::ExtractKey) of your own.
    pub fn keyed_by<X>(self, key: X) -> KeyedBuilder<C, F, X, K>
    where
        X: Send + Sync + 'static,
    {
        keyed::KeyedBuilder::new(self, Arc::new(key))
    }

    /// The policy of a layer, for a stack; and what else was said.
    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    pub(crate) fn by_key<X>(
        self,
        key: Arc<X>,
        max_keys: usize,
        overrides: BTreeMap<String, Overrides>,
    ) -> Result<(ByKey<BreakerPolicy<Arc<F>>, X>, C, K), ConfigErrors> {
        let config = KeyedConfig { default: self.config, max_keys, overrides };
        let settings = Settings::new(config, &self.written, &self.origin)?;
        let seed = self.seed.unwrap_or_else(rng::seed);
        let common = Common::new(self.origin, self.observers, settings, seed);
        let (for_keys, completion) = (Arc::clone(&common), Arc::new(self.completion));
        let table = Keyed::new(common, max_keys, move |key| {
            BreakerPolicy::new(Arc::clone(&for_keys), Arc::clone(&completion), Some(key))
        });
        Ok((ByKey::new(table, key), self.classify, self.propagate))
    }
}

impl<C, F, X, K> BuildKeyed<X> for Builder<C, F, K>
where
    F: Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    type Config = Config;
    type Layer = KeyedCircuitBreakerLayer<C, F, X, K>;

    fn with_config(self, config: Config) -> Self {
        self.config(config)
    }

    fn build_keyed(
        self,
        key: Arc<X>,
        max_keys: usize,
        overrides: BTreeMap<String, Overrides>,
    ) -> Result<Self::Layer, ConfigErrors> {
        let (policy, classify, propagate) = self.by_key(key, max_keys, overrides)?;
        Ok(GateLayer::make(policy, classify, propagate))
    }
}

impl<F: Send + Sync + 'static> Member for BreakerPolicy<F> {
    type Common = Common;
    type Meter = StateMeter;

    fn reporter(common: &Common) -> &Reporter<StateMeter> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.shared.key()
    }

    fn is_watched(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn at_rest(&self) -> Option<Stamp> {
        let shared = &self.shared;
        let (at_rest, stamp) = shared
            .inspect(|breaker, params, now| (breaker.is_at_rest(params, now), shared.stamp()));
        at_rest.then_some(stamp)
    }

    fn stamp(&self) -> Stamp {
        self.shared.stamp()
    }
}

impl<F: Send + Sync + 'static> Steered for BreakerPolicy<F> {
    type Config = Config;
    type Handle = CircuitBreakerHandle;

    fn handle(watched: Watched<Self>) -> CircuitBreakerHandle {
        let policy: &Self = watched.policy();
        policy.handle()
    }

    fn settings(common: &Common) -> &Settings<Config> {
        common.settings()
    }

    fn reloaded(common: &Common) {
        common.reloaded();
    }
}
