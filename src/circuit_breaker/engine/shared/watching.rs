//! For those who watch a machine, or wait for it to change.

use std::sync::Arc;
use std::task::Waker;

use super::{Core, Shared};
use crate::circuit_breaker::machine::Breaker;
use crate::circuit_breaker::params::Params;
use crate::circuit_breaker::transition::State;
use crate::core::sync::atomic::Ordering;
use crate::core::time::Tick;
use crate::shell::lock;
use crate::shell::waiters::WakerSlot;

impl Shared {
    /// Whose machine it is, if it is one of many.
    pub(crate) fn key(&self) -> Option<&Arc<str>> {
        self.key.as_ref()
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.word().state()
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.word().epoch()
    }

    /// The epoch, if calls pass in it for sure, or almost: then the inner service may be awaited.
    #[inline]
    pub(crate) fn passing_epoch(&self) -> Option<u64> {
        let word = self.word();
        word.is_passing().then(|| word.epoch())
    }

    /// Leaves a waker for the next change. Returns `false` if the epoch is not `epoch` any more: look
    /// again instead.
    pub(crate) fn wait(&self, waker_slot: &mut WakerSlot, epoch: u64, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut core = lock(self.core());
        if self.word().epoch() != epoch {
            return false;
        }
        let replaced = core.waiters.get_or_insert_default().wait(waker_slot, waker);
        drop(core);
        drop(replaced);
        true
    }

    /// Leaves a waker for whatever comes next. Who does so asks afterwards.
    pub(crate) fn park(&self, waker_slot: &mut WakerSlot, waker: &Waker) {
        let waker = waker.clone();
        let mut core = lock(self.core());
        let replaced = core.waiters.get_or_insert_default().wait(waker_slot, waker);
        drop(core);
        drop(replaced);
    }

    /// How many changes there were, the state since the last, and the epoch to wait for the next in.
    pub(crate) fn changes(&self) -> (u64, State, u64) {
        let core = lock(self.core()); // so that the three belong together
        let word = self.word();
        (core.changes, word.state(), word.epoch())
    }

    /// Gives the slot of a waiter back.
    #[inline]
    pub(crate) fn leave(&self, waker_slot: &mut WakerSlot) {
        if waker_slot.is_taken() {
            self.stand_up(waker_slot);
        }
    }

    #[inline(never)]
    fn stand_up(&self, waker_slot: &mut WakerSlot) {
        let mut core = lock(self.core());
        let waker = core.waiters.as_mut().and_then(|waiters| waiters.leave(waker_slot));
        drop(core);
        drop(waker);
    }

    // ----- how long a call may take before that counts -----

    /// These settings govern the cell from now on.
    pub(super) fn heed(&self, config: &Params) {
        let overdue_after = Breaker::vigil(config).overdue_after.unwrap_or(u64::MAX);
        self.overdue_after.store(overdue_after, Ordering::Relaxed);
    }

    /// Whether a call that took so long was slow, if anyone cares.
    pub(crate) fn is_overdue(&self, took: u64) -> bool {
        took >= self.overdue_after()
    }

    /// When a call that has been in flight since `started` is overdue, if anyone cares.
    pub(crate) fn overdue_at(&self, started: Tick) -> Option<Tick> {
        let after = self.overdue_after();
        (after != u64::MAX).then(|| started.plus(after))
    }

    fn overdue_after(&self) -> u64 {
        if !self.is_current(self.word()) {
            drop(self.catch_up());
        }
        self.overdue_after.load(Ordering::Relaxed)
    }

    /// Looks at the machine; twice, if it takes its first step meanwhile.
    pub(crate) fn inspect<T>(&self, look: impl Fn(&mut Breaker, &Params, Tick) -> T) -> T {
        if self.core.get().is_none() {
            let config = self.common.params(self.key.as_deref());
            let seen = look(&mut Breaker::new(&config), &config, self.common.reporter.clock.now());
            // Whoever publishes a step has made the core before: what was seen is not half of each.
            if self.core.get().is_none() {
                return seen;
            }
        }
        let mut core = self.catch_up();
        let now = core.tick(self.common.reporter.clock.now());
        let Core { machine, config, .. } = &mut *core;
        look(machine, config, now)
    }
}
