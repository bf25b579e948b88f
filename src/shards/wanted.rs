//! That there is a later map than the one in force, as owners have told: when it is time to get it.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::epoch::Epoch;
use crate::core::rng;
use crate::core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::core::time;

/// Between two requests for another map, and up to a half more.
const BETWEEN: Duration = Duration::from_millis(100);
/// So often somebody is told to get a map of an epoch, unless a hint speaks of it again: a peer may say any number.
const MOST_TOLD: usize = 32;

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
