//! How an attempt comes by a service that is ready, and by a permit.

use std::pin::Pin;
use std::task::{Context, Poll};

use tower::Service;

use super::attempts::{Step, Stepped};
use super::future::{RareProj, ResponseFuture, context};
use super::guard::Each;
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
        let (Some(core), Some(request)) = (this.call.core(), this.attempt.request()) else {
            return Step::Late; // unreachable: it was not called yet
        };
        let admission = this.call.purse.admit(&core.each, request, own.as_mut());
        if let Some(call) = &own {
            this.tools.propagate.inject(request, call);
        }
        match admission {
            Admission::Pass(permit) => {
                this.call.each = Each::Inside(permit);
                self.poll_attempt(cx)
            }
            Admission::Wait(wait) => {
                let own = own.filter(|_| A::RESUMES).map(Box::new);
                this.call.each = Each::Waiting(wait, own);
                if let RareProj::Busy(_, busy) = this.rare.project() {
                    busy.until = None; // its policy says how long it waits
                }
                Step::Again
            }
            Admission::Reject(rejected) => self.reject(rejected),
        }
    }

    /// The attempt waits for a permit, and was woken.
    pub(super) fn resume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Stepped<S, Req> {
        let mut this = self.as_mut().project();
        let each = std::mem::replace(&mut this.call.each, Each::None);
        let (Each::Waiting(wait, mut own), Some(core), Some(request)) =
            (each, this.call.core(), this.attempt.as_mut().request())
        else {
            return Step::Late; // unreachable: it was not called yet
        };
        let (each, own_call) = (&core.each, own.as_deref_mut());
        match this.call.purse.resume(each, request, own_call, wait, cx, now) {
            Admission::Pass(permit) => {
                if let Some(call) = &own {
                    this.tools.propagate.inject(request, call);
                }
                this.call.each = Each::Inside(permit);
                self.poll_attempt(cx)
            }
            Admission::Wait(wait) => {
                let at = core.each.until(&wait);
                this.call.each = Each::Waiting(wait, own);
                if let RareProj::Busy(_, busy) = this.rare.as_mut().project() {
                    busy.each_at = at;
                }
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
