//! The service that attempts its calls more than once.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::attempt_context::{AttemptContext, RequestTools};
use super::first::Further;
use super::future::ResponseFuture;
use super::guard::RetryGuard;
use super::repeat::{Asks, Payer, Repeat};
use crate::core::classify::Classify;
use crate::core::completion::{Ending, Tail};
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Measurement, Reason};
use crate::core::outcome::Outcome;
use crate::core::request::{CloneRequest, Propagate};
use crate::shell::clone_source::CloneSources;
use crate::shell::gate::{Admit, Complete, Policy};
use crate::shell::in_flight::{InFlight, Parked, Stripe};
use crate::shell::oneshot::Oneshot;
use crate::shell::readiness::Readiness;

/// What all calls through a layer share. A call holds one reference to it, and nothing else.
pub(crate) struct Core<T, W, A, C> {
    /// Whether and when to try again.
    pub(crate) retry: T,
    /// The policy of the whole call: one permit, from before the first attempt until after the last.
    pub(crate) whole: W,
    /// The policy of each attempt, which is asked anew each time.
    pub(crate) each: A,
    pub(crate) classify: C,
}

impl<T, W: Policy, A: Policy, C> Core<T, W, A, C> {
    /// The inner service has failed in `poll_ready`.
    #[cold]
    fn fail<S, Req>(&self, error: &S::Error)
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        if W::PARTS + A::PARTS > 0 {
            let classification =
                self.classify.classify_call(Err(error), &ClassifyContext::default());
            self.each.unready(&classification.of_error());
            self.whole.unready(&classification.of_error());
        }
    }
}

/// The policy of the attempts hears of a call that is over later than its answer.
impl<T, W, A, C> Ending for Stripe<Core<T, W, A, C>>
where
    T: Send + Sync + 'static,
    W: Send + Sync + 'static,
    A: Policy,
    C: Send + Sync + 'static,
{
    fn settle(&self, part: u8, tail: Tail, outcome: &Outcome) {
        self.each.settle_tail(part, tail, outcome);
    }

    fn delivered(&self, part: u8, tail: &mut Tail) {
        self.each.delivered(part, tail);
    }

    fn abandon(&self, part: u8, tail: Tail) {
        self.each.lose_tail(part, tail);
    }

    fn no_longer_in_flight(&self, stay: Option<u32>) {
        self.part(stay);
    }
}

/// Calls the inner service again where that may help.
pub struct Retried<S, T, W: Policy, A: Policy, C, R, K, B> {
    pub(super) inner: S,
    gate: Arc<InFlight<Core<T, W, A, C>>>,
    pub(super) tools: RequestTools<R, K>,
    payer: B,
    readiness: Readiness,
    sources: CloneSources<S>,
    /// Where the caller waits for the inner service, to be told when a policy closes...
    slots: (W::WakerSlot, A::WakerSlot),
    /// ...and of a drain. This waker stays until the next wait: taking it away would cost every call,
    /// and it rings but once.
    parked: Parked,
}

impl<S, T, W: Policy, A: Policy, C, R, K, B> Retried<S, T, W, A, C, R, K, B> {
    pub(crate) fn new(
        inner: S,
        gate: Arc<InFlight<Core<T, W, A, C>>>,
        tools: RequestTools<R, K>,
        payer: B,
    ) -> Self {
        let (readiness, sources) = (Readiness::default(), CloneSources::Unused);
        let (slots, parked) = (Default::default(), Parked::new());
        Self { inner, gate, tools, payer, readiness, sources, slots, parked }
    }

    /// The same of a service that is always ready, and is called at once.
    pub(crate) fn readied(mut self) -> Self {
        self.readiness = Readiness::WithInner;
        self
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    #[inline]
    fn unpark(&mut self) {
        self.gate.whole.unpark(&mut self.slots.0);
        self.gate.each.unpark(&mut self.slots.1);
    }
}

impl<S, Req, T, W, A, C, R, K, B> Service<Req> for Retried<S, T, W, A, C, R, K, B>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    T: Repeat<B::Purse>,
    W: Admit<Req> + Policy<Wait = Infallible>,
    A: Complete<S::Response>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    R: CloneRequest<Req> + Clone,
    K: Propagate<Req> + Clone,
    B: Payer<Req, Purse: Asks<Req, A>>,
{
    type Response = A::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, T, W, A, C, R, K, B::Purse>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let Self { inner, gate, readiness, slots, parked, .. } = self;
        let Core { whole, each, .. } = &***gate;
        readiness.poll(
            inner,
            cx,
            || !gate.is_closed() && whole.is_open() && each.is_open(),
            |waker| {
                gate.park(parked, waker)
                    && whole.park(&mut slots.0, waker)
                    && each.park(&mut slots.1, waker)
            },
            |error| gate.fail::<S, Req>(error),
        )
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.unpark();
        let readied = self.readiness.take();
        let purse = self.payer.purse(&request);
        let Some(stripe) = self.gate.enter() else {
            let rejected = match W::PARTS {
                0 => self.gate.retry.reject(Reason::Draining, Measurement::Nothing),
                _ => self.gate.whole.draining(), // told by the outermost
            };
            return self.reject(readied, rejected, purse);
        };
        let core = &**stripe;
        let attempt_context = self.tools.read(&request);
        let copies =
            !attempt_context.as_ref().is_some_and(AttemptContext::is_retry) && core.retry.copies();
        let copy = if copies { self.tools.copy(&request) } else { None };
        let source = copy.is_some().then(|| self.sources.source(&self.inner));
        let tools = self.tools.clone();
        // All code of the user's but the call itself has run by now: whatever might unwind with a permit in
        // hand would have it moved to where it is dropped.
        if attempt_context.is_none()
            && readied
            && let Some(whole) = core.whole.pass(&request)
        {
            if let Some(permit) = purse.pass(&core.each, &request) {
                let mut call = RetryGuard::new(stripe, Some(whole), Some(permit), purse);
                call.enter();
                let inner = self.inner.call(request);
                call.leave();
                return ResponseFuture::new(
                    Oneshot::called(inner),
                    call,
                    tools,
                    copy,
                    source,
                    None,
                );
            }
            core.whole.give_back(whole);
        }
        let again = Further { tools, copy, source, attempt_context };
        if readied && again.attempt_context.is_some() {
            return self.ask_carried(stripe, request, again, purse);
        }
        self.ask(stripe, readied, request, again, purse)
    }
}

impl<S, T, W, A, C, R, K, B> Clone for Retried<S, T, W, A, C, R, K, B>
where
    S: Clone,
    W: Policy,
    A: Policy,
    R: Clone,
    K: Clone,
    B: Clone,
{
    fn clone(&self) -> Self {
        // Readiness is not cloned.
        let (tools, payer) = (self.tools.clone(), self.payer.clone());
        Self::new(self.inner.clone(), Arc::clone(&self.gate), tools, payer)
    }
}

impl<S, T, W: Policy, A: Policy, C, R, K, B> Drop for Retried<S, T, W, A, C, R, K, B> {
    #[inline]
    fn drop(&mut self) {
        self.unpark();
    }
}

impl<S: fmt::Debug, T: fmt::Debug, W: Policy, A: Policy, C, R, K, B> fmt::Debug
    for Retried<S, T, W, A, C, R, K, B>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("policy", &self.gate.retry)
            .finish_non_exhaustive()
    }
}
