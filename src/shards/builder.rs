//! Building a sharded service.

use std::fmt;
use std::sync::Arc;

use super::affine::AffineBuilder;
use super::error::AdoptError;
use super::future::Follow;
use super::key::Key;
use super::map::Map;
use super::member::Member;
use super::owners::Owners;
use super::service::Shards;
use crate::core::event::{Observe, Observers};
use crate::core::hint::Stay;
use crate::core::origin::Origin;
use crate::core::request::Never;
use crate::shell::reporter::Reporter;
use crate::shell::set::Shared;

/// The kind of this set: the metric label `layer`.
const LAYER: &str = "shards";

/// Builds [`Shards`]: first the [key](Self::key) and the [map](Self::map), then the members'
/// [services](Self::over).
#[must_use = "call `over`"]
#[derive(Clone)]
pub struct Builder<K = (), M = (), R = Stay, C = Never> {
    name: Arc<str>,
    key: K,
    map: M,
    redirect: R,
    copy: C,
    counts_loads: bool,
    observers: Observers,
}

impl Builder {
    pub(super) fn new(name: Arc<str>) -> Self {
        let observers = Observers::default();
        Self { name, key: (), map: (), redirect: Stay, copy: Never, counts_loads: false, observers }
    }
}

impl<M, R, C> Builder<(), M, R, C> {
    /// What decides whose a request is.
    pub fn key<Req, K>(self, key: K) -> Builder<K, M, R, C>
    where
        K: for<'r> Fn(&'r Req) -> Key<'r>,
    {
        self.with(|(), map, redirect, copy| (key, map, redirect, copy))
    }
}

impl<K, R, C> Builder<K, (), R, C> {
    /// Whose each key is, at first.
    pub fn map(self, map: Map) -> Builder<K, Map, R, C> {
        self.with(|key, (), redirect, copy| (key, map, redirect, copy))
    }
}

impl<K, M, R, C> Builder<K, M, R, C> {
    fn with<K2, M2, R2, C2>(
        self,
        change: impl FnOnce(K, M, R, C) -> (K2, M2, R2, C2),
    ) -> Builder<K2, M2, R2, C2> {
        let Self { name, key, map, redirect, copy, counts_loads, observers } = self;
        let (key, map, redirect, copy) = change(key, map, redirect, copy);
        Builder { name, key, map, redirect, copy, counts_loads, observers }
    }

    /// Follows hints of owners: whoever is asked and refuses says who is to be asked. A call goes on twice at most, and only to
    /// members of the map; then it is rejected as [`NotOwner`](crate::Reason::NotOwner). A lasting hint holds for further
    /// calls with the key, until a map comes that knows of it; 1,024 of them are remembered.
    ///
    /// A call can only go on if its request may be [copied](Self::copy_with). Believe owners that you know, and nobody else.
    pub fn redirect<R2>(self, redirect: R2) -> Builder<K, M, R2, C> {
        self.with(|key, map, _, copy| (key, map, redirect, copy))
    }

    /// How requests are copied that may have to be sent on; by default none is. An owner that refuses has done nothing, so
    /// a copy of what must not be repeated ([`clone_unsent`](crate::retry::CloneRequest::clone_unsent)) will do.
    pub fn copy_with<C2>(self, copy: C2) -> Builder<K, M, R, C2> {
        self.with(|key, map, redirect, _| (key, map, redirect, copy))
    }

    /// Counts calls to each slot, for [`loads`](super::ShardsHandle::loads). It costs an atomic addition a call.
    pub const fn count_loads(mut self) -> Self {
        self.counts_loads = true;
        self
    }

    /// Reports events to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }
}

impl<K> Builder<K, Map> {
    /// For caches: the owner of a key if that is up and has not too much to do, and otherwise who is next. There are no owners to be
    /// redirected by.
    pub fn affine(self) -> AffineBuilder<K> {
        let origin = Origin::new(LAYER, self.name);
        AffineBuilder::new(origin, self.key, self.map, self.counts_loads, self.observers)
    }
}

impl<K, R, C> Builder<K, Map, R, C> {
    /// The service of each member, which `make` makes when it is first in a map: a client with layers of
    /// its own around it, so that each has a circuit breaker, a limit and metrics for itself. It is cloned for
    /// calls, under a lock of this member's, so a clone of it should be cheap.
    ///
    /// # Errors
    ///
    /// The service of a member could not be made.
    pub fn over<Req, S, F>(self, make: F) -> Result<Shards<S, K, R, C>, AdoptError>
    where
        K: for<'r> Fn(&'r Req) -> Key<'r>,
        F: Fn(&Member) -> Result<S, tower::BoxError> + Send + Sync + 'static,
    {
        let reporter = Reporter::new(Origin::new(LAYER, self.name), self.observers);
        let owners = Owners::new(self.map, self.key, self.counts_loads);
        let shared = Shared::new(Arc::new(reporter), Box::new(make), owners)?;
        Ok(Shards::new(shared, Follow { redirect: self.redirect, copy: self.copy }))
    }
}

impl<K, M, R, C> fmt::Debug for Builder<K, M, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).finish_non_exhaustive()
    }
}
