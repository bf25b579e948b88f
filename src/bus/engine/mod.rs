//! A topic under traffic: its lock, and the wakers of those who wait. What is dropped or woken is so after the unlock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use super::envelope::Envelope;
use super::machine::{self, Published, Taken, Topic, WhenSlow};
use crate::core::sync::Mutex;
use crate::core::sync::atomic::{AtomicUsize, Ordering};
use crate::core::time::{Clock, Tick};
use crate::shell::lock;

/// The bit that says that a topic is closed; above it the number of its readers.
const CLOSED: usize = 1;
const ONE: usize = 2;

pub(super) struct Shared<E> {
    state: AtomicUsize,
    clock: Clock,
    inner: Mutex<Inner<E>>,
}

struct Inner<E> {
    topic: Topic<Arc<Envelope<E>>>,
    /// Of readers that wait for an event.
    readers: Vec<Option<Waker>>,
    waiting: usize,
    /// Of publishers that wait for a reader.
    line: BTreeMap<u64, Waker>,
}

/// What publishing has to wait for.
pub(super) struct Held<E> {
    pub(super) event: Arc<Envelope<E>>,
    pub(super) ticket: u64,
    pub(super) until: Tick,
}

/// What became of an event.
pub(super) enum Sent<E> {
    Done,
    Held(Held<E>),
    Closed,
}

impl<E> Shared<E> {
    pub(super) fn new(capacity: usize) -> Self {
        let inner = Inner {
            topic: Topic::new(capacity),
            readers: Vec::new(),
            waiting: 0,
            line: BTreeMap::new(),
        };
        Self { state: AtomicUsize::new(0), clock: Clock::start(), inner: Mutex::new(inner) }
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether nobody would read an event, and nobody has to be told so.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(super) fn readers(&self) -> usize {
        self.state.load(Ordering::Acquire) / ONE
    }

    pub(super) fn subscribe(&self, when: WhenSlow) -> usize {
        let mut inner = lock(&self.inner);
        let reader = inner.topic.subscribe(when);
        if inner.readers.len() <= reader {
            inner.readers.resize_with(reader + 1, || None);
        }
        self.state.fetch_add(ONE, Ordering::AcqRel);
        reader
    }

    pub(super) fn unsubscribe(&self, reader: usize) {
        let mut inner = lock(&self.inner);
        let displaced = inner.topic.unsubscribe(reader);
        self.state.fetch_sub(ONE, Ordering::AcqRel);
        let waker = inner.readers[reader].take();
        inner.waiting -= usize::from(waker.is_some());
        if inner.topic.readers() == 0 {
            inner.readers = Vec::new();
        }
        let next = inner.next_publisher(&self.clock);
        drop(inner);
        next.into_iter().for_each(Waker::wake);
        drop((displaced, waker));
    }

    /// Publishes, if no reader holds it up. With `waker` it stands in the line if one does, until [`leave`](Self::leave).
    pub(super) fn publish(
        &self,
        event: Arc<Envelope<E>>,
        ticket: Option<u64>,
        waker: Option<&Waker>,
    ) -> Sent<E> {
        let waker = waker.cloned();
        let mut inner = lock(&self.inner);
        let now = if inner.topic.needs_clock() { self.clock.now() } else { Tick::ZERO };
        match inner.topic.publish(event, ticket, now) {
            Published::Done { displaced, .. } if inner.waiting == 0 && !inner.topic.has_line() => {
                let mine = ticket.and_then(|ticket| inner.line.remove(&ticket));
                drop(inner);
                drop((displaced, mine));
                Sent::Done
            }
            Published::Done { displaced, .. } => {
                let next = match ticket {
                    Some(ticket) => inner.line.remove(&ticket),
                    None => None,
                };
                let (first, more) = inner.wake_readers();
                let publisher = inner.next_publisher(&self.clock);
                let passed = inner.take_passed();
                drop(inner);
                let publishers = publisher.into_iter().chain(passed);
                first.into_iter().chain(more).chain(publishers).for_each(Waker::wake);
                drop((displaced, next));
                Sent::Done
            }
            Published::Held(event, machine::Held { ticket, until, has_cut, has_passed }) => {
                let replaced = match waker {
                    Some(waker) => inner.line.insert(ticket, waker),
                    None => {
                        inner.topic.leave(ticket);
                        None
                    }
                };
                let readers = if has_cut { inner.wake_readers() } else { (None, Vec::new()) };
                let is_other = has_cut || has_passed;
                let publisher = if is_other { inner.next_publisher(&self.clock) } else { None };
                let passed = inner.take_passed();
                drop(inner);
                let publishers = publisher.into_iter().chain(passed);
                readers.0.into_iter().chain(readers.1).chain(publishers).for_each(Waker::wake);
                drop(replaced);
                Sent::Held(Held { event, ticket, until })
            }
            Published::Closed(event) => {
                let mine = ticket.and_then(|ticket| inner.line.remove(&ticket));
                drop(inner);
                drop((event, mine));
                Sent::Closed
            }
        }
    }

    /// A publisher waits no longer; the next in line may go.
    pub(super) fn leave(&self, ticket: u64) {
        let mut inner = lock(&self.inner);
        inner.topic.leave(ticket);
        let mine = inner.line.remove(&ticket);
        let next = inner.next_publisher(&self.clock);
        drop(inner);
        next.into_iter().for_each(Waker::wake);
        drop(mine);
    }

    /// The next for a reader. If there is nothing, it is woken when there is.
    pub(super) fn take(&self, reader: usize, waker: &Waker) -> (Taken<Arc<Envelope<E>>>, u64) {
        let mut inner = lock(&self.inner);
        let taken = inner.take(reader);
        if !matches!(taken.0, Taken::Nothing) {
            let next = inner.next_publisher(&self.clock);
            drop(inner);
            next.into_iter().for_each(Waker::wake);
            return taken;
        }
        drop(inner);
        let waker = waker.clone(); // foreign code: not under the lock
        let mut inner = lock(&self.inner);
        let taken = inner.take(reader);
        if !matches!(taken.0, Taken::Nothing) {
            let next = inner.next_publisher(&self.clock);
            drop(inner);
            next.into_iter().for_each(Waker::wake);
            return taken;
        }
        let replaced = inner.readers[reader].replace(waker);
        inner.waiting += usize::from(replaced.is_none());
        drop(inner);
        drop(replaced);
        taken
    }

    pub(super) fn lag(&self, reader: usize) -> u64 {
        lock(&self.inner).topic.lag(reader)
    }

    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
        inner.topic.close();
        let (first, more) = inner.wake_readers();
        let publishers = std::mem::take(&mut inner.line);
        drop(inner);
        first.into_iter().chain(more).chain(publishers.into_values()).for_each(Waker::wake);
    }
}

impl<E> Inner<E> {
    fn take(&mut self, reader: usize) -> (Taken<Arc<Envelope<E>>>, u64) {
        (self.topic.take(reader), self.topic.lag(reader))
    }

    /// The wakers of all readers that wait: mostly none or one.
    fn wake_readers(&mut self) -> (Option<Waker>, Vec<Waker>) {
        if self.waiting == 0 {
            return (None, Vec::new());
        }
        self.waiting = 0;
        let mut wakers = self.readers.iter_mut().filter_map(Option::take);
        (wakers.next(), wakers.collect())
    }

    /// The wakers of publishers that were passed just now: if they are polled, they are in their places again.
    fn take_passed(&mut self) -> Vec<Waker> {
        let passed = self.topic.take_passed();
        passed.into_iter().filter_map(|ticket| self.line.remove(&ticket)).collect()
    }

    /// The waker of the publisher whose turn it is, if any waits.
    fn next_publisher(&mut self, clock: &Clock) -> Option<Waker> {
        if !self.topic.has_line() {
            return None;
        }
        let first = self.topic.call(clock.now())?;
        self.line.remove(&first)
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;
    use crate::bus::line::TURN;
    use std::sync::atomic::AtomicUsize as Count;
    use std::task::Wake;
    use std::time::Duration;

    #[derive(Default)]
    struct Wakes(Count);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Who is passed although it was never woken is woken then: it may have no timer that would do it.
    #[tokio::test(start_paused = true)]
    async fn who_is_passed_is_woken() {
        let shared = Shared::new(1);
        let reader = shared.subscribe(WhenSlow::Hold(Duration::MAX));
        let event = || Arc::new(Envelope::new(0));
        assert!(matches!(shared.publish(event(), None, None), Sent::Done));
        let waits = [(); 2].map(|()| Arc::<Wakes>::default());
        let woken = || waits.each_ref().map(|wakes| wakes.0.load(Ordering::Relaxed));
        for wakes in &waits {
            let held = shared.publish(event(), None, Some(&Waker::from(Arc::clone(wakes))));
            assert!(matches!(held, Sent::Held(_)));
        }
        tokio::time::advance(Duration::from_nanos(1)).await;
        shared.take(reader, Waker::noop());
        assert_eq!(woken(), [1, 0]);
        tokio::time::advance(Duration::from_nanos(TURN)).await;
        assert!(matches!(shared.publish(event(), None, None), Sent::Done)); // past both
        assert_eq!(woken(), [1, 1]);
    }
}
