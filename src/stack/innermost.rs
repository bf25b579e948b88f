//! The user's client, innermost in a stack.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tower::Service;

use crate::core::error::Error;

/// A client whose errors are [`Error::Inner`].
#[derive(Debug, Clone)]
pub struct Innermost<S>(pub(crate) S);

impl<S, Req> Service<Req> for Innermost<S>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = InnermostFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(Error::Inner)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        InnermostFuture::new(self.0.call(request))
    }
}

/// The future of a call of a client.
#[pin_project]
pub struct InnermostFuture<F> {
    #[pin]
    call: F,
}

impl<F> InnermostFuture<F> {
    pub(crate) const fn new(call: F) -> Self {
        Self { call }
    }
}

impl<F, T, E> Future for InnermostFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx).map_err(Error::Inner)
    }
}

impl<F> fmt::Debug for InnermostFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InnermostFuture")
    }
}
