//! The service that a body timeout makes of another, and the future of its calls.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project::pin_project;
use tower::Service;

use super::body::TimedBody;
use super::layer::Policy;
use crate::upload::Courier;

/// Puts time limits on the bodies of responses.
#[derive(Debug, Clone)]
pub struct BodyTimeout<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> BodyTimeout<S> {
    pub(super) fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req, B> Service<Req> for BodyTimeout<S>
where
    S: Service<Req, Response = Response<B>>,
{
    type Response = Response<TimedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture { call: self.inner.call(request), policy: Arc::clone(&self.policy) }
    }
}

/// The future of a call whose response gets time limits on its body.
#[pin_project]
pub struct ResponseFuture<F> {
    #[pin]
    call: F,
    policy: Arc<Policy>,
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TimedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        Poll::Ready(Ok(
            response.map(|body| TimedBody::new(body, Arc::clone(this.policy), Courier::default()))
        ))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
