//! Requests that know which attempt they are, whatever their type: so that a further one goes to another endpoint.

use std::task::{Context, Poll};

use tower::Service;

use crate::core::request::{CallContext, CloneRequest, Propagate};

/// A request between the retry and its endpoint.
#[derive(Debug, Clone)]
pub struct Numbered<Req> {
    pub(super) request: Req,
    /// The number of the attempt, counted from 1; 0 before the retry has numbered it.
    attempt: u32,
}

/// A strategy for requests, for such as are numbered.
#[derive(Debug, Clone, Copy)]
pub struct OfNumbered<T>(pub(super) T);

impl<Req, K: Propagate<Req>> Propagate<Numbered<Req>> for OfNumbered<K> {
    #[inline]
    fn extract(&self, numbered: &Numbered<Req>) -> CallContext {
        let mut call = if self.0.propagates() {
            self.0.extract(&numbered.request)
        } else {
            CallContext::default()
        };
        call.attempt = call.attempt.max(numbered.attempt);
        call
    }

    #[inline]
    fn inject(&self, numbered: &mut Numbered<Req>, call: &CallContext) {
        numbered.attempt = call.attempt;
        if self.0.propagates() {
            self.0.inject(&mut numbered.request, call);
        }
    }
}

impl<Req, R: CloneRequest<Req>> CloneRequest<Numbered<Req>> for OfNumbered<R> {
    fn clone_request(&self, numbered: &Numbered<Req>) -> Option<Numbered<Req>> {
        numbered.with(self.0.clone_request(&numbered.request))
    }

    fn clone_unsent(&self, numbered: &Numbered<Req>) -> Option<Numbered<Req>> {
        numbered.with(self.0.clone_unsent(&numbered.request))
    }

    fn take_over(&self, copy: &mut Numbered<Req>) -> bool {
        self.0.take_over(&mut copy.request)
    }
}

impl<Req> Numbered<Req> {
    fn with(&self, copy: Option<Req>) -> Option<Self> {
        Some(Self { request: copy?, attempt: self.attempt })
    }
}

/// Takes the requests of callers, who number none.
#[derive(Debug, Clone)]
pub struct Unnumbered<T>(pub(super) T);

impl<T, Req> Service<Req> for Unnumbered<T>
where
    T: Service<Numbered<Req>>,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.0.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> T::Future {
        self.0.call(Numbered { request, attempt: 0 })
    }
}
