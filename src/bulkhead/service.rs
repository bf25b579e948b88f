//! The service that a bulkhead makes of another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::cost::{CostOf, One, Places};
use super::future::{Patience, ResponseFuture, Waiter};
use super::permit::{Berth, Permit};
use super::policy::{Entry, Policy};
use crate::error::{CallError, Measured, Reason};
use crate::finish::Finish;
use crate::request::Carry;
use crate::shell::gate::{Gate, Hold, Lane, Parked};
use crate::shell::oneshot::Oneshot;
use crate::shell::said::Said;

/// Lets so many calls through at a time, and lets or makes the others wait or turns them away.
///
/// A place is taken in `call`, so that idle clones and connections hold none. The service asks the
/// inner one for readiness only while a place looks free; it is ready when it is not, to refuse or
/// to wait.
pub struct Bulkhead<S, F, K, W = One> {
    inner: S,
    gate: Arc<Gate<Policy>>,
    finish: F,
    carry: K,
    cost: W,
    said: Said,
    /// Where the caller waits for the inner service, to be told of a drain. The waker
    /// stays until the next wait: taking it away would cost every call, and it rings but once.
    parked: Parked,
}

impl<S, F, K, W> Bulkhead<S, F, K, W> {
    pub(super) fn new(inner: S, gate: Arc<Gate<Policy>>, finish: F, carry: K, cost: W) -> Self {
        Self { inner, gate, finish, carry, cost, said: Said::default(), parked: Parked::new() }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req, F, K, W> Service<Req> for Bulkhead<S, F, K, W>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    F: Finish<S::Response> + Clone,
    K: Carry<Req>,
    W: CostOf<Req>,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, F, Lane<Policy>, W::Places>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.said == Said::Alone || self.gate.is_closed() || !self.gate.looks_free() {
            return self.said.alone(); // a refusal needs nobody
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.said = Said::WithInner;
                Poll::Ready(Ok(()))
            }
            Poll::Pending if !self.gate.park(&mut self.parked, cx.waker()) => self.said.alone(),
            other => other,
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let readied = self.said.take();
        let places = self.cost.cost_of(&request);
        if !readied && !W::Places::VARY && !self.gate.may_enter() && !self.gate.is_closed() {
            // What is refused holds nothing, and no clock is read for one who may not wait.
            let rejected = self.gate.reject(Reason::Full, self.gate.fullness());
            return ResponseFuture::refused(rejected, self.finish.clone());
        }
        let instance = Instance { inner: &mut self.inner, readied };
        let Some(lane) = self.gate.enter() else {
            instance.release();
            let rejected = self.gate.reject(Reason::Draining, Measured::Nothing);
            return ResponseFuture::refused(rejected, self.finish.clone());
        };
        instance.call(lane, places, &self.finish, &self.carry, request)
    }
}

// ===== impl Instance =====

/// How a call gets at an inner service that may or may not have been readied for it.
pub(super) struct Instance<'a, S> {
    pub(super) inner: &'a mut S,
    pub(super) readied: bool,
}

impl<S: Clone> Instance<'_, S> {
    /// The call itself: inside, in line, or refused.
    #[inline]
    pub(super) fn call<Req, B, A, F, K>(
        self,
        berth: Arc<B>,
        places: A,
        finish: &F,
        carry: &K,
        request: Req,
    ) -> ResponseFuture<S, Req, F, B, A>
    where
        S: Service<Req>,
        B: Berth,
        A: Places,
        F: Clone,
        K: Carry<Req>,
    {
        if berth.policy().enter(places.number()) {
            let permit = Permit::new(Hold::new(berth), places);
            // Each branch makes its own future, so that it is made in its place.
            return if self.readied {
                let attempt = Oneshot::called(self.inner.call(request));
                ResponseFuture::inside(permit, attempt, finish.clone())
            } else {
                let attempt = Oneshot::waiting(self.inner.clone(), request);
                ResponseFuture::inside(permit, attempt, finish.clone())
            };
        }
        // Nobody waits with a reservation of the inner service in hand.
        let service = self.release();
        let policy = berth.policy();
        if A::VARY && policy.is_too_dear(places.number()) {
            let rejected = policy.reject(Reason::CostTooHigh, policy.dearness(places.number()));
            return ResponseFuture::refused(rejected, finish.clone());
        }
        if !policy.may_wait() {
            let rejected = policy.reject(Reason::Full, policy.fullness());
            return ResponseFuture::refused(rejected, finish.clone());
        }
        let law = policy.law();
        let call = carry.carries().then(|| carry.read(&request));
        let patience = Patience::new(law.max_wait, call);
        match policy.ask(patience.until, places.number()) {
            Entry::Inside => {
                let attempt = Oneshot::waiting(service.clone(), request);
                ResponseFuture::inside(
                    Permit::new(Hold::new(berth), places),
                    attempt,
                    finish.clone(),
                )
            }
            Entry::Queued(number) => {
                let waiter = Waiter::new(berth, places, number, &patience);
                ResponseFuture::queued(waiter, service.clone(), request, finish.clone())
            }
            Entry::TooDear(measured) => {
                let rejected = policy.reject(Reason::CostTooHigh, measured);
                ResponseFuture::refused(rejected, finish.clone())
            }
            Entry::Full(measured) => {
                let rejected = policy.reject(Reason::Full, measured);
                ResponseFuture::refused(rejected, finish.clone())
            }
        }
    }
}

impl<'a, S: Clone> Instance<'a, S> {
    /// Gives back what the inner service reserved for a call that does not come now.
    fn release(self) -> &'a S {
        if self.readied {
            *self.inner = self.inner.clone();
        }
        self.inner
    }
}

// ===== impl Bulkhead =====

impl<S: Clone, F: Clone, K: Clone, W: Clone> Clone for Bulkhead<S, F, K, W> {
    fn clone(&self) -> Self {
        let gate = Arc::clone(&self.gate);
        let (finish, carry, cost) = (self.finish.clone(), self.carry.clone(), self.cost.clone());
        Self::new(self.inner.clone(), gate, finish, carry, cost)
    }
}

impl<S: fmt::Debug, F, K, W> fmt::Debug for Bulkhead<S, F, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.inner)
            .field("policy", &**self.gate)
            .finish_non_exhaustive()
    }
}
