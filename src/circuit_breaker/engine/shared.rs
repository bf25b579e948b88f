//! The machine under traffic: one lock, and a digest that spares most calls the lock.

mod published;
mod watching;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::common::{Common, usual_after};
use super::pending_events::PendingEvents;
use super::step::{Decision, Effect, Input, Pass, PassKind, Wake};
use crate::circuit_breaker::machine::Breaker;
use crate::circuit_breaker::outage::Turn;
use crate::circuit_breaker::params::Params;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::EventKind;
use crate::core::outcome::{Outcome, Signal};
use crate::core::sync::atomic::{AtomicU64, Ordering};
use crate::core::sync::{Mutex, MutexGuard};
use crate::core::time::Tick;
use crate::shell::gate::Judged;
use crate::shell::lock;
use crate::shell::meter::{Ended, Recorder};
use crate::shell::reporter::EventContext;
use crate::shell::waiters::Waiters;

/// One machine under traffic.
pub(crate) struct Shared {
    pub(crate) common: Arc<Common>,
    key: Option<Arc<str>>,
    digest: AtomicU64,
    reject_until: AtomicU64,
    measurement: AtomicU64,
    /// A call in flight for so long is reported once as overdue; by the settings of this cell.
    overdue_after: AtomicU64,
    /// Nanoseconds that an answer usually takes; 0 as long as none was measured. It tells leaving early
    /// from waiting in vain, and need not be exact.
    usual: AtomicU64,
    /// Made at the first step: one of many keys that only ever succeeds needs none.
    core: OnceLock<Box<Mutex<Core>>>,
}

struct Core {
    machine: Breaker,
    config: Arc<Params>,
    version: u64,
    rng: fastrand::Rng,
    /// Steps see time that never runs backwards.
    latest: Tick,
    changes: u64,
    /// When calls began to be kept away, while they are.
    outage: Option<u64>,
    waiters: Option<Box<Waiters>>,
    pending_events: Option<Box<PendingEvents>>,
}

/// The answer to one who asks to pass.
pub(crate) enum Admission {
    Pass(Pass),
    Rejected(Rejection),
}

/// Asking again makes sense at `until`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rejection {
    now: Tick,
    pub(crate) until: Tick,
    reason: Reason,
    measurement: Measurement,
}

impl Shared {
    pub(crate) fn new(common: Arc<Common>, key: Option<Arc<str>>) -> Self {
        let version = common.version();
        let config = common.params(key.as_deref());
        let digest = Breaker::new(&config).digest(&config);
        common.count_cell(digest.state, 1);
        let shared = Self {
            common,
            key,
            digest: AtomicU64::new(0),
            reject_until: AtomicU64::new(0),
            measurement: AtomicU64::new(0),
            overdue_after: AtomicU64::new(0),
            usual: AtomicU64::new(0),
            core: OnceLock::new(),
        };
        shared.heed(&config);
        shared.publish(digest, version);
        shared
    }

    // ----- the flow of a call -----

    /// Asks to pass. This is the linearisation point of a call: what the digest says at this
    /// moment holds for it.
    pub(crate) fn admit(&self) -> Admission {
        match self.quiet_epoch() {
            Some(epoch) => Admission::Pass(Pass::new(epoch, PassKind::Free)),
            None => self.admit_by_params(),
        }
    }

    /// The same, if the digest alone can let a call through: the epoch of its pass, which is free.
    #[inline]
    pub(crate) fn quiet_epoch(&self) -> Option<u64> {
        let word = self.word();
        (word.is_quiet() && self.is_current(word)).then(|| word.epoch())
    }

    /// The same, if it cannot.
    #[inline]
    pub(crate) fn admit_by_params(&self) -> Admission {
        let word = self.word();
        match self.reject_by_digest(word) {
            Some(rejection) => Admission::Rejected(rejection),
            None => self.admit_by_step(),
        }
    }

    #[inline(never)]
    fn admit_by_step(&self) -> Admission {
        let (decision, now) = self.step(Input::Admit);
        match decision {
            Decision::Admit(pass) => {
                if pass.kind == PassKind::Shadow {
                    self.common.meter(|handles| handles.increment(&handles.own.shadow));
                    self.tell(now, EventKind::ShadowRejected);
                }
                Admission::Pass(pass)
            }
            Decision::Reject { until, reason, measurement } => {
                Admission::Rejected(Rejection { now, until, reason, measurement })
            }
            // A machine answers an Admit with one of the two; were it silent, the call may fly.
            Decision::Done | Decision::Late => {
                Admission::Pass(Pass::new(self.word().epoch(), PassKind::Shadow))
            }
        }
    }

    /// Counts a rejection, tells of it, and gives what the caller is told.
    #[inline]
    pub(crate) fn reject(&self, rejection: Rejection) -> Rejected {
        let Rejection { now, until, reason, measurement } = rejection;
        self.common.meter(|handles| handles.rejected(reason));
        self.tell(now, EventKind::Rejected { reason });
        let delay = (until != Tick::NEVER).then(|| Duration::from_nanos(until.since(now)));
        Rejected::new(self.common.reporter.origin.clone(), reason, measurement).retry_in(delay)
    }

    /// A call that was let through is over.
    pub(crate) fn settle(&self, pass: &Pass, outcome: &Outcome) {
        let quietly = || self.settle_quietly(pass.epoch, pass.kind, &Judged::now(*outcome));
        if pass.started.is_some() || !quietly() {
            self.settle_by_params(*pass, *outcome);
        }
    }

    /// The same of one whose time nobody wants to know, if that changes nothing: `false` if it may.
    #[inline]
    pub(crate) fn settle_quietly(&self, epoch: u64, kind: PassKind, end: &Judged) -> bool {
        let harmless = end.outcome.signal == Signal::Success && kind == PassKind::Free;
        let changes_nothing = harmless && self.word().is_quiet_in(epoch);
        if changes_nothing {
            self.common.meter_to(end.recorder, |handles| handles.ended(Ended::Success, None));
        }
        changes_nothing
    }

    #[inline(never)]
    fn settle_by_params(&self, pass: Pass, outcome: Outcome) {
        let word = self.word();
        let now = pass.started.map(|_| self.common.reporter.clock.now());
        let sample = pass.sample(outcome, now);
        let slow = sample.took.is_some_and(|took| self.is_overdue(took));
        let quiet = word.is_quiet() && word.epoch() == pass.epoch && !slow && !pass.overdue;
        let harmless = outcome.signal == Signal::Success && pass.kind == PassKind::Free;
        if !(quiet && harmless) {
            let (decision, now) = self.step(Input::CallGuard { pass, sample });
            self.note_late(decision, now);
        }
        self.common.meter(|handles| handles.ended(outcome.into(), sample.took));
    }

    /// A pass was not used: its slot comes back, and there is no call to tell of.
    pub(crate) fn give_back(&self, pass: Pass) {
        if pass.kind == PassKind::Slot {
            self.step(Input::Abandon { pass, waited: None, usual: None });
        }
    }

    /// A call that was let through ended without an answer.
    pub(crate) fn abandon(&self, pass: Pass) {
        self.common.meter(|handles| handles.ended(Ended::Abandoned, None));
        let clock = &self.common.reporter.clock;
        let waited = pass.started.map(|started| clock.now().since(started));
        self.give_up(pass, waited);
    }

    /// The same of a call that waited so long and ends with a rejection, as which it is counted.
    pub(crate) fn give_up(&self, pass: Pass, waited: Option<u64>) {
        let usual = Some(self.usual.load(Ordering::Relaxed)).filter(|usual| *usual != 0);
        let (_, now) = self.step(Input::Abandon { pass, waited, usual });
        self.tell(now, EventKind::Abandoned);
    }

    /// A call is still in flight, and slow by now.
    pub(crate) fn overdue(&self, pass: Pass) {
        self.step(Input::Overdue { pass });
    }

    /// A call that began to wait at `started` was answered well.
    pub(crate) fn learn(&self, started: Tick) {
        let took = self.common.reporter.clock.now().since(started);
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual.store(usual_after(usual, took), Ordering::Relaxed); // two at once may count as one
    }

    /// Whether somebody will ask how long this call took or waited. While all is well nobody asks how long
    /// calls wait, once one answer was measured.
    #[inline]
    pub(crate) fn times_calls(&self, recorder: Recorder) -> bool {
        let is_known = || self.word().is_quiet() && self.usual.load(Ordering::Relaxed) != 0;
        recorder.is_live()
            || self.common.needs_durations()
            || self.common.needs_waits() && !is_known()
    }

    fn note_late(&self, decision: Decision, now: Tick) {
        if decision == Decision::Late {
            self.common.meter(|handles| handles.increment(&handles.own.late));
            self.tell(now, EventKind::Late);
        }
    }

    // ----- the door of the machine -----

    fn core(&self) -> &Mutex<Core> {
        match self.core.get() {
            Some(core) => core,
            None => self.make_core(),
        }
    }

    #[cold]
    fn make_core(&self) -> &Mutex<Core> {
        let version = self.common.version();
        let config = self.common.params(self.key.as_deref());
        self.heed(&config);
        let seed = self.common.seed ^ self.key.as_deref().map_or(0, hash);
        let core = Core {
            machine: Breaker::new(&config),
            config,
            version,
            rng: fastrand::Rng::with_seed(seed),
            latest: Tick::ZERO,
            changes: 0,
            outage: None,
            waiters: None,
            pending_events: None,
        };
        // Made beforehand, so that nobody waits for another here.
        let core = Box::new(Mutex::new(core));
        self.core.get_or_init(|| core)
    }

    /// Knocks at the machine's door, and carries out what it says after the unlock.
    pub(crate) fn step(&self, input: Input) -> (Decision, Tick) {
        self.step_locked(self.catch_up(), input)
    }

    fn step_locked(&self, mut core: MutexGuard<'_, Core>, input: Input) -> (Decision, Tick) {
        // Read under the lock, so that inputs are in the order of their times.
        let now = core.tick(self.common.reporter.clock.now());
        let draw = core.rng.u64(..);
        let Core { machine, config, .. } = &mut *core;
        let effect = machine.step(config, now, draw, input);
        self.carry_out(core, now, effect);
        (effect.decision, now)
    }

    /// The lock, with the newest settings behind it. Never two locks at once: if there is news, it is
    /// fetched first.
    fn catch_up(&self) -> MutexGuard<'_, Core> {
        loop {
            let version = self.common.version();
            let core = lock(self.core());
            if core.version >= version {
                return core;
            }
            drop(core);
            let config = self.common.params(self.key.as_deref());
            let mut core = lock(self.core());
            if core.version >= version {
                continue; // another thread was faster, and what it fetched may be newer
            }
            self.heed(&config);
            let old = std::mem::replace(&mut core.config, config);
            core.version = version;
            self.step_locked(core, Input::Configure);
            drop(old);
        }
    }

    fn carry_out(&self, mut core: MutexGuard<'_, Core>, now: Tick, effect: Effect) {
        let digest = core.machine.digest(&core.config);
        self.publish(digest, core.version);
        let wakers = match (&mut core.waiters, effect.wake) {
            (Some(waiters), Wake::All) => waiters.take_all(),
            (Some(waiters), Wake::Some(most)) => waiters.take_some(most),
            (None, _) | (_, Wake::None) => Vec::new(),
        };
        let mut duty = false;
        for change in effect.changes.iter().flatten() {
            core.changes += 1;
            let turn = Turn::of(change, &mut core.outage, now.0);
            self.common.count_change(change);
            if self.common.has_listeners() {
                let seq = core.changes;
                let pending_events = core.pending_events.get_or_insert_default();
                duty |= pending_events.add((seq, now, *change, turn));
            }
        }
        drop(core);
        for waker in wakers {
            // A waker that panics must not keep the observers from being told.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        effect.changes.iter().flatten().for_each(|change| self.common.meter_change(change));
        if duty {
            self.tell_changes();
        }
    }

    /// Tells the observers of all changes, one after the other, in the order in which they happened.
    fn tell_changes(&self) {
        loop {
            let mut core = lock(self.core());
            let next =
                core.pending_events.as_mut().and_then(|pending_events| pending_events.next());
            drop(core);
            let Some((seq, at, change, turn)) = next else { return };
            let context = EventContext { key: self.key.as_ref(), seq };
            self.common.tell_change(context, at, change, turn);
        }
    }

    #[inline]
    fn tell(&self, at: Tick, kind: EventKind) {
        if self.common.reporter.has_observers() {
            self.tell_observers(at, kind);
        }
    }

    #[inline(never)]
    fn tell_observers(&self, at: Tick, kind: EventKind) {
        let seq = self.core.get().map_or(0, |core| lock(core).changes);
        self.common.reporter.tell(EventContext { key: self.key.as_ref(), seq }, at, kind);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.common.count_cell(self.state(), -1);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("origin", &self.common.reporter.origin)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The same in every run, so that a seed repeats it.
fn hash(key: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

impl Core {
    fn tick(&mut self, now: Tick) -> Tick {
        self.latest = self.latest.max(now);
        self.latest
    }
}
