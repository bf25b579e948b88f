//! What a handle holds of a layer.

use std::borrow::Borrow;
use std::sync::Arc;

use super::policy::Policy;
use super::service::Core;
use crate::shell::in_flight::InFlight;

/// What a handle holds of a layer: its policy, or the part of it that the handle is about.
pub(crate) trait Entrance<T>: Send + Sync {
    fn policy(&self) -> &T;
    fn in_flight(&self) -> usize;
}

impl<T, P: Policy + Borrow<T>, C: Send + Sync> Entrance<T> for InFlight<Core<P, C>> {
    fn policy(&self) -> &T {
        self.policy.borrow()
    }

    fn in_flight(&self) -> usize {
        Self::in_flight(self)
    }
}

/// A part of what the services of a layer share.
pub(crate) struct Part<X, T> {
    gate: Arc<InFlight<X>>,
    part: fn(&X) -> &T,
}

impl<X: Send + Sync + 'static, T: 'static> Part<X, T> {
    /// For a handle that is about this part.
    pub(crate) fn of(gate: &Arc<InFlight<X>>, part: fn(&X) -> &T) -> Arc<dyn Entrance<T>> {
        Arc::new(Self { gate: Arc::clone(gate), part })
    }
}

impl<X: Send + Sync, T> Entrance<T> for Part<X, T> {
    fn policy(&self) -> &T {
        (self.part)(&self.gate)
    }

    fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }
}
