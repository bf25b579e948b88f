//! One fence for each resource.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::cell::{Cell, Common, FenceMeter};
use super::handle::FenceHandle;
use super::layer::Builder;
use super::policy::Fenced;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::request::NoPropagation;
use crate::core::sync::atomic::{AtomicBool, Ordering};
use crate::shell::gate::{ByKey, Gate, GateLayer, Unclassified};
use crate::shell::keyed::Keyed;
use crate::shell::member::{Member, Stamp};
use crate::shell::reporter::Reporter;

/// Puts one fence per resource around services; see [`Builder::keyed`].
pub type KeyedFenceLayer<X, E = super::Propagated, K = NoPropagation> =
    GateLayer<ByKey<Fenced<E>, X>, Unclassified, K>;

/// The service that a [`KeyedFenceLayer`] makes of another. It is always ready: which fence decides is not known before the
/// request is.
pub type KeyedFence<S, X, E = super::Propagated, K = NoPropagation> =
    Gate<S, ByKey<Fenced<E>, X>, Unclassified, K>;

/// So many resources are known at a time, by default.
const MAX_KEYS: usize = 10_000;

/// Builds a [`KeyedFenceLayer`].
#[must_use = "call `build`"]
pub struct KeyedBuilder<X, E = super::Propagated, K = NoPropagation> {
    builder: Builder<E, K>,
    key: X,
    max_keys: usize,
}

impl<E, K> Builder<E, K> {
    /// One fence for each key of a request: for resources that have leaders of their own, whose epochs do not compare.
    ///
    /// A key that is forgotten, to make room for another one, begins closed when it comes again: the store is asked. So
    /// nothing is let in that would not have been let in before.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::{Epoch, Error, fence::{FenceLayer, MemoryStore}};
    /// use std::borrow::Cow;
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// struct Write { shard: &'static str, epoch: u64 }
    ///
    /// let store = MemoryStore::new();
    /// store.raise("eu", Epoch::new(9));
    /// store.raise("us", Epoch::new(2));
    /// let fence = FenceLayer::builder("shards", store)
    ///     .epoch(|write: &Write| Some(Epoch::new(write.epoch)))
    ///     .keyed(|write: &Write| Cow::from(write.shard))
    ///     .max_keys(1_000)
    ///     .build()?;
    /// let shards = ServiceBuilder::new()
    ///     .layer(fence)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: Write| async { Ok::<_, Infallible>(()) }));
    /// assert!(shards.clone().oneshot(Write { shard: "us", epoch: 2 }).await.is_ok());
    /// assert!(shards.oneshot(Write { shard: "eu", epoch: 2 }).await.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn keyed<Req, X>(self, key: X) -> KeyedBuilder<X, E, K>
    where
        X: Fn(&Req) -> Cow<'_, str> + Send + Sync + 'static,
    {
        KeyedBuilder { builder: self, key, max_keys: MAX_KEYS }
    }
}

impl<X, E, K> KeyedBuilder<X, E, K> {
    /// At most this many resources are known at a time, at least 1; by default 10,000. When another one comes, one is forgotten
    /// that no call is in flight to. If there is none, or its key has more than 256 bytes, the call is rejected as
    /// [`Unconfirmed`](crate::Reason::Unconfirmed).
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build(self) -> Result<KeyedFenceLayer<X, E, K>, ConfigErrors>
    where
        X: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let none = (self.max_keys == 0).then(|| ConfigError::new("max_keys", 0, "at least 1"));
        self.builder.check(none)?;
        let (common, epoch, propagate) = self.builder.parts();
        let (common, epoch) = (Arc::new(common), Arc::new(epoch));
        let (for_keys, has_overflow) = (Arc::clone(&common), AtomicBool::new(false));
        let table = Keyed::new(common, self.max_keys, move |key| {
            // The first of all is for those that there is no room for.
            let is_overflow = !has_overflow.swap(true, Ordering::Relaxed);
            let cell = Cell::new(Arc::clone(&for_keys), Some(key), is_overflow);
            Fenced { cell: Arc::new(cell), epoch: Arc::clone(&epoch) }
        });
        Ok(GateLayer::make(ByKey::new(table, Arc::new(self.key)), Unclassified, propagate))
    }
}

impl<X, E, K> KeyedFenceLayer<X, E, K>
where
    E: Send + Sync + 'static,
{
    /// Inspects and controls the fence of one resource, if that is known.
    pub fn handle_of(&self, key: &str) -> Option<FenceHandle> {
        let fence = self.policy().find(key)?;
        Some(FenceHandle::new(Arc::clone(&fence.cell)))
    }
}

impl<E: Send + Sync + 'static> Member for Fenced<E> {
    type Common = Common;
    type Meter = FenceMeter;

    fn reporter(common: &Common) -> &Reporter<FenceMeter> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.cell.key.as_ref()
    }

    /// Somebody holds a handle to it, or asks the store.
    fn is_watched(&self) -> bool {
        Arc::strong_count(&self.cell) > 1
    }

    /// Nothing that the store does not know is lost with it.
    fn at_rest(&self) -> Option<Stamp> {
        (self.cell.waiting() == 0).then(|| self.stamp())
    }

    fn stamp(&self) -> Stamp {
        Some(self.cell.open_at())
    }
}

impl<X, E, K> fmt::Debug for KeyedBuilder<X, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("builder", &self.builder)
            .field("max_keys", &self.max_keys)
            .finish_non_exhaustive()
    }
}
