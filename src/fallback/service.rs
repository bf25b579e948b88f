//! The service that answers failed calls in another way.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::answer::Answer;
use super::future::ResponseFuture;
use super::terms::Terms;
use crate::core::classify::{Classification, Classify};
use crate::core::error::{CallError, Reason};
use crate::core::outcome::Signal;
use crate::shell::in_flight::InFlight;
use crate::shell::oneshot::Oneshot;

/// What all calls through a layer share.
pub(crate) struct Shared<A, C> {
    pub(super) terms: Terms,
    pub(super) answer: A,
    pub(super) classify: C,
}

impl<A, C> Shared<A, C> {
    /// Whether this result is to be answered otherwise, and which reason it gives, if one of our own
    /// layers ended the call.
    #[inline]
    pub(super) fn answers<Res, Err>(&self, result: Result<&Res, &Err>) -> AnswerKind
    where
        Err: CallError,
        C: Classify<Res, Err>,
    {
        let reason =
            result.err().and_then(CallError::rejected).map(crate::core::error::Rejected::reason);
        let (is_failure, is_good) = match (self.classify.classify(result), reason) {
            (_, Some(reason)) => (!self.terms.shown.contains(&reason), false),
            (Classification::Now(outcome), None) => (
                matches!(outcome.signal, Signal::Failure | Signal::Pushback),
                outcome.signal == Signal::Success,
            ),
            (Classification::AtEnd, None) => (result.is_err(), result.is_ok()),
        };
        match is_failure {
            true if self.terms.is_enabled() => AnswerKind::Failed(reason),
            _ if is_good => AnswerKind::Success,
            _ => AnswerKind::Neither,
        }
    }
}

/// What a result means here.
pub(super) enum AnswerKind {
    /// It is answered in another way; the reason, if a layer of ours ended the call.
    Failed(Option<Reason>),
    /// It is as good as it may be, and worth keeping.
    Success,
    /// It is told as it is.
    Neither,
}

/// Calls the inner service, and answers in another way where that fails.
///
/// It is ready when the inner service is. Another service that is to answer is asked for readiness when it
/// is needed, not before.
pub struct Fallback<S, A, C> {
    inner: S,
    gate: Arc<InFlight<Shared<A, C>>>,
    readied: bool,
}

impl<S, A, C> Fallback<S, A, C> {
    pub(super) const fn new(inner: S, gate: Arc<InFlight<Shared<A, C>>>) -> Self {
        Self { inner, gate, readied: false }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req, A, C> Service<Req> for Fallback<S, A, C>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    A: Answer<Req, S::Response, S::Error>,
    C: Classify<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, A, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = self.inner.poll_ready(cx);
        self.readied = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.gate.terms.called();
        let kept = self.gate.answer.keep(&request, &self.gate.terms);
        let attempt = if std::mem::take(&mut self.readied) {
            Oneshot::called(self.inner.call(request))
        } else {
            Oneshot::waiting(self.inner.clone(), request)
        };
        ResponseFuture::calling(attempt, kept, self.gate.enter())
    }
}

impl<S: Clone, A, C> Clone for Fallback<S, A, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.gate)) // readiness is not cloned
    }
}

impl<S: fmt::Debug, A, C> fmt::Debug for Fallback<S, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("inner", &self.inner)
            .field("terms", &self.gate.terms)
            .finish_non_exhaustive()
    }
}
