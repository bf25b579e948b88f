//! One machine per key: bounded, and evicted only at rest.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use metrics::{Counter, Gauge};

use crate::event::EventKind;
use crate::machine::Forgettable;
use crate::shell::common::Common;
use crate::shell::flight::{Cell, Site};
use crate::shell::gate::Roll;
use crate::shell::lock;
use crate::shell::meter::{Instruments, Labels, Meter};
use crate::shell::reporter::Speaker;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// Keys that have a policy of their own.
const KEYS: &str = "seawall_keys";
/// Calls whose key shares the overflow policy.
const KEY_OVERFLOW: &str = "seawall_key_overflow_total";

const SHARDS: usize = 16;
/// A key longer than this shares the overflow policy: no peer decides how much memory it costs us.
const LONGEST_KEY: usize = 256;
/// So many keys of its own shard are looked at to make room for a new one; of each other shard, one.
const LOOKS: usize = 8;
/// The name under which the calls of all keys without a place are counted.
const OVERFLOW: &str = "(overflow)";

/// The cells of a keyed policy.
pub(crate) struct Keyed<P: Site> {
    pub(crate) common: Arc<Common<P::Machine>>,
    meter: Meter<KeyMeter>,
    shards: [Mutex<Shard<P>>; SHARDS],
    hasher: Hasher,
    count: AtomicUsize,
    most: usize,
    overflow: Mutex<Option<Arc<Cell<P>>>>,
    make: Make<P>,
    closed: AtomicBool,
    roll: Arc<Roll>,
}

/// Makes the policy of a key, from the key and a hash of it.
type Make<P> = Box<dyn Fn(Arc<str>, u64) -> P + Send + Sync>;

#[cfg(not(all(test, seawall_loom)))]
type Hasher = std::hash::RandomState;
/// Every run of a model has to find the same keys in the same shards.
#[cfg(all(test, seawall_loom))]
type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

struct Shard<P> {
    cells: HashMap<Arc<str>, Arc<Cell<P>>>,
    /// The keys in the order in which they are looked at when room is needed.
    queue: VecDeque<Arc<str>>,
}

struct KeyMeter {
    keys: Gauge,
    overflowed: Counter,
}

impl Instruments for KeyMeter {
    // The breakers of the keys count their calls together.
    const COUNTS_CALLS: bool = false;
    const TIMES_CALLS: bool = false;

    fn register(labels: &Labels<'_>) -> Self {
        Self {
            keys: labels.gauge(KEYS, "Keys that have a policy of their own."),
            overflowed: labels.counter(KEY_OVERFLOW, "Calls whose key shares the overflow policy."),
        }
    }
}

impl<P: Site<Machine: Forgettable>> Keyed<P> {
    pub(crate) fn new(
        common: Arc<Common<P::Machine>>,
        most: usize,
        make: impl Fn(Arc<str>, u64) -> P + Send + Sync + 'static,
    ) -> Self {
        let roll = Arc::new(Roll::default());
        let overflow = Cell { policy: make(OVERFLOW.into(), 0), _tenancy: roll.enter() };
        let shard = |_| Mutex::new(Shard { cells: HashMap::new(), queue: VecDeque::new() });
        Self {
            meter: Meter::new(common.reporter.source.clone()),
            common,
            shards: std::array::from_fn(shard),
            hasher: Hasher::default(),
            count: AtomicUsize::new(0),
            most,
            overflow: Mutex::new(Some(Arc::new(overflow))),
            make: Box::new(make),
            closed: AtomicBool::new(false),
            roll,
        }
    }

    /// The cell of a key; the overflow cell if the table is full of keys that are in use or in
    /// trouble; `None` once the policy is closed.
    pub(crate) fn enter(&self, key: &str) -> Option<Arc<Cell<P>>> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        if let Some(cell) = lock(shard).cells.get(key) {
            return Some(Arc::clone(cell));
        }
        if key.len() > LONGEST_KEY || !self.reserve(hash) {
            return self.overflow(key);
        }
        let name: Arc<str> = key.into();
        let fresh = Arc::new(Cell {
            policy: (self.make)(Arc::clone(&name), hash),
            _tenancy: self.roll.enter(),
        });
        let mut guard = lock(shard);
        // Looked at under the lock: who closes sets it first, then empties every shard.
        if self.closed.load(Ordering::Acquire) {
            drop(guard);
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if let Some(cell) = guard.cells.get(key) {
            let cell = Arc::clone(cell); // another thread was faster
            drop(guard);
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Some(cell);
        }
        guard.queue.push_back(Arc::clone(&name));
        guard.cells.insert(name, Arc::clone(&fresh));
        drop(guard);
        self.note_count();
        Some(fresh)
    }

    /// The cell of a key, if it has one.
    pub(crate) fn find(&self, key: &str) -> Option<Arc<Cell<P>>> {
        lock(self.shard(self.hasher.hash_one(key))).cells.get(key).cloned()
    }

    /// The keys that have a cell of their own.
    pub(crate) fn keys(&self) -> Vec<Arc<str>> {
        let keys = |shard: &Mutex<Shard<P>>| lock(shard).cells.keys().cloned().collect::<Vec<_>>();
        self.shards.iter().flat_map(keys).collect()
    }

    /// The calls that hold a cell, besides the table itself.
    pub(crate) fn in_flight(&self) -> usize {
        let held = |shard: &Mutex<Shard<P>>| {
            lock(shard).cells.values().map(|cell| Arc::strong_count(cell) - 1).sum::<usize>()
        };
        let overflow = lock(&self.overflow).as_ref().map_or(0, |cell| Arc::strong_count(cell) - 1);
        self.shards.iter().map(held).sum::<usize>() + overflow
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Lets no further call in, and forgets all keys.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for shard in &self.shards {
            let mut guard = lock(shard);
            let cells = std::mem::take(&mut guard.cells);
            guard.queue.clear();
            drop(guard);
            self.count.fetch_sub(cells.len(), Ordering::Relaxed);
        }
        let overflow = lock(&self.overflow).take();
        drop(overflow);
        self.note_count();
    }

    /// Returns when the last call has left a closed policy.
    pub(crate) async fn emptied(&self) {
        self.roll.emptied().await;
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<P>> {
        &self.shards[hash as usize % SHARDS]
    }

    fn overflow(&self, key: &str) -> Option<Arc<Cell<P>>> {
        let cell = lock(&self.overflow).clone()?;
        self.meter.with(|_| (), |handles| handles.own.overflowed.increment(1));
        let reporter = &self.common.reporter;
        if reporter.has_observers() {
            let longest = key.char_indices().map(|(at, _)| at).find(|at| *at >= LONGEST_KEY);
            let key: Arc<str> = key[..longest.unwrap_or(key.len())].into();
            let speaker = Speaker { key: Some(&key), seq: 0 };
            reporter.tell(speaker, reporter.clock.now(), EventKind::KeyOverflow);
        }
        Some(cell)
    }

    /// Takes a place in the table, making room if need be: in the shard of this hash or, for a small
    /// table may have nothing there, in any other.
    fn reserve(&self, hash: u64) -> bool {
        let taken = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < self.most).then_some(count + 1)
        });
        // The place of the evicted passes to the newcomer, so the count stays.
        taken.is_ok()
            || Self::evict_one(self.shard(hash), LOOKS)
            || (1..SHARDS as u64).any(|on| Self::evict_one(self.shard(hash.wrapping_add(on)), 1))
    }

    /// Forgets one cell of the shard that is at rest and in nobody's hands, if one look in so many
    /// finds it.
    fn evict_one(shard: &Mutex<Shard<P>>, looks: usize) -> bool {
        for _ in 0..looks {
            let mut guard = lock(shard);
            let Some(key) = guard.queue.pop_front() else {
                return false;
            };
            let cell = guard.cells.get(&key).cloned();
            drop(guard); // never two locks at once
            let Some(cell) = cell else { continue };
            let traffic = cell.policy.shared();
            let (at_rest, stamp) = traffic
                .inspect(|machine, dials, now| (machine.is_at_rest(dials, now), traffic.stamp()));
            let mut guard = lock(shard);
            // Ours and the table's: nobody else holds it, and nobody can get it without this lock.
            let is_free = Arc::strong_count(&cell) == 2 && !cell.policy.is_watched();
            // Whoever held it until now has let go of it, and what it did before is seen here.
            fence(Ordering::Acquire);
            if at_rest && is_free && traffic.stamp() == stamp {
                let evicted = guard.cells.remove(&key);
                drop(guard);
                drop(evicted);
                return true;
            }
            if guard.cells.contains_key(&key) {
                guard.queue.push_back(key);
            }
        }
        false
    }

    fn note_count(&self) {
        self.meter.with(|_| (), |handles| handles.own.keys.set(self.len() as f64));
    }
}

impl<P: Site> fmt::Debug for Keyed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").finish_non_exhaustive()
    }
}
