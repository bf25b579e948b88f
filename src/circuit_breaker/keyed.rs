//! One breaker for each key.

mod builder;
mod handle;

use std::sync::Arc;

pub use self::builder::KeyedBuilder;
pub use self::handle::KeyedCircuitBreakerHandle;
use super::policy::BreakerPolicy;
use crate::core::request::NoPropagation;
use crate::shell::gate::{ByKey, Gate, GateLayer};

/// Puts one circuit breaker per key around services; see
/// [`Builder::keyed`](super::Builder::keyed). Draining it drains all of them.
pub type KeyedCircuitBreakerLayer<C, F, X, K = NoPropagation> =
    GateLayer<ByKey<BreakerPolicy<Arc<F>>, X>, C, K>;

/// Calls the inner service under the breaker of the request's key.
///
/// It is always ready: which breaker decides is not known before the request is. A call that may
/// pass waits for the readiness of a clone of the inner service; a probe for no longer than
/// [`Config::probe_deadline`](super::Config::probe_deadline).
pub type KeyedCircuitBreaker<S, C, F, X, K = NoPropagation> =
    Gate<S, ByKey<BreakerPolicy<Arc<F>>, X>, C, K>;

impl<C, F, X, K> KeyedCircuitBreakerLayer<C, F, X, K>
where
    F: Send + Sync + 'static,
{
    /// Sees and steers the breakers of this layer.
    pub fn handle(&self) -> KeyedCircuitBreakerHandle {
        KeyedCircuitBreakerHandle::new(Arc::clone(self.policy().table()))
    }
}
