//! Seeing and steering a sharded service from outside.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::error::AdoptError;
use super::map::Map;
use super::owners::Owners;
use crate::core::epoch::Epoch;
use crate::core::event::EventKind;
use crate::core::origin::Origin;
use crate::shell::reporter::EventContext;
use crate::shell::set::{Plan, Shared};

/// Inspects and controls one sharded service: shows its map, puts another in force, waits until nobody relies on
/// the old one. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::shards::{Key, Map, Shards, ShardsHandle};
/// use seawall::{Epoch, Error};
/// use std::convert::Infallible;
/// use tower::service_fn;
///
/// /// A fourth shard joins.
/// async fn grow(orders: &ShardsHandle) -> Result<(), Box<dyn std::error::Error>> {
///     let before = orders.epoch();
///     let names = ["orders-0", "orders-1", "orders-2", "orders-3"];
///     orders.adopt(Map::hashed(before.next(), names)?)?;
///     orders.settled(before).await; // no call goes by the old map any more
///     Ok(())
/// }
///
/// let orders = Shards::builder("orders")
///     .key(|order: &u64| Key::from(*order))
///     .map(Map::hashed(1, ["orders-0", "orders-1", "orders-2"])?)
///     .over(|_| Ok(service_fn(|order: u64| async move { Ok::<_, Error<Infallible>>(order) })))?;
/// grow(&orders.handle()).await?;
/// assert_eq!(orders.handle().epoch(), Epoch::new(2));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct ShardsHandle {
    shared: Arc<dyn Steered>,
}

type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What a handle needs, whatever the members are.
pub(super) trait Steered: Send + Sync {
    fn origin(&self) -> &Origin;
    fn map(&self) -> Map;
    fn in_flight(&self) -> usize;
    fn adopt(&self, map: Map, anyway: bool) -> Result<(), AdoptError>;
    fn loads(&self) -> Option<Vec<u64>>;
    fn behind(&self) -> Pin<Box<dyn Future<Output = Epoch> + Send + '_>>;
    fn source_age(&self, age: Duration, has_failed: bool);
    fn settled(&self, epoch: Epoch) -> Boxed<'_>;
    fn drain(&self) -> Boxed<'_>;
}

/// Puts the plan by another map in force, if that is later.
pub(super) fn adopt<P: Plan, S>(
    shared: &Shared<P, S>,
    anyway: bool,
    map: &Map,
    next: impl Fn(&P) -> P,
) -> Result<(), AdoptError> {
    let (from, to) = shared.adopt(anyway, |present: &P| {
        let (present_is, offered) = (present.version(), map.epoch());
        if offered <= present_is {
            return Err(AdoptError::Stale { offered, present: present_is });
        }
        Ok(next(present))
    })?;
    shared.reporter.tell_now(EventContext::default(), EventKind::MapAdopted { from, to });
    Ok(())
}

impl<K: Send + Sync, S: Send> Steered for Shared<Owners<K>, S> {
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
        adopt(self, anyway, &map, |present| present.by(map.clone()))
    }

    fn loads(&self) -> Option<Vec<u64>> {
        self.table().plan.loads.as_ref().map(|loads| loads.get())
    }

    fn behind(&self) -> Pin<Box<dyn Future<Output = Epoch> + Send + '_>> {
        let wanted = Arc::clone(&self.table().plan.wanted);
        Box::pin(async move { wanted.later_than(|| self.table().plan.map.epoch()).await })
    }

    fn source_age(&self, age: Duration, has_failed: bool) {
        self.reporter.meter(|handles| handles.own.source_age(age));
        if has_failed {
            self.reporter.tell_now(EventContext::default(), EventKind::SourceFailed { age });
        }
    }

    fn settled(&self, epoch: Epoch) -> Boxed<'_> {
        Box::pin(self.settled(epoch))
    }

    fn drain(&self) -> Boxed<'_> {
        Box::pin(self.drain())
    }
}

impl ShardsHandle {
    pub(super) fn new(shared: Arc<dyn Steered>) -> Self {
        Self { shared }
    }

    pub(super) fn shared(&self) -> &dyn Steered {
        &*self.shared
    }

    /// The kind and the name.
    pub fn origin(&self) -> &Origin {
        self.shared.origin()
    }

    /// The map in force.
    pub fn map(&self) -> Map {
        self.shared.map()
    }

    /// The epoch of the map in force.
    pub fn epoch(&self) -> Epoch {
        self.map().epoch()
    }

    /// The calls that were made and are not over, of all epochs. Of those that wait for their owner to be ready,
    /// the ones that go by the map in force.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Puts a later map in force. Calls in flight end where they are; calls that wait for their owner to be
    /// ready, and all that come, go by the new map. Members of both maps keep their service, with all that
    /// its layers know; that of a member that is gone is dropped, where a clone has just used it with that
    /// clone's next call.
    ///
    /// # Errors
    ///
    /// The map is not later than the present one, lacks more than half of its members, or the service of a
    /// new member could not be made. Then the present one stays in force.
    pub fn adopt(&self, map: Map) -> Result<(), AdoptError> {
        self.shared.adopt(map, false)
    }

    /// The same for a map that may lack any number of the members.
    ///
    /// # Errors
    ///
    /// As for [`adopt`](Self::adopt), but for the number of members.
    pub fn adopt_anyway(&self, map: Map) -> Result<(), AdoptError> {
        self.shared.adopt(map, true)
    }

    /// Returns when a map later than `epoch` is in force, and no call that went by that one, or by an
    /// earlier one, is in flight here. A call is in flight until its answer is there (not the end of its body),
    /// or until its future is dropped.
    ///
    /// That nobody asks any more does not say that nothing is done any more: what a call asked for that was
    /// dropped, or ended by a timeout, may still be carried out at its owner. Only the owner can refuse that.
    ///
    /// May be dropped and asked again at any time.
    pub async fn settled(&self, epoch: Epoch) {
        self.shared.settled(epoch).await;
    }

    /// Calls to each [slot](Map::slot) of the map, since the first map with so many slots: what [`Map::plan`] plans
    /// by. `None`, unless they are [counted](super::Builder::count_loads).
    pub fn loads(&self) -> Option<Vec<u64>> {
        self.shared.loads()
    }

    /// Returns the epoch that an owner has spoken of, when that is later than the one of the map in force: it is time to get
    /// another map. Whoever waits is told 100 to 150 ms apart at most, however many hints come in, as long as no later map is
    /// adopted. Of several who wait one is told.
    ///
    /// An epoch is believed no further than this. May be dropped and asked again at any time.
    ///
    /// ```
    /// # use seawall::shards::{Map, ShardsHandle};
    /// # async fn fetch_map() -> Result<Map, std::io::Error> { unimplemented!() }
    /// /// Looks for a new map each minute, and as soon as an owner speaks of one.
    /// async fn follow(orders: ShardsHandle) {
    ///     let minute = std::time::Duration::from_secs(60);
    ///     loop {
    ///         tokio::time::timeout(minute, orders.behind()).await.ok();
    ///         if let Ok(map) = fetch_map().await {
    ///             orders.adopt(map).ok(); // the same map as before, mostly
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn behind(&self) -> Epoch {
        self.shared.behind().await
    }

    /// Rejects all further calls, for good, and those that wait for their owner to be ready, and returns when no call is in flight. May be dropped and asked
    /// again; calls are rejected all the same.
    pub async fn drain(&self) {
        self.shared.drain().await;
    }
}

impl fmt::Debug for ShardsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardsHandle")
            .field("origin", self.origin())
            .field("map", &self.map())
            .finish()
    }
}
