//! Two policies that are one.

#![allow(clippy::inline_always, reason = "so that nothing is left of the enums in between")]

mod wait;

use std::mem::forget;
use std::task::{Context, Waker};

use tokio::time::Instant;

use self::wait::{Admitted, Noted};
pub(crate) use self::wait::{PairWait, holding};
use super::call_end::CallEnd;
use super::end::End;
use super::policy::{
    Admission, Admit, Complete, Due, Judged, Keyless, Lost, Now, Policy, Stage, settle,
};
use crate::core::classify::Classification;
use crate::core::completion::Tail;
use crate::core::error::Rejected;
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;

#[inline]
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// `A` outside `B`. Each permit is there until its part is over.
impl<A: Policy, B: Policy> Policy for (A, B) {
    type Permit = (Option<A::Permit>, Option<B::Permit>);
    type Wait = PairWait<A, B>;
    type WakerSlot = (A::WakerSlot, B::WakerSlot);
    const PARTS: u8 = A::PARTS + B::PARTS;
    const RESUMES: bool = true;
    const WRITES: bool = A::WRITES || B::WRITES;
    const OVERRULES: bool = A::OVERRULES || B::OVERRULES;
    const ENDS_BY_CLOCK: bool = A::ENDS_BY_CLOCK || B::ENDS_BY_CLOCK;

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

    fn admit_plain(&self) -> Admission<Self> {
        match self.0.admit_plain() {
            Admission::Pass(a) => then(self, a, Noted::default(), B::admit_plain),
            Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
            Admission::Reject(rejected) => Admission::Reject(rejected),
        }
    }

    fn admit_key(&self, key: &str) -> Admission<Self> {
        match self.0.admit_key(key) {
            Admission::Pass(a) => then(self, a, Noted::default(), |b| b.admit_key(key)),
            Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
            Admission::Reject(rejected) => Admission::Reject(rejected),
        }
    }

    #[inline]
    fn watches((a, b): &Self::Permit) -> bool {
        a.as_ref().is_some_and(A::watches) || b.as_ref().is_some_and(B::watches)
    }

    fn is_ended_by(&self, (a, b): &Self::Permit) -> Option<u8> {
        let inner = || self.1.is_ended_by(b.as_ref()?).map(|part| part + A::PARTS);
        a.as_ref().and_then(|a| self.0.is_ended_by(a)).or_else(inner)
    }

    fn overrule(&self, (a, b): &mut Self::Permit, told: &CallEnd<'_>) -> Option<Rejected> {
        if let Some(rejected) = b.as_mut().and_then(|b| self.1.overrule(b, told)) {
            *b = None;
            return Some(hear(&self.0, a, rejected, told));
        }
        let rejected = self.0.overrule(a.as_mut()?, told)?;
        *a = None;
        settle(&self.1, b, &Judged::now(told.outcome()));
        Some(rejected)
    }

    fn excuses(&self, (a, b): &Self::Permit) -> bool {
        a.as_ref().is_some_and(|a| self.0.excuses(a))
            || b.as_ref().is_some_and(|b| self.1.excuses(b))
    }

    #[inline(always)]
    fn settle(&self, (a, b): &mut Self::Permit, end: &Judged) {
        settle(&self.1, b, end);
        settle(&self.0, a, end);
    }

    fn lose(&self, (a, b): Self::Permit, why: Lost) {
        if let Some(b) = b {
            self.1.lose(b, why);
        }
        if let Some(a) = a {
            self.0.lose(a, why);
        }
    }

    fn give_back(&self, (a, b): Self::Permit) {
        if let Some(b) = b {
            self.1.give_back(b);
        }
        if let Some(a) = a {
            self.0.give_back(a);
        }
    }

    fn expire(&self, (mut a, b): Self::Permit, by: u8, told: Option<&CallEnd<'_>>) -> Rejected {
        let (Some(held), Some(b)) = (a.take(), b) else {
            unreachable!("both are there until the call is answered")
        };
        if by < A::PARTS {
            match told {
                Some(told) if told.excused => self.1.lose(b, Lost::Excused),
                Some(_) => self.1.lose(b, Lost::Dropped), // its answer did not come
                None => self.1.give_back(b),
            }
            return self.0.expire(held, by, told);
        }
        let rejected = self.1.expire(b, by - A::PARTS, told);
        match told {
            Some(told) => hear(&self.0, &mut Some(held), rejected, told),
            None => {
                self.0.give_back(held);
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
        let outer = a.as_mut().and_then(|a| self.0.pending(a, stage, now));
        let inner = b.as_mut().and_then(|b| self.1.pending(b, stage, now));
        earliest(outer, inner)
    }

    /// Both are asked whose time it may be, the outer one first.
    fn due(&self, (a, b): &mut Self::Permit, stage: Stage, now: &Now) -> Due {
        let later = Due::Later(None);
        let outer = match a.as_mut().map_or(later, |a| self.0.due(a, stage, now)) {
            Due::Later(outer) => outer,
            end @ Due::End(_) => return end,
        };
        let later = Due::Later(None);
        match b.as_mut().map_or(later, |b| self.1.due(b, stage, now)) {
            Due::Later(inner) => Due::Later(earliest(outer, inner)),
            Due::End(by) => Due::End(A::PARTS + by),
        }
    }

    fn poll_wait(&self, wait: Self::Wait, cx: &mut Context<'_>, now: &Now) -> Admission<Self> {
        match wait {
            PairWait::Outer(wait) => match self.0.poll_wait(wait, cx, now) {
                Admission::Pass(a) => {
                    match then(self, a, Noted::default(), B::admit_plain) {
                        // Whoever begins to wait leaves a waker.
                        Admission::Wait(wait) => self.poll_wait(wait, cx, now),
                        admission => admission,
                    }
                }
                Admission::Wait(wait) => Admission::Wait(PairWait::Outer(wait)),
                Admission::Reject(rejected) => Admission::Reject(rejected),
            },
            PairWait::Inner(mut outer, wait) => match outer.look(&self.0, now) {
                Some(by) => give_up(self, outer.permit, wait, by),
                None => then(self, outer.permit, outer.noted, |b| b.poll_wait(wait, cx, now)),
            },
        }
    }

    fn until(&self, wait: &Self::Wait) -> Option<Instant> {
        match wait {
            PairWait::Outer(wait) => self.0.until(wait),
            PairWait::Inner(outer, wait) => earliest(outer.noted.until, self.1.until(wait)),
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
    const PASSES: bool = A::PASSES && B::PASSES;

    #[inline(always)]
    fn pass(&self, request: &Req) -> Option<Self::Permit> {
        let a = self.0.pass(request)?;
        match self.1.pass(request) {
            Some(b) => Some((Some(a), Some(b))),
            None => {
                self.0.give_back(a);
                None
            }
        }
    }

    #[inline(always)]
    fn pass_with(&self, request: &Req, call: &mut CallContext) -> Option<Self::Permit> {
        let a = self.0.pass_with(request, call)?;
        match self.1.pass_with(request, call) {
            Some(b) => Some((Some(a), Some(b))),
            None => {
                self.0.give_back(a);
                None
            }
        }
    }

    fn admit(&self, request: &Req, mut call: Option<&mut CallContext>) -> Admission<Self> {
        match self.0.admit(request, call.as_deref_mut()) {
            Admission::Pass(a) => then(self, a, Noted::default(), |b| b.admit(request, call)),
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
                        let ask = |b: &B| b.admit(request, call.as_deref_mut());
                        match then(self, a, Noted::default(), ask) {
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
                None => then(self, outer.permit, outer.noted, |b| {
                    b.resume(request, call, wait, cx, now)
                }),
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
        permit: &mut Option<Self::Permit>,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> A::Response {
        let Some((a, b)) = permit else { unreachable!("it is there until the call is answered") };
        let response = self.1.complete(b, response, head, end.inside(A::PARTS));
        let response = self.0.complete(a, response, head, end);
        forget(permit.take()); // both are over, and nothing is left to drop
        response
    }
}

/// One whom the outer policy let pass asks the inner one, or goes on waiting for it.
#[inline(always)]
fn then<A: Policy, B: Policy>(
    pair: &(A, B),
    a: A::Permit,
    noted: Noted,
    ask: impl FnOnce(&B) -> Admission<B>,
) -> Admission<(A, B)> {
    let (a, admission) = holding(&pair.0, a, || ask(&pair.1));
    match (admission, a) {
        (Admission::Pass(b), a) => Admission::Pass((a, Some(b))),
        (Admission::Wait(wait), Some(permit)) => {
            Admission::Wait(PairWait::Inner(Admitted { permit, noted }, wait))
        }
        (Admission::Reject(rejected), a) => {
            if let Some(a) = a {
                pair.0.give_back(a);
            }
            Admission::Reject(rejected)
        }
        (Admission::Wait(_), None) => unreachable!("nobody else takes it"),
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
    permit: &mut Option<A::Permit>,
    rejected: Rejected,
    told: &CallEnd<'_>,
) -> Rejected {
    let told = told.instead(&rejected);
    let Some(held) = permit else { return rejected };
    match policy.overrule(held, &told) {
        Some(instead) => {
            *permit = None;
            instead
        }
        None => {
            settle(policy, permit, &Judged::now(told.outcome()));
            rejected
        }
    }
}
