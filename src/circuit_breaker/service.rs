//! The service that a breaker makes of another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::engine::flight::Flight;
use super::engine::step::{Pass, PassKind};
use super::future::{ResponseFuture, fail_unready};
use super::policy::{Instance, Policy};
use crate::classify::Classify;
use crate::error::CallError;
use crate::finish::Finish;
use crate::request::{Carry, NoCarry};
use crate::shell::gate::{Gate, Lane};
use crate::shell::said::Said;
use crate::shell::waiters::Seat;

/// Calls the inner service while the circuit is closed, and refuses at once while it is open.
///
/// It is always ready when the circuit is not closed: a refusal needs no inner service, and a probe
/// waits for one by itself. It never fails in `poll_ready`, unless the inner service does; then that
/// call has failed, and is counted.
pub struct CircuitBreaker<S, C, F, K = NoCarry> {
    inner: S,
    gate: Arc<Gate<Policy<C, F>>>,
    carry: K,
    said: Said,
    /// Where the caller waits for the inner service, to be told of a trip.
    seat: Seat,
}

impl<S, C, F, K> CircuitBreaker<S, C, F, K> {
    pub(super) fn new(inner: S, gate: Arc<Gate<Policy<C, F>>>, carry: K) -> Self {
        Self { inner, gate, carry, said: Said::default(), seat: Seat::default() }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, C, F, K> CircuitBreaker<S, C, F, K>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    /// The call that was to come has failed before it began: there will be no other word of it.
    #[cold]
    fn fail<Req>(&self, era: u64, error: &S::Error)
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        if let Some(lane) = self.gate.enter() {
            let flight = Flight::new(lane, Pass::new(era, PassKind::Free));
            fail_unready::<S::Response, _, _, _, _>(flight, error);
        }
    }
}

impl<S, Req, C, F, K> Service<Req> for CircuitBreaker<S, C, F, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    F: Finish<S::Response> + Clone + Send + Sync + 'static,
    K: Carry<Req>,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, Lane<Policy<C, F>>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.said == Said::Alone {
            return Poll::Ready(Ok(()));
        }
        loop {
            let Some(era) = self.gate.shared.passing_era() else {
                // A refusal needs nobody, and a probe drives a clone to readiness by itself.
                return self.said.alone();
            };
            if self.gate.is_closed() {
                return self.said.alone(); // the call will say so
            }
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.said = Said::WithInner;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    self.said = Said::Nothing;
                    self.fail::<Req>(era, &error);
                    return Poll::Ready(Err(error));
                }
                // A trip must wake those who wait for a service that may never become ready.
                Poll::Pending if self.gate.shared.wait(&mut self.seat, era, cx.waker()) => {
                    if !self.gate.is_closed() {
                        return Poll::Pending;
                    }
                }
                Poll::Pending => {} // it tripped meanwhile: look again
            }
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.gate.shared.leave(&mut self.seat);
        let readied = self.said.take();
        Instance { inner: &mut self.inner, readied }.call(
            &self.gate.shared,
            || self.gate.enter(),
            &self.carry,
            request,
        )
    }
}

impl<S: Clone, C, F, K: Clone> Clone for CircuitBreaker<S, C, F, K> {
    fn clone(&self) -> Self {
        // Readiness is not cloned.
        Self::new(self.inner.clone(), Arc::clone(&self.gate), self.carry.clone())
    }
}

impl<S, C, F, K> Drop for CircuitBreaker<S, C, F, K> {
    fn drop(&mut self) {
        self.gate.shared.leave(&mut self.seat);
    }
}

impl<S: fmt::Debug, C, F, K> fmt::Debug for CircuitBreaker<S, C, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("inner", &self.inner)
            .field("state", &self.gate.shared.state())
            .finish_non_exhaustive()
    }
}
