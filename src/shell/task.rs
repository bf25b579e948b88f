//! A background task with an owner. It is begun on the runtime of whoever needs it, again if that
//! runtime is gone, and ends with its owner.

use std::fmt;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::core::sync::Mutex;
use crate::core::sync::atomic::{AtomicU64, Ordering};
use crate::shell::lock;

/// No task runs.
const IDLE: u64 = 0;
/// None ever will: there is nothing to do.
const NOTHING: u64 = u64::MAX;

/// The place of one background task.
pub(crate) struct Task {
    /// The number of the task that runs.
    running: AtomicU64,
    begun: AtomicU64,
    /// The latest task and its number.
    latest: Mutex<Option<(u64, AbortHandle)>>,
}

impl Task {
    /// A place for a task, if there is anything to do.
    pub(crate) fn new(has_work: bool) -> Self {
        let running = if has_work { IDLE } else { NOTHING };
        Self {
            running: AtomicU64::new(running),
            begun: AtomicU64::new(0),
            latest: Mutex::new(None),
        }
    }

    /// Whether a task is missing.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == IDLE
    }

    /// Which task runs, to be [replaced](Self::begin); `None` if there is nothing to do.
    pub(crate) fn running(&self) -> Option<u64> {
        Some(self.running.load(Ordering::Acquire)).filter(|number| *number != NOTHING)
    }

    /// Begins a task in the place of the one that was seen, if somebody else was not faster. Does
    /// nothing outside a runtime.
    pub(crate) fn begin<F>(&self, seen: u64, make: impl FnOnce(u64) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(runtime) = Handle::try_current() else { return };
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let placed =
            self.running.compare_exchange(seen, number, Ordering::AcqRel, Ordering::Relaxed);
        if placed.is_err() {
            return;
        }
        let task = runtime.spawn(make(number)).abort_handle();
        let mut latest = lock(&self.latest);
        let outdated = match &*latest {
            Some((newer, _)) if *newer > number => Some(task),
            _ => latest.replace((number, task)).map(|(_, older)| older),
        };
        drop(latest);
        if let Some(outdated) = outdated {
            outdated.abort(); // after the unlock, for this may drop what users captured
        }
    }

    /// The task of this number is no more. Returns whether it has to be begun again.
    pub(crate) fn end(&self, number: u64) -> bool {
        self.running.compare_exchange(number, IDLE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let latest = lock(&self.latest).take();
        if let Some((_, task)) = latest {
            task.abort();
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("running", &self.running()).finish_non_exhaustive()
    }
}
