//! The gate of a policy: counts the calls in flight, and can be closed for good.
//!
//! A call has to own its policy anyway, for its future may outlive the service it came from. So the
//! reference count is the count of calls, spread over a few stripes, so that threads do not fight
//! over one cache line. A call that was made is in flight once it is polled; that is counted beside
//! it, for a drain waits for what is in flight, and not for a future that nobody ever polls. When the
//! gate is closed the stripes are too: the last call that leaves one tells whoever waits for the policy
//! to empty. No polling.

#[cfg(not(all(test, seawall_loom)))]
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use self::stays::Stays;
use crate::core::sync::Mutex;
#[cfg(not(all(test, seawall_loom)))]
use crate::core::sync::atomic::AtomicUsize;
use crate::core::sync::atomic::{AtomicBool, Ordering};
use crate::shell::lock;

mod drain_state;
mod hold;
mod stays;

pub(crate) use hold::{Hold, Parked};

use drain_state::{Count, DrainState, Stage};

/// A power of two. More stripes do not pay.
#[cfg(not(all(test, seawall_loom)))]
const STRIPES: usize = 16;

/// The way into a policy.
pub(crate) struct InFlight<P> {
    policy: Arc<P>,
    /// Each made when a thread first needs it.
    stripes: [OnceLock<Arc<Stripe<P>>>; STRIPES],
    closed: AtomicBool,
    /// Stripes are not made while the gate is closed.
    making: Mutex<()>,
    drain_state: Arc<DrainState>,
}

/// One stripe of a policy's reference count. Aligned so that no two counts share a cache line, nor
/// a pair of lines that is fetched together.
#[repr(align(128))]
pub(crate) struct Stripe<P> {
    policy: Arc<P>,
    count: Count,
    /// Of calls of which several parts are over later than their answers.
    stays: Mutex<Stays>,
}

// ===== impl InFlight =====

impl<P> InFlight<P> {
    pub(crate) fn new(policy: P) -> Self {
        Self {
            policy: Arc::new(policy),
            stripes: [const { OnceLock::new() }; STRIPES],
            closed: AtomicBool::new(false),
            making: Mutex::default(),
            drain_state: Arc::default(),
        }
    }

    /// What a call holds from when it is made; `None` once the gate is closed.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Arc<Stripe<P>>> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let stripe = &self.stripes[thread() % STRIPES];
        match stripe.get() {
            Some(stripe) => Some(Arc::clone(stripe)),
            None => self.open(stripe),
        }
    }

    #[cold]
    fn open(&self, stripe: &OnceLock<Arc<Stripe<P>>>) -> Option<Arc<Stripe<P>>> {
        let making = lock(&self.making);
        // Under the lock: whoever closes says so first, and closes the stripes there are under it.
        if self.is_closed() {
            return None;
        }
        let (policy, count) = (Arc::clone(&self.policy), Count::new(&self.drain_state));
        let fresh =
            stripe.get_or_init(|| Arc::new(Stripe { policy, count, stays: Mutex::default() }));
        let fresh = Arc::clone(fresh);
        drop(making);
        Some(fresh)
    }

    /// The calls that were made and are not over; once the gate is closed, those of them that are
    /// in flight.
    pub(crate) fn in_flight(&self) -> usize {
        let is_closed = self.is_closed();
        let held = |stripe: &Arc<Stripe<P>>| {
            if is_closed { stripe.count.begun() } else { Arc::strong_count(stripe) - 1 }
        };
        self.stripes().map(|stripe| held(stripe).saturating_sub(lock(&stripe.stays).beyond())).sum()
    }

    /// The calls that are in flight.
    fn begun(&self) -> usize {
        self.stripes().map(|stripe| stripe.count.begun()).sum()
    }

    fn stripes(&self) -> impl Iterator<Item = &Arc<Stripe<P>>> {
        self.stripes.iter().filter_map(OnceLock::get)
    }

    /// The policy, for whoever sees and steers it.
    pub(crate) const fn policy(&self) -> &Arc<P> {
        &self.policy
    }

    /// Whether no further call is let in.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Lets no further call in. Those inside go on, and those that wait go on waiting.
    pub(crate) fn close(&self) {
        self.shut(Stage::Closed);
    }

    /// Lets no further call in, and sends those away that wait without an attempt in flight.
    pub(crate) fn stop(&self) {
        self.shut(Stage::Stopped);
    }

    fn shut(&self, stage: Stage) {
        self.drain_state.shut(stage);
        self.closed.store(true, Ordering::Relaxed);
        let making = lock(&self.making);
        self.stripes().for_each(|stripe| stripe.count.close());
        drop(making);
        self.drain_state.wake(); // after the unlock
    }

    /// Leaves a waker, to be told when the gate is closed. Returns `false` if it is.
    pub(crate) fn park(&self, parked: &mut Parked, waker: &Waker) -> bool {
        parked.park(&self.drain_state, waker, Stage::Closed)
    }

    /// Returns when no call is in flight in a closed gate.
    pub(crate) async fn emptied(&self) {
        self.drain_state.emptied(|| self.begun()).await;
    }
}

impl<P> Deref for InFlight<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        &self.policy
    }
}

impl<P> fmt::Debug for InFlight<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl<P> Stripe<P> {
    /// Part of a call that is in flight is over later than its answer. Where a call may have several such
    /// parts, they have one stay.
    pub(crate) fn join(&self, stay: Option<u32>) {
        self.count.join();
        if let Some(stay) = stay {
            lock(&self.stays).join(stay);
        }
    }

    /// It is over now.
    pub(crate) fn part(&self, stay: Option<u32>) {
        if let Some(stay) = stay {
            lock(&self.stays).part(stay);
        }
        self.count.leave();
    }

    /// A stay for the parts of one call, until it is [let go](Self::let_go) and they are over.
    pub(crate) fn stay(&self) -> u32 {
        lock(&self.stays).open()
    }

    /// No further part joins it.
    pub(crate) fn let_go(&self, stay: u32) {
        lock(&self.stays).let_go(stay);
    }
}

impl<P> Deref for Stripe<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        &self.policy
    }
}

impl<P> fmt::Debug for Stripe<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").finish_non_exhaustive()
    }
}

/// A small number of this thread's own.
#[cfg(not(all(test, seawall_loom)))]
#[inline]
pub(crate) fn thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(1);
    thread_local!(static THREAD: Cell<usize> = const { Cell::new(0) });
    // During the destruction of a thread's locals any stripe will do.
    THREAD
        .try_with(|number| match number.get() {
            0 => {
                number.set(THREADS.fetch_add(1, Ordering::Relaxed));
                number.get()
            }
            number => number,
        })
        .unwrap_or(0)
}

#[cfg(all(test, seawall_loom))]
use crate::shell::tests::loom::STRIPES;
#[cfg(all(test, seawall_loom))]
pub(crate) use crate::shell::tests::loom::thread;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_across_threads_and_a_closed_gate_lets_nobody_in() {
        let gate = InFlight::new(());
        let call = || gate.enter().map_or_else(Hold::over, Hold::new);
        let (mut here, mut unpolled) = (call(), call());
        let mut there = std::thread::scope(|scope| scope.spawn(call).join().expect("no panic"));
        assert!(here.begin(|| false) && there.begin(|| false));
        assert_eq!(gate.in_flight(), 3);
        gate.close();
        assert_eq!(gate.in_flight(), 2);
        assert!(gate.enter().is_none());
        assert!(!unpolled.begin(|| false)); // too late
        drop((here.lose(), there.end()));
        assert_eq!(gate.in_flight(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_last_call_has_left() {
        let gate = InFlight::new(());
        let mut call = gate.enter().map_or_else(Hold::over, Hold::new);
        assert!(call.begin(|| false));
        gate.close();
        let mut emptied = polled(gate.emptied());
        assert!(!emptied());
        drop(call.end());
        assert!(emptied());
    }

    /// Polls a future once a call, and says whether it is over.
    fn polled(future: impl Future<Output = ()>) -> impl FnMut() -> bool {
        let mut future = Box::pin(future);
        move || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            future.as_mut().poll(&mut cx).is_ready()
        }
    }
}
