//! The service that a policy makes of another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::future::ResponseFuture;
use super::guard::CallGuard;
use super::policy::{Admission, Admit, Complete, Policy};
use super::queued::{Queued, Resume};
use crate::classify::Classify;
use crate::context::CallContext;
use crate::error::{CallError, Rejected};
use crate::request::{Call, Carry};
use crate::shell::gate::{Gate, Parked};
use crate::shell::oneshot::Oneshot;
use crate::shell::said::Said;

/// What all calls through a layer share. A call holds one reference to it, and nothing else.
pub(crate) struct Core<P, C> {
    pub(crate) policy: P,
    pub(crate) classify: C,
}

/// A service whose calls a policy admits, lets wait or refuses.
///
/// It asks the inner service for readiness while the policy is open. While it is not, it is ready by
/// itself: the call is refused, or waits in its future.
pub struct Gated<S, P: Policy, C, K> {
    inner: S,
    gate: Arc<Gate<Core<P, C>>>,
    carry: K,
    said: Said,
    /// Where the caller waits for the inner service, to be told when the policy closes...
    seat: P::Seat,
    /// ...and when it is drained. This waker stays until the next wait: taking it away would cost every
    /// call, and it rings but once.
    parked: Parked,
}

impl<S, P: Policy, C, K> Gated<S, P, C, K> {
    pub(super) fn new(inner: S, gate: Arc<Gate<Core<P, C>>>, carry: K) -> Self {
        let (said, seat, parked) = (Said::default(), P::Seat::default(), Parked::new());
        Self { inner, gate, carry, said, seat, parked }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    #[cold]
    fn fail<Req>(&self, error: &S::Error)
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        let verdict = self.gate.classify.classify_call(Err(error), &CallContext::default());
        self.gate.policy.unready(&verdict.of_error());
    }

    #[inline]
    fn unpark(&mut self) {
        self.gate.policy.unpark(&mut self.seat);
    }
}

impl<S, Req, P, C, K> Service<Req> for Gated<S, P, C, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    P: Admit<Req> + Complete<S::Response>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    K: Carry<Req> + Clone,
{
    type Response = P::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, P, C, K>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.said == Said::Alone {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.gate.is_closed() || !self.gate.policy.is_open() {
                return self.said.alone();
            }
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.said = Said::WithInner;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    self.said = Said::Nothing;
                    self.fail::<Req>(&error);
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    if self.gate.park(&mut self.parked, cx.waker())
                        && self.gate.policy.park(&mut self.seat, cx.waker())
                    {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        self.unpark();
        let (readied, gate, carry) = (self.said.take(), &*self.gate, &self.carry);
        let entry = Entry { inner: &mut self.inner, readied, gate, resume: P::resume };
        if gate.is_closed() {
            return entry.refuse(gate.policy.draining());
        }
        if !carry.carries() {
            let admission = gate.policy.admit(&request, None);
            return entry.enter(admission, request, CallContext::default(), || None);
        }
        let mut call = carry.read(&request);
        let context = CallContext::of(&call);
        let admission = gate.policy.admit(&request, Some(&mut call));
        if P::WRITES && call.deadline.is_some() {
            carry.write(&mut request, &call);
        }
        let travels = || P::RESUMES.then(|| (carry.clone(), Box::new(call)));
        entry.enter(admission, request, context, travels)
    }
}

/// A call on its way in.
pub(super) struct Entry<'a, S, P: Policy, C, Req> {
    pub(super) inner: &'a mut S,
    /// Whether the inner service is ready for it.
    pub(super) readied: bool,
    pub(super) gate: &'a Gate<Core<P, C>>,
    pub(super) resume: Resume<P, Req>,
}

impl<S: Clone, P: Policy, C, Req> Entry<'_, S, P, C, Req> {
    #[inline]
    pub(super) fn enter<K>(
        self,
        admission: Admission<P>,
        request: Req,
        context: CallContext,
        travels: impl FnOnce() -> Option<(K, Box<Call>)>,
    ) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
    {
        // Asked before anything is counted: whoever is refused holds nothing.
        match admission {
            Admission::Pass(permit) => {
                let Some(lane) = self.gate.enter() else {
                    self.gate.policy.give_back(permit);
                    let rejected = self.gate.policy.draining();
                    return self.refuse(rejected);
                };
                // Each branch makes its own future, so that it is made in its place.
                if self.readied {
                    ResponseFuture::begun(lane, permit, || self.inner.call(request), context)
                } else {
                    let call = CallGuard::new(lane, permit); // before code of the user's runs
                    let attempt = Oneshot::waiting(self.inner.clone(), request);
                    ResponseFuture::flying(call, attempt, context)
                }
            }
            Admission::Wait(wait) => match self.gate.enter() {
                Some(lane) => {
                    let queued = Queued::new(lane, wait, self.resume, travels());
                    self.queue(queued, request, context)
                }
                None => {
                    self.gate.policy.leave(wait, false);
                    let rejected = self.gate.policy.draining();
                    self.refuse(rejected)
                }
            },
            Admission::Refuse(rejected) => self.refuse(rejected),
        }
    }

    /// Gives back what the inner service reserved for a call that does not come now.
    #[inline]
    fn release(&mut self) {
        if self.readied {
            *self.inner = self.inner.clone();
        }
    }

    #[inline(never)]
    pub(super) fn refuse<K>(mut self, rejected: Rejected) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
    {
        self.release();
        ResponseFuture::refused(rejected)
    }

    #[inline(never)]
    fn queue<K>(
        mut self,
        queued: Queued<P, C, K, Req>,
        request: Req,
        context: CallContext,
    ) -> ResponseFuture<S, Req, P, C, K>
    where
        S: Service<Req>,
    {
        self.release(); // nobody waits with a reservation in hand
        let attempt = Oneshot::waiting(self.inner.clone(), request);
        ResponseFuture::queued(queued, attempt, context)
    }
}

impl<S: Clone, P: Policy, C, K: Clone> Clone for Gated<S, P, C, K> {
    fn clone(&self) -> Self {
        // Readiness is not cloned.
        Self::new(self.inner.clone(), Arc::clone(&self.gate), self.carry.clone())
    }
}

impl<S, P: Policy, C, K> Drop for Gated<S, P, C, K> {
    #[inline]
    fn drop(&mut self) {
        self.unpark();
    }
}

impl<S: fmt::Debug, P: Policy + fmt::Debug, C, K> fmt::Debug for Gated<S, P, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated")
            .field("inner", &self.inner)
            .field("policy", &self.gate.policy)
            .finish_non_exhaustive()
    }
}
