//! Building a sharded service.

use std::fmt;
use std::sync::Arc;

use super::error::AdoptError;
use super::key::Key;
use super::map::Map;
use super::member::Member;
use super::owners::Owners;
use super::service::Shards;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::shell::reporter::Reporter;
use crate::shell::set::Shared;

/// The kind of this set: the metric label `layer`.
const LAYER: &str = "shards";

/// Builds [`Shards`]: first the [key](Self::key) and the [map](Self::map), then the members'
/// [services](Self::over).
#[must_use = "call `over`"]
#[derive(Clone)]
pub struct Builder<K = (), M = ()> {
    name: Arc<str>,
    key: K,
    map: M,
    observers: Observers,
}

impl Builder {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, key: (), map: (), observers: Observers::default() }
    }
}

impl<M> Builder<(), M> {
    /// What decides whose a request is.
    pub fn key<Req, K>(self, key: K) -> Builder<K, M>
    where
        K: for<'r> Fn(&'r Req) -> Key<'r>,
    {
        Builder { name: self.name, key, map: self.map, observers: self.observers }
    }
}

impl<K> Builder<K, ()> {
    /// Whose each key is, at first.
    pub fn map(self, map: Map) -> Builder<K, Map> {
        Builder { name: self.name, key: self.key, map, observers: self.observers }
    }
}

impl<K, M> Builder<K, M> {
    /// Reports events to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }
}

impl<K> Builder<K, Map> {
    /// The service of each member, which `make` makes when it is first in a map: a client with layers of
    /// its own around it, so that each has a circuit breaker, a limit and metrics for itself. It is cloned for
    /// calls, under a lock of this member's, so a clone of it should be cheap.
    ///
    /// # Errors
    ///
    /// The service of a member could not be made.
    pub fn over<Req, S, F>(self, make: F) -> Result<Shards<S, K>, AdoptError>
    where
        K: for<'r> Fn(&'r Req) -> Key<'r>,
        F: Fn(&Member) -> Result<S, tower::BoxError> + Send + Sync + 'static,
    {
        let reporter = Reporter::new(Origin::new(LAYER, self.name), self.observers);
        let owners = Owners { map: self.map, key: Arc::new(self.key) };
        Ok(Shards::new(Shared::new(reporter, Box::new(make), owners)?))
    }
}

impl<K, M> fmt::Debug for Builder<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).finish_non_exhaustive()
    }
}
