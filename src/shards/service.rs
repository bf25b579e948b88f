//! The service that sends each request to the owner of its key.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::builder::Builder;
use super::handle::ShardsHandle;
use super::key::Key;
use super::owners::Owners;
use crate::core::error::CallError;
use crate::shell::set::{self, Set, Shared};

/// Sends each request to the owner of its key, and to nobody else.
///
/// It is always ready: each call is driven by the service of its owner, so that a member that is slow or
/// down holds up its own calls alone. Build one, and clone it: clones share the map and the members.
pub struct Shards<S, K> {
    set: Set<Owners<K>, S>,
}

/// The future of a call to the owner of its key.
pub type ResponseFuture<S, Req, K> = set::ResponseFuture<Owners<K>, S, Req>;

impl Shards<(), ()> {
    /// Starts to build a sharded service. The name goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder::new(name.into())
    }
}

impl<S, K> Shards<S, K> {
    pub(super) fn new(shared: Shared<Owners<K>, S>) -> Self {
        Self { set: Set::new(Arc::new(shared)) }
    }

    /// Inspects and controls it: shows the map, adopts another.
    pub fn handle(&self) -> ShardsHandle
    where
        S: Send + 'static,
        K: Send + Sync + 'static,
    {
        ShardsHandle::new(Arc::clone(self.set.shared()) as _)
    }
}

impl<S, K, Req> Service<Req> for Shards<S, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    K: for<'r> Fn(&'r Req) -> Key<'r>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, K>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.set.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.set.call(request)
    }
}

impl<S, K> Clone for Shards<S, K> {
    fn clone(&self) -> Self {
        Self { set: self.set.clone() }
    }
}

impl<S, K> fmt::Debug for Shards<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards").field("shared", &self.set).finish_non_exhaustive()
    }
}
