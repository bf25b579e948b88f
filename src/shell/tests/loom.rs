//! Every interleaving of a few threads in the gate, the lobby and the relay.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;
use std::task::{Context, Poll, Waker};

use ::loom::future::block_on;
use ::loom::sync::Mutex;
use ::loom::sync::atomic::{AtomicBool, Ordering};
use ::loom::thread;

use crate::shell::in_flight::{Hold, InFlight};
use crate::shell::lock;
use crate::shell::queue::{Standing, WaitQueue};
use crate::shell::waiters::{WakerSlot, Wakers};

::loom::thread_local!(static LANE: Cell<usize> = Cell::new(0));

/// The stripes of a gate.
pub(crate) const STRIPES: usize = 2;

/// The number of this thread, as its test gave it.
pub(crate) fn thread() -> usize {
    LANE.with(Cell::get)
}

/// Gives this thread its number.
pub(crate) fn be_thread(number: usize) {
    LANE.with(|own| own.set(number));
}

/// Runs `model` in every interleaving with at most three preemptions; bugs that need more are rare,
/// and the price is exponential. `LOOM_MAX_PREEMPTIONS` asks for more.
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 100_000;
    let runs = Arc::new(Count::new(0));
    let count = Arc::clone(&runs);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        crate::core::time::still::set(std::time::Duration::ZERO);
        model();
    });
    println!("{} interleavings", runs.load(Ordering::Relaxed));
}

/// What the gate uses of tokio's `Notify`, whose locks are not loom's.
#[derive(Debug, Default)]
pub(crate) struct Notify(Mutex<(u64, Vec<Waker>)>);

#[derive(Debug)]
pub(crate) struct Notified<'a> {
    of: &'a Notify,
    /// How often it rang before this one listened.
    rung: u64,
}

impl Notify {
    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { of: self, rung: lock(&self.0).0 }
    }

    pub(crate) fn notify_waiters(&self) {
        let mut held = lock(&self.0);
        held.0 += 1;
        let wakers = std::mem::take(&mut held.1);
        drop(held);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Notified<'_> {
    pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
        lock(&self.of.0).0 != self.rung
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut held = lock(&self.of.0);
        if held.0 != self.rung {
            return Poll::Ready(());
        }
        held.1.push(cx.waker().clone());
        Poll::Pending
    }
}

// ===== the gate =====

/// Whoever closes it and waits finds nobody inside, and nobody comes after.
#[test]
fn a_closed_gate_empties_for_good() {
    check(|| {
        let gate = Arc::new(InFlight::new(()));
        // Not loom's: the order in which a stripe is left is that of its `Arc`, which loom does not see.
        let inside = Arc::new(Count::new(0));
        let callers = [0, 1].map(|stripe| {
            let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
            thread::spawn(move || {
                be_thread(stripe);
                let Some(mut call) = gate.enter().map(Hold::new) else { return };
                if call.begin(|| false) {
                    inside.fetch_add(1, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
                drop(call.lose());
            })
        });
        gate.close();
        block_on(gate.emptied());
        assert_eq!(inside.load(Ordering::Relaxed), 0);
        assert!(gate.enter().is_none());
        assert_eq!(gate.in_flight(), 0);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(inside.load(Ordering::Relaxed), 0);
    });
}

/// Two who open the same stripe, and one who closes the gate meanwhile.
#[test]
fn nobody_joins_a_call_that_outlives_the_closing() {
    check(|| {
        let gate = Arc::new(InFlight::new(()));
        let mut call = Hold::new(gate.enter().unwrap());
        assert!(call.begin(|| false));
        let other = Arc::clone(&gate);
        let caller = thread::spawn(move || {
            let Some(mut late) = other.enter().map(Hold::new) else { return };
            late.begin(|| false);
            drop(late.lose());
        });
        gate.close();
        assert!((1..=2).contains(&gate.in_flight()), "a call is in flight, or two");
        assert!(gate.enter().is_none(), "who closed it does not get in");
        caller.join().unwrap();
        drop(call.end());
        block_on(gate.emptied());
        assert_eq!(gate.in_flight(), 0);
    });
}

/// Who waits in a line leaves no waker with the gate, and hears of a drain whenever it comes.
#[test]
fn a_drain_is_heard_in_a_line() {
    check(|| {
        let (gate, line) = (Arc::new(InFlight::new(())), Arc::new(WaitQueue::default()));
        let mut call = Hold::new(gate.enter().unwrap());
        let number = line.join(None, 1, || true).unwrap();
        let other = (Arc::clone(&gate), Arc::clone(&line));
        let drain = thread::spawn(move || {
            other.0.stop();
            other.1.wake_all();
        });
        block_on(poll_fn(|cx| {
            if call.begin(|| true) {
                assert_eq!(line.look(&number, cx.waker()), Standing::Waiting);
                if !call.is_stopped() {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        }));
        drain.join().unwrap();
    });
}

// ===== the lobby =====

/// No wake is lost between a look and the wait.
#[test]
fn a_lobby_loses_no_wake() {
    check(|| {
        let wakers = Arc::new(Wakers::default());
        let changed = Arc::new(AtomicBool::new(false));
        let other = (Arc::clone(&wakers), Arc::clone(&changed));
        let changer = thread::spawn(move || {
            other.1.store(true, Ordering::Relaxed);
            other.0.wake();
        });
        let mut slot = WakerSlot::default();
        block_on(poll_fn(|cx| {
            loop {
                if changed.load(Ordering::Relaxed) {
                    return Poll::Ready(());
                }
                let worthwhile = || !changed.load(Ordering::Relaxed);
                if wakers.wait(&mut slot, cx.waker(), worthwhile) {
                    return Poll::Pending;
                }
            }
        }));
        wakers.leave(&mut slot);
        changer.join().unwrap();
    });
}

// ===== the relay =====

#[cfg(feature = "http")]
mod relay {
    use super::*;
    use crate::shell::relay::{Relay, Visit};

    /// Waits for the next of three items, as a body does for its next frame.
    fn next(relay: &Relay<Vec<u32>, u32>, slot: &mut WakerSlot, at: usize) -> Option<u32> {
        block_on(poll_fn(|cx| {
            relay.wait(slot, cx.waker().clone());
            let visit = relay.visit(cx.waker(), |tape| tape.get(at).copied());
            let mut loan = match visit {
                Visit::Found(item) => return Poll::Ready(Some(item)),
                Visit::Gone => return Poll::Ready(None),
                Visit::Lent => return Poll::Pending,
                Visit::Loan(loan) => loan,
            };
            let item = loan.source().map(|next| std::mem::replace(next, *next + 1));
            match item {
                Some(2..) | None => {
                    loan.end(|_| ());
                    relay.ring();
                    Poll::Ready(None)
                }
                Some(item) => {
                    loan.give_back(|tape| tape.push(item));
                    relay.ring();
                    Poll::Ready(Some(item))
                }
            }
        }))
    }

    /// A source that is not ready until it is told, and then gives one item.
    #[derive(Default)]
    struct Spring {
        ready: AtomicBool,
        waker: Mutex<Option<Waker>>,
    }

    impl Spring {
        fn flow(&self) {
            self.ready.store(true, Ordering::Release);
            let waker = lock(&self.waker).take();
            waker.into_iter().for_each(Waker::wake);
        }

        fn poll(&self, waker: Waker) -> Poll<u32> {
            drop(lock(&self.waker).replace(waker));
            if self.ready.load(Ordering::Acquire) { Poll::Ready(7) } else { Poll::Pending }
        }
    }

    fn draw(
        relay: &Relay<Vec<u32>, Arc<Spring>>,
        slot: &mut WakerSlot,
        waker: &Waker,
    ) -> Poll<u32> {
        relay.wait(slot, waker.clone());
        match relay.visit(waker, |tape| tape.first().copied()) {
            Visit::Found(item) => Poll::Ready(item),
            Visit::Gone => panic!("it does not end"),
            Visit::Lent => Poll::Pending,
            Visit::Loan(mut loan) => {
                let polled = loan.source().unwrap().poll(relay.waker());
                match polled {
                    Poll::Ready(item) => {
                        loan.give_back(|tape| tape.push(item));
                        relay.ring();
                    }
                    Poll::Pending => loan.give_back(|_| ()),
                }
                polled
            }
        }
    }

    /// Nobody depends on the one who polled the source last: it may look once and never again.
    #[test]
    fn a_reader_that_looks_away_keeps_nobody_waiting() {
        check(|| {
            let spring = Arc::new(Spring::default());
            let relay = Arc::new(Relay::new(Vec::new(), Arc::clone(&spring)));
            let other = Arc::clone(&relay);
            let glance = thread::spawn(move || {
                let mut slot = WakerSlot::default();
                let _ = draw(&other, &mut slot, Waker::noop());
            });
            let origin = thread::spawn(move || spring.flow());
            let mut slot = WakerSlot::default();
            assert_eq!(block_on(poll_fn(|cx| draw(&relay, &mut slot, cx.waker()))), 7);
            glance.join().unwrap();
            origin.join().unwrap();
        });
    }

    /// Two readers of one source both read all of it, in order, and neither is left waiting.
    #[test]
    fn all_readers_read_it_all() {
        check(|| {
            let relay = Arc::new(Relay::new(Vec::new(), 0));
            let other = Arc::clone(&relay);
            let read = |relay: &Relay<Vec<u32>, u32>| {
                let mut slot = WakerSlot::default();
                let items: Vec<_> = (0..3).map_while(|at| next(relay, &mut slot, at)).collect();
                relay.leave(&mut slot);
                items
            };
            let reader = thread::spawn(move || read(&other));
            assert_eq!(read(&relay), [0, 1]);
            assert_eq!(reader.join().unwrap(), [0, 1]);
        });
    }
}
