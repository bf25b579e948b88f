//! Refusals of a client's stack as answers, and every other error as it is.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::manners::{Asked, Manners};
use super::{Problem, Render};
use crate::error::CallError;

/// Turns the refusals of a client's stack into answers, for callers who read answers better than errors:
/// those of a generated gRPC client see an error of ours as `Unknown`, but know `UNAVAILABLE`.
///
/// For clients, outermost; [`RespondLayer`](super::RespondLayer) is the one for servers. A layer that
/// judges answers and stands further out would take a refusal for an answer of the dependency. Errors of the
/// client itself pass. Of the [`Rejected`](crate::Rejected) a copy is in the extensions of the answer.
///
/// ```
/// use http::{Request, Response};
/// use seawall::{Error, Reason, Rejected, bulkhead::BulkheadLayer, http::RefusalsLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> { Ok(Response::default()) }
/// let places = BulkheadLayer::new("api");
/// let api = ServiceBuilder::new()
///     .layer(RefusalsLayer::new())
///     .layer(places.clone())
///     .map_err(Error::Inner)
///     .service(service_fn(send));
/// places.drain().await;
/// let answer = api.oneshot(Request::default()).await?; // no error
/// assert_eq!(answer.status(), 503);
/// assert_eq!(answer.extensions().get().map(Rejected::reason), Some(Reason::Draining));
/// # Ok::<(), Error<std::io::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RefusalsLayer<R = Problem> {
    render: R,
}

impl RefusalsLayer {
    /// Answers with problem documents.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<R> RefusalsLayer<R> {
    #[cfg(feature = "grpc")]
    pub(crate) const fn of(render: R) -> Self {
        Self { render }
    }
}

impl<S, R: Clone> Layer<S> for RefusalsLayer<R> {
    type Service = Refusals<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Refusals { inner, render: self.render.clone() }
    }
}

/// Answers where its inner service was refused; see [`RefusalsLayer`].
#[derive(Debug, Clone)]
pub struct Refusals<S, R = Problem> {
    inner: S,
    render: R,
}

impl<S, R, A, B> Service<Request<A>> for Refusals<S, R>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: CallError,
    R: Render<B, S::Error> + Clone,
{
    type Response = Response<R::Body>;
    type Error = S::Error;
    type Future = RefusalsFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // A client invents nothing that its caller would take for the word of a server.
        let asked = Asked { manners: Manners::CLIENT, version: request.version() };
        RefusalsFuture { call: self.inner.call(request), render: self.render.clone(), asked }
    }
}

/// The future of a call whose refusal is an answer.
#[pin_project]
pub struct RefusalsFuture<F, R> {
    #[pin]
    call: F,
    render: R,
    asked: Asked,
}

impl<F, R, B, E> Future for RefusalsFuture<F, R>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: CallError,
    R: Render<B, E>,
{
    type Output = Result<Response<R::Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let error = match ready!(this.call.poll(cx)) {
            Ok(response) => return Poll::Ready(Ok(response.map(|body| this.render.pass(body)))),
            Err(error) => error,
        };
        Poll::Ready(match error.rejected() {
            None => Err(error),
            Some(rejected) => {
                let mut answer = this.render.render_asked(this.asked, Some(&error));
                answer.extensions_mut().insert(rejected.clone());
                Ok(answer)
            }
        })
    }
}

impl<F, R> fmt::Debug for RefusalsFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefusalsFuture")
    }
}
