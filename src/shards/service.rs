//! The service that sends each request to the owner of its key.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower::Service;

use super::builder::Builder;
use super::future::{Counted, ResponseFuture};
use super::handle::ShardsHandle;
use super::key::Key;
use super::shared::{Calls, Shared};
use super::table::Table;
use crate::core::error::{CallError, Rejected};
use crate::shell::in_flight::Stripe;

/// Sends each request to the owner of its key, and to nobody else.
///
/// It is always ready: each call is driven by the service of its owner, so that a member that is slow or
/// down holds up its own calls alone. Build one, and clone it: clones share the map and the members.
pub struct Shards<S, K> {
    shared: Arc<Shared<S>>,
    key: Arc<K>,
    /// The table that was last in force here. A later one closes it.
    calls: Calls<S>,
    /// The instance of the last call, and whose it is: calls to one owner in a row clone nothing.
    last: Option<(usize, S)>,
}

/// What a call goes by, and the place of its owner.
type Entered<S> = (Arc<Stripe<Table<S>>>, usize);

impl Shards<(), ()> {
    /// Starts to build a sharded service. The name goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder::new(name.into())
    }
}

impl<S, K> Shards<S, K> {
    pub(super) fn new(shared: Arc<Shared<S>>, key: Arc<K>) -> Self {
        let calls = shared.table();
        Self { shared, key, calls, last: None }
    }

    /// Inspects and controls it: shows the map, adopts another.
    pub fn handle(&self) -> ShardsHandle
    where
        S: Send + 'static,
    {
        ShardsHandle::new(Arc::clone(&self.shared) as _)
    }

    /// Lets a call in, by the table in force.
    #[inline]
    fn enter<Req>(&mut self, request: &Req) -> Result<Entered<S>, Rejected>
    where
        K: Fn(&Req) -> Key<'_>,
    {
        loop {
            if let Some(stripe) = self.calls.enter() {
                let place = stripe.map.place((self.key)(request));
                return Ok((stripe, place));
            }
            self.refresh()?;
        }
    }

    /// The table was closed: takes the one in force.
    #[cold]
    fn refresh(&mut self) -> Result<(), Rejected> {
        if self.shared.is_drained() {
            return Err(self.shared.draining());
        }
        self.calls = self.shared.table();
        self.last = None;
        Ok(())
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
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.shared.called();
        loop {
            let (stripe, place) = match self.enter(&request) {
                Ok(entered) => entered,
                Err(rejected) => return ResponseFuture::failed(rejected.into()),
            };
            let last = self.last.take().filter(|(whose, _)| *whose == place);
            let instance = last.map(|(_, instance)| instance);
            let Some(mut instance) = instance.or_else(|| stripe.make(place)) else {
                // The member went in between.
                match self.refresh() {
                    Ok(()) => continue,
                    Err(rejected) => return ResponseFuture::failed(rejected.into()),
                }
            };
            match instance.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => {
                    // In flight from now on: what the service does with the request is its own affair.
                    let Some(counted) = Counted::begin(stripe) else {
                        continue; // another map came in between
                    };
                    let future = instance.call(request);
                    self.last = Some((place, instance));
                    return ResponseFuture::called(future, counted);
                }
                Poll::Ready(Err(error)) => return ResponseFuture::failed(error),
                Poll::Pending => {
                    // It may wait in a queue with a waker that wakes nobody: a fresh one waits instead.
                    drop(instance);
                    let (shared, key) = (Arc::clone(&self.shared), Arc::clone(&self.key));
                    return ResponseFuture::waiting(shared, key, request);
                }
            }
        }
    }
}

impl<S, K> Clone for Shards<S, K> {
    fn clone(&self) -> Self {
        let (shared, key) = (Arc::clone(&self.shared), Arc::clone(&self.key));
        Self { shared, key, calls: Arc::clone(&self.calls), last: None }
    }
}

impl<S, K> fmt::Debug for Shards<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards").field("shared", &self.shared).finish_non_exhaustive()
    }
}
