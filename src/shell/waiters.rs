//! A slab of wakers: one slot a waiting handle, which it owns and gives back. Each belongs to a service or
//! another object of a user's, so that their number has no other bound and leaves nothing behind.

use std::fmt;
use std::task::Waker;

use crate::core::sync::Mutex;
use crate::shell::lock;

/// So many slots are kept when nobody waits any more.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Where the last wake ended, so that the next goes on from there.
    cursor: usize,
}

#[derive(Debug)]
struct Slot {
    waker: Option<Waker>,
    /// Its holder waits for changes, and has no use for a slot that came free.
    watches: bool,
}

/// The slot of one handle. Whoever holds it must give it back.
#[derive(Debug, Default)]
pub struct WakerSlot {
    index: Option<u32>,
    watches: bool,
}

impl WakerSlot {
    /// The slot of one who waits for changes only. Each belongs to an object of a user's, so their
    /// number has no other bound.
    pub(crate) const fn of_watch() -> Self {
        Self { index: None, watches: true }
    }

    #[inline]
    pub(crate) const fn is_taken(&self) -> bool {
        self.index.is_some()
    }
}

impl Waiters {
    /// Leaves a waker; only the latest of a slot counts. Returns the one it replaces, to be
    /// dropped after the unlock, for dropping a waker runs foreign code.
    pub(crate) fn wait(&mut self, waker_slot: &mut WakerSlot, waker: Waker) -> Option<Waker> {
        let index = match waker_slot.index {
            Some(index) => index,
            None => match self.free.pop() {
                Some(index) => index,
                None => {
                    let Ok(index) = u32::try_from(self.slots.len()) else { return Some(waker) };
                    self.slots.push(Slot { waker: None, watches: false });
                    index
                }
            },
        };
        waker_slot.index = Some(index);
        let slot = &mut self.slots[index as usize];
        slot.watches = waker_slot.watches;
        slot.waker.replace(waker)
    }

    pub(crate) fn leave(&mut self, waker_slot: &mut WakerSlot) -> Option<Waker> {
        let index = waker_slot.index.take()?;
        self.free.push(index);
        let waker = self.slots[index as usize].waker.take();
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            *self = Self::default();
        }
        waker
    }

    /// Takes the wakers of all, who should look again; to be woken after the unlock.
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        self.take(usize::MAX, |_| true)
    }

    /// The same of so many, but of none that waits for changes only.
    pub(crate) fn take_some(&mut self, most: u32) -> Vec<Waker> {
        self.take(most as usize, |slot| !slot.watches)
    }

    fn take(&mut self, most: usize, is_meant: impl Fn(&Slot) -> bool) -> Vec<Waker> {
        let mut taken = Vec::new();
        for _ in 0..self.slots.len() {
            if taken.len() >= most {
                break;
            }
            self.cursor = (self.cursor + 1) % self.slots.len();
            let slot = &mut self.slots[self.cursor];
            if is_meant(slot) {
                taken.extend(slot.waker.take());
            }
        }
        taken
    }
}

/// A slab of wakers for a policy whose state needs no lock.
#[derive(Default)]
pub(crate) struct Wakers(Mutex<Waiters>);

impl Wakers {
    /// Leaves a waker. Returns `false` if `worthwhile` says that there is nothing to wait for any
    /// more: look again instead. Who changes that calls [`wake`](Self::wake) afterwards, so that no
    /// wake falls in between.
    pub(crate) fn wait(
        &self,
        waker_slot: &mut WakerSlot,
        waker: &Waker,
        worthwhile: impl FnOnce() -> bool,
    ) -> bool {
        let waker = waker.clone();
        let mut waiters = lock(&self.0);
        if !worthwhile() {
            return false;
        }
        let replaced = waiters.wait(waker_slot, waker);
        drop(waiters);
        drop(replaced);
        true
    }

    /// Gives the slot of a waiter back.
    pub(crate) fn leave(&self, waker_slot: &mut WakerSlot) {
        if waker_slot.is_taken() {
            let waker = lock(&self.0).leave(waker_slot);
            drop(waker); // after the unlock
        }
    }

    /// Lets everyone look again.
    pub(crate) fn wake(&self) {
        let wakers = lock(&self.0).take_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Wakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_waker_of_a_seat_counts_and_a_seat_is_given_back() {
        let mut waiters = Waiters::default();
        let mut waker_slots: Vec<_> = (0..3).map(|_| WakerSlot::default()).collect();
        for waker_slot in &mut waker_slots {
            assert!(waiters.wait(waker_slot, Waker::noop().clone()).is_none());
            assert!(waiters.wait(waker_slot, Waker::noop().clone()).is_some());
        }
        assert!(waiters.leave(&mut waker_slots[1]).is_some());
        assert_eq!(waiters.take_some(1).len(), 1);
        assert_eq!(waiters.take_all().len(), 1);
        assert_eq!(waiters.take_all().len(), 0);
        for waker_slot in &mut waker_slots {
            waiters.leave(waker_slot);
        }
        assert_eq!(waiters.free.len(), waiters.slots.len());
    }

    // pitfall B24
    #[test]
    fn the_slab_is_as_large_as_the_number_of_those_who_wait() {
        let mut waiters = Waiters::default();
        for _ in 0..3 {
            let mut waker_slots: Vec<_> = (0..10_000).map(|_| WakerSlot::default()).collect();
            for waker_slot in &mut waker_slots {
                assert!(waiters.wait(waker_slot, Waker::noop().clone()).is_none());
            }
            assert_eq!(waiters.take_all().len(), waker_slots.len());
            for waker_slot in &mut waker_slots {
                assert_eq!(waiters.slots.len(), 10_000);
                waiters.leave(waker_slot);
            }
            assert_eq!((waiters.slots.capacity(), waiters.free.capacity()), (0, 0));
        }
    }
}
