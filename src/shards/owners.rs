//! A map and the keys of requests, as the plan of a set.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::exceptions::Exceptions;
use super::key::Key;
use super::map::Map;
use super::member::Member;
use super::wanted::Wanted;
use crate::core::epoch::Epoch;
use crate::core::error::Reason;
use crate::core::sync::atomic::{AtomicU64, Ordering};
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};
use crate::shell::set::{Choose, Named, Passed, Plan};

pub(super) const EPOCH: &str = "seawall_shards_epoch";
pub(super) const MEMBERS: &str = "seawall_shards_members";
const EXCEPTIONS: &str = "seawall_shards_exceptions";
pub(super) const SOURCE_AGE: &str = "seawall_shards_source_age_seconds";
const REDIRECTS: &str = "seawall_shards_redirects_total";

/// Whose each request is.
pub struct Owners<K> {
    pub(super) map: Map,
    pub(super) key: Arc<K>,
    /// Keys that are elsewhere, as owners have told.
    pub(super) exceptions: Exceptions,
    pub(super) wanted: Arc<Wanted>,
    pub(super) loads: Option<Arc<Loads>>,
}

/// How many calls went to each slot.
pub(super) struct Loads(Box<[AtomicU64]>);

impl Loads {
    pub(super) fn of(map: &Map) -> Self {
        Self((0..map.slots()).map(|_| AtomicU64::new(0)).collect())
    }

    /// Those by another map: the same, if its slots are.
    pub(super) fn by(of: &Arc<Self>, map: &Map) -> Arc<Self> {
        if of.0.len() == map.slots() { Arc::clone(of) } else { Arc::new(Self::of(map)) }
    }

    pub(super) fn get(&self) -> Vec<u64> {
        self.0.iter().map(|load| load.load(Ordering::Relaxed)).collect()
    }

    #[inline(never)]
    pub(super) fn add(&self, map: &Map, key: Key<'_>) {
        if let Some(load) = map.slot(key).and_then(|slot| self.0.get(slot)) {
            load.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<K> Owners<K> {
    pub(super) fn new(map: Map, key: K, counts_loads: bool) -> Self {
        let loads = counts_loads.then(|| Arc::new(Loads::of(&map)));
        let (exceptions, wanted) = (Exceptions::default(), Arc::default());
        Self { map, key: Arc::new(key), exceptions, wanted, loads }
    }

    /// Whose a key is, if an owner has told. What was told by one map may be forbidden by the next.
    #[inline(never)]
    fn told(&self, key: &Key<'_>) -> Option<usize> {
        self.exceptions.owner(key).filter(|place| self.map.allows(key, *place))
    }

    /// The same by another map.
    pub(super) fn by(&self, map: Map) -> Self {
        let loads = self.loads.as_ref().map(|loads| Loads::by(loads, &map));
        let (key, wanted) = (Arc::clone(&self.key), Arc::clone(&self.wanted));
        Self { exceptions: self.exceptions.by(&self.map, &map), map, key, wanted, loads }
    }
}

#[derive(Debug)]
pub struct ShardsMeter {
    epoch: Gauge,
    members: Gauge,
    exceptions: Gauge,
    source_age: Gauge,
    redirects: Counter,
}

impl ShardsMeter {
    pub(super) fn source_age(&self, age: Duration) {
        self.source_age.set(age.as_secs_f64());
    }

    pub(super) fn redirected(&self) {
        self.redirects.increment(1);
    }
}

impl Instruments for ShardsMeter {
    // The stacks of the members count their calls.
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[Reason::Draining, Reason::NotOwner, Reason::NoShard];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            epoch: labels.gauge(EPOCH, "The epoch of the map in force."),
            members: labels.gauge(MEMBERS, "Members of the map in force."),
            exceptions: labels.gauge(EXCEPTIONS, "Keys that are not where the map says."),
            source_age: labels.gauge(SOURCE_AGE, "Since the source last gave a good map."),
            redirects: labels.counter(REDIRECTS, "Calls that were sent on to another owner."),
        }
    }

    fn prime(&self) {
        self.redirects.increment(0);
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.epoch)
    }
}

impl Named for Member {
    fn name(&self) -> &Arc<str> {
        self.shared_name()
    }
}

impl<K> Plan for Owners<K> {
    type Member = Member;
    type Call = ();
    type Meter = ShardsMeter;

    fn members(&self) -> &[Member] {
        self.map.members()
    }

    fn version(&self) -> Epoch {
        self.map.epoch()
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats
    fn set_levels(&self, meter: &ShardsMeter) {
        meter.epoch.set(self.map.epoch().get() as f64);
        meter.members.set(self.map.members().len() as f64);
        meter.exceptions.set(self.exceptions.count() as f64);
    }
}

impl<K, Req, Res, Err> Choose<Req, Res, Err> for Owners<K>
where
    K: for<'r> Fn(&'r Req) -> Key<'r>,
{
    /// The owner, by what the map or an owner says, or nobody.
    #[inline]
    fn choose(&self, request: &Req, passed: &Passed) -> Option<usize> {
        if !passed.is_empty() {
            return None;
        }
        let key = (self.key)(request);
        if !self.exceptions.is_empty()
            && let Some(place) = self.told(&key)
        {
            return Some(place);
        }
        Some(self.map.place(key))
    }

    /// A call that goes on to somebody else is counted where it began.
    #[inline]
    fn sends(&self, request: &Req, _: usize) {
        if let Some(loads) = &self.loads {
            loads.add(&self.map, (self.key)(request));
        }
    }

    fn may_take(&self, request: &Req, place: usize) -> bool {
        self.map.allows(&(self.key)(request), place)
    }

    #[inline]
    fn begin(&self, _: usize) {}

    #[inline]
    fn settle(&self, (): (), _: Result<&Res, &Err>) {}
}

impl<K> fmt::Debug for Owners<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map.fmt(f)
    }
}
