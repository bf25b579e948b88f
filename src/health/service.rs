//! The service that a health check makes of another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::checker::tend;
use super::flight::{Flight, Risk};
use super::future::ResponseFuture;
use super::policy::Policy;
use crate::classify::{Classify, Verdict};
use crate::context::CallContext;
use crate::error::{CallError, Reason};
use crate::event::Status;
use crate::request::{Carry, NoCarry};
use crate::shell::gate::Gate;
use crate::shell::oneshot::Oneshot;
use crate::shell::said::Said;
use crate::shell::waiters::Seat;

/// Calls the inner service while its dependency is up, and refuses at once while it is down.
pub struct Health<S, C, K = NoCarry> {
    inner: S,
    gate: Arc<Gate<Policy>>,
    classify: Arc<C>,
    carry: K,
    said: Said,
    /// Where the caller waits for the inner service, to be told when its dependency goes down.
    seat: Seat,
}

impl<S, C, K> Health<S, C, K> {
    pub(super) fn new(inner: S, gate: Arc<Gate<Policy>>, classify: Arc<C>, carry: K) -> Self {
        Self { inner, gate, classify, carry, said: Said::default(), seat: Seat::default() }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req, C, K> Service<Req> for Health<S, C, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    K: Carry<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.said == Said::Alone {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.gate.status() == Status::Down || self.gate.is_closed() {
                return self.said.alone(); // a refusal needs nobody
            }
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.said = Said::WithInner;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    // It speaks of the dependency as much as an answer would, and may be all that is
                    // ever heard of it.
                    self.said = Said::Nothing;
                    if let Verdict::Now(outcome) = self.classify.classify(Err(&error)) {
                        self.gate.note_end(outcome.health);
                    }
                    return Poll::Ready(Err(error));
                }
                // Who waits for a service that may never become ready must hear that it is down.
                Poll::Pending if self.gate.wait(&mut self.seat, cx.waker()) => {
                    if !self.gate.is_closed() {
                        tend(&self.gate);
                        return Poll::Pending;
                    }
                }
                Poll::Pending => {} // it went down meanwhile: look again
            }
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.gate.leave(&mut self.seat);
        if self.gate.checker.is_idle() {
            tend(&self.gate); // the runtime that it was built on is gone, or was none
        }
        let readied = self.said.take();
        let refusal = match self.gate.enter() {
            Some(lane) if lane.lets_through() => {
                let mut flight = Flight::new(lane);
                let context = CallContext::read(&self.carry, &request);
                let risk = Risk::of(&mut flight);
                let attempt = if readied {
                    Oneshot::called(self.inner.call(request))
                } else {
                    Oneshot::waiting(self.inner.clone(), request)
                };
                risk.over();
                return ResponseFuture::calling(
                    attempt,
                    flight,
                    Arc::clone(&self.classify),
                    context,
                );
            }
            Some(_) => {
                tend(&self.gate);
                Reason::Unhealthy
            }
            None => Reason::Draining,
        };
        if readied {
            self.inner = self.inner.clone(); // gives the reservation back
        }
        ResponseFuture::refused(self.gate.reject(refusal))
    }
}

impl<S, C, K> Drop for Health<S, C, K> {
    fn drop(&mut self) {
        self.gate.leave(&mut self.seat);
    }
}

impl<S: Clone, C, K: Clone> Clone for Health<S, C, K> {
    fn clone(&self) -> Self {
        let (gate, classify) = (Arc::clone(&self.gate), Arc::clone(&self.classify));
        Self::new(self.inner.clone(), gate, classify, self.carry.clone())
    }
}

impl<S: fmt::Debug, C, K> fmt::Debug for Health<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("inner", &self.inner)
            .field("policy", &**self.gate)
            .finish_non_exhaustive()
    }
}
