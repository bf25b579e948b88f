//! The service that sends each request to the owner of its key, or to who is next.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::builder::AllUp;
use super::plan::Affinity;
use crate::core::epoch::Epoch;
use crate::core::error::CallError;
use crate::core::event::EventKind;
use crate::core::origin::Origin;
use crate::shards::error::AdoptError;
use crate::shards::handle::{ShardsHandle, Steered, adopt};
use crate::shards::key::Key;
use crate::shards::map::Map;
use crate::shell::reporter::EventContext;
use crate::shell::set::{self, Set, Shared};

/// Sends each request to the owner of its key if that is up and has not too much to do, and otherwise to the next one in the key's
/// own order: for caches, and for whatever any member can do and the owner does best. For data that only its owner may have there
/// is [`Shards`](super::super::Shards).
///
/// A member takes at most 1.25 times its share of the calls in flight (consistent hashing with bounded loads: Mirrokni, Thorup,
/// Zadimoghaddam 2016), so that a busy key, or a member more or less, overloads nobody. Nobody outside of a [resident
/// region](super::super::Region::resident) takes its keys. Of a [shuffle shard](Map::shuffled) the less loaded of its first two members that
/// are up takes the call.
///
/// It is always ready. Build one, and clone it: clones share the map, the members and what is in flight.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::State;
/// use seawall::shards::{Affine, Key, Map, Shards};
/// use seawall::{Error, stack};
/// use std::collections::HashMap;
/// use std::io;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// let names = ["cache-0", "cache-1", "cache-2"];
/// let mut stacks = HashMap::new();
/// for name in names {
///     stacks.insert(name.to_owned(), stack::client(name).cloned().build()?);
/// }
/// let breakers: HashMap<_, _> = stacks.iter().map(|(name, stack)| (name.clone(), stack.handle())).collect();
/// let map = Map::hashed(1, names)?;
/// let (owner, first) = (map.owner("page").name().to_owned(), breakers.clone());
///
/// let pages: Affine<_, _, _> = Shards::builder("pages")
///     .key(|page: &String| Key::from(page))
///     .map(map)
///     .affine()
///     .up(move |cache| breakers[cache].breaker().state() == State::Closed)
///     .over(move |cache| {
///         let name = cache.name().to_owned(); // connect to its address here
///         let server = service_fn(move |_: String| {
///             let name = name.clone();
///             async move { Ok::<_, Error<io::Error>>(name) }
///         });
///         Ok(stacks[cache.name()].clone().layer(server))
///     })?;
///
/// assert_eq!(pages.clone().oneshot("page".into()).await?, owner);
/// first[&owner].breaker().force_open();
/// assert_ne!(pages.oneshot("page".into()).await?, owner);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Affine<S, K, U = AllUp> {
    set: Set<Affinity<K, U>, S>,
}

/// The future of a call to a member. Dropping it drops the call in flight.
pub type AffineFuture<S, Req, K, U = AllUp> = set::ResponseFuture<Affinity<K, U>, S, Req>;

impl<K: Send + Sync, U: Send + Sync, S: Send> Steered for Shared<Affinity<K, U>, S> {
    fn origin(&self) -> &Origin {
        &self.reporter.origin
    }

    fn map(&self) -> Map {
        self.table().plan.map.clone()
    }

    fn in_flight(&self) -> usize {
        self.in_flight()
    }

    fn adopt(&self, map: Map, anyway: bool) -> Result<(), AdoptError> {
        adopt(self, anyway, &map, |present: &Affinity<K, U>| present.by(map.clone()))
    }

    fn loads(&self) -> Option<Vec<u64>> {
        self.table().plan.loads.as_ref().map(|loads| loads.get())
    }

    /// Nobody hints at a later map here.
    fn behind(&self) -> Pin<Box<dyn Future<Output = Epoch> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    fn source_age(&self, age: Duration, has_failed: bool) {
        self.reporter.meter(|handles| handles.own.source_age(age));
        if has_failed {
            self.reporter.tell_now(EventContext::default(), EventKind::SourceFailed { age });
        }
    }

    fn settled(&self, epoch: Epoch) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.settled(epoch))
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.drain())
    }
}

impl<S, K, U> Affine<S, K, U> {
    pub(super) fn new(shared: Shared<Affinity<K, U>, S>) -> Self {
        Self { set: Set::new(Arc::new(shared)) }
    }

    /// Inspects and controls it: shows the map, adopts another.
    pub fn handle(&self) -> ShardsHandle
    where
        S: Send + 'static,
        K: Send + Sync + 'static,
        U: Send + Sync + 'static,
    {
        ShardsHandle::new(Arc::clone(self.set.shared()) as _)
    }
}

impl<S, K, U, Req> Service<Req> for Affine<S, K, U>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    K: for<'r> Fn(&'r Req) -> Key<'r>,
    U: Fn(&str) -> bool,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AffineFuture<S, Req, K, U>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.set.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.set.call(request)
    }
}

impl<S, K, U> Clone for Affine<S, K, U> {
    fn clone(&self) -> Self {
        Self { set: self.set.clone() }
    }
}

impl<S, K, U> fmt::Debug for Affine<S, K, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Affine").field("shared", &self.set).finish_non_exhaustive()
    }
}
