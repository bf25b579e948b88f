//! What a call holds that waits for a permit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::guard::GateGuard;
use super::policy::{Admission, Lost, Now, Policy};
use super::service::Core;
use crate::core::error::Rejected;
use crate::core::request::{CallContext, Propagate};
use crate::core::time;
use crate::shell::in_flight::{Hold, Stripe};
use crate::shell::oneshot::Oneshot;

/// How a call asks again that has waited.
pub(super) type Resume<P, Req> = fn(
    &P,
    &Req,
    Option<&mut CallContext>,
    <P as Policy>::Wait,
    &mut Context<'_>,
    &Now,
) -> Admission<P>;

/// A call in a queue.
#[pin_project]
pub(super) struct Queued<P: Policy, C, K, Req> {
    wait: WaitGuard<P, C>,
    #[pin]
    timer: Option<Sleep>,
    resume: Resume<P, Req>,
    /// What is propagated with the request, of a policy that may want to read or write that later.
    attempt_context: Option<(K, Box<CallContext>)>,
}

/// A call that waits for a permit. Leaves when dropped.
struct WaitGuard<P: Policy, C> {
    hold: Hold<Core<P, C>>,
    /// `None` once it waits no longer.
    wait: Option<P::Wait>,
    /// When it may pass.
    permit: Option<P::Permit>,
}

/// What came of a look.
pub(super) enum Looked<P: Policy, C> {
    Pass(GateGuard<P, C>),
    Rejected(Option<Rejected>),
}

impl<P: Policy, C, K, Req> Queued<P, C, K, Req> {
    pub(super) fn new(
        stripe: Arc<Stripe<Core<P, C>>>,
        wait: P::Wait,
        resume: Resume<P, Req>,
    ) -> Self {
        let wait = WaitGuard { hold: Hold::new(stripe), wait: Some(wait), permit: None };
        Self { wait, timer: None, resume, attempt_context: None }
    }

    /// What is propagated with the request is kept, if the policy may still want to read or write it.
    pub(super) fn propagate_with(&mut self, request: &mut Req, propagate: &K, call: CallContext)
    where
        K: Propagate<Req> + Clone,
    {
        if P::RESUMES {
            self.attempt_context = Some((propagate.clone(), Box::new(call)));
        } else if P::WRITES && call.has_news() {
            propagate.inject(request, &call);
        }
    }

    /// Looks whether it may pass now, or has waited long enough.
    pub(super) fn poll<S>(
        self: Pin<&mut Self>,
        mut attempt: Pin<&mut Oneshot<S, Req>>,
        cx: &mut Context<'_>,
        now: &mut Now,
    ) -> Poll<Looked<P, C>>
    where
        S: Service<Req>,
        K: Propagate<Req>,
    {
        let mut this = self.project();
        loop {
            let Some(request) = attempt.as_mut().request() else { return Poll::Pending };
            let call = this.attempt_context.as_mut().map(|(_, call)| &mut **call);
            let looked = this
                .wait
                .look(cx, |policy, wait, cx| (this.resume)(policy, request, call, wait, cx, now));
            match looked {
                Some(Ok(())) => {
                    if let Some((propagate, call)) = this.attempt_context
                        && P::WRITES
                        && call.has_news()
                    {
                        propagate.inject(request, call);
                    }
                    return Poll::Ready(Looked::Pass(this.wait.pass()));
                }
                Some(Err(rejected)) => return Poll::Ready(Looked::Rejected(Some(rejected))),
                None => {}
            }
            if !ready!(wakes(this.timer.as_mut(), this.wait.until(), cx)) {
                return Poll::Ready(Looked::Rejected(this.wait.expire()));
            }
            *now = Now::default(); // it is later now
        }
    }
}

/// Whether the time has come at which one who waits wants to look again; `false` if it never will, for it
/// is polled outside of any runtime. The timer follows that time: it may have come nearer since it was set.
fn wakes(
    mut timer: Pin<&mut Option<Sleep>>,
    at: Option<Instant>,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    let Some(at) = at else { return Poll::Pending };
    if timer.as_ref().as_pin_ref().is_some_and(|timer| timer.deadline() != at) {
        timer.set(None);
    }
    ready!(time::poll_until(timer.as_mut(), at, cx));
    timer.set(None);
    Poll::Ready(at <= time::now())
}

impl<P: Policy, C> WaitGuard<P, C> {
    /// Looks whether it may pass now.
    fn look(
        &mut self,
        cx: &mut Context<'_>,
        resume: impl FnOnce(&P, P::Wait, &mut Context<'_>) -> Admission<P>,
    ) -> Option<Result<(), Rejected>> {
        let goes_on = self.hold.begin(|| true);
        let (stripe, wait) = (self.hold.get()?, self.wait.take()?);
        let answer = if goes_on { resume(&stripe.policy, wait, cx) } else { Admission::Wait(wait) };
        match answer {
            Admission::Pass(permit) => {
                self.permit = Some(permit);
                Some(Ok(()))
            }
            // Looked at once its waker is there, which whoever drains it now wakes.
            Admission::Wait(wait) if goes_on && !self.hold.is_stopped() => {
                self.wait = Some(wait);
                None
            }
            Admission::Wait(wait) => {
                stripe.policy.leave(wait, false);
                let rejected = stripe.policy.draining();
                drop(self.hold.lose());
                Some(Err(rejected))
            }
            Admission::Reject(rejected) => {
                drop(self.hold.lose());
                Some(Err(rejected))
            }
        }
    }

    /// It may pass: a call like others from here on.
    fn pass(&mut self) -> GateGuard<P, C> {
        GateGuard::of(std::mem::replace(&mut self.hold, Hold::over()), self.permit.take())
    }

    /// Waits no longer, for want of timers.
    fn expire(&mut self) -> Option<Rejected> {
        let (wait, stripe) = (self.wait.take()?, self.hold.lose()?);
        Some(stripe.policy.expire_wait(wait))
    }

    /// When it wants to be polled, if nobody wakes it before.
    fn until(&self) -> Option<Instant> {
        self.hold.get()?.policy.until(self.wait.as_ref()?)
    }
}

impl<P: Policy, C> Drop for WaitGuard<P, C> {
    fn drop(&mut self) {
        let Some(stripe) = self.hold.lose() else { return };
        if let Some(wait) = self.wait.take() {
            stripe.policy.leave(wait, true);
        }
        if let Some(permit) = self.permit.take() {
            stripe.policy.lose(permit, Lost::Panicked); // code of the user's, on the way in
        }
    }
}
