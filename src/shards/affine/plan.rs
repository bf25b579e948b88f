//! Affinity as the plan of a set: the first in the order of a key that is up and has room.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bounded::{InFlight, Total, capacity};
use crate::core::epoch::Epoch;
use crate::core::error::Reason;
use crate::core::event::EventKind;
use crate::shards::key::Key;
use crate::shards::map::Map;
use crate::shards::member::Member;
use crate::shards::owners::{EPOCH, Loads, MEMBERS, SOURCE_AGE};
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};
use crate::shell::set::{Choose, Passed, Plan};

const PASSED: &str = "seawall_shards_passed_total";
const DOWN: &str = "down";
const OVERLOADED: &str = "overloaded";
/// Of a shuffle shard the less loaded of so many takes a call.
const CHOICES: usize = 2;

/// Whose each request is, and who else may have it.
pub struct Affinity<K, U> {
    pub(super) map: Map,
    key: Arc<K>,
    up: Arc<U>,
    /// In thousandths.
    factor: u32,
    /// Calls in flight at each member, in the order of the map. They stay with the member from map to map.
    in_flight: Box<[Arc<InFlight>]>,
    total: Arc<Total>,
    weights: u64,
    pub(super) loads: Option<Arc<Loads>>,
    reporter: Arc<Reporter<AffineMeter>>,
}

/// What a call keeps: where it is in flight, counted from one, and which lane it was counted in.
#[derive(Debug, Default)]
pub struct Going {
    place: u32,
    lane: u8,
}

#[derive(Debug)]
pub struct AffineMeter {
    epoch: Gauge,
    members: Gauge,
    source_age: Gauge,
    passed: [Counter; 2],
}

impl AffineMeter {
    pub(super) fn source_age(&self, age: Duration) {
        self.source_age.set(age.as_secs_f64());
    }
}

impl Instruments for AffineMeter {
    // The stacks of the members count their calls.
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        let passed =
            "Calls to somebody else than the owner of their key, by what was wrong with that.";
        Self {
            epoch: labels.gauge(EPOCH, "The epoch of the map in force."),
            members: labels.gauge(MEMBERS, "Members of the map in force."),
            source_age: labels.gauge(SOURCE_AGE, "Since the source last gave a good map."),
            passed: labels.counters(PASSED, passed, "cause", [DOWN, OVERLOADED]),
        }
    }

    fn prime(&self) {
        self.passed.iter().for_each(|passed| passed.increment(0));
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.epoch)
    }
}

impl<K, U> Affinity<K, U> {
    pub(super) fn new(
        map: Map,
        key: K,
        up: U,
        factor: u32,
        counts_loads: bool,
        reporter: Arc<Reporter<AffineMeter>>,
    ) -> Self {
        Self {
            in_flight: map.members().iter().map(|_| Arc::default()).collect(),
            weights: weights(&map),
            loads: counts_loads.then(|| Arc::new(Loads::of(&map))),
            total: Arc::default(),
            key: Arc::new(key),
            up: Arc::new(up),
            map,
            factor,
            reporter,
        }
    }

    /// The same by another map.
    pub(super) fn by(&self, map: Map) -> Self {
        let known: HashMap<_, _> =
            self.map.members().iter().map(Member::name).zip(&self.in_flight).collect();
        let in_flight = |member: &Member| known.get(member.name()).map(|known| Arc::clone(known));
        Self {
            in_flight: map.members().iter().map(|one| in_flight(one).unwrap_or_default()).collect(),
            weights: weights(&map),
            loads: self.loads.as_ref().map(|loads| Loads::by(loads, &map)),
            key: Arc::clone(&self.key),
            up: Arc::clone(&self.up),
            total: Arc::clone(&self.total),
            reporter: Arc::clone(&self.reporter),
            factor: self.factor,
            map,
        }
    }

    /// Whether a member may have one call more. Who has none may.
    #[inline]
    fn has_room(&self, at: usize) -> bool {
        let is = u64::from(self.in_flight[at].get());
        is == 0 || is < self.capacity(at)
    }

    fn capacity(&self, at: usize) -> u64 {
        let weight = self.map.members()[at].get_weight();
        capacity(self.total.get().saturating_add(1), weight, self.weights, self.factor)
    }
}

impl<K, U: Fn(&str) -> bool> Affinity<K, U> {
    #[inline]
    fn is_up(&self, at: usize) -> bool {
        (self.up)(self.map.members()[at].name())
    }

    /// The first that is up and has room; or that is up, if nobody has room; or that there is: a health check that is wrong is no
    /// outage.
    #[cold]
    fn another(&self, key: &Key<'_>, passed: &Passed) -> Option<usize> {
        let first = |accepts: &dyn Fn(usize) -> bool| {
            self.map.next_place(key, |at| !passed.contains(at) && accepts(at))
        };
        first(&|at| self.is_up(at) && self.has_room(at))
            .or_else(|| first(&|at| self.is_up(at)))
            .or_else(|| first(&|_| true))
    }

    /// Of the first two members of a shuffled key that are up the less loaded one.
    fn less_loaded(&self, places: &[u16], passed: &Passed) -> Option<usize> {
        let all = || places.iter().map(|at| usize::from(*at)).filter(|at| !passed.contains(*at));
        let up = all().filter(|at| self.is_up(*at)).take(CHOICES);
        up.min_by_key(|at| self.in_flight[*at].get()).or_else(|| all().next())
    }

    /// Somebody else than the owner has the call.
    #[cold]
    fn passed_over(&self, owner: usize) {
        let is_down = !self.is_up(owner);
        self.reporter.meter(|handles| handles.own.passed[usize::from(!is_down)].increment(1));
        let cause = if is_down { DOWN } else { OVERLOADED };
        self.reporter.tell_now(EventContext::default(), EventKind::PassedOver { cause });
    }
}

impl<K, U> Plan for Affinity<K, U> {
    type Member = Member;
    type Call = Going;
    type Meter = AffineMeter;

    fn members(&self) -> &[Member] {
        self.map.members()
    }

    fn version(&self) -> Epoch {
        self.map.epoch()
    }

    fn set_levels(&self, meter: &AffineMeter) {
        meter.epoch.set(self.map.epoch().get() as f64);
        meter.members.set(self.map.members().len() as f64);
    }

    #[inline]
    fn abandon(&self, call: Going) {
        if let Some(at) = call.place.checked_sub(1) {
            self.in_flight[at as usize].ends();
            self.total.ends(call.lane);
        }
    }
}

impl<K, U, Req, Res, Err> Choose<Req, Res, Err> for Affinity<K, U>
where
    K: for<'r> Fn(&'r Req) -> Key<'r>,
    U: Fn(&str) -> bool,
{
    /// One that is not ready keeps no call from the next.
    const WAIT_FOR: usize = 3;

    #[inline]
    fn choose(&self, request: &Req, passed: &Passed) -> Option<usize> {
        let key = (self.key)(request);
        if let Some(places) = self.map.shuffle_shard(&key) {
            return self.less_loaded(places, passed);
        }
        let owner = self.map.place(key);
        if passed.is_empty() && self.is_up(owner) && self.has_room(owner) {
            return Some(owner);
        }
        self.another(&key, passed)
    }

    #[inline]
    fn sends(&self, request: &Req, place: usize) {
        let key = (self.key)(request);
        if let Some(loads) = &self.loads {
            loads.add(&self.map, key);
        }
        let is_owners = match self.map.shuffle_shard(&key) {
            Some(places) => places.iter().take(CHOICES).any(|at| usize::from(*at) == place),
            None => self.map.place(key) == place,
        };
        if !is_owners {
            self.passed_over(self.map.place(key));
        }
    }

    #[inline]
    fn begin(&self, place: usize) -> Going {
        self.in_flight[place].begins();
        Going { place: place as u32 + 1, lane: self.total.begins() }
    }

    #[inline]
    fn settle(&self, call: Going, _: Result<&Res, &Err>) {
        self.abandon(call);
    }

    /// The next one may be ready.
    fn unready(&self, _: usize, _: &Err) -> bool {
        true
    }
}

fn weights(map: &Map) -> u64 {
    map.members().iter().map(|member| u64::from(member.get_weight())).sum()
}

impl<K, U> fmt::Debug for Affinity<K, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map.fmt(f)
    }
}
