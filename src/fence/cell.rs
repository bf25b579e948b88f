//! A fence of one resource under load, and what the fences of many resources share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use tower::BoxError;

use super::config::Config;
use super::machine::{Heard, Look, Machine};
use super::store::Ask;
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::EventKind;
use crate::core::rng;
use crate::core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::core::time;
use crate::parts::backoff::Curve;
use crate::shell::live::Live;
use crate::shell::locked::Locked;
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};
use crate::shell::task::Task;
use crate::shell::waiters::{WakerSlot, Wakers};

const EPOCH: &str = "seawall_fence_epoch";
const ASKED: &str = "seawall_fence_asked_total";
/// Who waits longer waits for ever: 30 years, which timers can reach.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// Asks the store.
pub(super) type Asks =
    Box<dyn Fn(Ask) -> BoxFuture<'static, Result<Epoch, BoxError>> + Send + Sync>;

/// What came of a question, for the label `answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Confirmed,
    Forgot,
    Error,
    TimedOut,
}

impl Answered {
    const ALL: [&'static str; 4] = ["confirmed", "forgot", "error", "timed_out"];
}

/// What fences measure.
pub(crate) struct FenceMeter {
    pub(super) epoch: Gauge,
    asked: [Counter; Answered::ALL.len()],
}

impl Instruments for FenceMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNCLASSIFIED;
    const REASONS: &'static [Reason] =
        &[Reason::Fenced, Reason::Unconfirmed, Reason::DeadlineExceeded, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        let about = "Questions to the store, by answer.";
        Self {
            epoch: labels.gauge(EPOCH, "The highest epoch that was let in; 0 while it is closed."),
            asked: labels.counters(ASKED, about, "answer", Answered::ALL),
        }
    }

    fn prime(&self) {
        self.asked.iter().for_each(Counter::touch);
    }
}

/// What the fences of all keys share.
pub(crate) struct Common {
    pub(super) reporter: Reporter<FenceMeter>,
    pub(super) config: Config,
    pub(super) pauses: Curve,
    pub(super) asks: Asks,
}

/// The fence of one resource.
pub(super) struct Cell {
    pub(super) common: Arc<Common>,
    /// Its key, if it is one of many.
    pub(super) key: Option<Arc<str>>,
    /// It stands for all resources that there is no room for, and lets nobody in.
    is_overflow: bool,
    /// The epoch that passes without another look; 0 if none does. Written under the lock of the machine, so that nobody finds a
    /// lower one here after somebody was let in by a higher one.
    open: AtomicU64,
    machine: Locked<Machine>,
    /// Grows with each answer, before those who wait are woken.
    version: AtomicUsize,
    waiting: AtomicUsize,
    wakers: Wakers,
    /// The highest epoch of those who wait.
    seen: AtomicU64,
    pub(super) task: Task,
    /// By then the task that asks gives a sign of life, in nanoseconds.
    pub(super) alive_until: AtomicU64,
    pub(super) last_error: Live<Option<Arc<str>>>,
}

/// A call that waits for the store. However it goes, its place is free.
pub struct Waiting {
    cell: Arc<Cell>,
    slot: WakerSlot,
    epoch: u64,
    needs: u64,
    pub(super) until: Instant,
    /// The deadline of the call, if that is what ends the wait.
    pub(super) deadline: Option<Measurement>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.cell.wakers.leave(&mut self.slot);
        self.cell.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Cell {
    pub(super) fn new(common: Arc<Common>, key: Option<Arc<str>>, is_overflow: bool) -> Self {
        Self {
            common,
            key,
            is_overflow,
            open: AtomicU64::new(0),
            machine: Locked::default(),
            version: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wakers: Wakers::default(),
            seen: AtomicU64::new(0),
            task: Task::new(true),
            alive_until: AtomicU64::new(0),
            last_error: Live::new(None),
        }
    }

    /// Whether this is the epoch that most calls are made by.
    #[inline]
    pub(super) fn is_present(&self, epoch: u64) -> bool {
        epoch != 0 && self.open.load(Ordering::Acquire) == epoch
    }

    pub(super) fn open_at(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }

    /// The highest epoch; `None` while it is closed.
    pub(super) fn highest(&self) -> Option<Epoch> {
        self.machine.with(|machine| machine.has_spoken().then(|| Epoch::new(machine.highest())))
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn step<R>(&self, step: impl FnOnce(&mut Machine) -> R) -> R {
        self.machine.with(|machine| {
            let result = step(machine);
            self.open.store(machine.open_at(), Ordering::Release);
            result
        })
    }

    fn context(&self) -> EventContext<'_> {
        EventContext { key: self.key.as_ref(), seq: 0 }
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats
    fn reject(&self, reason: Reason, measurement: Measurement) -> Rejected {
        let levels = |handles: &crate::shell::meter::Handles<'_, FenceMeter>| {
            if self.key.is_none() {
                handles.set(&handles.own.epoch, self.open_at() as f64);
            }
        };
        self.common.reporter.reject_as(self.context(), levels, reason, measurement)
    }

    fn refuse(&self, reason: Reason, theirs: u64) -> Rejected {
        let highest = self.machine.with(|machine| machine.highest());
        self.reject(reason, Measurement::Epoch { highest, given: theirs != 0 })
    }

    pub(super) fn draining(&self) -> Rejected {
        self.reject(Reason::Draining, Measurement::Nothing)
    }

    // ----- calls -----

    /// What becomes of a call that comes: it passes, is rejected, or waits for the store.
    #[cold]
    #[inline(never)]
    pub(super) fn admit(
        self: &Arc<Self>,
        epoch: u64,
        deadline: Option<(Instant, Measurement)>,
    ) -> Result<Option<Waiting>, Rejected> {
        let lenient = self.common.config.allow_without_epoch;
        let (look, needs) = self.machine.with(|machine| {
            let needs = machine.needs();
            (machine.look(epoch, lenient, needs), needs)
        });
        match look {
            Look::Pass => Ok(None),
            Look::Fenced => Err(self.refuse(Reason::Fenced, epoch)),
            Look::Unknown => Err(self.refuse(Reason::Unconfirmed, epoch)),
            Look::Wait if self.is_overflow || !self.begins_to_wait() => {
                Err(self.refuse(Reason::Unconfirmed, epoch))
            }
            Look::Wait => {
                let longest = self.common.config.max_wait.min(LONGEST);
                let now = time::now();
                let end = now.checked_add(longest).unwrap_or(now);
                let deadline = deadline.filter(|(at, _)| *at < end);
                let until = deadline.map_or(end, |(at, _)| at);
                let deadline = deadline.map(|(_, whose)| whose);
                let (cell, slot) = (Arc::clone(self), WakerSlot::default());
                Ok(Some(Waiting { cell, slot, epoch, needs, until, deadline }))
            }
        }
    }

    /// One more waits, if there is room.
    fn begins_to_wait(&self) -> bool {
        let most = self.common.config.queue as usize;
        let more = |waiting| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    // ----- the store -----

    pub(super) fn now(&self) -> u64 {
        self.common.reporter.clock.now().0
    }

    pub(super) fn next(&self) -> u64 {
        self.machine.with(|machine| machine.next())
    }

    /// The next question, and its number.
    pub(super) fn asks(&self) -> (Ask, u64) {
        let number = self.step(Machine::asks);
        let resource = match &self.key {
            Some(key) => Arc::clone(key),
            None => Arc::from(self.common.reporter.origin.name()),
        };
        let seen = Epoch::new(self.seen.swap(0, Ordering::Relaxed));
        (Ask { resource, seen }, number)
    }

    /// What the store said, or why it said nothing.
    pub(super) fn hears(&self, question: u64, answer: Result<Epoch, (Answered, String)>) {
        let (now, draw, pauses) = (self.now(), rng::seed(), &self.common.pauses);
        let (answered, error) = match answer {
            Ok(epoch) => {
                let heard =
                    self.step(|machine| machine.hears(question, epoch.get(), now, pauses, draw));
                self.tell(heard, epoch);
                match heard {
                    Heard::Forgot => (Answered::Forgot, Some(forgot(epoch, self.open_at()))),
                    Heard::Raised(_) | Heard::Opened | Heard::Same => (Answered::Confirmed, None),
                }
            }
            Err((answered, error)) => {
                self.step(|machine| machine.fails(now, pauses, draw));
                (answered, Some(error))
            }
        };
        self.last_error.set(error.map(Arc::from));
        self.common.reporter.meter(|handles| {
            handles.increment(&handles.own.asked[answered as usize]);
        });
        self.changed();
    }

    /// Somebody who is trusted says that this epoch was given.
    pub(super) fn confirm(&self, epoch: Epoch) {
        if let Some(before) = self.step(|machine| machine.confirmed(epoch.get())) {
            self.tell(Heard::Raised(before), epoch);
            self.changed();
        }
    }

    fn tell(&self, heard: Heard, to: Epoch) {
        let from = match heard {
            Heard::Raised(before) => Epoch::new(before),
            Heard::Opened => Epoch::NOBODY,
            Heard::Same | Heard::Forgot => return,
        };
        self.common.reporter.tell_now(self.context(), EventKind::EpochRaised { from, to });
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats
    fn changed(&self) {
        if self.key.is_none() {
            self.common
                .reporter
                .meter(|handles| handles.set(&handles.own.epoch, self.open_at() as f64));
        }
        self.look_again();
    }

    /// Those who wait look again, and so does who is about to wait.
    pub(super) fn look_again(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.wakers.wake();
    }

    pub(super) fn wake_waiting(&self) {
        self.wakers.wake();
    }
}

fn forgot(said: Epoch, highest: u64) -> String {
    format!("the store says {said}, and has confirmed {highest} before: it has forgotten that")
}

/// What becomes of a call that waits.
pub(super) enum Then {
    Passes,
    Rejected(Rejected),
    Waits(Waiting),
}

impl Waiting {
    /// Looks again.
    pub(super) fn look(mut self, now: Instant, cx: &mut std::task::Context<'_>) -> Then {
        let (epoch, lenient) = (self.epoch, self.cell.common.config.allow_without_epoch);
        loop {
            let cell = Arc::clone(&self.cell);
            let version = cell.version.load(Ordering::Acquire); // before the look
            match cell.machine.with(|machine| machine.look(epoch, lenient, self.needs)) {
                Look::Pass => return Then::Passes,
                Look::Fenced => return Then::Rejected(cell.refuse(Reason::Fenced, epoch)),
                Look::Unknown => return Then::Rejected(cell.refuse(Reason::Unconfirmed, epoch)),
                Look::Wait if now >= self.until => return Then::Rejected(self.is_late()),
                Look::Wait => {}
            }
            cell.seen.fetch_max(epoch, Ordering::Relaxed);
            super::asking::tend(&cell);
            let is_same = || cell.version.load(Ordering::Acquire) == version;
            if cell.wakers.wait(&mut self.slot, cx.waker(), is_same) {
                return Then::Waits(self);
            }
        }
    }

    /// It has waited as long as it may.
    pub(super) fn is_late(&self) -> Rejected {
        match self.deadline {
            Some(whose) => self.cell.reject(Reason::DeadlineExceeded, whose),
            None => self.cell.refuse(Reason::Unconfirmed, self.epoch),
        }
    }
}
