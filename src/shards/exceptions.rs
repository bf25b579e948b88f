//! Keys that are not where the map says, as owners have told: until a later map says so too.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::key::Key;
use super::map::Map;
use crate::core::epoch::Epoch;
use crate::core::rng;
use crate::core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::core::time;
use crate::shell::live::Live;

/// The most keys that are remembered. The one that was told first goes first.
const MOST: usize = 1_024;
/// Between two requests for another map, and up to a half more.
const BETWEEN: Duration = Duration::from_millis(100);
/// So often somebody is told to get a map of an epoch, unless a hint speaks of it again: a peer may say any number.
const MOST_TOLD: usize = 32;

/// Keys, by their hash: of two keys that share one the second is refused by the owner of the first, and follows the hint
/// that comes with that.
pub(super) struct Exceptions {
    count: AtomicUsize,
    known: Live<Known>,
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

impl Default for Exceptions {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), known: Live::new(Known::default()) }
    }
}

impl Exceptions {
    /// Whose a key is, if that was told.
    #[inline]
    pub(super) fn owner(&self, key: &Key<'_>) -> Option<usize> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.known.get().by_hash.get(&hash(key)).map(|known| usize::from(known.owner))
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// An owner says that a key is somebody else's, by a later map.
    pub(super) fn learn(&self, key: &Key<'_>, owner: u16, epoch: Epoch) {
        let hash = hash(key);
        self.known.update(|known| {
            let mut known = known.clone();
            if known.by_hash.get(&hash).is_some_and(|one| one.epoch > epoch) {
                return known;
            }
            known.told += 1;
            let told = Exception { owner, epoch, nth: known.told, outlived: false };
            known.by_hash.insert(hash, told);
            if known.by_hash.len() > MOST
                && let Some(oldest) = known.by_hash.iter().min_by_key(|(_, one)| one.nth)
            {
                let oldest = *oldest.0;
                known.by_hash.remove(&oldest);
            }
            self.count.store(known.by_hash.len(), Ordering::Relaxed);
            known
        });
    }

    /// What is left of them by another map.
    pub(super) fn by(&self, old: &Map, new: &Map) -> Self {
        let mut known = (*self.known.get()).clone();
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
        Self { count: AtomicUsize::new(known.by_hash.len()), known: Live::new(known) }
    }
}

fn hash(key: &Key<'_>) -> u64 {
    let region = key.region().map_or(0, |region| Key::from(region).hash());
    key.hash() ^ region.rotate_left(1)
}

/// The latest epoch that an owner spoke of: there is a later map than the one in force.
pub(super) struct Wanted {
    epoch: AtomicU64,
    /// How often somebody was told of it.
    times: AtomicUsize,
    told: Notify,
    /// When somebody was last told to get one, in nanoseconds since `start`; all ones: never.
    last: AtomicU64,
    start: Instant,
}

impl Default for Wanted {
    fn default() -> Self {
        let (epoch, last) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let times = AtomicUsize::new(0);
        Self { epoch, times, told: Notify::new(), last, start: time::now() }
    }
}

impl Wanted {
    pub(super) fn hear(&self, epoch: Epoch) {
        if self.epoch.fetch_max(epoch.get(), Ordering::AcqRel) < epoch.get() {
            self.times.store(0, Ordering::Release);
            self.told.notify_waiters();
        }
    }

    /// Returns when there is a later map than that of `present()`.
    pub(super) async fn later_than(&self, present: impl Fn() -> Epoch) -> Epoch {
        loop {
            let told = self.told.notified(); // before the look
            let epoch = Epoch::new(self.epoch.load(Ordering::Acquire));
            if epoch <= present() {
                told.await;
                continue;
            }
            let now = time::nanos(time::now().saturating_duration_since(self.start));
            let last = self.last.load(Ordering::Acquire);
            let next = match last {
                u64::MAX => now,
                last => last.saturating_add(time::nanos(BETWEEN + jitter())),
            };
            if now < next {
                tokio::time::sleep(Duration::from_nanos(next - now)).await;
                continue; // the map may have come meanwhile
            }
            let is_first =
                self.last.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire);
            if is_first.is_ok() {
                if self.times.fetch_add(1, Ordering::AcqRel) + 1 >= MOST_TOLD {
                    // Unless there is a later one.
                    let (wanted, none) = (epoch.get(), Epoch::NOBODY.get());
                    let swap = |present| (present == wanted).then_some(none);
                    self.epoch.fetch_update(Ordering::AcqRel, Ordering::Acquire, swap).ok();
                }
                return epoch;
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a share
fn jitter() -> Duration {
    BETWEEN.mul_f64((rng::seed() >> 11) as f64 / (1_u64 << 54) as f64)
}
