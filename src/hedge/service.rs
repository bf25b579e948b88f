//! The service that attempts a slow call again, beside the first attempt.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::future::{Further, ResponseFuture};
use super::terms::Terms;
use crate::core::classify::Classify;
use crate::core::error::CallError;
use crate::core::request::CloneRequest;
use crate::shell::clone_source::CloneSources;
use crate::shell::in_flight::InFlight;
use crate::shell::oneshot::Oneshot;

/// What all calls through a layer share.
pub(crate) struct Shared<C> {
    pub(super) terms: Terms,
    pub(super) classify: C,
}

impl<C> AsRef<Terms> for Shared<C> {
    fn as_ref(&self) -> &Terms {
        &self.terms
    }
}

/// Calls the inner service, and once more beside that if the answer does not come.
///
/// It is ready when the inner service is. A further attempt is made on a clone, which is driven to readiness by
/// itself.
pub struct Hedge<S, C, R> {
    inner: S,
    gate: Arc<InFlight<Shared<C>>>,
    copy: R,
    sources: CloneSources<S>,
    readied: bool,
}

impl<S, C, R> Hedge<S, C, R> {
    pub(super) const fn new(inner: S, gate: Arc<InFlight<Shared<C>>>, copy: R) -> Self {
        Self { inner, gate, copy, sources: CloneSources::Unused, readied: false }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req, C, R> Service<Req> for Hedge<S, C, R>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = self.inner.poll_ready(cx);
        self.readied = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.gate.terms.called();
        // Of those that may not be repeated nothing is kept, whether something was sent or not.
        let copied = self.copy.clone_request(&request);
        let further = copied.map(|request| Further {
            request,
            copy: self.copy.clone(),
            source: self.sources.source(&self.inner),
        });
        let stripe = self.gate.enter();
        let attempt = if std::mem::take(&mut self.readied) {
            Oneshot::called(self.inner.call(request))
        } else {
            Oneshot::waiting(self.inner.clone(), request)
        };
        ResponseFuture::new(attempt, further, stripe)
    }
}

impl<S: Clone, C, R: Clone> Clone for Hedge<S, C, R> {
    fn clone(&self) -> Self {
        // Readiness is not cloned.
        Self::new(self.inner.clone(), Arc::clone(&self.gate), self.copy.clone())
    }
}

impl<S: fmt::Debug, C, R> fmt::Debug for Hedge<S, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge")
            .field("inner", &self.inner)
            .field("terms", &self.gate.terms)
            .finish_non_exhaustive()
    }
}
