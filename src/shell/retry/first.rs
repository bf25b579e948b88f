//! How a call comes to its first attempt, unless that is passed at once.

use std::convert::Infallible;
use std::sync::Arc;

use tower::Service;

use super::attempt_context::{AttemptContext, RequestTools, RetryCopy};
use super::future::ResponseFuture;
use super::guard::{Ahead, RetryGuard};
use super::repeat::{Asks, Attempts, Payer, Repeat};
use super::service::{Core, Retried};
use crate::core::error::Rejected;
use crate::core::request::Propagate;
use crate::shell::clone_source::Source;
use crate::shell::gate::{Admission, Admit, Policy, holding};
use crate::shell::in_flight::Stripe;
use crate::shell::oneshot::Oneshot;

/// What a call may need for further attempts.
pub(super) struct Further<S, Req, R, K> {
    pub(super) tools: RequestTools<R, K>,
    pub(super) copy: Option<RetryCopy<Req>>,
    pub(super) source: Option<Source<S>>,
    pub(super) attempt_context: Option<AttemptContext>,
}

impl<S: Clone, T, W: Policy, A: Policy, C, R, K, B> Retried<S, T, W, A, C, R, K, B> {
    /// Asks both policies about a call with which something is propagated: most pass.
    #[inline(never)]
    pub(super) fn ask_carried<Req>(
        &mut self,
        stripe: Arc<Stripe<Core<T, W, A, C>>>,
        mut request: Req,
        mut again: Further<S, Req, R, K>,
        purse: B::Purse,
    ) -> ResponseFuture<S, Req, T, W, A, C, R, K, B::Purse>
    where
        S: Service<Req>,
        T: Repeat<B::Purse>,
        W: Admit<Req> + Policy<Wait = Infallible>,
        A: Policy,
        R: Clone,
        K: Propagate<Req> + Clone,
        B: Payer<Req, Purse: Asks<Req, A>>,
    {
        let core = &**stripe;
        if let Some(attempt_context) = &mut again.attempt_context
            && let Some(whole) = core.whole.pass_with(&request, &mut attempt_context.call)
        {
            attempt_context.begin(&T::Attempts::FIRST);
            let mut own = attempt_context.call.for_now();
            if let Some(permit) = purse.pass_with(&core.each, &request, &mut own) {
                let mut call = RetryGuard::new(stripe, Some(whole), Some(permit), purse);
                call.enter();
                self.tools.propagate.inject(&mut request, &own);
                let inner = self.inner.call(request);
                call.leave();
                let Further { tools, copy, source, attempt_context } = again;
                return ResponseFuture::new(
                    Oneshot::called(inner),
                    call,
                    tools,
                    copy,
                    source,
                    attempt_context,
                );
            }
            core.whole.give_back(whole);
        }
        again.attempt_context = self.tools.read(&request); // as it was
        self.ask(stripe, true, request, again, purse)
    }

    /// Asks both policies.
    #[inline(never)]
    pub(super) fn ask<Req>(
        &mut self,
        stripe: Arc<Stripe<Core<T, W, A, C>>>,
        readied: bool,
        mut request: Req,
        mut again: Further<S, Req, R, K>,
        purse: B::Purse,
    ) -> ResponseFuture<S, Req, T, W, A, C, R, K, B::Purse>
    where
        S: Service<Req>,
        T: Repeat<B::Purse>,
        W: Admit<Req> + Policy<Wait = Infallible>,
        A: Policy,
        R: Clone,
        K: Propagate<Req> + Clone,
        B: Payer<Req, Purse: Asks<Req, A>>,
    {
        let core = &**stripe;
        let call = again.attempt_context.as_mut().map(|attempt_context| &mut attempt_context.call);
        let whole = match core.whole.admit(&request, call) {
            Admission::Pass(permit) => permit,
            Admission::Reject(rejected) => return self.reject(readied, rejected, purse),
            Admission::Wait(wait) => match wait {},
        };
        if let Some(attempt_context) = &mut again.attempt_context {
            attempt_context.begin(&T::Attempts::FIRST);
        }
        if !readied && core.each.is_open() {
            let mut call = RetryGuard::new(stripe, Some(whole), None, purse);
            call.ahead = Ahead::Readying(A::WakerSlot::default());
            return self.begin(call, Some(request), again);
        }
        let mut own =
            again.attempt_context.as_ref().map(|attempt_context| attempt_context.call.for_now());
        let (whole, admission) =
            holding(&core.whole, whole, || purse.admit(&core.each, &request, own.as_mut()));
        let mut call = RetryGuard::new(stripe, whole, None, purse);
        call.enter();
        match admission {
            Admission::Pass(permit) => call.permit = Some(permit),
            Admission::Wait(wait) => {
                call.ahead = Ahead::permit(wait);
                self.release(readied); // nobody waits with a reservation in hand
            }
            Admission::Reject(rejected) => {
                self.release(readied);
                call.leave();
                return self.begin(call, None, again).rejected_at_first(rejected);
            }
        }
        if let Some(own) = &own {
            self.tools.propagate.inject(&mut request, own);
        }
        if let Ahead::Permit(waiting) = &mut call.ahead {
            waiting.own = own.filter(|_| A::RESUMES);
        } else if readied {
            let inner = self.inner.call(request);
            call.leave();
            let Further { tools, copy, source, attempt_context } = again;
            return ResponseFuture::new(
                Oneshot::called(inner),
                call,
                tools,
                copy,
                source,
                attempt_context,
            );
        }
        call.leave();
        self.begin(call, Some(request), again)
    }

    /// A call whose first attempt has to wait, or is rejected.
    #[inline(never)]
    fn begin<Req>(
        &mut self,
        call: RetryGuard<T, W, A, C, B::Purse>,
        request: Option<Req>,
        again: Further<S, Req, R, K>,
    ) -> ResponseFuture<S, Req, T, W, A, C, R, K, B::Purse>
    where
        S: Service<Req>,
        T: Repeat<B::Purse>,
        B: Payer<Req>,
    {
        let attempt = match request {
            Some(request) => Oneshot::waiting(self.inner.clone(), request),
            None => Oneshot::over(),
        };
        let Further { tools, copy, source, attempt_context } = again;
        ResponseFuture::new(attempt, call, tools, copy, source, attempt_context)
    }

    #[inline(never)]
    pub(super) fn reject<Req>(
        &mut self,
        readied: bool,
        rejected: Rejected,
        purse: B::Purse,
    ) -> ResponseFuture<S, Req, T, W, A, C, R, K, B::Purse>
    where
        S: Service<Req>,
        T: Repeat<B::Purse>,
        R: Clone,
        K: Clone,
        B: Payer<Req>,
    {
        self.release(readied);
        ResponseFuture::rejected(rejected, self.tools.clone(), purse)
    }

    /// Gives back what the inner service reserved for a call that does not come now.
    fn release(&mut self, readied: bool) {
        if readied {
            self.inner = self.inner.clone();
        }
    }
}
