//! How calls ask a bulkhead.

use std::borrow::Borrow;
use std::fmt;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::adaptive::{CallStart, HowEnded};
use super::limiter::{Entry, Limiter};
use crate::core::classify::Classification;
use crate::core::completion::{Completion, Tail};
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;
use crate::core::time;
use crate::shell::cost::CostOf;
use crate::shell::gate::{
    Admission, Admit, Complete, End, Judged, Keyless, Lost, Now, Policy, Stage, finish_with,
};
use crate::shell::meter::{Ended, Recorder};
use crate::shell::queue::{Standing, Ticket};

/// A bulkhead, when its calls are over, and how many places they take.
pub struct Bounded<F, W> {
    limiter: Limiter,
    completion: F,
    cost: W,
}

/// The places that a call has taken.
#[derive(Debug)]
pub struct Permit {
    permits: u32,
    /// It was found pending, and is one of those that are counted in flight.
    seen: bool,
    /// Since when, if that moves the limit.
    start: CallStart,
}

/// A call that waits for places.
#[derive(Debug)]
pub struct Waiter {
    number: Ticket,
    permits: u32,
    began: Instant,
    /// When it waits no longer, if ever.
    until: Option<Instant>,
    /// Whether that is a deadline, and whose.
    deadline: Option<Measurement>,
}

impl<F, W> Bounded<F, W> {
    pub(super) const fn new(limiter: Limiter, completion: F, cost: W) -> Self {
        Self { limiter, completion, cost }
    }

    #[inline]
    pub(super) const fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

impl Permit {
    #[inline]
    pub(super) const fn new(permits: u32) -> Self {
        Self { permits, seen: false, start: CallStart::NONE }
    }

    const fn of_tail(tail: Tail) -> Self {
        Self { permits: tail.word as u32, seen: true, start: CallStart::NONE }
    }

    fn see(&mut self, limiter: &Limiter, recorder: Recorder) {
        if !std::mem::replace(&mut self.seen, true) {
            limiter.count_seen(self.permits.into());
            limiter.note_levels_to(recorder);
        }
    }

    #[inline]
    fn unsee(&self, limiter: &Limiter) {
        if self.seen {
            limiter.count_seen(-i64::from(self.permits));
        }
    }
}

impl<F, W> Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn ask(&self, permits: u32, call: Option<&CallContext>) -> Admission<Self> {
        let limiter = &self.limiter;
        if limiter.enter(permits) {
            Admission::Pass(Permit::new(permits))
        } else if limiter.may_wait() || limiter.is_too_dear(permits) {
            self.wait_or_reject(permits, call)
        } else {
            Admission::Reject(self.full()) // without a look at the clock
        }
    }

    #[inline(never)]
    fn wait_or_reject(&self, permits: u32, call: Option<&CallContext>) -> Admission<Self> {
        let limiter = &self.limiter;
        if permits > limiter.params().most {
            return self.reject(Reason::CostTooHigh, limiter.dearness(permits));
        }
        let began = time::now();
        let max_wait = limiter.params().max_wait;
        let own = (max_wait != u64::MAX)
            .then(|| began.checked_add(Duration::from_nanos(max_wait)))
            .flatten();
        let told = call.and_then(|call| Some((call.deadline?.instant()?, call.whose_deadline())));
        let (until, deadline) = match told {
            Some((at, whose)) if own.is_none_or(|own| at < own) => (Some(at), Some(whose)),
            _ => (own, None),
        };
        match limiter.ask(until, permits) {
            Entry::Inside => Admission::Pass(Permit::new(permits)),
            Entry::Queued(number) => {
                Admission::Wait(Waiter { number, permits, began, until, deadline })
            }
            Entry::TooDear(measurement) => self.reject(Reason::CostTooHigh, measurement),
            Entry::Full(measurement) => self.reject(Reason::Full, measurement),
        }
    }

    pub(super) fn full(&self) -> Rejected {
        self.limiter.reject(Reason::Full, self.limiter.fullness())
    }

    fn reject(&self, reason: Reason, measurement: Measurement) -> Admission<Self> {
        Admission::Reject(self.limiter.reject(reason, measurement))
    }

    /// It waited in vain: as long as the bulkhead allows, or until a deadline.
    fn too_late(&self, deadline: Option<Measurement>, fullness: Measurement) -> Rejected {
        match deadline {
            Some(whose) => self.limiter.reject(Reason::DeadlineExceeded, whose),
            None => self.limiter.reject(Reason::QueueTimeout, fullness),
        }
    }

    /// What the call says of how many the dependency can take.
    #[inline]
    fn learn(&self, permit: &mut Permit, how: HowEnded) {
        if let Some(start) = permit.start.take() {
            self.limiter.ended(start, how);
        }
    }

    /// The call is over.
    #[inline]
    fn end(&self, permit: &Permit, how: Ended, recorder: Recorder) {
        permit.unsee(&self.limiter);
        self.limiter.end(how, permit.permits, recorder);
    }
}

impl<F, W> Policy for Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    type Permit = Permit;
    type Wait = Waiter;
    type WakerSlot = ();

    #[inline]
    fn is_open(&self) -> bool {
        self.limiter.looks_free()
    }

    /// What a call costs is asked of its request: without one it takes one place.
    #[inline]
    fn admit_plain(&self) -> Admission<Self> {
        self.ask(1, None)
    }

    #[inline]
    fn settle(&self, permit: &mut Permit, end: &Judged) {
        self.learn(permit, end.outcome.into());
        self.end(permit, end.outcome.into(), end.recorder);
    }

    fn lose(&self, mut permit: Permit, why: Lost) {
        self.learn(
            &mut permit,
            match why {
                Lost::Dropped => HowEnded::Dropped,
                Lost::Excused => HowEnded::Ignored,
                Lost::Panicked => HowEnded::Failed,
            },
        );
        let how = if why == Lost::Panicked { Ended::Failure } else { Ended::Abandoned };
        self.end(&permit, how, Recorder::in_force());
    }

    fn give_back(&self, mut permit: Permit) {
        self.learn(&mut permit, HowEnded::Ignored);
        permit.unsee(&self.limiter);
        self.limiter.leave(permit.permits);
    }

    fn draining(&self) -> Rejected {
        self.limiter.reject(Reason::Draining, Measurement::Nothing)
    }

    /// It goes on, even if its head was there at once. How fast the dependency is, its head has told.
    fn tail(&self, mut permit: Permit, head: Classification) -> Tail {
        self.learn(
            &mut permit,
            match head {
                Classification::Now(outcome) => outcome.into(),
                Classification::AtEnd => HowEnded::Answered,
            },
        );
        permit.see(&self.limiter, Recorder::in_force());
        Tail { word: permit.permits.into(), ..Tail::default() }
    }

    fn settle_tail(&self, _: u8, tail: Tail, outcome: &Outcome) {
        self.end(&Permit::of_tail(tail), (*outcome).into(), Recorder::in_force());
    }

    fn lose_tail(&self, _: u8, tail: Tail) {
        self.end(&Permit::of_tail(tail), Ended::Abandoned, Recorder::in_force());
    }

    #[inline]
    fn pending(&self, permit: &mut Permit, stage: Stage, now: &Now) -> Option<Instant> {
        permit.see(&self.limiter, now.recorder());
        // What waits for a policy further in has not asked the dependency yet.
        let is_under_way = stage != Stage::Waiting;
        if is_under_way && self.limiter.steering.is_on() && permit.start == CallStart::NONE {
            permit.start = self.limiter.started(now.get());
        }
        None
    }

    fn poll_wait(&self, wait: Waiter, cx: &mut Context<'_>, now: &Now) -> Admission<Self> {
        let limiter = &self.limiter;
        let is_late = wait.until.is_some_and(|until| until <= now.get());
        let fullness = limiter.fullness(); // it is one of those who wait
        let standing = if is_late {
            limiter.end_wait(&wait.number)
        } else {
            limiter.look(&wait.number, cx.waker())
        };
        match standing {
            Standing::Waiting if !is_late => Admission::Wait(wait),
            Standing::Placed => {
                limiter.note_wait(now.get().saturating_duration_since(wait.began));
                Admission::Pass(Permit::new(wait.permits))
            }
            Standing::Barred => self.reject(Reason::CostTooHigh, limiter.dearness(wait.permits)),
            Standing::Waiting | Standing::Expired => {
                Admission::Reject(self.too_late(wait.deadline, fullness))
            }
        }
    }

    fn until(&self, wait: &Waiter) -> Option<Instant> {
        wait.until
    }

    fn expire_wait(&self, wait: Waiter) -> Rejected {
        let (deadline, fullness) = (wait.deadline, self.limiter.fullness());
        self.leave(wait, false);
        self.too_late(deadline, fullness)
    }

    fn leave(&self, wait: Waiter, dropped: bool) {
        if dropped {
            self.limiter.note_abandoned();
        }
        self.limiter.give_up(&wait.number, wait.permits);
    }

    fn wake_waiting(&self) {
        self.limiter.wake_line();
    }
}

impl<F, W> Keyless for Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
}

impl<Req, F, W> Admit<Req> for Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: CostOf<Req>,
{
    const PASSES: bool = W::IS_FIXED;

    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn pass(&self, request: &Req) -> Option<Permit> {
        let permits = if W::IS_FIXED { self.cost.cost_of(request) } else { return None };
        self.limiter.enter(permits).then(|| Permit::new(permits))
    }

    #[inline]
    fn admit(&self, request: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        self.ask(self.cost.cost_of(request), call.as_deref())
    }
}

impl<Res, F, W> Complete<Res> for Bounded<F, W>
where
    F: Completion<Res>,
    W: Send + Sync + 'static,
{
    type Response = F::Response;

    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn complete(
        &self,
        permit: &mut Option<Permit>,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> F::Response {
        finish_with(self, &self.completion, permit, response, head, end)
    }
}

impl<F, W> Borrow<Limiter> for Bounded<F, W> {
    fn borrow(&self) -> &Limiter {
        &self.limiter
    }
}

impl<F, W> fmt::Debug for Bounded<F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limiter.fmt(f)
    }
}
