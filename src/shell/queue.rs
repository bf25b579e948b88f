//! Those who wait for a permit, in order: a slab of linked slots, so that everyone can leave from
//! anywhere in constant time, and nothing is allocated once the slab has grown.

use std::task::Waker;

use tokio::time::Instant;

use crate::core::sync::Mutex;
use crate::core::time;
use crate::shell::lock;

const NONE: u32 = u32::MAX;

/// A bounded queue; who uses it bounds it.
#[derive(Debug)]
pub(crate) struct Queue {
    slots: Vec<Slot>,
    /// The first of the free slots, which are linked through `next`.
    free: u32,
    oldest: u32,
    newest: u32,
}

#[derive(Debug)]
struct Slot {
    fate: Fate,
    /// Towards the newest.
    next: u32,
    /// Towards the oldest.
    before: u32,
    /// How many permits it needs.
    cost: u32,
    /// They are of no use to this one from then on.
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Fate {
    Free,
    Waiting(Option<Waker>),
    /// Has a place, and was told so.
    Placed,
    /// Its deadline had passed when its turn came.
    Expired,
    /// It needs more than there ever is.
    Barred,
}

/// A slot in the queue, which its holder must give back.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(u32);

/// How the one with a number fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    Placed,
    Expired,
    Barred,
}

impl Default for Queue {
    fn default() -> Self {
        Self { slots: Vec::new(), free: NONE, oldest: NONE, newest: NONE }
    }
}

impl Queue {
    /// Stands at the end.
    pub(crate) fn join(&mut self, deadline: Option<Instant>, cost: u32) -> Ticket {
        let (fate, before) = (Fate::Waiting(None), self.newest);
        let slot = Slot { fate, next: NONE, before, cost, deadline };
        let index = if self.free == NONE {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.slots[index as usize].next;
            self.slots[index as usize] = slot;
            index
        };
        match self.newest {
            NONE => self.oldest = index,
            newest => self.slots[newest as usize].next = index,
        }
        self.newest = index;
        Ticket(index)
    }

    /// Leaves a waker, if there is still something to wait for. The waker it replaces is to be
    /// dropped after the unlock, for dropping a waker runs foreign code.
    pub(crate) fn look(&mut self, number: &Ticket, waker: Waker) -> (Standing, Option<Waker>) {
        let standing = match &mut self.slots[number.0 as usize].fate {
            Fate::Waiting(held) => return (Standing::Waiting, held.replace(waker)),
            Fate::Placed => Standing::Placed,
            Fate::Barred => Standing::Barred,
            Fate::Expired | Fate::Free => Standing::Expired,
        };
        (standing, Some(waker))
    }

    /// Gives a number back, and says how its holder fared. Its waker is to be dropped after the
    /// unlock.
    pub(crate) fn leave(&mut self, number: &Ticket) -> (Standing, Option<Waker>) {
        let fate = std::mem::replace(&mut self.slots[number.0 as usize].fate, Fate::Free);
        let (standing, waker) = match fate {
            Fate::Waiting(waker) => {
                self.unlink(number.0);
                (Standing::Waiting, waker)
            }
            Fate::Placed => (Standing::Placed, None),
            Fate::Barred => (Standing::Barred, None),
            Fate::Expired | Fate::Free => (Standing::Expired, None),
        };
        self.slots[number.0 as usize].next = self.free;
        self.free = number.0;
        (standing, waker)
    }

    /// Calls the next one: `true` if it has the place, `false` if it came too late for it. Its waker
    /// is to be woken after the unlock. `None`: nobody waits.
    pub(crate) fn call_next(
        &mut self,
        newest_first: bool,
        now: impl FnOnce() -> Instant,
    ) -> Option<(bool, Option<Waker>)> {
        let index = if newest_first { self.newest } else { self.oldest };
        if index == NONE {
            return None;
        }
        self.unlink(index);
        let slot = &mut self.slots[index as usize];
        let in_time = slot.deadline.is_none_or(|deadline| now() < deadline);
        let fate = if in_time { Fate::Placed } else { Fate::Expired };
        match std::mem::replace(&mut slot.fate, fate) {
            Fate::Waiting(waker) => Some((in_time, waker)),
            _ => Some((in_time, None)),
        }
    }

    /// What the next one needs; nothing, if nobody waits.
    pub(crate) fn next_cost(&self, newest_first: bool) -> u32 {
        let index = if newest_first { self.newest } else { self.oldest };
        self.slots.get(index as usize).map_or(0, |slot| slot.cost)
    }

    /// Sends those away who need more than `limit`: what comes is how many, and their wakers, which are
    /// to be woken after the unlock.
    pub(crate) fn bar(&mut self, limit: u32) -> (usize, Vec<Waker>) {
        let (mut index, mut many, mut wakers) = (self.oldest, 0, Vec::new());
        while index != NONE {
            let Slot { next, cost, .. } = self.slots[index as usize];
            if cost > limit {
                self.unlink(index);
                let slot = &mut self.slots[index as usize];
                if let Fate::Waiting(waker) = std::mem::replace(&mut slot.fate, Fate::Barred) {
                    wakers.extend(waker);
                }
                many += 1;
            }
            index = next;
        }
        (many, wakers)
    }

    fn unlink(&mut self, index: u32) {
        let Slot { next, before, .. } = self.slots[index as usize];
        match before {
            NONE => self.oldest = next,
            before => self.slots[before as usize].next = next,
        }
        match next {
            NONE => self.newest = before,
            next => self.slots[next as usize].before = before,
        }
    }
}

// ===== impl WaitQueue =====

/// A queue that many threads share, and that changes together with a count that its user keeps.
/// Each `step` is taken under the lock, so that the two agree; no user code runs in one.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue(Mutex<Queue>);

impl WaitQueue {
    /// Stands at the end, if `step` says so.
    pub(crate) fn join(
        &self,
        deadline: Option<Instant>,
        cost: u32,
        step: impl FnOnce() -> bool,
    ) -> Option<Ticket> {
        let mut queue = lock(&self.0);
        step().then(|| queue.join(deadline, cost))
    }

    /// Sends those away who need more than `limit`, with a `step` for each.
    pub(crate) fn bar(&self, limit: impl FnOnce() -> u32, mut step: impl FnMut()) {
        let mut queue = lock(&self.0);
        let (many, wakers) = queue.bar(limit());
        (0..many).for_each(|_| step());
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How one who waits fares. Unless it goes on waiting, its number is given back.
    pub(crate) fn look(&self, number: &Ticket, waker: &Waker) -> Standing {
        let waker = waker.clone(); // foreign code, before the lock
        let mut queue = lock(&self.0);
        let (standing, replaced) = queue.look(number, waker);
        if standing != Standing::Waiting {
            queue.leave(number);
        }
        drop(queue);
        drop(replaced);
        standing
    }

    /// Lets everyone look again.
    pub(crate) fn wake_all(&self) {
        let mut queue = lock(&self.0);
        let waiting = queue.slots.iter_mut().filter_map(|slot| match &mut slot.fate {
            Fate::Waiting(waker) => waker.take(),
            _ => None,
        });
        let wakers: Vec<_> = waiting.collect();
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives a number back, with a `step` if its holder was still waiting.
    pub(crate) fn leave(&self, number: &Ticket, step: impl FnOnce()) -> Standing {
        let mut queue = lock(&self.0);
        let (standing, waker) = queue.leave(number);
        if standing == Standing::Waiting {
            step();
        }
        drop(queue);
        drop(waker);
        standing
    }

    /// Calls the next one, if `step` says that there is room for what it needs, and the ones after it as
    /// long as it says so. What a step is told is what the next one needs, and what came of the one
    /// before: nobody was called yet, or it came in, or it came too late for what it was given.
    pub(crate) fn call(&self, newest_first: bool, mut step: impl FnMut(Before, u32) -> bool) {
        let mut wakers = Wakers::default();
        let mut queue = lock(&self.0);
        let mut before = Before::Nobody;
        loop {
            let cost = queue.next_cost(newest_first);
            if !step(before, cost) {
                break;
            }
            before = match queue.call_next(newest_first, time::now) {
                Some((in_time, waker)) => {
                    wakers.add(waker);
                    if in_time { Before::InTime } else { Before::TooLate(cost) }
                }
                None => Before::TooLate(cost), // unreachable: the count is that of the queue
            };
        }
        drop(queue);
        wakers.wake();
    }
}

/// What came of the one who was called before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before {
    Nobody,
    InTime,
    /// It does not need the places that it was given.
    TooLate(u32),
}

/// Those to be woken after the unlock; hardly ever more than one.
#[derive(Default)]
struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakers {
    fn add(&mut self, waker: Option<Waker>) {
        match &self.first {
            None => self.first = waker,
            Some(_) => self.more.extend(waker),
        }
    }

    fn wake(self) {
        self.first.into_iter().chain(self.more).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn it_is_a_queue_that_anyone_may_leave(
            ops in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..300)
        ) {
            let (mut queue, mut oracle) = (Queue::default(), VecDeque::new());
            let (mut placed, mut waiting, mut id) = (Vec::new(), Vec::new(), 0_u32);
            for (op, which) in ops {
                match op {
                    0 => {
                        waiting.push((id, queue.join(None, 1)));
                        oracle.push_back(id);
                        id += 1;
                    }
                    1 if !waiting.is_empty() => {
                        let (id, number) = waiting.swap_remove(which.index(waiting.len()));
                        oracle.retain(|waiter| *waiter != id);
                        prop_assert_eq!(queue.leave(&number).0, Standing::Waiting);
                    }
                    2 | 3 => {
                        let next = if op == 3 { oracle.pop_back() } else { oracle.pop_front() };
                        let called = queue.call_next(op == 3, crate::core::time::now);
                        prop_assert_eq!(called.is_some(), next.is_some());
                        if let Some(next) = next {
                            let at = waiting.iter().position(|(id, _)| *id == next).expect("it waits");
                            placed.push(waiting.swap_remove(at).1);
                        }
                    }
                    _ => {}
                }
            }
            for (_, number) in &waiting {
                prop_assert_eq!(queue.leave(number).0, Standing::Waiting);
            }
            for number in &placed {
                prop_assert_eq!(queue.leave(number).0, Standing::Placed);
            }
            prop_assert_eq!((queue.oldest, queue.newest), (NONE, NONE));
        }
    }
}
