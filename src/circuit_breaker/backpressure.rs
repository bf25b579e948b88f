//! A breaker for balancers: not ready, instead of rejecting.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep_until};
use tower::{Layer, Service};

use super::engine::shared::{Admission, Shared};
use super::engine::step::Pass;
use super::layer::{CircuitBreakerLayer, ResponseFuture};
use super::policy::BreakerPermit;
use crate::core::classify::Classify;
use crate::core::completion::Completion;
use crate::core::context::ClassifyContext;
use crate::core::error::CallError;
use crate::core::request::{NoPropagation, Propagate};
use crate::core::time::{self, poll_timer};
use crate::shell::gate::Policy;
use crate::shell::in_flight::Parked;
use crate::shell::waiters::WakerSlot;

/// Makes services that are not ready while the circuit is open; see
/// [`CircuitBreakerLayer::backpressure`](super::CircuitBreakerLayer::backpressure).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BackpressureLayer<C, F, K = NoPropagation> {
    pub(super) breaker: CircuitBreakerLayer<C, F, K>,
}

/// Is ready while the circuit lets a call through, and holds the right to that call meanwhile.
///
/// Each instance that is ready holds one ticket, which it gives back when it is dropped. A ticket
/// of an earlier state has lapsed; the call that finds it so asks again, and only if it is rejected
/// then does this service answer with a rejection. Needs no `Clone`.
pub struct Backpressure<S, C, F, K = NoPropagation> {
    inner: S,
    breaker: CircuitBreakerLayer<C, F, K>,
    /// Not a call: an instance that is kept ready and never called must not hold up a drain.
    ticket: Option<Pass>,
    /// Rings when the break is over.
    timer: Option<Pin<Box<Sleep>>>,
    slot: WakerSlot,
    /// Where the caller waits for the circuit or the inner service, to be told of a drain. The waker
    /// stays until the next wait: taking it away would cost every call, and it rings but once.
    parked: Parked,
}

impl<S, C, F, K> Backpressure<S, C, F, K> {
    fn shared(&self) -> &Shared {
        &self.breaker.gate().policy.shared
    }

    /// Gives an unused ticket back. It was no call, so nobody is told of one.
    fn give_back(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared().give_back(ticket);
        }
    }

    /// Waits no longer for the circuit.
    fn leave(&mut self) {
        self.breaker.gate().policy.shared.leave(&mut self.slot);
    }

    /// The call that the ticket was for has failed before it began.
    fn fail<Req>(&mut self, error: &S::Error)
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        let decision =
            self.breaker.gate().classify.classify_call(Err(error), &ClassifyContext::default());
        if let Some(ticket) = self.ticket.take() {
            self.shared().settle(&ticket, &decision.of_error());
        }
    }

    /// Takes a ticket, or waits for the circuit to change.
    fn poll_ticket(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let epoch = self.shared().epoch();
            if self.ticket.as_ref().is_some_and(|ticket| ticket.epoch == epoch) {
                return Poll::Ready(());
            }
            self.give_back(); // it has lapsed
            let Admission::Rejected(_) = self.ask() else { return Poll::Ready(()) };
            // What changed before there was a waker would wake nobody: so leave one, and ask again.
            let gate = self.breaker.gate();
            gate.policy.shared.park(&mut self.slot, cx.waker());
            if !gate.park(&mut self.parked, cx.waker()) {
                return Poll::Ready(()); // drained: the call will say so
            }
            let Admission::Rejected(rejection) = self.ask() else { return Poll::Ready(()) };
            let at = self.shared().common.reporter.clock.instant(rejection.until);
            if at.is_some_and(|at| at <= time::now()) {
                continue; // its break has just ended
            }
            self.timer = at.map(|at| Box::pin(sleep_until(at)));
            let timer = self.timer.as_mut();
            if !timer.is_some_and(|timer| poll_timer(timer.as_mut(), cx).is_ready()) {
                return Poll::Pending;
            }
        }
    }

    fn ask(&mut self) -> Admission {
        let admission = self.shared().admit();
        if let Admission::Pass(pass) = &admission {
            self.ticket = Some(*pass);
            self.timer = None;
            self.leave();
        }
        admission
    }
}

impl<S, Req, C, F, K> Service<Req> for Backpressure<S, C, F, K>
where
    S: Service<Req>,
    S::Error: CallError,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    F: Completion<S::Response> + Clone + Send + Sync + 'static,
    K: Propagate<Req>,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, F, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.poll_ticket(cx));
        if self.breaker.gate().is_closed() {
            self.give_back();
            return Poll::Ready(Ok(())); // the call will say so
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(Err(error)) => {
                self.fail::<Req>(&error);
                Poll::Ready(Err(error))
            }
            Poll::Pending if !self.breaker.gate().park(&mut self.parked, cx.waker()) => {
                self.give_back();
                Poll::Ready(Ok(())) // drained: the call will say so
            }
            other => other,
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.leave();
        let epoch = self.shared().epoch();
        if self.ticket.as_ref().is_some_and(|ticket| ticket.epoch != epoch) {
            self.give_back(); // it has lapsed
        }
        let gate = self.breaker.gate();
        let policy = &gate.policy;
        let pass = match self.ticket.take().map_or_else(|| policy.shared.admit(), Admission::Pass) {
            Admission::Pass(pass) => pass,
            Admission::Rejected(rejection) => {
                return ResponseFuture::rejected(policy.shared.reject(rejection));
            }
        };
        let Some(stripe) = gate.enter() else {
            policy.shared.give_back(pass);
            return ResponseFuture::rejected(policy.draining());
        };
        let propagate = self.breaker.propagate();
        let mut call = propagate.propagates().then(|| propagate.extract(&request));
        let context = call.as_ref().map_or_else(ClassifyContext::default, ClassifyContext::of);
        let permit = BreakerPermit::new(pass).with_upload(call.as_mut());
        ResponseFuture::begun(stripe, permit, || self.inner.call(request), context)
    }
}

impl<S, C, F, K: Clone> Layer<S> for BackpressureLayer<C, F, K> {
    type Service = Backpressure<S, C, F, K>;

    fn layer(&self, inner: S) -> Self::Service {
        let (slot, parked) = (WakerSlot::default(), Parked::new());
        let breaker = self.breaker.clone();
        Backpressure { inner, breaker, ticket: None, timer: None, slot, parked }
    }
}

impl<S: Clone, C, F, K: Clone> Clone for Backpressure<S, C, F, K> {
    fn clone(&self) -> Self {
        BackpressureLayer { breaker: self.breaker.clone() }.layer(self.inner.clone())
    }
}

impl<S, C, F, K> Drop for Backpressure<S, C, F, K> {
    fn drop(&mut self) {
        self.give_back();
        self.leave();
    }
}

impl<C, F, K: Clone> Clone for BackpressureLayer<C, F, K> {
    fn clone(&self) -> Self {
        Self { breaker: self.breaker.clone() }
    }
}

impl<C, F, K> fmt::Debug for BackpressureLayer<C, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackpressureLayer").field("breaker", self.breaker.policy()).finish()
    }
}

impl<S: fmt::Debug, C, F, K> fmt::Debug for Backpressure<S, C, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backpressure")
            .field("inner", &self.inner)
            .field("state", &self.shared().state())
            .finish_non_exhaustive()
    }
}
