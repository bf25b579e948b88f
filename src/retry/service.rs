//! The service that a retry makes of another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::future::{ResponseFuture, Source};
use super::machine::Attempts;
use super::policy::{Flight, Policy};
use super::purse::{OneBudget, Payer};
use super::travels::{Kit, Travels};
use crate::classify::Classify;
use crate::error::{CallError, Measured, Reason};
use crate::request::{Carry, CloneRequest};
use crate::shell::gate::{Gate, Parked};
use crate::shell::oneshot::Oneshot;
use crate::shell::template::Template;

/// Calls the inner service again where that may help.
pub struct Retry<S, C, R, K, B = OneBudget> {
    inner: S,
    gate: Arc<Gate<Policy<C>>>,
    kit: Kit<R, K>,
    payer: B,
    /// Whether `inner` said it is ready and was not called since.
    readied: bool,
    spare: Spare<S>,
    /// Where the caller waits for the inner service, to be told of a drain. The waker
    /// stays until the next wait: taking it away would cost every call, and it rings but once.
    parked: Parked,
}

/// Where a call gets the service for a further attempt from. An instance that is called once gives
/// each call a clone; one that is called again shares one template, so that a call which needs no
/// further attempt does not pay for cloning a whole stack.
enum Spare<S> {
    Unused,
    CalledOnce,
    Template(Arc<Template<S>>),
}

impl<S, C, R, K, B> Retry<S, C, R, K, B> {
    pub(super) fn new(inner: S, gate: Arc<Gate<Policy<C>>>, kit: Kit<R, K>, payer: B) -> Self {
        let parked = Parked::new();
        Self { inner, gate, kit, payer, readied: false, spare: Spare::Unused, parked }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Clone, C, R, K, B> Retry<S, C, R, K, B> {
    fn spare(&mut self) -> Source<S> {
        match &self.spare {
            Spare::Unused => {
                self.spare = Spare::CalledOnce;
                Source::Clone(self.inner.clone())
            }
            Spare::CalledOnce => {
                let template = Arc::new(Template::new(self.inner.clone()));
                self.spare = Spare::Template(Arc::clone(&template));
                Source::Template(template)
            }
            Spare::Template(template) => Source::Template(Arc::clone(template)),
        }
    }
}

impl<S, Req, C, R, K, B> Service<Req> for Retry<S, C, R, K, B>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req> + Clone,
    K: Carry<Req> + Clone,
    B: Payer<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R, K, B::Purse>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.gate.is_closed() {
            return Poll::Ready(Ok(())); // the call will say so
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.readied = true;
                Poll::Ready(Ok(()))
            }
            Poll::Pending if !self.gate.park(&mut self.parked, cx.waker()) => Poll::Ready(Ok(())),
            other => other,
        }
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let readied = std::mem::take(&mut self.readied);
        let Some(lane) = self.gate.enter() else {
            if readied {
                self.inner = self.inner.clone(); // gives the reservation back
            }
            let rejected = self.gate.reject(Reason::Draining, Measured::Nothing);
            return ResponseFuture::refused(rejected, self.kit.clone(), self.payer.purse(&request));
        };
        let flight = Flight::new(lane, self.payer.purse(&request));
        let mut travels = self.kit.read(&request);
        let copies = !travels.as_ref().is_some_and(Travels::is_repetition)
            && flight.policy().is_some_and(Policy::copies);
        let copy = if copies { self.kit.copy(&request) } else { None };
        if let Some(travels) = &mut travels {
            self.kit.write(&mut request, Attempts::FIRST, travels);
        }
        let spare = copy.is_some().then(|| self.spare());
        let kit = self.kit.clone();
        // Each branch makes its own future, so that it is made in its place.
        if readied {
            let attempt = Oneshot::called(self.inner.call(request));
            ResponseFuture::begin(attempt, flight, kit, copy, spare, travels)
        } else {
            let attempt = Oneshot::waiting(self.inner.clone(), request);
            ResponseFuture::begin(attempt, flight, kit, copy, spare, travels)
        }
    }
}

impl<S: Clone, C, R: Clone, K: Clone, B: Clone> Clone for Retry<S, C, R, K, B> {
    fn clone(&self) -> Self {
        let (kit, payer) = (self.kit.clone(), self.payer.clone());
        Self::new(self.inner.clone(), Arc::clone(&self.gate), kit, payer)
    }
}

impl<S: fmt::Debug, C, R, K, B> fmt::Debug for Retry<S, C, R, K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("policy", &**self.gate)
            .finish_non_exhaustive()
    }
}
