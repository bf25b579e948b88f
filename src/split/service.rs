//! The service that sends commands to the primary, and queries to replicas.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::builder::Builder;
use super::future::ResponseFuture;
use super::handle::SplitHandle;
use super::sides::Sides;
use crate::core::error::CallError;

/// Sends commands to the primary, and each query to the less loaded of the replicas that are fresh enough for it.
///
/// It is always ready. Build one, and clone it: clones share the members and what is known of them.
pub struct Split<W, S, Req, Res> {
    pub(super) sides: Sides<W, S, Req, Res>,
}

impl<Req, Res> Split<(), (), Req, Res> {
    /// Starts to build a split. The name goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder<Req, Res> {
        Builder::new(name.into())
    }
}

impl<W, S, Req, Res> Split<W, S, Req, Res> {
    /// Shows how far the members are, and drains.
    pub fn handle(&self) -> SplitHandle
    where
        W: Send + 'static,
        S: Send + 'static,
        Req: 'static,
        Res: 'static,
    {
        SplitHandle::new(&self.sides)
    }
}

impl<W, S, Req, Res, Err> Service<Req> for Split<W, S, Req, Res>
where
    W: Service<Req, Response = Res, Error = Err> + Clone,
    S: Service<Req, Response = Res, Error = Err> + Clone,
    Err: CallError,
{
    type Response = Res;
    type Error = Err;
    type Future = ResponseFuture<W, S, Req, Res>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Err>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.sides.call(request)
    }
}

impl<W, S, Req, Res> Clone for Split<W, S, Req, Res> {
    fn clone(&self) -> Self {
        Self { sides: self.sides.clone() }
    }
}

impl<W, S, Req, Res> fmt::Debug for Split<W, S, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("replicas", &self.sides.readers).finish_non_exhaustive()
    }
}
