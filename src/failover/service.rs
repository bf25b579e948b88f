//! The service that sends each call to a tier.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::builder::Builder;
use super::handle::FailoverHandle;
use super::plan::Spread;
use crate::core::error::CallError;
use crate::core::request::{NoPropagation, Propagate};
use crate::shell::set::{self, Set, Shared};

/// Sends each call to the first tier while that is healthy, and to the next ones as far as it is not.
///
/// It is always ready. Build one, and clone it: clones share the tiers and what is known of them.
pub struct Failover<S, H, P = NoPropagation> {
    set: Set<Spread<H, P>, S>,
}

/// The future of a call to a tier. Dropping it drops the call in flight.
pub type ResponseFuture<S, Req, H, P = NoPropagation> = set::ResponseFuture<Spread<H, P>, S, Req>;

impl Failover<(), ()> {
    /// Starts to build a failover. The name goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder::new(name.into())
    }
}

impl<S, H, P> Failover<S, H, P> {
    pub(super) fn new(shared: Shared<Spread<H, P>, S>) -> Self {
        Self { set: Set::new(Arc::new(shared)) }
    }

    /// Shows how the load is spread, and drains.
    pub fn handle(&self) -> FailoverHandle
    where
        S: Send + 'static,
        H: Fn(&str) -> f64 + Send + Sync + 'static,
        P: Send + Sync + 'static,
    {
        FailoverHandle::new(Arc::clone(self.set.shared()) as _)
    }
}

impl<S, H, P, Req> Service<Req> for Failover<S, H, P>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    H: Fn(&str) -> f64,
    P: Propagate<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, H, P>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.set.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.set.call(request)
    }
}

impl<S, H, P> Clone for Failover<S, H, P> {
    fn clone(&self) -> Self {
        Self { set: self.set.clone() }
    }
}

impl<S, H, P> fmt::Debug for Failover<S, H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failover").field("shared", &self.set).finish_non_exhaustive()
    }
}
