//! Keys that are not where the map says, as owners have told: until a later map says so too.
//!
//! Calls read them out of a table of atomic words, without a lock and without a copy. Whoever learns one writes it there
//! under a lock. A call that misses one that is just written goes the long way.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::key::Key;
use super::map::Map;
use crate::core::epoch::Epoch;
use crate::core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::shell::locked::Locked;

/// The most keys that are remembered. The one that was told first goes first.
const MOST: usize = 1_024;

/// Keys, by their hash: of two keys that share one the second is refused by the owner of the first, and follows the hint
/// that comes with that.
#[derive(Default)]
pub(super) struct Exceptions {
    count: AtomicUsize,
    /// Made when the first is told.
    table: OnceLock<Table>,
    known: Locked<Known>,
}

#[derive(Clone, Default)]
struct Known {
    by_hash: HashMap<u64, Exception>,
    told: u64,
}

#[derive(Clone)]
struct Exception {
    /// The place of the owner among the members.
    owner: u16,
    epoch: Epoch,
    nth: u64,
    /// It outlived a map, so nobody waits for one of its epoch: a peer may say any number.
    outlived: bool,
}

impl Exceptions {
    /// Whose a key is, if that was told.
    pub(super) fn owner(&self, key: &Key<'_>) -> Option<usize> {
        self.table.get()?.owner(hash(key))
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// An owner says that a key is somebody else's, by a later map. Returns the epoch of what was forgotten to make room.
    pub(super) fn learn(&self, key: &Key<'_>, owner: u16, epoch: Epoch) -> Option<Epoch> {
        let (hash, table) = (hash(key), self.table.get_or_init(Table::default));
        self.known.with(|known| {
            if known.by_hash.get(&hash).is_some_and(|one| one.epoch > epoch) {
                return None;
            }
            known.told += 1;
            let told = Exception { owner, epoch, nth: known.told, outlived: false };
            known.by_hash.insert(hash, told);
            let oldest = (known.by_hash.len() > MOST).then(|| known.oldest()).flatten();
            let forgotten = oldest.and_then(|oldest| {
                table.remove(oldest);
                known.by_hash.remove(&oldest)
            });
            table.set(hash, owner);
            self.count.store(known.by_hash.len(), Ordering::Relaxed);
            forgotten.map(|one| one.epoch)
        })
    }

    /// What is left of them by another map.
    pub(super) fn by(&self, old: &Map, new: &Map) -> Self {
        let mut known = self.known.with(|known| known.clone());
        let place = |one: &Exception| {
            let name = old.members().get(usize::from(one.owner))?.name();
            let place = new.members().binary_search_by(|member| member.name().cmp(name)).ok()?;
            u16::try_from(place).ok()
        };
        known.by_hash.retain(|_, one| {
            let Some(owner) = place(one) else { return false };
            let stays = one.epoch > new.epoch() && !one.outlived;
            (one.owner, one.outlived) = (owner, true);
            stays
        });
        let (count, table) = (known.by_hash.len(), OnceLock::new());
        if count > 0 {
            let words = table.get_or_init(Table::default);
            known.by_hash.iter().for_each(|(hash, one)| words.set(*hash, one.owner));
        }
        Self { count: AtomicUsize::new(count), table, known: Locked::new(known) }
    }
}

impl Known {
    fn oldest(&self) -> Option<u64> {
        self.by_hash.iter().min_by_key(|(_, one)| one.nth).map(|(hash, _)| *hash)
    }
}

fn hash(key: &Key<'_>) -> u64 {
    let region = key.region().map_or(0, |region| Key::from(region).hash());
    key.hash() ^ region.rotate_left(1)
}

/// A power of two, and four times as many as there are keys, so that a key is found at once, or the next free place.
const PLACES: usize = 4 * MOST;
/// The bits of a word that tell the owner. The others are those of the hash.
const OWNER: u64 = 0xffff;

/// A word for each key, at the first free place from the one that its hash begins with: the hash, and the place of the owner, counted
/// from one. Written under the lock; a reader sees each word as a whole.
struct Table(Box<[AtomicU64]>);

impl Default for Table {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Table {
    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.0[at % PLACES].load(Ordering::Relaxed)
    }

    fn put(&self, at: usize, word: u64) {
        self.0[at % PLACES].store(word, Ordering::Relaxed);
    }

    /// Where the word of this hash is, or the free place for it.
    #[inline]
    fn find(&self, hash: u64) -> Option<usize> {
        let first = home(hash);
        (first..first + PLACES).find(|at| {
            let word = self.word(*at);
            word == 0 || (word ^ hash) & !OWNER == 0
        })
    }

    #[inline]
    fn owner(&self, hash: u64) -> Option<usize> {
        let word = self.word(self.find(hash)?);
        // Another may stand there by now.
        let is_its = (word ^ hash) & !OWNER == 0;
        is_its.then_some((word & OWNER) as usize)?.checked_sub(1)
    }

    fn set(&self, hash: u64, owner: u16) {
        if let Some(at) = self.find(hash) {
            self.put(at, (hash & !OWNER) | (u64::from(owner) + 1));
        }
    }

    /// Those that stand behind it because its place was taken move up.
    fn remove(&self, hash: u64) {
        let Some(mut hole) = self.find(hash).filter(|at| self.word(*at) != 0) else { return };
        let mut at = hole + 1;
        while self.word(at) != 0 {
            let word = self.word(at);
            let behind = |of: usize| (at + PLACES - of % PLACES) % PLACES;
            if behind(home(word)) >= behind(hole) {
                self.put(hole, word);
                hole = at;
            }
            at += 1;
        }
        self.put(hole, 0);
    }
}

/// The place that a hash begins with: its highest bits.
#[inline]
fn home(hash: u64) -> usize {
    (hash >> (u64::BITS - PLACES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::slots::mix;

    fn crowded(nth: u64) -> u64 {
        (mix(nth) & !OWNER & (u64::MAX >> 12)) | (((4_090 + nth % 9) % 4_096) << 52)
    }

    /// Against a plain map, with hashes that begin alike, so that they stand in each other's way, also around the end.
    #[test]
    fn a_table_finds_what_was_set_and_not_removed() {
        let (table, mut model) = (Table::default(), HashMap::new());
        for turn in 0..20_000_u64 {
            let hash = crowded(mix(turn) % 300);
            if mix(turn ^ 7).is_multiple_of(3) {
                table.remove(hash);
                model.remove(&hash);
            } else {
                let owner = (turn % 16_384) as u16;
                table.set(hash, owner);
                model.insert(hash, usize::from(owner));
            }
            if turn % 50 == 0 {
                for nth in 0..300 {
                    let hash = crowded(nth);
                    assert_eq!(table.owner(hash), model.get(&hash).copied(), "turn {turn}");
                }
            }
        }
    }
}
