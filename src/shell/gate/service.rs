//! The service that a policy makes of another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::future::ResponseFuture;
use super::guard::GateGuard;
use super::policy::{Admission, Admit, Complete, Policy};
use super::queued::{Queued, Resume};
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::request::{CallContext, Propagate};
use crate::shell::in_flight::{InFlight, Parked};
use crate::shell::oneshot::Oneshot;
use crate::shell::readiness::Readiness;

/// What all calls through a layer share. A call holds one reference to it, and nothing else.
pub(crate) struct Core<P, C> {
    pub(crate) policy: P,
    pub(crate) classify: C,
}

impl<P: Policy, C> Core<P, C> {
    /// The inner service has failed in `poll_ready`.
    #[cold]
    fn fail<S, Req>(&self, error: &S::Error)
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        let classification = self.classify.classify_call(Err(error), &ClassifyContext::default());
        self.policy.unready(&classification.of_error());
    }
}

/// A service whose calls a policy admits, lets wait or rejects.
///
/// It asks the inner service for readiness while the policy is open. While it is not, it is ready by
/// itself: the call is rejected, or waits in its future.
pub struct Gate<S, P: Policy, C, K> {
    inner: S,
    gate: Arc<InFlight<Core<P, C>>>,
    propagate: K,
    readiness: Readiness,
    /// Where the caller waits for the inner service, to be told when the policy closes...
    slot: P::WakerSlot,
    /// ...and when it is drained. This waker stays until the next wait: taking it away would cost every
    /// call, and it rings but once.
    parked: Parked,
}

impl<S, P: Policy, C, K> Gate<S, P, C, K> {
    pub(super) fn new(inner: S, gate: Arc<InFlight<Core<P, C>>>, propagate: K) -> Self {
        let (readiness, slot, parked) =
            (Readiness::default(), P::WakerSlot::default(), Parked::new());
        Self { inner, gate, propagate, readiness, slot, parked }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    #[inline]
    fn unpark(&mut self) {
        self.gate.policy.unpark(&mut self.slot);
    }
}

impl<S, Req, P, C, K> Service<Req> for Gate<S, P, C, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    P: Admit<Req> + Complete<S::Response>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    K: Propagate<Req> + Clone,
{
    type Response = P::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, P, C, K>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let Self { inner, gate, readiness, slot, parked, .. } = self;
        let policy = &gate.policy;
        readiness.poll(
            inner,
            cx,
            || !gate.is_closed() && policy.is_open(),
            |waker| gate.park(parked, waker) && policy.park(slot, waker),
            |error| gate.fail::<S, Req>(error),
        )
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.unpark();
        let (readied, gate, propagate) = (self.readiness.take(), &*self.gate, &self.propagate);
        let entry = Entry { inner: &mut self.inner, readied, gate, resume: P::resume };
        if gate.is_closed() {
            return entry.reject(gate.policy.draining());
        }
        if propagate.propagates() {
            return entry.ask_carried(request, propagate);
        }
        if !P::PASSES {
            let admission = gate.policy.admit(&request, None);
            return entry.enter(admission, request, ClassifyContext::default(), propagate, None);
        }
        match gate.policy.pass(&request) {
            Some(permit) => entry.pass(permit, request, ClassifyContext::default(), |_| ()),
            None => entry.ask(request, propagate),
        }
    }
}

/// A call on its way in.
pub(super) struct Entry<'a, S, P: Policy, C, Req> {
    pub(super) inner: &'a mut S,
    /// Whether the inner service is ready for it.
    pub(super) readied: bool,
    pub(super) gate: &'a InFlight<Core<P, C>>,
    pub(super) resume: Resume<P, Req>,
}

impl<S: Clone, P: Policy, C, Req> Entry<'_, S, P, C, Req> {
    /// Nothing is counted before the policy was asked, so that whoever is rejected holds nothing.
    #[inline]
    pub(super) fn pass<K>(
        self,
        permit: P::Permit,
        mut request: Req,
        context: ClassifyContext,
        write: impl FnOnce(&mut Req),
    ) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
    {
        let Some(stripe) = self.gate.enter() else { return self.come_too_late(permit) };
        // Each branch makes its own future, so that it is made in its place. The guard is there before
        // code of the user's runs.
        if self.readied {
            let inner = || {
                write(&mut request);
                self.inner.call(request)
            };
            ResponseFuture::begun(stripe, permit, inner, context)
        } else {
            let mut call = GateGuard::new(stripe, permit);
            call.enter();
            write(&mut request);
            call.leave();
            let attempt = Oneshot::waiting(self.inner.clone(), request);
            ResponseFuture::flying(call, attempt, context)
        }
    }

    /// Asks the policy.
    #[inline(never)]
    fn ask<K>(self, request: Req, propagate: &K) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
        P: Admit<Req>,
        K: Propagate<Req> + Clone,
    {
        let admission = self.gate.policy.admit(&request, None);
        self.enter(admission, request, ClassifyContext::default(), propagate, None)
    }

    /// The same of a call that brings something along.
    #[inline(never)]
    fn ask_carried<K>(self, request: Req, propagate: &K) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
        P: Admit<Req>,
        C: Classify<S::Response, S::Error>,
        K: Propagate<Req> + Clone,
    {
        let mut call = propagate.extract(&request);
        let classifies = self.gate.classify.classifies();
        let context = ClassifyContext::of(&mut call, classifies);
        if P::PASSES {
            if let Some(permit) = self.gate.policy.pass_with(&request, &mut call) {
                return self.pass(permit, request, context, |request| {
                    if P::WRITES && call.has_news() {
                        propagate.inject(request, &call);
                    }
                });
            }
            if P::WRITES {
                call = propagate.extract(&request); // as it was
            }
        }
        let admission = self.gate.policy.admit(&request, Some(&mut call));
        self.enter(admission, request, context, propagate, Some(call))
    }

    /// The policy has answered. `call` is what is propagated with the request, and goes where `propagate` says.
    #[inline]
    pub(super) fn enter<K>(
        self,
        admission: Admission<P>,
        request: Req,
        context: ClassifyContext,
        propagate: &K,
        call: Option<CallContext>,
    ) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
        K: Propagate<Req> + Clone,
    {
        match admission {
            Admission::Pass(permit) => self.pass(permit, request, context, |request| {
                if let Some(call) = call.filter(|call| P::WRITES && call.has_news()) {
                    propagate.inject(request, &call);
                }
            }),
            Admission::Wait(wait) => self.queue(wait, request, context, propagate, call),
            Admission::Reject(rejected) => self.reject(rejected),
        }
    }

    #[inline(never)]
    fn queue<K>(
        mut self,
        wait: P::Wait,
        mut request: Req,
        context: ClassifyContext,
        propagate: &K,
        call: Option<CallContext>,
    ) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
        K: Propagate<Req> + Clone,
    {
        let Some(stripe) = self.gate.enter() else {
            self.gate.policy.leave(wait, false);
            let rejected = self.gate.policy.draining();
            return self.reject(rejected);
        };
        let mut queued = Queued::new(stripe, wait, self.resume);
        if let Some(call) = call {
            queued.propagate_with(&mut request, propagate, call);
        }
        self.release(); // nobody waits with a reservation in hand
        let attempt = Oneshot::waiting(self.inner.clone(), request);
        ResponseFuture::queued(queued, attempt, context)
    }

    /// The gate was closed meanwhile.
    #[cold]
    fn come_too_late<K>(self, permit: P::Permit) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
    {
        self.gate.policy.give_back(permit);
        let rejected = self.gate.policy.draining();
        self.reject(rejected)
    }

    #[inline(never)]
    pub(super) fn reject<K>(mut self, rejected: Rejected) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
    {
        self.release();
        ResponseFuture::rejected(rejected)
    }

    /// Gives back what the inner service reserved for a call that does not come now.
    #[inline]
    fn release(&mut self) {
        if self.readied {
            *self.inner = self.inner.clone();
        }
    }
}

impl<S: Clone, P: Policy, C, K: Clone> Clone for Gate<S, P, C, K> {
    fn clone(&self) -> Self {
        // Readiness is not cloned.
        Self::new(self.inner.clone(), Arc::clone(&self.gate), self.propagate.clone())
    }
}

impl<S, P: Policy, C, K> Drop for Gate<S, P, C, K> {
    #[inline]
    fn drop(&mut self) {
        self.unpark();
    }
}

impl<S: fmt::Debug, P: Policy + fmt::Debug, C, K> fmt::Debug for Gate<S, P, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("inner", &self.inner)
            .field("policy", &self.gate.policy)
            .finish_non_exhaustive()
    }
}
