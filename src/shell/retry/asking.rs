//! How an attempt comes by a service that is ready, and by a permit.

use std::pin::Pin;
use std::task::{Context, Poll};

use tower::Service;

use super::attempts::{Step, Stepped};
use super::future::{RareProj, ResponseFuture, context};
use super::guard::Ahead;
use super::repeat::{Asks, Repeat};
use crate::core::classify::Classify;
use crate::core::error::{CallError, Rejected};
use crate::core::request::{CloneRequest, Propagate};
use crate::shell::gate::{Admission, Complete, Now, Policy};

impl<S, Req, T, W, A, C, R, K, U> ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    T: Repeat<U>,
    W: Policy,
    A: Complete<S::Response>,
    U: Asks<Req, A>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    R: CloneRequest<Req>,
    K: Propagate<Req>,
{
    /// Waits until the inner service is ready, while the policy of the attempts is open.
    pub(super) fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Stepped<S, Req> {
        let mut this = self.as_mut().project();
        loop {
            if !this.call.core().is_some_and(|core| core.each.is_open()) {
                return self.ask(cx); // it is rejected, or waits for a permit first
            }
            this.call.enter();
            let ready = this.attempt.as_mut().poll_ready(cx);
            this.call.leave();
            match ready {
                Poll::Ready(Ok(())) => return self.ask(cx),
                Poll::Ready(Err(error)) => {
                    this.attempt.as_mut().end();
                    this.call.fail_unready::<S::Response, _>(
                        &error,
                        &context(this.attempt_context.as_ref()),
                    );
                    return Step::Answered(Err(error));
                }
                Poll::Pending => {
                    if !this.attempt.as_mut().park(this.call.hold(), cx.waker()) {
                        return Step::Drained;
                    }
                    if this.call.park(cx.waker()) {
                        if let RareProj::Busy(_, busy) = this.rare.as_mut().project() {
                            busy.has_waited = true;
                        }
                        self.note_pending(&Now::default());
                        return Step::Pending;
                    }
                }
            }
        }
    }

    /// The attempt asks for a permit.
    pub(super) fn ask(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Stepped<S, Req> {
        let this = self.as_mut().project();
        let mut own =
            this.attempt_context.as_ref().map(|attempt_context| attempt_context.call.clone());
        this.call.let_go();
        this.call.enter(); // what costs, limits and carries is code of the user's
        let (Some(core), Some(request)) = (this.call.hold().get(), this.attempt.request()) else {
            return Step::Late; // unreachable: it was not called yet
        };
        let admission = this.call.purse.admit(&core.each, request, own.as_mut());
        match admission {
            Admission::Pass(permit) => this.call.permit = Some(permit),
            Admission::Wait(wait) => this.call.ahead = Ahead::permit(wait),
            Admission::Reject(rejected) => {
                this.call.leave();
                return self.reject(rejected);
            }
        }
        if let Some(call) = &own {
            this.tools.propagate.inject(request, call);
        }
        if let Ahead::Permit(waiting) = &mut this.call.ahead {
            waiting.own = own.filter(|_| A::RESUMES);
            this.call.leave();
            if let RareProj::Busy(_, busy) = this.rare.project() {
                busy.until = None; // its policy says how long it waits
            }
            return Step::Again;
        }
        self.poll_attempt(cx)
    }

    /// The attempt waits for a permit, and was woken.
    pub(super) fn resume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Stepped<S, Req> {
        let mut this = self.as_mut().project();
        let ahead = std::mem::replace(&mut this.call.ahead, Ahead::Nothing);
        let (Ahead::Permit(mut waiting), Some(core), Some(request)) =
            (ahead, this.call.hold().get(), this.attempt.as_mut().request())
        else {
            return Step::Late; // unreachable: it was not called yet
        };
        let Some(wait) = waiting.wait.take() else { return Step::Late }; // unreachable too
        let (each, own) = (&core.each, waiting.own.as_mut());
        match this.call.purse.resume(each, request, own, wait, cx, now) {
            Admission::Pass(permit) => {
                this.call.enter();
                this.call.permit = Some(permit);
                if let Some(call) = &waiting.own {
                    this.tools.propagate.inject(request, call);
                }
                self.poll_attempt(cx)
            }
            Admission::Wait(wait) => {
                if let RareProj::Busy(_, busy) = this.rare.as_mut().project() {
                    busy.each_at = core.each.until(&wait);
                }
                waiting.wait = Some(wait);
                this.call.ahead = Ahead::Permit(waiting);
                Step::Pending
            }
            Admission::Reject(rejected) => self.reject(rejected),
        }
    }

    pub(super) fn reject(self: Pin<&mut Self>, rejected: Rejected) -> Stepped<S, Req> {
        let this = self.project();
        this.attempt.end();
        Step::Answered(Err(rejected.into()))
    }

    /// Polls an attempt that was just admitted.
    pub(super) fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Stepped<S, Req> {
        let mut this = self.project();
        if let RareProj::Busy(_, busy) = this.rare.as_mut().project() {
            busy.each_at = None;
        }
        this.call.enter();
        let poll = this.attempt.poll(cx);
        this.call.leave();
        match poll {
            Poll::Ready(result) => Step::Answered(result),
            Poll::Pending => Step::Again,
        }
    }
}
