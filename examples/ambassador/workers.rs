//! Threads that serve, one for each core.
//!
//! Each has a runtime of its own, so that what belongs to a connection never leaves its thread: no task
//! is taken over by another thread, and nobody is woken across threads. A connection goes to the thread
//! that has the fewest.

use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Less than what calls are given, and seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(100);

/// They end when this is dropped.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// Whoever holds one of these is a connection.
    seat: Arc<()>,
    _stop: oneshot::Sender<()>,
}

/// The place of a connection at its worker.
pub(crate) type Seat = Arc<()>;

impl Workers {
    /// As many as there are cores, or as the system lets us have.
    pub(crate) fn start() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self((0..cores).map_while(Worker::start).collect())
    }

    /// The runtime of the caller serves alone.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Where the next connection belongs.
    pub(crate) fn next(&self) -> (Handle, Seat) {
        let least_busy = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.seat));
        match least_busy {
            Some(worker) => (worker.runtime.clone(), Arc::clone(&worker.seat)),
            None => (Handle::current(), Seat::default()),
        }
    }
}

impl Worker {
    fn start(number: usize) -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || runtime.block_on(tick_until(stopped));
        thread::Builder::new().name(format!("worker {number}")).spawn(work).ok()?;
        Some(Self { runtime: handle, seat: Seat::default(), _stop: stop })
    }
}

/// A timer that is due before all others makes tokio wake the thread that sets it, so that it looks when
/// to wake up: a write to itself, for every call that sets one while no other is in flight. With this one
/// there is always an earlier one.
async fn tick_until(mut stopped: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = sleep(TICK) => {}
        }
    }
}
