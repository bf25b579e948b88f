//! The replicas alone.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::builder::Builder;
use super::future::ResponseFuture;
use super::handle::SplitHandle;
use super::sides::Sides;
use crate::core::error::CallError;

/// Sends each query to the less loaded of the replicas that are fresh enough for it. There is no primary: commands are rejected,
/// and so are queries that no replica is fresh enough for in time.
///
/// It is always ready. Build one, and clone it: clones share the replicas and what is known of them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::split::{Freshness, Replicas, Side};
/// use seawall::{Error, Position, Reason};
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use tower::{ServiceExt, service_fn};
///
/// let reads = Replicas::builder("orders")
///     .side(|at_least: &u64| Side::Query(Freshness::AtLeast(Position { era: 1, at: *at_least })))
///     .replicas(["a", "b"])
///     .patience(Duration::ZERO)
///     .over(|name| {
///         let name = name.to_owned();
///         Ok(service_fn(move |_: u64| {
///             let name = name.clone();
///             async { Ok::<_, Error<Infallible>>(name) }
///         }))
///     })?;
/// reads.handle().report("b", Position { era: 1, at: 42 }); // or let each be asked: `positions`
/// assert_eq!(reads.clone().oneshot(42).await?, "b");
/// let stale = reads.oneshot(43).await.unwrap_err();
/// assert!(matches!(stale, Error::Rejected(why) if why.reason() == Reason::Stale));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Replicas<S, Req, Res> {
    pub(super) sides: Sides<S, S, Req, Res>,
}

impl<Req, Res> Replicas<(), Req, Res> {
    /// Starts to build a set of replicas. The name goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder<Req, Res> {
        Builder::new(name.into())
    }
}

impl<S, Req, Res> Replicas<S, Req, Res> {
    /// Shows how far the replicas are, and drains.
    pub fn handle(&self) -> SplitHandle
    where
        S: Send + 'static,
        Req: 'static,
        Res: 'static,
    {
        SplitHandle::new(&self.sides)
    }
}

impl<S, Req, Res, Err> Service<Req> for Replicas<S, Req, Res>
where
    S: Service<Req, Response = Res, Error = Err> + Clone,
    Err: CallError,
{
    type Response = Res;
    type Error = Err;
    type Future = ResponseFuture<S, S, Req, Res>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Err>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.sides.call(request)
    }
}

impl<S, Req, Res> Clone for Replicas<S, Req, Res> {
    fn clone(&self) -> Self {
        Self { sides: self.sides.clone() }
    }
}

impl<S, Req, Res> fmt::Debug for Replicas<S, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").field("replicas", &self.sides.readers).finish_non_exhaustive()
    }
}
