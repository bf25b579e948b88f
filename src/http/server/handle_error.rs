//! Rejections of a client's stack as answers, and every other error as it is.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::rejection_settings::{Asked, RejectionSettings};
use super::render::{ProblemDetails, Render};
use crate::core::error::CallError;

/// Turns the rejections of a client's stack into answers, for callers who read answers better than errors:
/// those of a generated gRPC client see an error of ours as `Unknown`, but know `UNAVAILABLE`.
///
/// For clients, outermost; [`RejectionResponseLayer`](crate::http::RejectionResponseLayer) is the one for servers. A layer that
/// classifies answers and stands further out would take a rejection for an answer of the dependency. Errors of the
/// client itself pass. Of the [`Rejected`](crate::Rejected) a copy is in the extensions of the answer.
///
/// ```
/// use http::{Request, Response};
/// use seawall::{Error, Reason, Rejected, bulkhead::BulkheadLayer, http::HandleErrorLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> { Ok(Response::default()) }
/// let places = BulkheadLayer::new("api");
/// let api = ServiceBuilder::new()
///     .layer(HandleErrorLayer::new())
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
pub struct HandleErrorLayer<R = ProblemDetails> {
    render: R,
}

impl HandleErrorLayer {
    /// Answers with problem documents.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<R> HandleErrorLayer<R> {
    #[cfg(feature = "grpc")]
    pub(crate) const fn of(render: R) -> Self {
        Self { render }
    }
}

impl<S, R: Clone> Layer<S> for HandleErrorLayer<R> {
    type Service = HandleError<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        HandleError { inner, render: self.render.clone() }
    }
}

/// Answers where its inner service was rejected; see [`HandleErrorLayer`].
#[derive(Debug, Clone)]
pub struct HandleError<S, R = ProblemDetails> {
    inner: S,
    render: R,
}

impl<S, R, A, B> Service<Request<A>> for HandleError<S, R>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: CallError,
    R: Render<B, S::Error> + Clone,
{
    type Response = Response<R::Body>;
    type Error = S::Error;
    type Future = HandleErrorFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // A client invents nothing that its caller would take for the word of a server.
        let asked = Asked { settings: RejectionSettings::CLIENT, version: request.version() };
        HandleErrorFuture { call: self.inner.call(request), render: self.render.clone(), asked }
    }
}

/// The future of a call whose rejection is an answer.
#[pin_project]
pub struct HandleErrorFuture<F, R> {
    #[pin]
    call: F,
    render: R,
    asked: Asked,
}

impl<F, R, B, E> Future for HandleErrorFuture<F, R>
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

impl<F, R> fmt::Debug for HandleErrorFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleErrorFuture")
    }
}
