//! How a layer comes by a copy of its request.

use std::fmt;

use crate::core::request::CloneRequest;

/// Nobody has said yet how to copy a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsaid;

/// Somebody has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chosen<R>(pub(crate) R);

impl<R> Chosen<R> {
    pub(crate) const fn new(strategy: R) -> Self {
        Self(strategy)
    }
}

/// What a [`RetryLayer`](crate::retry::RetryLayer) needs to be a layer: to have been told how to copy a
/// request.
#[diagnostic::on_unimplemented(
    message = "this layer was not told how to copy a request",
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
pub struct CopyBy<F>(pub(crate) F);

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
