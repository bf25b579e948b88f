//! A gate for balancers and connection loops: not ready, instead of rejecting.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::future::ResponseFuture;
use super::layer::GateLayer;
use super::policy::{Complete, Policy};
use super::service::Core;
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::outcome::Outcome;
use crate::core::request::{CallContext, NoPropagation, Propagate};
use crate::shell::in_flight::{InFlight, Parked};

/// A policy of which a service can hold a permit before there is a request.
pub trait Reserve: Policy {
    /// What a service holds that waits for a permit or has one. It is no call, so that a drain does not wait for it.
    type Reservation: Default + fmt::Debug + Send + Sync + 'static;

    /// Reserves a permit, or leaves the waker. Ready without one if no waiting helps: the call will say so.
    fn poll_reserve(&self, reservation: &mut Self::Reservation, cx: &mut Context<'_>) -> Poll<()>;

    /// The permit for a call that comes now: the reserved one, or else another, if there is one.
    fn redeem(
        &self,
        reservation: &mut Self::Reservation,
        call: Option<&mut CallContext>,
    ) -> Result<Self::Permit, Rejected>;

    /// The call that was to come has failed: the inner service has, in `poll_ready`.
    fn fail(&self, reservation: &mut Self::Reservation, outcome: &Outcome);

    /// Gives back what is held.
    fn release(&self, reservation: &mut Self::Reservation);
}

/// Makes services that are not ready while no call may pass, for balancers and connection loops.
///
/// [`BulkheadLayer::backpressure`](crate::bulkhead::BulkheadLayer::backpressure) and
/// [`CircuitBreakerLayer::backpressure`](crate::circuit_breaker::CircuitBreakerLayer::backpressure) make it.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BackpressureLayer<P, C, K = NoPropagation> {
    layer: GateLayer<P, C, K>,
}

impl<P, C, K> BackpressureLayer<P, C, K> {
    pub(crate) const fn of(layer: GateLayer<P, C, K>) -> Self {
        Self { layer }
    }
}

/// Is ready once it has a permit, which it holds until it is called or dropped. Needs no `Clone`.
pub struct Backpressure<S, P: Reserve, C, K = NoPropagation> {
    inner: S,
    layer: GateLayer<P, C, K>,
    reservation: P::Reservation,
    /// Where the caller waits, to be told of a drain. The waker stays until the next wait: taking it away would cost
    /// every call, and it rings but once.
    parked: Parked,
}

impl<S, P: Reserve, C, K> Backpressure<S, P, C, K> {
    fn gate(&self) -> &Arc<InFlight<Core<P, C>>> {
        self.layer.gate()
    }

    fn release(&mut self) {
        self.layer.policy().release(&mut self.reservation);
    }

    #[cold]
    fn fail<Req>(&mut self, error: &S::Error)
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        let Core { policy, classify } = &***self.layer.gate();
        let classification = classify.classify_call(Err(error), &ClassifyContext::default());
        policy.fail(&mut self.reservation, &classification.of_error());
    }
}

impl<S, Req, P, C, K> Service<Req> for Backpressure<S, P, C, K>
where
    S: Service<Req>,
    S::Error: CallError,
    P: Reserve + Complete<S::Response>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    K: Propagate<Req>,
{
    type Response = P::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, P, C, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        while !self.gate().is_closed() {
            let policy = self.layer.policy();
            if policy.poll_reserve(&mut self.reservation, cx).is_ready() {
                match self.inner.poll_ready(cx) {
                    Poll::Ready(Err(error)) => {
                        self.fail::<Req>(&error);
                        return Poll::Ready(Err(error));
                    }
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                    Poll::Pending => {}
                }
            }
            // Whoever drains it now finds the waker.
            if self.layer.gate().park(&mut self.parked, cx.waker()) {
                return Poll::Pending;
            }
        }
        self.release();
        Poll::Ready(Ok(())) // drained: the call will say so
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (gate, propagate) = (self.layer.gate(), self.layer.propagate());
        let policy = &gate.policy;
        let Some(stripe) = gate.enter() else {
            policy.release(&mut self.reservation);
            return ResponseFuture::rejected(policy.draining());
        };
        let mut call = propagate.propagates().then(|| propagate.extract(&request));
        let classifies = gate.classify.classifies();
        let context = call
            .as_mut()
            .map_or_else(ClassifyContext::default, |call| ClassifyContext::of(call, classifies));
        match policy.redeem(&mut self.reservation, call.as_mut()) {
            Ok(permit) => {
                ResponseFuture::begun(stripe, permit, || self.inner.call(request), context)
            }
            Err(rejected) => ResponseFuture::rejected(rejected),
        }
    }
}

impl<S, P: Reserve, C, K: Clone> Layer<S> for BackpressureLayer<P, C, K> {
    type Service = Backpressure<S, P, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        let (reservation, parked) = (P::Reservation::default(), Parked::new());
        Backpressure { inner, layer: self.layer.clone(), reservation, parked }
    }
}

impl<S: Clone, P: Reserve, C, K: Clone> Clone for Backpressure<S, P, C, K> {
    fn clone(&self) -> Self {
        // What it holds is not cloned.
        BackpressureLayer::of(self.layer.clone()).layer(self.inner.clone())
    }
}

impl<S, P: Reserve, C, K> Drop for Backpressure<S, P, C, K> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<P, C, K: Clone> Clone for BackpressureLayer<P, C, K> {
    fn clone(&self) -> Self {
        Self::of(self.layer.clone())
    }
}

impl<P: fmt::Debug, C, K> fmt::Debug for BackpressureLayer<P, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackpressureLayer")
            .field("policy", self.layer.policy())
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, P: Reserve + fmt::Debug, C, K> fmt::Debug for Backpressure<S, P, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backpressure")
            .field("inner", &self.inner)
            .field("policy", self.layer.policy())
            .field("reservation", &self.reservation)
            .finish_non_exhaustive()
    }
}
