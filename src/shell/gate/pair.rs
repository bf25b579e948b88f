//! Two policies that are one.

#![allow(clippy::inline_always, reason = "so that nothing is left of the enums in between")]

use std::task::{Context, Waker};

use tokio::time::Instant;

use super::call_end::CallEnd;
use super::end::{End, Held};
use super::policy::{Admission, Admit, Complete, Due, Keyless, Lost, Now, Policy, Stage};
use crate::core::classify::Classification;
use crate::core::completion::Tail;
use crate::core::error::Rejected;
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;

/// One who waits for one of two.
#[allow(missing_debug_implementations, reason = "a permit need not be `Debug`")]
pub enum PairWait<A: Policy, B: Policy> {
    /// For the outer one.
    Outer(A::Wait),
    /// For the inner one, with the permit of the outer one.
    Inner(Admitted<A>, B::Wait),
}

/// One whom the outer policy let pass, and who waits for the inner one.
#[allow(missing_debug_implementations, reason = "a permit need not be `Debug`")]
pub struct Admitted<A: Policy> {
    permit: A::Permit,
    is_noted: bool,
    /// When the outer policy wants to look again.
    until: Option<Instant>,
}

impl<A: Policy> Admitted<A> {
    fn new(permit: A::Permit) -> Self {
        Self { permit, is_noted: false, until: None }
    }

    /// Whether the outer policy ends the call while it waits: the part that does.
    fn look(&mut self, policy: &A, now: &Now) -> Option<u8> {
        if !std::mem::replace(&mut self.is_noted, true) {
            self.until = policy.pending(&mut self.permit, Stage::Waiting, now);
        }
        while self.until.is_some_and(|at| at <= now.get()) {
            match policy.due(&mut self.permit, Stage::Waiting, now) {
                Due::Later(until) => self.until = until,
                Due::End(by) => return Some(by),
            }
        }
        None
    }
}

#[inline]
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// `A` outside `B`.
impl<A: Policy, B: Policy> Policy for (A, B) {
    type Permit = (A::Permit, B::Permit);
    type Wait = PairWait<A, B>;
    type WakerSlot = (A::WakerSlot, B::WakerSlot);
    const PARTS: u8 = A::PARTS + B::PARTS;
    const RESUMES: bool = true;
    const WRITES: bool = A::WRITES || B::WRITES;
    const OVERRULES: bool = A::OVERRULES || B::OVERRULES;

    fn applied(&self) {
        self.0.applied();
        self.1.applied();
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.0.is_open() && self.1.is_open()
    }

    fn park(&self, (a, b): &mut Self::WakerSlot, waker: &Waker) -> bool {
        self.0.park(a, waker) && self.1.park(b, waker)
    }

    #[inline]
    fn unpark(&self, (a, b): &mut Self::WakerSlot) {
        self.0.unpark(a);
        self.1.unpark(b);
    }

    fn unready(&self, outcome: &Outcome) {
        self.1.unready(outcome);
        self.0.unready(outcome);
    }

    #[inline(always)]
    fn admit_plain(&self) -> Admission<Self> {
        match self.0.admit_plain() {
            Admission::Pass(a) => then(self, a, self.1.admit_plain()),
            Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
            Admission::Reject(rejected) => Admission::Reject(rejected),
        }
    }

    fn admit_key(&self, key: &str) -> Admission<Self> {
        match self.0.admit_key(key) {
            Admission::Pass(a) => then(self, a, self.1.admit_key(key)),
            Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
            Admission::Reject(rejected) => Admission::Reject(rejected),
        }
    }

    #[inline]
    fn watches((a, b): &Self::Permit) -> bool {
        A::watches(a) || B::watches(b)
    }

    fn overrule(&self, (a, b): &mut Self::Permit, told: &CallEnd<'_>) -> Option<Rejected> {
        if let Some(rejected) = self.1.overrule(b, told) {
            return Some(hear(&self.0, a, rejected, told));
        }
        let rejected = self.0.overrule(a, told)?;
        self.1.settle(b, &told.outcome());
        Some(rejected)
    }

    fn excuses(&self, (a, b): &Self::Permit) -> bool {
        self.0.excuses(a) || self.1.excuses(b)
    }

    #[inline(always)]
    fn settle(&self, (a, b): &mut Self::Permit, outcome: &Outcome) {
        self.1.settle(b, outcome);
        self.0.settle(a, outcome);
    }

    fn lose(&self, (a, b): Self::Permit, why: Lost) {
        self.1.lose(b, why);
        self.0.lose(a, why);
    }

    fn give_back(&self, (a, b): Self::Permit) {
        self.1.give_back(b);
        self.0.give_back(a);
    }

    fn expire(&self, (mut a, b): Self::Permit, by: u8, told: Option<&CallEnd<'_>>) -> Rejected {
        if by < A::PARTS {
            match told {
                Some(told) if told.excused => self.1.lose(b, Lost::Excused),
                Some(_) => self.1.lose(b, Lost::Dropped), // its answer did not come
                None => self.1.give_back(b),
            }
            return self.0.expire(a, by, told);
        }
        let rejected = self.1.expire(b, by - A::PARTS, told);
        match told {
            Some(told) => hear(&self.0, &mut a, rejected, told),
            None => {
                self.0.give_back(a);
                rejected
            }
        }
    }

    fn draining(&self) -> Rejected {
        if A::PARTS > 0 { self.0.draining() } else { self.1.draining() }
    }

    fn settle_tail(&self, part: u8, tail: Tail, outcome: &Outcome) {
        match part.checked_sub(A::PARTS) {
            None => self.0.settle_tail(part, tail, outcome),
            Some(part) => self.1.settle_tail(part, tail, outcome),
        }
    }

    fn lose_tail(&self, part: u8, tail: Tail) {
        match part.checked_sub(A::PARTS) {
            None => self.0.lose_tail(part, tail),
            Some(part) => self.1.lose_tail(part, tail),
        }
    }

    fn delivered(&self, part: u8, tail: &mut Tail) {
        match part.checked_sub(A::PARTS) {
            None => self.0.delivered(part, tail),
            Some(part) => self.1.delivered(part, tail),
        }
    }

    fn pending(&self, (a, b): &mut Self::Permit, stage: Stage, now: &Now) -> Option<Instant> {
        let outer = self.0.pending(a, stage, now);
        earliest(outer, self.1.pending(b, stage, now))
    }

    /// Both are asked whose time it may be, the outer one first.
    fn due(&self, (a, b): &mut Self::Permit, stage: Stage, now: &Now) -> Due {
        let outer = match self.0.due(a, stage, now) {
            Due::Later(outer) => outer,
            end @ Due::End(_) => return end,
        };
        match self.1.due(b, stage, now) {
            Due::Later(inner) => Due::Later(earliest(outer, inner)),
            Due::End(by) => Due::End(A::PARTS + by),
        }
    }

    fn poll_wait(&self, wait: Self::Wait, cx: &mut Context<'_>, now: &Now) -> Admission<Self> {
        let asks = |cx: &mut Context<'_>, a| match then(self, a, self.1.admit_plain()) {
            // Whoever begins to wait leaves a waker.
            Admission::Wait(wait) => self.poll_wait(wait, cx, now),
            admission => admission,
        };
        match wait {
            PairWait::Outer(wait) => match self.0.poll_wait(wait, cx, now) {
                Admission::Pass(a) => asks(cx, a),
                Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
                Admission::Reject(rejected) => Admission::Reject(rejected),
            },
            PairWait::Inner(mut outer, wait) => match outer.look(&self.0, now) {
                Some(by) => give_up(self, outer.permit, wait, by),
                None => again(self, outer, self.1.poll_wait(wait, cx, now)),
            },
        }
    }

    fn until(&self, wait: &Self::Wait) -> Option<Instant> {
        match wait {
            PairWait::Outer(wait) => self.0.until(wait),
            PairWait::Inner(outer, wait) => earliest(outer.until, self.1.until(wait)),
        }
    }

    fn expire_wait(&self, wait: Self::Wait) -> Rejected {
        match wait {
            PairWait::Outer(wait) => self.0.expire_wait(wait),
            PairWait::Inner(outer, wait) => {
                let rejected = self.1.expire_wait(wait);
                self.0.give_back(outer.permit);
                rejected
            }
        }
    }

    fn wake_waiting(&self) {
        self.0.wake_waiting();
        self.1.wake_waiting();
    }

    fn leave(&self, wait: Self::Wait, dropped: bool) {
        match wait {
            PairWait::Outer(wait) => self.0.leave(wait, dropped),
            PairWait::Inner(outer, wait) => {
                self.1.leave(wait, dropped);
                if dropped {
                    self.0.lose(outer.permit, Lost::Dropped);
                } else {
                    self.0.give_back(outer.permit);
                }
            }
        }
    }
}

impl<A: Keyless, B: Keyless> Keyless for (A, B) {}

impl<Req, A: Admit<Req>, B: Admit<Req>> Admit<Req> for (A, B) {
    #[inline(always)]
    fn admit(&self, request: &Req, mut call: Option<&mut CallContext>) -> Admission<Self> {
        match self.0.admit(request, call.as_deref_mut()) {
            Admission::Pass(a) => ask(self, a, || self.1.admit(request, call)),
            Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
            Admission::Reject(rejected) => Admission::Reject(rejected),
        }
    }

    fn resume(
        &self,
        request: &Req,
        mut call: Option<&mut CallContext>,
        wait: Self::Wait,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<Self> {
        match wait {
            PairWait::Outer(wait) => {
                match self.0.resume(request, call.as_deref_mut(), wait, cx, now) {
                    Admission::Pass(a) => {
                        match ask(self, a, || self.1.admit(request, call.as_deref_mut())) {
                            Admission::Wait(wait) => self.resume(request, call, wait, cx, now),
                            admission => admission,
                        }
                    }
                    Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
                    Admission::Reject(rejected) => Admission::Reject(rejected),
                }
            }
            PairWait::Inner(mut outer, wait) => match outer.look(&self.0, now) {
                Some(by) => give_up(self, outer.permit, wait, by),
                None => again(self, outer, self.1.resume(request, call, wait, cx, now)),
            },
        }
    }
}

impl<Res, A, B> Complete<Res> for (A, B)
where
    B: Complete<Res>,
    A: Complete<B::Response>,
{
    type Response = A::Response;

    #[inline(always)]
    fn complete(
        &self,
        (a, b): Self::Permit,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> A::Response {
        let mut outer = Held { policy: &self.0, permit: Some(a) };
        let response = self.1.complete(b, response, head, end.inside(A::PARTS));
        match outer.permit.take() {
            Some(a) => self.0.complete(a, response, head, end),
            None => unreachable!("nobody else takes it"),
        }
    }
}

/// The outer policy let a call pass: now the inner one is asked, which may run code of the user's.
#[inline(always)]
fn ask<A: Policy, B: Policy>(
    pair: &(A, B),
    a: A::Permit,
    admit: impl FnOnce() -> Admission<B>,
) -> Admission<(A, B)> {
    let mut outer = Held { policy: &pair.0, permit: Some(a) };
    let admission = admit();
    match outer.permit.take() {
        Some(a) => then(pair, a, admission),
        None => unreachable!("nobody else takes it"),
    }
}

/// The inner policy has answered one whom the outer one let pass.
#[inline(always)]
fn then<A: Policy, B: Policy>(pair: &(A, B), a: A::Permit, b: Admission<B>) -> Admission<(A, B)> {
    match b {
        Admission::Pass(b) => Admission::Pass((a, b)),
        Admission::Wait(wait) => Admission::Wait(PairWait::Inner(Admitted::new(a), wait)),
        Admission::Reject(rejected) => {
            pair.0.give_back(a);
            Admission::Reject(rejected)
        }
    }
}

/// The same of one who has waited for the inner one.
fn again<A: Policy, B: Policy>(
    pair: &(A, B),
    outer: Admitted<A>,
    b: Admission<B>,
) -> Admission<(A, B)> {
    match b {
        Admission::Wait(wait) => Admission::Wait(PairWait::Inner(outer, wait)),
        admission => then(pair, outer.permit, admission),
    }
}

/// A part of the outer policy ends a call that waits for the inner one.
fn give_up<A: Policy, B: Policy>(
    pair: &(A, B),
    a: A::Permit,
    wait: B::Wait,
    by: u8,
) -> Admission<(A, B)> {
    pair.1.leave(wait, false);
    Admission::Reject(pair.0.expire(a, by, None))
}

/// The outer policy hears what the inner one said in the place of an answer.
fn hear<A: Policy>(
    policy: &A,
    permit: &mut A::Permit,
    rejected: Rejected,
    told: &CallEnd<'_>,
) -> Rejected {
    let told = told.instead(&rejected);
    match policy.overrule(permit, &told) {
        Some(instead) => instead,
        None => {
            policy.settle(permit, &told.outcome());
            rejected
        }
    }
}
