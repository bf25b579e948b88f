//! How calls ask an owner whether a key is its own.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::standing::{Standing, Whose, Writes, after};
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::EventKind;
use crate::core::hint::Hint;
use crate::core::request::CallContext;
use crate::core::sync::atomic::{AtomicUsize, Ordering};
use crate::core::time;
use crate::shards::key::Key;
use crate::shell::gate::{Admission, Admit, Judged, Lost, Now, OverAtHead, Policy};
use crate::shell::live::Live;
use crate::shell::meter::{Ended, Gauge, Handles, Instruments, Labels, Recorder};
use crate::shell::reporter::{EventContext, Reporter};
use crate::shell::waiters::{WakerSlot, Wakers};

const EPOCH: &str = "seawall_owns_epoch";
const HELD: &str = "seawall_owns_held";
const HOLD_AGE: &str = "seawall_owns_hold_age_seconds";

/// Lets calls pass whose key is this member's own.
pub struct Guard<K, W> {
    pub(super) owner: Arc<Owner>,
    pub(super) key: K,
    pub(super) is_write: W,
}

/// What a guard and its handles share.
pub(super) struct Owner {
    pub(super) reporter: Reporter<OwnsMeter>,
    pub(super) me: Arc<str>,
    pub(super) live: Live<Standing>,
    /// Grows when another standing is in force, before those who wait are woken.
    pub(super) version: AtomicUsize,
    pub(super) most_held: usize,
    pub(super) max_hold: Duration,
    pub(super) held: AtomicUsize,
    pub(super) wakers: Wakers,
    /// Another standing is in force.
    pub(super) changed: Notify,
}

pub(super) struct OwnsMeter {
    epoch: Gauge,
    held: Gauge,
    hold_age: Gauge,
}

impl Instruments for OwnsMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNCLASSIFIED;
    const REASONS: &'static [Reason] = &[Reason::NotOwner, Reason::Moving, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            epoch: labels.gauge(EPOCH, "The epoch of the map that this owner goes by."),
            held: labels.gauge(HELD, "Writes that wait while their keys move."),
            hold_age: labels.gauge(HOLD_AGE, "For how long writes have been held."),
        }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.epoch)
    }
}

/// A write that waits while its key moves. However it goes, its place is free.
pub struct Held {
    owner: Arc<Owner>,
    slot: WakerSlot,
    until: Instant,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.owner.wakers.leave(&mut self.slot);
        self.owner.held.fetch_sub(1, Ordering::Relaxed);
        self.owner.meter_levels();
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Owner {
    #[allow(clippy::cast_precision_loss)] // gauges are floats
    fn set_levels(&self, handles: &Handles<'_, OwnsMeter>) {
        let standing = self.live.get();
        let age = standing.hold.as_ref().map_or(0.0, |hold| hold.age().as_secs_f64());
        handles.set(&handles.own.epoch, standing.map.epoch().get() as f64);
        handles.set(&handles.own.hold_age, age);
        handles.set(&handles.own.held, self.held.load(Ordering::Relaxed) as f64);
    }

    pub(super) fn meter_levels(&self) {
        self.reporter.meter(|handles| self.set_levels(handles));
    }

    /// A call is over that was let in.
    fn counted(&self, recorder: Recorder, how: Ended) {
        let levels = |handles: &Handles<'_, _>| self.set_levels(handles);
        self.reporter.meter.with_recorder(recorder, levels, |handles| handles.counted(how));
    }

    fn reject(&self, reason: Reason) -> Rejected {
        self.reporter.reject_with(|handles| self.set_levels(handles), reason, Measurement::Nothing)
    }

    fn not_owner(&self, owner: &Arc<str>, ours: Epoch, theirs: Option<Epoch>) -> Rejected {
        let rejected = self.reject(Reason::NotOwner);
        rejected.hinting(Hint::to_owner(Arc::clone(owner), ours), theirs)
    }

    fn moving(&self) -> Rejected {
        self.tell_overdue();
        self.reject(Reason::Moving)
    }

    /// Tells of a hold that lasts longer than a write waits, once each time that it has lasted as long.
    pub(super) fn tell_overdue(&self) {
        let standing = self.live.get();
        let Some(hold) = &standing.hold else { return };
        let age = hold.age();
        if hold.told.is_due(age, self.max_hold) {
            let overdue = EventKind::HoldOverdue { epoch: standing.awaited(), age };
            self.reporter.tell_now(EventContext::default(), overdue);
        }
    }

    /// One more waits, if there is room.
    fn begins_to_wait(&self) -> bool {
        let more = |held| (held < self.most_held).then_some(held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// What becomes of a call now.
enum Look {
    Pass(Option<Arc<Writes>>),
    Hold,
    Reject(Rejected),
}

impl<K, W> Guard<K, W> {
    fn look<Req>(&self, request: &Req, theirs: Option<Epoch>) -> Look
    where
        K: for<'r> Fn(&'r Req) -> Key<'r>,
        W: Fn(&Req) -> bool,
    {
        let owner = &self.owner;
        loop {
            let standing = owner.live.get();
            if standing.closed {
                return Look::Hold; // whose anything is, it does not know
            }
            let whose = standing.whose(&owner.me, (self.key)(request));
            if let Whose::Other(other) = whose {
                return Look::Reject(owner.not_owner(other, standing.map.epoch(), theirs));
            }
            if !(self.is_write)(request) {
                return Look::Pass(None);
            }
            if matches!(whose, Whose::Held) {
                return Look::Hold;
            }
            let writes = Arc::clone(&standing.writes);
            writes.enter();
            // Whoever has put another in its place meanwhile may have seen no write here.
            if Arc::ptr_eq(&standing, &owner.live.get()) {
                return Look::Pass(Some(writes));
            }
            writes.leave();
        }
    }
}

impl<K, W> Policy for Guard<K, W>
where
    K: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    /// Of a write, what counts it.
    type Permit = Option<Arc<Writes>>;
    type Wait = Held;
    type WakerSlot = ();
    const RESUMES: bool = true;

    // A call without a request has no key.
    fn admit_plain(&self) -> Admission<Self> {
        Admission::Pass(None)
    }

    fn settle(&self, permit: &mut Self::Permit, end: &Judged) {
        permit.take().inspect(|writes| writes.leave());
        self.owner.counted(end.recorder, end.outcome.into());
    }

    fn lose(&self, permit: Self::Permit, why: Lost) {
        permit.inspect(|writes| writes.leave());
        let how = if why == Lost::Panicked { Ended::Failure } else { Ended::Abandoned };
        self.owner.counted(Recorder::in_force(), how);
    }

    fn give_back(&self, permit: Self::Permit) {
        permit.inspect(|writes| writes.leave());
    }

    fn draining(&self) -> Rejected {
        self.owner.reject(Reason::Draining)
    }

    fn poll_wait(&self, wait: Held, _: &mut Context<'_>, _: &Now) -> Admission<Self> {
        Admission::Wait(wait)
    }

    fn until(&self, wait: &Held) -> Option<Instant> {
        Some(wait.until)
    }

    fn expire_wait(&self, wait: Held) -> Rejected {
        drop(wait);
        self.owner.moving()
    }

    fn leave(&self, wait: Held, dropped: bool) {
        drop(wait);
        if dropped {
            self.owner.counted(Recorder::in_force(), Ended::Abandoned);
        }
    }

    fn wake_waiting(&self) {
        self.owner.wakers.wake();
    }
}

impl<K, W> OverAtHead for Guard<K, W>
where
    K: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
}

impl<K, W, Req> Admit<Req> for Guard<K, W>
where
    K: for<'r> Fn(&'r Req) -> Key<'r> + Send + Sync + 'static,
    W: Fn(&Req) -> bool + Send + Sync + 'static,
{
    fn admit(&self, request: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        match self.look(request, call.and_then(|call| said(call))) {
            Look::Pass(permit) => Admission::Pass(permit),
            Look::Reject(rejected) => Admission::Reject(rejected),
            Look::Hold if self.owner.begins_to_wait() => {
                self.owner.meter_levels();
                let (owner, slot) = (Arc::clone(&self.owner), WakerSlot::default());
                Admission::Wait(Held {
                    owner,
                    slot,
                    until: after(time::now(), self.owner.max_hold),
                })
            }
            Look::Hold => Admission::Reject(self.owner.moving()),
        }
    }

    fn resume(
        &self,
        request: &Req,
        call: Option<&mut CallContext>,
        mut wait: Held,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<Self> {
        let theirs = call.and_then(|call| said(call));
        loop {
            let version = self.owner.version.load(Ordering::Acquire); // before the look
            let admission = match self.look(request, theirs) {
                Look::Pass(permit) => Admission::Pass(permit),
                Look::Reject(rejected) => Admission::Reject(rejected),
                Look::Hold if now.get() >= wait.until => Admission::Reject(self.owner.moving()),
                Look::Hold => {
                    let is_same = || self.owner.version.load(Ordering::Acquire) == version;
                    if self.owner.wakers.wait(&mut wait.slot, cx.waker(), is_same) {
                        return Admission::Wait(wait);
                    }
                    continue; // another one is in force
                }
            };
            drop(wait);
            return admission;
        }
    }
}

impl<K, W> fmt::Debug for Guard<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("origin", &self.owner.reporter.origin)
            .field("owner", &self.owner.me)
            .field("map", &self.owner.live.get().map)
            .finish_non_exhaustive()
    }
}

/// The epoch of the map that the caller goes by, if it says so.
fn said(call: &CallContext) -> Option<Epoch> {
    Some(call.epoch).filter(|epoch| *epoch != Epoch::NOBODY)
}
