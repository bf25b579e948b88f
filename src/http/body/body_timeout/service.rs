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
use crate::core::upload::UploadReporter;

/// A response whose body can have time limits: those of `http`, and with the feature `reqwest` its own.
pub trait TimeBody {
    /// The same with limits.
    type Timed;

    /// Puts limits on its body.
    fn time_body(self, limits: Limits) -> Self::Timed;
}

/// The limits for one body.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Policy>);

impl<B> TimeBody for Response<B> {
    type Timed = Response<TimedBody<B>>;

    fn time_body(self, limits: Limits) -> Self::Timed {
        self.map(|body| TimedBody::new(body, limits.0, UploadReporter::default()))
    }
}

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

impl<S, Req> Service<Req> for BodyTimeout<S>
where
    S: Service<Req, Response: TimeBody>,
{
    type Response = <S::Response as TimeBody>::Timed;
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

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    T: TimeBody,
{
    type Output = Result<T::Timed, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        let limits = Limits(Arc::clone(this.policy));
        Poll::Ready(Ok(response.time_body(limits)))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
