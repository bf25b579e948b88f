//! One bulkhead for each key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::common::Common;
use super::config::Config;
use super::handle::BulkheadHandle;
use super::layer::{Builder, LAYER};
use super::limiter::Limiter;
use super::machine::Occupancy;
use super::meter::BulkheadMeter;
use super::overrides::Overrides;
use super::policy::Bounded;
use crate::core::config::{ConfigErrors, KeyedConfig, Written};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::cost::One;
use crate::shell::gate::{ByKey, Gate, GateLayer, Unclassified};
use crate::shell::keyed::{self, BuildKeyed, Keyed, KeyedHandle, Settings, Steered, Watched};
use crate::shell::member::{Member, Stamp};
use crate::shell::reporter::Reporter;

/// Puts one bulkhead per key around services; see [`Builder::keyed`].
pub type KeyedBulkheadLayer<F, X, K = NoPropagation, W = One> =
    GateLayer<ByKey<Bounded<Arc<F>, Arc<W>>, X>, Unclassified, K>;

/// The service that a [`KeyedBulkheadLayer`] makes of another.
///
/// It is always ready: which bulkhead decides is not known before the request is. A call that has a
/// place waits for the readiness of a clone of the inner service.
pub type KeyedBulkhead<S, F, X, K = NoPropagation, W = One> =
    Gate<S, ByKey<Bounded<Arc<F>, Arc<W>>, X>, Unclassified, K>;

/// Builds a [`KeyedBulkheadLayer`].
pub type KeyedBuilder<F, X, K = NoPropagation, W = One> = keyed::KeyedBuilder<Builder<F, K, W>, X>;

/// Inspects and controls the bulkheads of a keyed layer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::bulkhead::{BulkheadLayer, KeyedBulkheadHandle};
/// use std::borrow::Cow;
/// use std::{convert::Infallible, future::pending};
///
/// /// The tenants that take all they may.
/// fn busy(tenants: &KeyedBulkheadHandle) -> Vec<String> {
///     let is_full = |tenant: &str| tenants.key(tenant).is_some_and(|it| it.available() == 0);
///     let busy = tenants.keys().into_iter().filter(|tenant| is_full(tenant));
///     busy.map(|tenant| tenant.to_string()).collect()
/// }
///
/// let layer = BulkheadLayer::builder("tenants")
///     .limit(1)
///     .keyed(|tenant: &String| Cow::from(tenant))
///     .build()?;
/// let tenants = layer.handle();
/// let under_way = layer.run("acme", pending::<Result<(), Error<Infallible>>>);
/// assert_eq!(layer.run("initech", || async { Ok::<_, Error<Infallible>>(7) }).await, Ok(7));
/// assert_eq!((tenants.len(), busy(&tenants)), (2, vec!["acme".to_owned()]));
/// # drop(under_way);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub type KeyedBulkheadHandle = KeyedHandle<BulkheadHandle, Config>;

impl<F, X, K, W> KeyedBulkheadLayer<F, X, K, W>
where
    F: Send + Sync + 'static,
    X: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    /// Inspects and controls the bulkheads of this layer.
    pub fn handle(&self) -> KeyedBulkheadHandle {
        self.policy().handle()
    }
}

impl<F, K, W> Builder<F, K, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
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
    pub fn keyed<Req, X>(self, key: X) -> KeyedBuilder<F, X, K, W>
    where
        X: Fn(&Req) -> Cow<'_, str> + Send + Sync + 'static,
    {
        self.keyed_by(key)
    }

    /// The same with an [`ExtractKey`](crate::keyed::ExtractKey) of your own.
    pub fn keyed_by<X>(self, key: X) -> KeyedBuilder<F, X, K, W>
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
    ) -> Result<(ByKey<Bounded<Arc<F>, Arc<W>>, X>, K), ConfigErrors> {
        let origin = Origin::new(LAYER, self.name);
        let config = KeyedConfig { default: self.config, max_keys, overrides };
        let settings = Settings::new(config, &Written::default(), &origin)?;
        let common = Common::new(Reporter::new(origin, self.observers), settings);
        let for_keys = Arc::clone(&common);
        let (completion, cost) = (Arc::new(self.completion), Arc::new(self.cost));
        let table = Keyed::new(common, max_keys, move |key| {
            let limiter = Limiter::new(Arc::clone(&for_keys), Some(key));
            Bounded::new(limiter, Arc::clone(&completion), Arc::clone(&cost))
        });
        Ok((ByKey::new(table, key), self.propagate))
    }
}

impl<F, X, K, W> BuildKeyed<X> for Builder<F, K, W>
where
    F: Send + Sync + 'static,
    X: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    type Config = Config;
    type Layer = KeyedBulkheadLayer<F, X, K, W>;

    fn with_config(self, config: Config) -> Self {
        self.config(config)
    }

    fn build_keyed(
        self,
        key: Arc<X>,
        max_keys: usize,
        overrides: BTreeMap<String, Overrides>,
    ) -> Result<Self::Layer, ConfigErrors> {
        let (policy, propagate) = self.by_key(key, max_keys, overrides)?;
        Ok(GateLayer::make(policy, Unclassified, propagate))
    }
}

impl<F, W> Member for Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    type Common = Common;
    type Meter = BulkheadMeter;

    fn reporter(common: &Common) -> &Reporter<BulkheadMeter> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.limiter().key.as_ref()
    }

    /// Who is inside or waits holds the cell, so that this is known already.
    fn at_rest(&self) -> Option<Stamp> {
        (self.limiter().occupancy() == Occupancy::default()).then(|| self.stamp())
    }

    fn stamp(&self) -> Stamp {
        Some(self.limiter().occupancy().pack())
    }

    /// Whoever reloaded all of them since it was made did not find it.
    fn settle_in(&self) {
        self.limiter().keep_up();
    }
}

impl<F, W> Steered for Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    type Config = Config;
    type Handle = BulkheadHandle;

    fn handle(watched: Watched<Self>) -> BulkheadHandle {
        BulkheadHandle::new(Arc::new(watched))
    }

    fn settings(common: &Common) -> &Settings<Config> {
        &common.settings
    }

    fn reloaded(common: &Common) {
        common.reloaded();
    }

    fn keep_up(&self) {
        self.limiter().keep_up();
    }
}
