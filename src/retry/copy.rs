//! How a retry comes by a copy of its request, and how it numbers its attempts.

use std::fmt;

use crate::core::request::{CallContext, CloneRequest, Propagate};

/// Nobody has said yet how to copy a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsaid;

/// Somebody has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chosen<R>(pub(super) R);

impl<R> Chosen<R> {
    pub(crate) const fn new(strategy: R) -> Self {
        Self(strategy)
    }
}

/// What a [`RetryLayer`](super::RetryLayer) needs to be a layer: to have been told how to copy a
/// request.
#[diagnostic::on_unimplemented(
    message = "this retry was not told how to copy a request",
    label = "repeating a request is a promise that only you can make",
    note = "add `.cloned()` if repeating any request is safe, or `.copy(|request| …)` to choose"
)]
pub trait CopyIsChosen {
    /// How.
    type Strategy: Clone;

    #[doc(hidden)]
    fn strategy(&self) -> Self::Strategy;
}

impl<R: Clone> CopyIsChosen for Chosen<R> {
    type Strategy = R;

    fn strategy(&self) -> R {
        self.0.clone()
    }
}

/// A closure copies.
#[derive(Clone, Copy)]
pub struct CopyBy<F>(pub(super) F);

impl<F> CopyBy<F> {
    pub(crate) const fn new(copy: F) -> Self {
        Self(copy)
    }
}

impl<Req, F: Fn(&Req) -> Option<Req>> CloneRequest<Req> for CopyBy<F> {
    fn clone_request(&self, request: &Req) -> Option<Req> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for CopyBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CopyBy(closure)")
    }
}

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
