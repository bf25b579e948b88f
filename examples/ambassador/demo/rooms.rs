//! A runtime for each who takes part, so that nobody waits for a thread that another one keeps busy.
//! And a look at whether the machine gave them the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::now;
use super::script::Tempo;

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(10);
/// A tenth of what the ambassador waits for the upstream. What is later than this decides calls.
const FAIR: Duration = Duration::from_millis(30);
/// Of a hundred looks so many may be later.
const LATE_PERCENT: usize = 1;

/// A runtime with a thread of its own. It ends, and all that runs on it, when this is dropped.
pub(crate) struct Room(Option<Runtime>);

impl Room {
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(name).enable_all().build();
        let runtime = runtime.map_err(|why| format!("cannot start a runtime: {why}"))?;
        Ok(Self(Some(runtime)))
    }

    /// What is spawned, bound and built while this lives belongs to the room.
    pub(crate) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }

    /// `None` if it was cut off.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        struct Ends<T>(JoinHandle<T>);
        impl<T> Drop for Ends<T> {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        let mut task = Ends(self.0.as_ref()?.spawn(task));
        (&mut task.0).await.ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background(); // to wait is not allowed here
        }
    }
}

/// How late timers were, where the calls come from.
#[derive(Debug, Clone)]
pub(crate) struct Punctuality {
    fair: Duration,
    late: Arc<Mutex<Vec<Duration>>>,
}

impl Punctuality {
    pub(crate) fn at(tempo: Tempo) -> Self {
        Self { fair: tempo.time(FAIR), late: Arc::default() }
    }

    /// Looks again and again. Of a pause each moment is looked at, so that a long one weighs much.
    pub(crate) async fn keep_looking(self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            let due = looks.tick().await;
            let late = now().saturating_duration_since(due);
            self.late.lock().unwrap_or_else(PoisonError::into_inner).push(late);
        }
    }

    /// What to say if the machine was too busy.
    pub(crate) fn complaint(&self) -> Option<String> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner).clone();
        late.sort_unstable();
        let worst = *late.get(late.len() * (100 - LATE_PERCENT) / 100)?;
        (worst > self.fair).then(|| {
            format!(
                "This machine was too busy to be fair: {LATE_PERCENT} % of all timers went off \
                 {:.0} ms late or more, and\n{:.0} ms decide calls. Let it rest, and see the show again.",
                worst.as_secs_f64() * 1e3,
                self.fair.as_secs_f64() * 1e3,
            )
        })
    }
}
