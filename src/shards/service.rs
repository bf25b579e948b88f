//! The service that sends each request to the owner of its key.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use tower::Service;

use super::builder::Builder;
use super::future::{Follow, ResponseFuture, Spare};
use super::handle::ShardsHandle;
use super::key::Key;
use super::member::Member;
use super::owners::Owners;
use crate::core::error::CallError;
use crate::core::hint::{Redirect, Stay};
use crate::core::request::{CloneRequest, Never};
use crate::shell::set::{self, Set, Shared};

/// Sends each request to the owner of its key, and to nobody else.
///
/// It is always ready: each call is driven by the service of its owner, so that a member that is slow or
/// down holds up its own calls alone. Build one, and clone it: clones share the map and the members.
pub struct Shards<S, K, R = Stay, C = Never> {
    set: Set<Owners<K>, S>,
    follow: Arc<Follow<R, C>>,
}

impl Shards<(), ()> {
    /// Starts to build a sharded service. The name goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder::new(name.into())
    }
}

impl<S, K, R, C> Shards<S, K, R, C> {
    pub(super) fn new(shared: Shared<Owners<K>, S>, follow: Follow<R, C>) -> Self {
        Self { set: Set::new(Arc::new(shared)), follow: Arc::new(follow) }
    }

    /// Asks every member, up to `at_once` at a time, and gives their names and answers as they come: for overviews and jobs of
    /// administrators. Who fails is named as well, and holds up nobody. Hints are not followed.
    ///
    /// The members are those of the map in force now; one that leaves before it was asked is
    /// [`NoShard`](crate::Reason::NoShard). Each request is made when its turn comes. Dropping the stream drops the calls.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use futures::StreamExt;
    /// use seawall::shards::{Key, Map, Shards};
    /// use seawall::Error;
    /// use std::io;
    /// use tower::service_fn;
    ///
    /// let orders = Shards::builder("orders")
    ///     .key(|query: &String| Key::from(query))
    ///     .map(Map::hashed(1, ["db-0", "db-1", "db-2"])?)
    ///     .over(|shard| {
    ///         let is_down = shard.name() == "db-1";
    ///         Ok(service_fn(move |_: String| async move {
    ///             if is_down { Err(Error::Inner(io::Error::other("no route"))) } else { Ok(40) }
    ///         }))
    ///     })?;
    ///
    /// let answers: Vec<_> = orders.all(16, |_| "select count(*) from orders".to_owned()).collect().await;
    /// let sum: u32 = answers.iter().filter_map(|(_, count)| count.as_ref().ok()).sum();
    /// let missing: Vec<_> = answers.iter().filter(|(_, count)| count.is_err()).map(|(shard, _)| &**shard).collect();
    /// assert_eq!((sum, missing), (80, vec!["db-1"]));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn all<Req, F>(
        &self,
        at_once: usize,
        mut request: F,
    ) -> impl Stream<Item = (Arc<str>, Result<S::Response, S::Error>)> + use<Req, F, S, K, R, C>
    where
        S: Service<Req> + Clone,
        S::Error: CallError,
        K: for<'r> Fn(&'r Req) -> Key<'r>,
        F: FnMut(&Member) -> Req,
    {
        let shared = Arc::clone(self.set.shared());
        let members = shared.table().plan.map.members().to_vec();
        let calls = members.into_iter().map(move |member| {
            let (shared, request, name) =
                (Arc::clone(&shared), request(&member), Arc::clone(member.shared_name()));
            let call = set::ResponseFuture::to_member(shared, request, Arc::clone(&name));
            async move { (name, call.await) }
        });
        futures::stream::iter(calls).buffer_unordered(at_once.max(1))
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

impl<S, K, R, C, Req> Service<Req> for Shards<S, K, R, C>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    K: for<'r> Fn(&'r Req) -> Key<'r>,
    R: Redirect<S::Response, S::Error>,
    C: CloneRequest<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, K, R, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.set.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let spare = self.follow.redirect.redirects().then(|| {
            let (shared, follow) = (Arc::clone(self.set.shared()), Arc::clone(&self.follow));
            Spare { request: follow.copy(&request), shared, follow, hops: 0 }
        });
        ResponseFuture::new(self.set.call(request), spare)
    }
}

impl<S, K, R, C> Clone for Shards<S, K, R, C> {
    fn clone(&self) -> Self {
        Self { set: self.set.clone(), follow: Arc::clone(&self.follow) }
    }
}

impl<S, K, R, C> fmt::Debug for Shards<S, K, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards").field("shared", &self.set).finish_non_exhaustive()
    }
}
