//! Who is still inside a policy, whether anyone may come, and whom to tell.

use std::sync::Arc;
use std::task::Waker;

#[cfg(not(all(test, seawall_loom)))]
use tokio::sync::Notify;

use crate::core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
#[cfg(all(test, seawall_loom))]
use crate::shell::tests::loom::Notify;
use crate::shell::waiters::{WakerSlot, Wakers};

/// What all stripes of a policy, or all keys, have in common.
#[derive(Debug, Default)]
pub(crate) struct DrainState {
    emptied: Notify,
    stage: AtomicU8,
    /// Those who wait for something, and have to hear that the policy is drained.
    wakers: Wakers,
}

/// How far a policy is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// No further call is let in; those inside go on, and may wait.
    Closed = 1,
    /// The same, and whoever waits without an attempt in flight is sent away.
    Stopped = 2,
}

/// The calls in flight in a stripe or under a key.
#[derive(Debug)]
pub(crate) struct Count {
    /// How many, and above that whether it is closed, so that one step tells both.
    word: AtomicUsize,
    drain_state: Arc<DrainState>,
}

/// The sign, which a processor looks at for free.
const CLOSED: usize = !(usize::MAX >> 1);

// ===== impl Count =====

impl Count {
    pub(crate) fn new(drain_state: &Arc<DrainState>) -> Self {
        Self { word: AtomicUsize::new(0), drain_state: Arc::clone(drain_state) }
    }

    pub(super) const fn drain_state(&self) -> &Arc<DrainState> {
        &self.drain_state
    }

    /// A call gets in flight, unless it was closed before. One that comes too late is not counted for
    /// a moment either: whoever waited until nobody was left must not see it.
    #[inline]
    pub(super) fn begin(&self) -> bool {
        let one_more = |word: usize| (word & CLOSED == 0).then(|| word + 1);
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// A call in flight goes on in one more place.
    pub(super) fn join(&self) {
        self.word.fetch_add(1, Ordering::Relaxed);
    }

    /// A call is over.
    #[inline]
    pub(crate) fn leave(&self) {
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        if before & CLOSED != 0 {
            self.leave_closed(before);
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_closed(&self, before: usize) {
        if before == CLOSED | 1 {
            self.drain_state.emptied.notify_waiters();
        }
    }

    /// Lets no further call begin.
    pub(crate) fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// The calls in flight.
    pub(crate) fn begun(&self) -> usize {
        self.word.load(Ordering::Acquire) & !CLOSED
    }
}

// ===== impl DrainState =====

impl DrainState {
    pub(super) fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// Lets nobody in any more. To be called before the counts are closed.
    pub(crate) fn shut(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// Lets all who wait look again.
    pub(crate) fn wake(&self) {
        self.wakers.wake();
    }

    /// Leaves a waker until a stage is reached. Returns `false` if it is.
    pub(super) fn wait(&self, slot: &mut WakerSlot, waker: &Waker, until: Stage) -> bool {
        self.wakers.wait(slot, waker, || !self.is(until))
    }

    pub(super) fn stand_up(&self, slot: &mut WakerSlot) {
        self.wakers.leave(slot);
    }

    /// Returns when `begun` counts none in all that is closed by then.
    pub(crate) async fn emptied(&self, begun: impl Fn() -> usize) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable(); // before the look, or the wake could fall in between
            if begun() == 0 {
                return;
            }
            emptied.await;
        }
    }
}
