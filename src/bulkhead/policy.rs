//! How calls ask a bulkhead.

use std::borrow::Borrow;
use std::fmt;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::cost::CostOf;
use super::limiter::{Entry, Limiter};
use crate::classify::Verdict;
use crate::error::{Measured, Reason, Rejected};
use crate::finish::{Finish, Tail};
use crate::outcome::Outcome;
use crate::request::Call;
use crate::shell::gated::{
    Admission, Admit, Complete, End, Keyless, Lost, Now, Policy, Stage, finish_with,
};
use crate::shell::meter::Ended;
use crate::shell::queue::{Number, Standing};
use crate::time;

/// A bulkhead, when its calls are over, and how many places they take.
pub struct Bounded<F, W> {
    limiter: Limiter,
    finish: F,
    cost: W,
}

/// The places that a call has taken.
#[derive(Debug)]
pub struct Permit {
    places: u32,
    /// It was found pending, and is one of those that are counted under way.
    seen: bool,
}

/// A call that waits for places.
#[derive(Debug)]
pub struct Waiter {
    number: Number,
    places: u32,
    began: Instant,
    /// When it waits no longer, if ever.
    until: Option<Instant>,
    /// Whether that is a deadline, and whose.
    deadline: Option<Measured>,
}

impl<F, W> Bounded<F, W> {
    pub(super) const fn new(limiter: Limiter, finish: F, cost: W) -> Self {
        Self { limiter, finish, cost }
    }

    #[inline]
    pub(super) const fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

impl Permit {
    #[inline]
    pub(super) const fn new(places: u32) -> Self {
        Self { places, seen: false }
    }

    const fn of_tail(tail: Tail) -> Self {
        Self { places: tail.word as u32, seen: true }
    }

    fn see(&mut self, limiter: &Limiter) {
        if !std::mem::replace(&mut self.seen, true) {
            limiter.count_seen(self.places.into());
            limiter.note_levels();
        }
    }

    #[inline]
    fn unsee(&self, limiter: &Limiter) {
        if self.seen {
            limiter.count_seen(-i64::from(self.places));
        }
    }
}

impl<F, W> Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    #[inline]
    fn ask(&self, places: u32, call: Option<&Call>) -> Admission<Self> {
        let limiter = &self.limiter;
        if limiter.enter(places) {
            Admission::Pass(Permit::new(places))
        } else if limiter.may_wait() || limiter.is_too_dear(places) {
            self.wait_or_refuse(places, call)
        } else {
            Admission::Refuse(self.full()) // without a look at the clock
        }
    }

    #[inline(never)]
    fn wait_or_refuse(&self, places: u32, call: Option<&Call>) -> Admission<Self> {
        let limiter = &self.limiter;
        if limiter.is_too_dear(places) {
            return self.refuse(Reason::CostTooHigh, limiter.dearness(places));
        }
        let began = time::now();
        let max_wait = limiter.law().max_wait;
        let own = (max_wait != u64::MAX)
            .then(|| began.checked_add(Duration::from_nanos(max_wait)))
            .flatten();
        let told = call.and_then(|call| Some((call.deadline?.instant()?, call.whose_deadline())));
        let (until, deadline) = match told {
            Some((at, whose)) if own.is_none_or(|own| at < own) => (Some(at), Some(whose)),
            _ => (own, None),
        };
        match limiter.ask(until, places) {
            Entry::Inside => Admission::Pass(Permit::new(places)),
            Entry::Queued(number) => {
                Admission::Wait(Waiter { number, places, began, until, deadline })
            }
            Entry::TooDear(measured) => self.refuse(Reason::CostTooHigh, measured),
            Entry::Full(measured) => self.refuse(Reason::Full, measured),
        }
    }

    pub(super) fn full(&self) -> Rejected {
        self.limiter.reject(Reason::Full, self.limiter.fullness())
    }

    fn refuse(&self, reason: Reason, measured: Measured) -> Admission<Self> {
        Admission::Refuse(self.limiter.reject(reason, measured))
    }

    /// It waited in vain: as long as the bulkhead allows, or until a deadline.
    fn too_late(&self, deadline: Option<Measured>, fullness: Measured) -> Rejected {
        match deadline {
            Some(whose) => self.limiter.reject(Reason::DeadlineExceeded, whose),
            None => self.limiter.reject(Reason::QueueTimeout, fullness),
        }
    }

    /// The call is over.
    #[inline]
    fn end(&self, permit: &Permit, how: Ended) {
        permit.unsee(&self.limiter);
        self.limiter.end(how, permit.places);
    }
}

impl<F, W> Policy for Bounded<F, W>
where
    F: Send + Sync + 'static,
    W: Send + Sync + 'static,
{
    type Permit = Permit;
    type Wait = Waiter;
    type Seat = ();

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
    fn settle(&self, permit: &mut Permit, outcome: &Outcome) {
        self.end(permit, (*outcome).into());
    }

    fn lose(&self, permit: Permit, why: Lost) {
        self.end(&permit, if why == Lost::Panicked { Ended::Bad } else { Ended::Abandoned });
    }

    fn give_back(&self, permit: Permit) {
        permit.unsee(&self.limiter);
        self.limiter.leave(permit.places);
    }

    fn draining(&self) -> Rejected {
        self.limiter.reject(Reason::Draining, Measured::Nothing)
    }

    /// It goes on, even if its head was there at once.
    fn tail(&self, mut permit: Permit, _: Verdict) -> Tail {
        permit.see(&self.limiter);
        Tail { word: permit.places.into(), ..Tail::default() }
    }

    fn settle_tail(&self, _: u8, tail: Tail, outcome: &Outcome) {
        self.end(&Permit::of_tail(tail), (*outcome).into());
    }

    fn lose_tail(&self, _: u8, tail: Tail) {
        self.end(&Permit::of_tail(tail), Ended::Abandoned);
    }

    fn pending(&self, permit: &mut Permit, _: Stage, _: &Now) -> Option<Instant> {
        permit.see(&self.limiter);
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
                Admission::Pass(Permit::new(wait.places))
            }
            Standing::Barred => self.refuse(Reason::CostTooHigh, limiter.dearness(wait.places)),
            Standing::Waiting | Standing::Expired => {
                Admission::Refuse(self.too_late(wait.deadline, fullness))
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
        self.limiter.give_up(&wait.number, wait.places);
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
    #[inline]
    fn admit(&self, request: &Req, call: Option<&mut Call>) -> Admission<Self> {
        self.ask(self.cost.cost_of(request), call.as_deref())
    }
}

impl<Res, F, W> Complete<Res> for Bounded<F, W>
where
    F: Finish<Res>,
    W: Send + Sync + 'static,
{
    type Response = F::Response;

    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn complete(&self, permit: Permit, response: Res, head: Verdict, end: End<'_>) -> F::Response {
        finish_with(self, &self.finish, permit, response, head, end)
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
