//! Numbers the attempts of a call.

use std::fmt;

use crate::core::request::{CallContext, Propagate};

/// Propagates what another [`Propagate`] does, and hands the number of each attempt to a closure.
#[derive(Clone, Copy)]
pub struct Numbered<F, K> {
    number: F,
    propagate: K,
}

impl<F, K> Numbered<F, K> {
    pub(super) fn new(number: F, propagate: K) -> Self {
        Self { number, propagate }
    }
}

impl<Req, F: Fn(&mut Req, u32), K: Propagate<Req>> Propagate<Req> for Numbered<F, K> {
    fn extract(&self, request: &Req) -> CallContext {
        self.propagate.extract(request)
    }

    fn inject(&self, request: &mut Req, call: &CallContext) {
        self.propagate.inject(request, call);
        (self.number)(request, call.attempt);
    }
}

impl<F, K: fmt::Debug> fmt::Debug for Numbered<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Numbered").field(&self.propagate).finish()
    }
}
