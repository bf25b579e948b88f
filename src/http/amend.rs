//! The service of layers that change requests on their way in, and do nothing else.

use std::task::{Context, Poll};

use http::Request;
use tower::Service;

/// What such a layer does to each request.
pub(super) trait Amend {
    fn amend<B>(&self, request: &mut Request<B>);
}

/// Lets its layer change each request, and hands it on.
#[derive(Debug, Clone)]
pub struct Amended<S, L> {
    inner: S,
    layer: L,
}

impl<S, L: Clone> Amended<S, L> {
    pub(super) fn by(layer: &L, inner: S) -> Self {
        Self { inner, layer: layer.clone() }
    }
}

impl<S, L, B> Service<Request<B>> for Amended<S, L>
where
    S: Service<Request<B>>,
    L: Amend,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.amend(&mut request);
        self.inner.call(request)
    }
}
