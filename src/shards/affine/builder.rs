//! Building an affine router.

use std::fmt;
use std::sync::Arc;

use super::plan::Affinity;
use super::service::Affine;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::event::Observers;
use crate::core::origin::Origin;
use crate::shards::map::Map;
use crate::shards::member::Member;
use crate::shell::reporter::Reporter;
use crate::shell::set::{Refused, Shared};

/// How much more than its share of the calls in flight a member takes.
const LOAD_FACTOR: f64 = 1.25;

/// Everybody is up.
pub(super) type AllUp = fn(&str) -> bool;

/// Builds an [`Affine`] router: what [`Builder::affine`](super::super::Builder::affine) returns.
#[must_use = "call `over`"]
#[derive(Clone)]
pub struct AffineBuilder<K, U = AllUp> {
    origin: Origin,
    key: K,
    map: Map,
    up: U,
    load_factor: f64,
    counts_loads: bool,
    observers: Observers,
}

impl<K> AffineBuilder<K> {
    pub(in crate::shards) fn new(
        origin: Origin,
        key: K,
        map: Map,
        counts_loads: bool,
        observers: Observers,
    ) -> Self {
        Self { origin, key, map, up: |_| true, load_factor: LOAD_FACTOR, counts_loads, observers }
    }
}

impl<K, U> AffineBuilder<K, U> {
    /// Whether the member of this name is up: its circuit is closed, or its checks are good. It is asked on the way of each
    /// call, so it should be a few loads of memory; it must not block. By default all are.
    pub fn up<U2: Fn(&str) -> bool>(self, up: U2) -> AffineBuilder<K, U2> {
        let Self { origin, key, map, load_factor, counts_loads, observers, .. } = self;
        AffineBuilder { origin, key, map, up, load_factor, counts_loads, observers }
    }

    /// How many calls in flight a member takes at most, against its share of all: 1.01 to 100; 1.25 by default. The lower, the more
    /// even the load, and the more calls go to somebody else than the owner of their key.
    pub const fn load_factor(mut self, load_factor: f64) -> Self {
        self.load_factor = load_factor;
        self
    }

    /// The service of each member, which `make` makes when it is first in a map: as for
    /// [owners](super::super::Builder::over).
    ///
    /// # Errors
    ///
    /// A load factor out of range; or the service of a member that could not be made.
    pub fn over<S, F>(self, make: F) -> Result<Affine<S, K, U>, ConfigErrors>
    where
        F: Fn(&Member) -> Result<S, tower::BoxError> + Send + Sync + 'static,
    {
        let refused = |wrong| ConfigErrors::of(vec![wrong]).of_policy(&self.origin);
        if !(1.01..=100.0).contains(&self.load_factor) {
            return Err(refused(ConfigError::new("load_factor", self.load_factor, "1.01 to 100")));
        }
        let reporter = Arc::new(Reporter::new(self.origin.clone(), self.observers));
        let factor = (self.load_factor * 1_000.0).round() as u32;
        let plan = Affinity::new(
            self.map,
            self.key,
            self.up,
            factor,
            self.counts_loads,
            Arc::clone(&reporter),
        );
        match Shared::new(reporter, Box::new(make), plan) {
            Ok(shared) => Ok(Affine::new(shared)),
            Err(Refused::Member { name, error }) => {
                let accepted = format!("a service, and not the error: {error}");
                Err(refused(ConfigError::new("over", &*name, accepted)))
            }
            Err(Refused::Shrunk { before, after, .. }) => {
                let accepted = format!("as many as the {before} before"); // there are none before the first
                Err(refused(ConfigError::new("members", after, accepted)))
            }
        }
    }
}

impl<K, U> fmt::Debug for AffineBuilder<K, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffineBuilder")
            .field("origin", &self.origin)
            .field("load_factor", &self.load_factor)
            .finish_non_exhaustive()
    }
}
