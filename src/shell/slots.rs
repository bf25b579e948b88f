//! Those who wait for a time of their own, in order. When one gives up, those behind it move up.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::task::Waker;

use crate::core::sync::{Mutex, MutexGuard};
use crate::shell::lock;

/// Room for so many is kept when nobody waits.
const KEPT: usize = 64;

/// A queue in which everyone knows when its turn comes, in the unit of whoever uses it. It is made when
/// the first one waits: most of many keys never have one that does.
#[derive(Debug, Default)]
pub(crate) struct Slots(OnceLock<Box<Mutex<Queue>>>);

#[derive(Debug, Default)]
struct Queue {
    /// In the order in which they came, which is that of their times.
    slots: VecDeque<Slot>,
    next: u64,
    /// How many have moved and not looked since.
    moved: usize,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    times: Times,
    waker: Option<Waker>,
    /// Its time came nearer, and it has not looked since.
    moved: bool,
}

/// When the turn of one who waits is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Where it ends: the next begins no sooner.
    pub(crate) end: u64,
    /// How much earlier those behind come if this one gives up.
    pub(crate) width: u64,
    /// How long before its end its turn is; it may be longer than there was time before.
    pub(crate) lead: u64,
}

impl Times {
    pub(crate) const fn at(&self) -> u64 {
        self.end.saturating_sub(self.lead)
    }
}

/// A place in the queue, which its holder must give back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// What one who waits finds when it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Its turn has come, and its place is given back.
    Come,
    /// Its turn comes then; or earlier, if somebody before it gives up.
    At(u64),
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(self.0.get_or_init(Box::default))
    }

    /// Stands at the end. `take` is told how many wait, under the lock, and says when its turn is, or
    /// that it does not wait after all. Returns its place, and when its turn is as of now.
    pub(crate) fn join<E>(
        &self,
        take: impl FnOnce(usize) -> Result<Times, E>,
    ) -> Result<(Ticket, u64), E> {
        let mut queue = self.lock();
        let times = take(queue.slots.len())?;
        let number = queue.next;
        queue.next += 1;
        queue.slots.push_back(Slot { number, times, waker: None, moved: false });
        Ok((Ticket(number), times.at()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.get().map_or(0, |queue| lock(queue).slots.len())
    }

    /// When the turn of a ticket is.
    pub(crate) fn at(&self, ticket: &Ticket) -> u64 {
        let queue = self.lock();
        queue.find(ticket).map_or(0, |index| queue.slots[index].times.at())
    }

    /// Whether its turn has come. If so, its place is given back; if not, its waker is left, for when
    /// it comes nearer.
    pub(crate) fn poll(&self, ticket: &Ticket, now: u64, waker: &Waker) -> Look {
        let waker = waker.clone(); // foreign code, before the lock
        let mut queue = self.lock();
        let Some(index) = queue.find(ticket) else { return Look::Come };
        let slot = &mut queue.slots[index];
        let at = slot.times.at();
        if at > now {
            let has_moved = std::mem::replace(&mut slot.moved, false);
            let replaced = slot.waker.replace(waker);
            queue.moved -= usize::from(has_moved);
            drop(queue);
            drop(replaced); // after the unlock
            return Look::At(at);
        }
        let gone = queue.remove(index);
        drop(queue);
        gone.tell();
        Look::Come
    }

    /// Gives a place up. `free` is told when its turn is, and says how much earlier those behind come
    /// now. It runs under the lock.
    /// Returns whether it was there.
    pub(crate) fn leave(&self, ticket: &Ticket, free: impl FnOnce(Times) -> u64) -> bool {
        let mut queue = self.lock();
        let Some(index) = queue.find(ticket) else { return false };
        let freed = free(queue.slots[index].times);
        queue.advance(index + 1, freed);
        let gone = queue.remove(index);
        drop(queue);
        gone.tell();
        true
    }

    /// Lets all come earlier, by what `free` says. It runs under the lock.
    pub(crate) fn advance(&self, free: impl FnOnce() -> u64) {
        let mut queue = self.lock();
        let freed = free();
        queue.advance(0, freed);
        let next = queue.wake_from(0);
        drop(queue);
        Gone { own: None, next }.tell();
    }

    /// Lets everyone look again.
    pub(crate) fn wake_all(&self) {
        let Some(queue) = self.0.get() else { return };
        let mut queue = lock(queue);
        let wakers: Vec<_> = queue.slots.iter_mut().filter_map(|slot| slot.waker.take()).collect();
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives a new time to everyone whose turn has not come by `now`, from first to last. `change` runs
    /// under the lock.
    pub(crate) fn retime(&self, now: u64, change: impl FnOnce(&mut [Times])) {
        let mut queue = self.lock();
        let due = queue.slots.iter().take_while(|slot| slot.times.at() <= now).count();
        let mut times: Vec<_> = queue.slots.iter().skip(due).map(|slot| slot.times).collect();
        change(&mut times);
        for (slot, times) in queue.slots.iter_mut().skip(due).zip(times) {
            slot.times = times;
        }
        queue.note_moved(due);
        let next = queue.wake_from(0);
        drop(queue);
        Gone { own: None, next }.tell();
    }
}

impl Queue {
    fn find(&self, ticket: &Ticket) -> Option<usize> {
        self.slots.binary_search_by_key(&ticket.0, |slot| slot.number).ok()
    }

    fn advance(&mut self, from: usize, by: u64) {
        if by != 0 {
            for slot in self.slots.iter_mut().skip(from) {
                slot.times.end = slot.times.end.saturating_sub(by);
            }
            self.note_moved(from);
        }
    }

    fn note_moved(&mut self, from: usize) {
        for slot in self.slots.iter_mut().skip(from) {
            self.moved += usize::from(!std::mem::replace(&mut slot.moved, true));
        }
    }

    fn remove(&mut self, index: usize) -> Gone {
        let left = self.slots.remove(index);
        self.moved -= usize::from(left.as_ref().is_some_and(|slot| slot.moved));
        if self.slots.is_empty() {
            self.slots.shrink_to(KEPT);
        }
        Gone { own: left.and_then(|slot| slot.waker), next: self.wake_from(index) }
    }

    /// The first from here that has to look again. It sees to the next when it leaves.
    fn wake_from(&mut self, index: usize) -> Option<Waker> {
        if self.moved == 0 {
            return None; // most leave when it is their turn, and nobody moves
        }
        let mut behind = self.slots.iter_mut().skip(index);
        behind.find(|slot| slot.moved && slot.waker.is_some()).and_then(|slot| slot.waker.take())
    }
}

/// One has left, and another has to look again.
struct Gone {
    own: Option<Waker>,
    next: Option<Waker>,
}

impl Gone {
    /// To be called after the unlock.
    fn tell(self) {
        drop(self.own);
        if let Some(next) = self.next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct CountingWaker(AtomicU32);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn queue_of(times: &[u64]) -> (Slots, Vec<Ticket>) {
        let slots = Slots::default();
        let turn = |at: u64| Times { end: at + 10, width: 10, lead: 10 };
        let join = |at: &u64| slots.join(|_| Ok::<_, ()>(turn(*at))).expect("there is room").0;
        let tickets = times.iter().map(join).collect();
        (slots, tickets)
    }

    #[test]
    fn each_passes_at_its_time_and_not_before() {
        let (slots, tickets) = queue_of(&[10, 20]);
        assert_eq!(slots.poll(&tickets[0], 9, Waker::noop()), Look::At(10));
        assert_eq!(slots.poll(&tickets[0], 10, Waker::noop()), Look::Come);
        assert_eq!(slots.poll(&tickets[1], 19, Waker::noop()), Look::At(20));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn whoever_is_behind_one_that_gives_up_moves_up_and_each_wakes_the_next() {
        let (slots, tickets) = queue_of(&[10, 20, 30, 40]);
        let wakers: Vec<Arc<CountingWaker>> = tickets.iter().map(|_| Arc::default()).collect();
        for (ticket, task) in tickets.iter().zip(&wakers) {
            assert_ne!(slots.poll(ticket, 0, &Waker::from(Arc::clone(task))), Look::Come);
        }
        slots.leave(&tickets[1], |times| {
            assert_eq!((times.at(), times.width), (20, 10));
            times.width
        });
        assert_eq!([0, 2, 3].map(|nth| slots.at(&tickets[nth])), [10, 20, 30]);
        let rung = |wakers: &[Arc<CountingWaker>]| {
            wakers.iter().map(|b| b.0.load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        assert_eq!(rung(&wakers), [0, 0, 1, 0]);
        assert_eq!(slots.poll(&tickets[2], 20, Waker::noop()), Look::Come);
        assert_eq!(rung(&wakers), [0, 0, 1, 1]);
    }

    #[test]
    fn what_frees_nothing_moves_nobody() {
        let (slots, tickets) = queue_of(&[10, 20]);
        slots.leave(&tickets[0], |_| 0);
        assert_eq!(slots.at(&tickets[1]), 20);
        slots.advance(|| 5);
        assert_eq!(slots.at(&tickets[1]), 15);
    }
}
