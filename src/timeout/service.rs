//! The service that a timeout makes of another.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::future::{Limits, ResponseFuture};
use super::policy::{Flight, Policy};
use super::uploading::Uploading;
use crate::error::{CallError, Measured, Reason};
use crate::request::Carry;
use crate::shell::gate::{Gate, Parked};
use crate::shell::oneshot::Oneshot;
use crate::shell::said::Said;
use crate::time::nanos;

/// Ends calls that take too long.
pub struct Timeout<S, L, K> {
    inner: S,
    gate: Arc<Gate<Policy>>,
    hooks: Hooks<L, K>,
    said: Said,
    /// Where the caller waits for the inner service, to be told of a drain. The waker
    /// stays until the next wait: taking it away would cost every call, and it rings but once.
    parked: Parked,
}

/// The types that a user fixes when the layer is built.
#[derive(Debug, Clone, Default)]
pub(super) struct Hooks<L, K> {
    pub(super) limit: L,
    pub(super) carry: K,
    pub(super) of: LimitOn,
}

/// What a limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum LimitOn {
    /// Of the attempt where the request says that it is one, otherwise of the call.
    #[default]
    Request,
    /// Of an attempt, whatever the request says.
    Attempt,
    /// Of the whole call, until its answer was read.
    Whole,
}

/// How long a request may take.
pub trait LimitOf<Req> {
    /// Its limit; `None` for the layer's own.
    fn limit_of(&self, request: &Req) -> Option<Duration>;
}

/// Every request has the layer's own limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed;

impl<Req> LimitOf<Req> for Fixed {
    fn limit_of(&self, _: &Req) -> Option<Duration> {
        None
    }
}

/// A closure says how long a request may take.
#[derive(Clone, Copy)]
pub struct ByRequest<F>(pub(super) F);

impl<Req, F: Fn(&Req) -> Option<Duration>> LimitOf<Req> for ByRequest<F> {
    fn limit_of(&self, request: &Req) -> Option<Duration> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ByRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByRequest(closure)")
    }
}

impl<S, L, K> Timeout<S, L, K> {
    pub(super) fn new(inner: S, gate: Arc<Gate<Policy>>, hooks: Hooks<L, K>) -> Self {
        Self { inner, gate, hooks, said: Said::default(), parked: Parked::new() }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req, L, K> Service<Req> for Timeout<S, L, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    L: LimitOf<Req>,
    K: Carry<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.gate.is_closed() {
            return Poll::Ready(Ok(())); // the call will say so
        }
        if self.said == Said::Alone || self.gate.covers_readiness() && self.said != Said::WithInner
        {
            return self.said.alone(); // the call will wait, on a clone and on the clock
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
    fn call(&mut self, mut request: Req) -> Self::Future {
        let readied = self.said.take();
        let own = self.hooks.limit.limit_of(&request).map_or(self.gate.limit(), nanos);
        let (limits, uploading) = self.hooks.limits(&mut request, own);
        let (refusal, measured) = match self.gate.enter() {
            Some(lane) if !limits.deadline.is_some_and(|deadline| deadline.is_past()) => {
                let flight = Flight::new(lane);
                let attempt = if readied {
                    Oneshot::called(self.inner.call(request))
                } else {
                    Oneshot::waiting(self.inner.clone(), request)
                };
                return ResponseFuture::flying(flight, attempt, limits, uploading);
            }
            Some(_) => (Reason::DeadlineExceeded, limits.told),
            None => (Reason::Draining, Measured::Nothing),
        };
        if readied {
            self.inner = self.inner.clone(); // gives the reservation back
        }
        ResponseFuture::refused(self.gate.reporter.reject(refusal, measured))
    }
}

impl<L, K> Hooks<L, K> {
    /// Reads the deadline that came with a request, and writes what is left for those further in.
    ///
    /// The limit of a whole call goes in as its deadline. That of an attempt does not: it ends with the
    /// head of the answer, and whoever is told a deadline ends the body by it too.
    #[inline]
    fn limits<Req>(&self, request: &mut Req, own: u64) -> (Limits, Option<Uploading>)
    where
        K: Carry<Req>,
    {
        let mut limits = Limits::of(own);
        if !self.carry.carries() {
            return (limits, None);
        }
        let mut call = self.carry.read(request);
        if self.of == LimitOn::Whole {
            call.unsigned = false; // nobody of ours was there before
        }
        (limits.deadline, limits.told) = (call.deadline, call.whose_deadline());
        let (upload, told) = (call.upload.clone(), call.caller_deadline());
        let uploading = Uploading::of(upload, told).filter(|_| own != u64::MAX);
        if uploading.is_some() {
            // Whoever set a limit of ours further out waits for the body too, and sees to it.
            (limits.deadline, limits.told) = (told, Measured::CALLERS_DEADLINE);
        } else if let (Some(ours), 0 | 1) = (call.own_deadline(), call.attempt) {
            // The limit of a layer further out: a first attempt that hangs until then has hung.
            limits.hangs = !ours.is_past();
        }
        let of_call = match self.of {
            LimitOn::Request => call.attempt == 0,
            LimitOn::Attempt => false,
            LimitOn::Whole => true,
        };
        if own != u64::MAX && of_call {
            call.cut_to(own, self.of == LimitOn::Whole);
        }
        if call.deadline.is_some() {
            self.carry.write(request, &call);
        }
        (limits, uploading)
    }
}

impl<S: Clone, L: Clone, K: Clone> Clone for Timeout<S, L, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.gate), self.hooks.clone())
    }
}

impl<S: fmt::Debug, L, K> fmt::Debug for Timeout<S, L, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("config", &self.gate.config())
            .finish_non_exhaustive()
    }
}
