//! The gate of a policy: counts the calls under way at no extra cost, and can be closed for good.
//!
//! A call has to own its policy anyway, for its future may outlive the service it came from. So the
//! reference count is the count of calls, striped over a few lanes, so that threads do not fight
//! over one cache line. When the gate is closed the lanes are let go: the last call that leaves one
//! drops it, and whoever waits for the policy to empty is told. No polling, no counter of its own.

#[cfg(not(all(test, seawall_loom)))]
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};

#[cfg(not(all(test, seawall_loom)))]
use tokio::sync::Notify;

use crate::shell::lock;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A power of two. More lanes do not pay.
#[cfg(not(all(test, seawall_loom)))]
const LANES: usize = 16;

/// The way into a policy.
pub(crate) struct Gate<P> {
    policy: Arc<P>,
    /// Each made when a thread first needs it.
    lanes: [OnceLock<Weak<Lane<P>>>; LANES],
    /// What keeps the lanes alive until the gate is closed.
    keepers: Mutex<Vec<Arc<Lane<P>>>>,
    /// A lane with a call in it outlives its keeper; nobody else may join that call.
    closed: AtomicBool,
    roll: Arc<Roll>,
}

/// One stripe of a policy's reference count. Aligned so that no two counts share a cache line, nor
/// a pair of lines that is fetched together.
#[repr(align(128))]
pub struct Lane<P> {
    policy: Arc<P>,
    _tenancy: Tenancy,
}

/// Who is still inside.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    tenants: AtomicUsize,
    emptied: Notify,
}

/// Being inside: one entry in a [`Roll`], until dropped.
#[derive(Debug)]
pub(crate) struct Tenancy(Arc<Roll>);

// ===== impl Gate =====

impl<P> Gate<P> {
    pub(crate) fn new(policy: P) -> Self {
        Self {
            policy: Arc::new(policy),
            lanes: [const { OnceLock::new() }; LANES],
            keepers: Mutex::default(),
            closed: AtomicBool::new(false),
            roll: Arc::default(),
        }
    }

    /// What a call holds while it is under way; `None` once the gate is closed.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Arc<Lane<P>>> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let lane = &self.lanes[thread() % LANES];
        match lane.get() {
            Some(lane) => lane.upgrade(),
            None => self.open(lane),
        }
    }

    #[cold]
    fn open(&self, lane: &OnceLock<Weak<Lane<P>>>) -> Option<Arc<Lane<P>>> {
        let mut keepers = lock(&self.keepers);
        // Under the lock: whoever closes sets it first, then takes the keepers.
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let open = || {
            let policy = Arc::clone(&self.policy);
            let fresh = Arc::new(Lane { policy, _tenancy: self.roll.enter() });
            keepers.push(Arc::clone(&fresh));
            Arc::downgrade(&fresh)
        };
        lane.get_or_init(open).upgrade()
    }

    /// The calls under way.
    pub(crate) fn in_flight(&self) -> usize {
        let keepers = lock(&self.keepers);
        let lanes = self.lanes.iter().filter_map(OnceLock::get);
        let held: usize = lanes.map(Weak::strong_count).sum();
        held.saturating_sub(keepers.len())
    }

    /// Whether no further call is let in.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Lets no further call in.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let keepers = std::mem::take(&mut *lock(&self.keepers));
        drop(keepers); // after the unlock, for this may wake somebody
    }

    /// Returns when the last call has left a closed gate.
    pub(crate) async fn emptied(&self) {
        self.roll.emptied().await;
    }
}

impl<P> Deref for Gate<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        &self.policy
    }
}

impl<P> fmt::Debug for Gate<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl<P> Deref for Lane<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        &self.policy
    }
}

impl<P> fmt::Debug for Lane<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

// ===== impl Roll =====

impl Roll {
    pub(crate) fn enter(self: &Arc<Self>) -> Tenancy {
        self.tenants.fetch_add(1, Ordering::Relaxed);
        Tenancy(Arc::clone(self))
    }

    pub(crate) async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable(); // before the look, or the wake could fall in between
            if self.tenants.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        if self.0.tenants.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

/// A small number of this thread's own.
#[cfg(not(all(test, seawall_loom)))]
#[inline]
fn thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(1);
    thread_local!(static THREAD: Cell<usize> = const { Cell::new(0) });
    // During the destruction of a thread's locals any lane will do.
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
use crate::shell::tests::loom::{LANES, Notify, thread};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_across_threads_and_a_closed_gate_lets_nobody_in() {
        let gate = Gate::new(());
        let here = gate.enter();
        let there =
            std::thread::scope(|scope| scope.spawn(|| gate.enter()).join().expect("no panic"));
        assert_eq!(gate.in_flight(), 2);
        gate.close();
        assert_eq!(gate.in_flight(), 2);
        assert!(gate.enter().is_none());
        drop((here, there));
        assert_eq!(gate.in_flight(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_last_call_has_left() {
        let gate = Gate::new(());
        let call = gate.enter();
        gate.close();
        let mut emptied = polled(gate.emptied());
        assert!(!emptied());
        drop(call);
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
