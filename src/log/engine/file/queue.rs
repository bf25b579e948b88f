//! From those who append to the one who writes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::log::error::LogError;
use crate::log::machine::Expect;
use crate::log::request::Appended;

/// In which bytes are counted: a semaphore counts no further than to 2³² at a time.
const UNIT: usize = 1 << 10;

/// One append. It is bounded how many there are, and how large they are together: each holds its room.
pub(super) struct Job {
    pub(super) stream: Arc<str>,
    pub(super) events: u32,
    pub(super) payload: Vec<u8>,
    pub(super) expect: Expect,
    pub(super) fence: u64,
    pub(super) answer: oneshot::Sender<Result<Appended, LogError>>,
    #[allow(dead_code)] // held until it is answered
    pub(super) room: Room,
}

/// What an append takes of the queue until it is answered.
pub(super) type Room = [Option<OwnedSemaphorePermit>; 2];

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: Option<Arc<str>>,
    /// The writer waits.
    is_idle: bool,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
    appends: Arc<Semaphore>,
    units: Arc<Semaphore>,
    most_units: usize,
}

/// What the writer is to do next.
pub(super) enum Turn {
    Write(VecDeque<Job>),
    /// The time is up, and there was nothing.
    Idle,
    /// There is nothing, and nothing will come.
    Close,
}

impl Queue {
    pub(super) fn new(appends: usize, bytes: usize) -> Self {
        let most_units = bytes.div_ceil(UNIT);
        Self {
            waiting: Mutex::default(),
            more: Condvar::new(),
            appends: Arc::new(Semaphore::new(appends)),
            units: Arc::new(Semaphore::new(most_units)),
            most_units,
        }
    }

    /// Waits for room for one more append of so many bytes. One that is larger than all of the room takes all of it.
    pub(super) async fn room(&self, bytes: usize) -> Room {
        let units = bytes.div_ceil(UNIT).min(self.most_units) as u32;
        // The semaphores are never closed.
        let append = Arc::clone(&self.appends).acquire_owned().await.ok();
        [append, Arc::clone(&self.units).acquire_many_owned(units).await.ok()]
    }

    /// Hands an append to the writer.
    pub(super) fn push(&self, job: Job) -> Result<(), LogError> {
        let mut waiting = self.lock();
        if let Some(why) = &waiting.closed {
            let why = Arc::clone(why);
            drop(waiting);
            drop(job); // after the unlock
            return Err(LogError::Closed { why });
        }
        waiting.jobs.push_back(job);
        let rings = std::mem::take(&mut waiting.is_idle);
        drop(waiting);
        if rings {
            self.more.notify_one();
        }
        Ok(())
    }

    /// No more appends.
    pub(super) fn close(&self) {
        self.close_because("it was closed");
    }

    pub(super) fn close_because(&self, why: &str) {
        self.lock().closed.get_or_insert_with(|| why.into());
        self.more.notify_all();
    }

    pub(super) fn closed(&self) -> LogError {
        let why = self.lock().closed.clone();
        LogError::Closed { why: why.unwrap_or_else(|| "its writer has ended".into()) }
    }

    /// All that waits; else what comes, within this time if there is one.
    pub(super) fn turn(&self, within: Option<Duration>) -> Turn {
        let mut waiting = self.lock();
        let mut is_late = false;
        loop {
            if !waiting.jobs.is_empty() {
                return Turn::Write(std::mem::take(&mut waiting.jobs));
            }
            if waiting.closed.is_some() {
                return Turn::Close;
            }
            if is_late {
                return Turn::Idle;
            }
            waiting.is_idle = true;
            waiting = match within {
                None => self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(within) => {
                    let waited = self.more.wait_timeout(waiting, within);
                    let (waiting, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    is_late = timeout.timed_out();
                    waiting
                }
            };
        }
    }

    /// What nobody will write.
    pub(super) fn rest(&self) -> VecDeque<Job> {
        std::mem::take(&mut self.lock().jobs)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
