//! One machine per key: bounded, and evicted only at rest.

mod builder;
mod handle;
mod settings;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use crate::core::event::EventKind;
use crate::core::sync::Mutex;
use crate::core::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::shell::lock;
use crate::shell::member::Member;
use crate::shell::meter::{Counter, Ended, Gauge, Handles, Instruments, Labels, Meter};
use crate::shell::reporter::EventContext;

pub use self::builder::{BuildKeyed, KeyedBuilder};
pub use self::handle::KeyedHandle;
pub(crate) use self::handle::Steered;
pub(crate) use self::settings::Settings;
pub(crate) use self::watch::Watched;

/// Keys that have a policy of their own.
const KEYS: &str = "seawall_keys";
/// Calls whose key shares the overflow policy.
const KEY_OVERFLOW: &str = "seawall_key_overflow_total";

const SHARDS: usize = 16;
/// A key longer than this shares the overflow policy: no peer decides how much memory it costs us.
const LONGEST_KEY: usize = 256;
/// So many keys of its own shard are looked at to make room for a new one; if it has fewer, one of
/// each other shard too.
const LOOKS: usize = 8;
/// The name under which the calls of all keys without a place are counted.
const OVERFLOW: &str = "(overflow)";

/// The cells of a keyed policy.
pub(crate) struct Keyed<P: Member> {
    pub(crate) common: Arc<P::Common>,
    meter: Meter<KeyMeter>,
    shards: [Mutex<Shard<P>>; SHARDS],
    hasher: Hasher,
    count: AtomicUsize,
    most: AtomicUsize,
    overflow: Arc<P>,
    make: Make<P>,
}

/// Makes the policy of a key.
type Make<P> = Box<dyn Fn(Arc<str>) -> P + Send + Sync>;

#[cfg(not(all(test, seawall_loom)))]
type Hasher = std::hash::RandomState;
/// Every run of a model has to find the same keys in the same shards.
#[cfg(all(test, seawall_loom))]
type Hasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// The cells by the hashes of their keys. A cell knows its key; one whose hash is another's, which
/// no peer can bring about, shares the overflow policy.
struct Shard<P> {
    cells: HashMap<u64, Arc<P>, BuildHasherDefault<AsItIs>>,
    /// The order in which they are looked at when room is needed.
    queue: VecDeque<u64>,
}

/// What came of looking for a cell to forget.
enum Search {
    Evicted,
    InVain,
    /// There were fewer keys than looks.
    TooFew,
}

/// What is a hash needs no other.
#[derive(Default)]
struct AsItIs(u64);

impl std::hash::Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

struct KeyMeter {
    keys: Gauge,
    overflowed: Counter,
}

impl Instruments for KeyMeter {
    // The policies of the keys count their calls together.
    const OUTCOMES: &'static [Ended] = &[];

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            keys: labels.gauge(KEYS, "Keys that have a policy of their own."),
            overflowed: labels.counter(KEY_OVERFLOW, "Calls whose key shares the overflow policy."),
        }
    }

    fn prime(&self) {
        self.overflowed.touch();
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.keys)
    }
}

impl<P: Member> Keyed<P> {
    pub(crate) fn new(
        common: Arc<P::Common>,
        most: usize,
        make: impl Fn(Arc<str>) -> P + Send + Sync + 'static,
    ) -> Self {
        let overflow = Arc::new(make(OVERFLOW.into()));
        let shard = |_| Mutex::new(Shard { cells: HashMap::default(), queue: VecDeque::new() });
        Self {
            meter: Meter::new(P::reporter(&common).origin.clone()),
            common,
            shards: std::array::from_fn(shard),
            hasher: Hasher::default(),
            count: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            overflow,
            make: Box::new(make),
        }
    }

    /// The policy of a key; the one that is shared, if the table is full of keys that are in use or in
    /// trouble.
    pub(crate) fn enter(&self, key: &str) -> Arc<P> {
        self.enter_as(key, self.hasher.hash_one(key))
    }

    /// The same, of a key with this hash.
    pub(crate) fn enter_as(&self, key: &str, hash: u64) -> Arc<P> {
        let shard = self.shard(hash);
        let found = lock(shard).cells.get(&hash).cloned();
        self.meter.with(|fresh| self.set_level(fresh), |_| ()); // it may be long since the last new key
        match found {
            Some(cell) if is_of(&*cell, key) => cell,
            None if key.len() <= LONGEST_KEY && self.reserve(hash) => self.insert(key, hash),
            _ => self.overflow(key),
        }
    }

    /// A key has come for which there is room now.
    #[inline(never)]
    fn insert(&self, key: &str, hash: u64) -> Arc<P> {
        let fresh = Arc::new((self.make)(key.into()));
        let mut guard = lock(self.shard(hash));
        if let Some(cell) = guard.cells.get(&hash) {
            let cell = Arc::clone(cell); // another thread was faster
            drop(guard);
            self.count.fetch_sub(1, Ordering::Relaxed);
            return if is_of(&*cell, key) { cell } else { self.overflow(key) };
        }
        guard.queue.push_back(hash);
        guard.cells.insert(hash, Arc::clone(&fresh));
        drop(guard);
        fresh.settle_in();
        self.note_count();
        fresh
    }

    /// The policy of a key, if it has one.
    pub(crate) fn find(&self, key: &str) -> Option<Arc<P>> {
        let hash = self.hasher.hash_one(key);
        let found = lock(self.shard(hash)).cells.get(&hash).cloned();
        found.filter(|cell| is_of(&**cell, key))
    }

    /// Shows the policies of all keys, and the one that the others share.
    pub(crate) fn each(&self, show: impl Fn(&P)) {
        for shard in &self.shards {
            let cells: Vec<_> = lock(shard).cells.values().cloned().collect();
            for cell in cells {
                show(&cell); // after the unlock
            }
        }
        show(&self.overflow);
    }

    /// The keys that have a cell of their own.
    pub(crate) fn keys(&self) -> Vec<Arc<str>> {
        let key = |cell: &Arc<P>| cell.key().cloned();
        let keys = |shard: &Mutex<Shard<P>>| {
            lock(shard).cells.values().filter_map(key).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(keys).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// By bits in the middle of the hash, for the map of a shard goes by those at its ends.
    fn shard(&self, hash: u64) -> &Mutex<Shard<P>> {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    #[inline(never)]
    fn overflow(&self, key: &str) -> Arc<P> {
        self.meter.with(|_| (), |handles| handles.increment(&handles.own.overflowed));
        let reporter = P::reporter(&self.common);
        if reporter.has_observers() {
            let longest = key.char_indices().map(|(at, _)| at).find(|at| *at >= LONGEST_KEY);
            let key: Arc<str> = key[..longest.unwrap_or(key.len())].into();
            let context = EventContext { key: Some(&key), seq: 0 };
            reporter.tell(context, reporter.clock.now(), EventKind::KeyOverflow);
        }
        Arc::clone(&self.overflow)
    }

    /// From now on there may be so many. If there are more, they go as new ones come.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Takes a place in the table, making room if need be.
    fn reserve(&self, hash: u64) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let taken = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < most).then_some(count + 1)
        });
        let Err(count) = taken else { return true };
        if count > most && self.make_room(hash) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        self.make_room(hash) // the place of the evicted passes to the newcomer, so the count stays
    }

    /// Forgets one cell: of the shard of this hash or, for a small table may have nothing there, of any
    /// other.
    fn make_room(&self, hash: u64) -> bool {
        match Self::evict_one(self.shard(hash), LOOKS) {
            Search::Evicted => true,
            // One shard is like another: where so many are in use or in trouble, most are.
            Search::InVain => false,
            Search::TooFew => (1..SHARDS as u64).any(|on| {
                let other = self.shard(hash.wrapping_add(on << 32));
                matches!(Self::evict_one(other, 1), Search::Evicted)
            }),
        }
    }

    /// Forgets one cell of the shard that is at rest and in nobody's hands, if one look in so many
    /// finds it.
    fn evict_one(shard: &Mutex<Shard<P>>, looks: usize) -> Search {
        let keys = lock(shard).queue.len();
        for _ in 0..looks.min(keys) {
            let mut guard = lock(shard);
            let Some(hash) = guard.queue.pop_front() else {
                return Search::TooFew;
            };
            let cell = guard.cells.get(&hash).cloned();
            drop(guard); // never two locks at once
            let Some(cell) = cell else { continue };
            let rest = cell.at_rest();
            let mut guard = lock(shard);
            // Ours and the table's: nobody else holds it, and nobody can get it without this lock.
            let is_free = Arc::strong_count(&cell) == 2 && !cell.is_watched();
            // Whoever held it until now has let go of it, and what it did before is seen here.
            fence(Ordering::Acquire);
            if is_free && rest.is_some_and(|stamp| cell.stamp() == stamp) {
                let evicted = guard.cells.remove(&hash);
                drop(guard);
                drop(evicted);
                return Search::Evicted;
            }
            if guard.cells.contains_key(&hash) {
                guard.queue.push_back(hash);
            }
        }
        if keys < looks { Search::TooFew } else { Search::InVain }
    }

    fn note_count(&self) {
        self.meter.with(|_| (), |handles| self.set_level(handles));
    }

    fn set_level(&self, handles: &Handles<'_, KeyMeter>) {
        handles.set(&handles.own.keys, self.len() as f64);
    }
}

fn is_of(cell: &impl Member, key: &str) -> bool {
    cell.key().is_some_and(|own| **own == *key)
}

impl<P: Member> fmt::Debug for Keyed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").finish_non_exhaustive()
    }
}
