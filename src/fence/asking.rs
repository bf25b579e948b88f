//! The task that asks the store, while calls wait for that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower::BoxError;

use super::cell::{Answered, Cell};
use crate::core::sync::atomic::Ordering;
use crate::core::time::nanos;

/// How long after its time a task is taken for dead, as on a runtime that nobody drives any more, in nanoseconds.
const GRACE: u64 = 1_000_000_000;

/// The one task that asks.
struct Shift {
    cell: Weak<Cell>,
    number: u64,
}

/// Sees to it that somebody asks: begins a task if there is none, or none that gives a sign of life.
pub(super) fn tend(cell: &Arc<Cell>) {
    let Some(running) = cell.task.running() else { return };
    if cell.task.is_idle() || cell.now() > cell.alive_until.load(Ordering::Relaxed) {
        cell.lives_for(0);
        cell.task.begin(running, |number| run(Shift { cell: Arc::downgrade(cell), number }));
    }
}

/// Asks while somebody waits, and not more often than it may.
async fn run(shift: Shift) {
    while let Some(cell) = shift.cell.upgrade()
        && cell.waiting() > 0
    {
        let pause = cell.next().saturating_sub(cell.now());
        if pause > 0 {
            cell.lives_for(pause);
            drop(cell);
            sleep(Duration::from_nanos(pause)).await;
            continue;
        }
        let limit = cell.common.config.ask_timeout;
        cell.lives_for(nanos(limit));
        let (ask, number) = cell.asks();
        let answer = (cell.common.asks)(ask);
        drop(cell); // whoever holds nothing else of the fence waits for nobody
        let answer = timeout(limit, answer).await;
        let Some(cell) = shift.cell.upgrade() else { return };
        cell.hears(
            number,
            match answer {
                Ok(Ok(epoch)) => Ok(epoch),
                Ok(Err(error)) => Err((Answered::Error, in_words(&error))),
                Err(_) => {
                    Err((Answered::TimedOut, format!("the store has not answered in {limit:?}")))
                }
            },
        );
    }
}

/// An error, and what caused it.
fn in_words(error: &BoxError) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

impl Cell {
    /// The task gives a sign of life, and the next one after so long.
    fn lives_for(&self, nanos: u64) {
        let until = self.now().saturating_add(nanos).saturating_add(GRACE);
        self.alive_until.store(until, Ordering::Relaxed);
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        let Some(cell) = self.cell.upgrade() else { return };
        // After a panic of the store the next task waits until this one is missed, or it would panic again for ever.
        if !std::thread::panicking() && cell.task.end(self.number) {
            cell.look_again(); // whoever came in between sees to the next one
        }
    }
}
