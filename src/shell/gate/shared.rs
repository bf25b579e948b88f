//! A policy that is a part of another layer, and goes on to be what its own layer and its handles see.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::call_end::CallEnd;
use super::end::End;
use super::policy::{Admission, Admit, Complete, Due, Judged, Keyless, Lost, Now, Policy, Stage};
use super::service::Core;
use crate::core::classify::{Classification, Classify};
use crate::core::completion::Tail;
use crate::core::context::ClassifyContext;
use crate::core::error::Rejected;
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;

/// The policy of another layer.
pub struct PolicyOf<P, C>(pub(super) Arc<Core<P, C>>);

/// The same answer, about the whole.
#[inline]
fn lift<P: Policy, C: Send + Sync + 'static>(admission: Admission<P>) -> Admission<PolicyOf<P, C>> {
    match admission {
        Admission::Pass(permit) => Admission::Pass(permit),
        Admission::Wait(wait) => Admission::Wait(wait),
        Admission::Reject(rejected) => Admission::Reject(rejected),
    }
}

impl<P: Keyless, C: Send + Sync + 'static> Keyless for PolicyOf<P, C> {}

impl<P: Policy, C: Send + Sync + 'static> Policy for PolicyOf<P, C> {
    type Permit = P::Permit;
    type Wait = P::Wait;
    type WakerSlot = P::WakerSlot;
    const PARTS: u8 = P::PARTS;
    const AT_END: Outcome = P::AT_END;
    const RESUMES: bool = P::RESUMES;
    const WRITES: bool = P::WRITES;
    const OVERRULES: bool = P::OVERRULES;
    const ENDS_BY_CLOCK: bool = P::ENDS_BY_CLOCK;

    fn applied(&self) {
        self.0.policy.applied();
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.0.policy.is_open()
    }

    fn park(&self, slot: &mut P::WakerSlot, waker: &Waker) -> bool {
        self.0.policy.park(slot, waker)
    }

    #[inline]
    fn unpark(&self, slot: &mut P::WakerSlot) {
        self.0.policy.unpark(slot);
    }

    fn unready(&self, outcome: &Outcome) {
        self.0.policy.unready(outcome);
    }

    #[inline]
    fn admit_plain(&self) -> Admission<Self> {
        lift(self.0.policy.admit_plain())
    }

    fn admit_key(&self, key: &str) -> Admission<Self> {
        lift(self.0.policy.admit_key(key))
    }

    #[inline]
    fn watches(permit: &P::Permit) -> bool {
        P::watches(permit)
    }

    fn overrule(&self, permit: &mut P::Permit, told: &CallEnd<'_>) -> Option<Rejected> {
        self.0.policy.overrule(permit, told)
    }

    fn excuses(&self, permit: &P::Permit) -> bool {
        self.0.policy.excuses(permit)
    }

    #[inline]
    fn settle(&self, permit: &mut P::Permit, end: &Judged) {
        self.0.policy.settle(permit, end);
    }

    fn lose(&self, permit: P::Permit, why: Lost) {
        self.0.policy.lose(permit, why);
    }

    fn give_back(&self, permit: P::Permit) {
        self.0.policy.give_back(permit);
    }

    fn expire(&self, permit: P::Permit, by: u8, told: Option<&CallEnd<'_>>) -> Rejected {
        self.0.policy.expire(permit, by, told)
    }

    fn draining(&self) -> Rejected {
        self.0.policy.draining()
    }

    fn tail(&self, permit: P::Permit, head: Classification) -> Tail {
        self.0.policy.tail(permit, head)
    }

    fn settle_tail(&self, part: u8, tail: Tail, outcome: &Outcome) {
        self.0.policy.settle_tail(part, tail, outcome);
    }

    fn lose_tail(&self, part: u8, tail: Tail) {
        self.0.policy.lose_tail(part, tail);
    }

    fn delivered(&self, part: u8, tail: &mut Tail) {
        self.0.policy.delivered(part, tail);
    }

    fn pending(&self, permit: &mut P::Permit, stage: Stage, now: &Now) -> Option<Instant> {
        self.0.policy.pending(permit, stage, now)
    }

    fn is_ended_by(&self, permit: &P::Permit) -> Option<u8> {
        self.0.policy.is_ended_by(permit)
    }

    fn due(&self, permit: &mut P::Permit, stage: Stage, now: &Now) -> Due {
        self.0.policy.due(permit, stage, now)
    }

    fn poll_wait(&self, wait: P::Wait, cx: &mut Context<'_>, now: &Now) -> Admission<Self> {
        lift(self.0.policy.poll_wait(wait, cx, now))
    }

    fn until(&self, wait: &P::Wait) -> Option<Instant> {
        self.0.policy.until(wait)
    }

    fn expire_wait(&self, wait: P::Wait) -> Rejected {
        self.0.policy.expire_wait(wait)
    }

    fn leave(&self, wait: P::Wait, dropped: bool) {
        self.0.policy.leave(wait, dropped);
    }

    fn wake_waiting(&self) {
        self.0.policy.wake_waiting();
    }
}

impl<Req, P: Admit<Req>, C: Send + Sync + 'static> Admit<Req> for PolicyOf<P, C> {
    const PASSES: bool = P::PASSES;

    #[inline]
    fn pass(&self, request: &Req) -> Option<P::Permit> {
        self.0.policy.pass(request)
    }

    #[inline]
    fn pass_with(&self, request: &Req, call: &mut CallContext) -> Option<P::Permit> {
        self.0.policy.pass_with(request, call)
    }

    fn admit(&self, request: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        lift(self.0.policy.admit(request, call))
    }

    fn resume(
        &self,
        request: &Req,
        call: Option<&mut CallContext>,
        wait: P::Wait,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<Self> {
        lift(self.0.policy.resume(request, call, wait, cx, now))
    }
}

impl<Res, P: Complete<Res>, C: Send + Sync + 'static> Complete<Res> for PolicyOf<P, C> {
    type Response = P::Response;

    #[inline]
    fn complete(
        &self,
        permit: &mut Option<P::Permit>,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> P::Response {
        self.0.policy.complete(permit, response, head, end)
    }
}

/// Its layer's classifier.
impl<Res, Err, P, C: Classify<Res, Err>> Classify<Res, Err> for PolicyOf<P, C> {
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        self.0.classify.classify(result)
    }

    #[inline]
    fn classify_call(&self, result: Result<&Res, &Err>, call: &ClassifyContext) -> Classification {
        self.0.classify.classify_call(result, call)
    }

    #[inline]
    fn classifies(&self) -> bool {
        self.0.classify.classifies()
    }
}

impl<P: fmt::Debug, C> fmt::Debug for PolicyOf<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.policy.fmt(f)
    }
}
