//! Rejections as answers, so that nothing leaves a server stack as an error.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::rejection_settings::{Asked, RejectionSettings, RenderRejection};
use super::render::{ProblemDetails, Render, RenderBy, RenderBytes};
use crate::core::config::ConfigErrors;
use crate::core::error::Reason;

/// Turns the errors of a stack into HTTP answers, so that the stack itself cannot fail.
///
/// What a server makes of an error is never what its author wants: hyper closes the connection, h2
/// resets the stream, axum does not compile. Put this outermost on a server. A rejection becomes
/// 503 or 504 and a small problem document (RFC 9457) that names the kind of rejection but no name of
/// your inside; a 503 has a [`Retry-After`](Self::retry_after), and says [`Connection:
/// close`](Self::close_when_draining) to HTTP/1 while the server drains. Every other error is a 500
/// without words; [`with`](Self::with) and [`render`](Self::render) render as you like.
///
/// It answers for services of any body: see [`ResponseBody`](crate::http::ResponseBody).
///
/// An error out of `poll_ready` means that the inner service is dead for good, and no answer can be
/// made of it there. It is remembered, and every call from then on is answered with 503.
///
/// ```
/// use http::{Request, Response};
/// use seawall::bulkhead::BulkheadLayer;
/// use seawall::{Error, http::RejectionResponseLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, service_fn};
///
/// # async fn handle(_: Request<String>) -> Result<Response<String>, Infallible> { Ok(Response::default()) }
/// let server = ServiceBuilder::new()
///     .layer(RejectionResponseLayer::new())
///     .layer(BulkheadLayer::new("orders"))
///     .map_err(Error::Inner)
///     .service(service_fn(handle)); // Error = Infallible
/// # fn cannot_fail<S: tower::Service<Request<String>, Error = Infallible>>(_: S) {}
/// # cannot_fail(server);
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RejectionResponseLayer<R = ProblemDetails> {
    render: R,
    settings: RejectionSettings,
}

impl RejectionResponseLayer {
    /// Answers with problem documents.
    pub const fn new() -> Self {
        Self::of(ProblemDetails)
    }

    /// Answers with what `render` makes of each error.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use http::{Request, Response, StatusCode};
    /// use seawall::http::{RejectionResponseLayer, status_of};
    /// use seawall::{Error, bulkhead::BulkheadLayer};
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// /// Plain words, for people.
    /// fn words(error: Option<&Error<Infallible>>) -> Response<String> {
    ///     let status = match error {
    ///         Some(Error::Rejected(why)) => status_of(why.reason()),
    ///         _ => StatusCode::INTERNAL_SERVER_ERROR,
    ///     };
    ///     let mut response = Response::new("Please come back later.".to_owned());
    ///     *response.status_mut() = status;
    ///     response
    /// }
    ///
    /// let shop = BulkheadLayer::new("shop");
    /// shop.drain().await; // from here on it rejects everybody
    /// let server = ServiceBuilder::new()
    ///     .layer(RejectionResponseLayer::with(words))
    ///     .layer(shop)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: Request<()>| async { Ok(Response::new(String::from("hello"))) }));
    /// let answer = server.oneshot(Request::default()).await?;
    /// assert_eq!((answer.status().as_u16(), &**answer.body()), (503, "Please come back later."));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn with<B, E, F>(render: F) -> RejectionResponseLayer<RenderBy<F>>
    where
        F: Fn(Option<&E>) -> Response<B>,
    {
        RejectionResponseLayer::of(RenderBy(render))
    }

    /// Answers with what `render` makes of each error, over services of any body: its own is text or
    /// bytes.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use http::{Response, StatusCode};
    /// use seawall::http::{OnBodyEnd, RejectionResponseLayer, status_of};
    /// use seawall::{Error, bulkhead::BulkheadLayer};
    /// use std::convert::Infallible;
    /// use tower::ServiceBuilder;
    ///
    /// fn words(error: Option<&Error<Infallible>>) -> Response<&'static str> {
    ///     let mut response = Response::new("Please come back later.");
    ///     if let Some(Error::Rejected(why)) = error {
    ///         *response.status_mut() = status_of(why.reason());
    ///     }
    ///     response
    /// }
    ///
    /// let stack = ServiceBuilder::new()
    ///     .layer(RejectionResponseLayer::render(words))
    ///     .layer(BulkheadLayer::builder("shop").completion(OnBodyEnd).build()?)
    ///     .map_err(Error::Inner);
    /// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(stack);
    /// # drop(app);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn render<T, E, F>(render: F) -> RejectionResponseLayer<RenderBytes<F>>
    where
        F: Fn(Option<&E>) -> Response<T>,
        T: Into<Bytes>,
    {
        RejectionResponseLayer::of(RenderBytes(render))
    }
}

impl<R: RenderRejection> RejectionResponseLayer<R> {
    /// After how long whoever was rejected with a 503 or 429 may come back, where the layer that
    /// rejected does not know: 1 s by default. `None` says nothing.
    ///
    /// It is the header `Retry-After`, in whole seconds, rounded up; for gRPC
    /// `grpc-retry-pushback-ms`.
    pub fn retry_after(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.settings.retry_after(delay.into());
        self
    }

    /// Answers rejections for this reason with another status than [`status_of`](crate::http::status_of) says: a full server
    /// with `429 Too Many Requests`, for instance. For gRPC 429 is `RESOURCE_EXHAUSTED`, 503
    /// `UNAVAILABLE` and 504 `DEADLINE_EXCEEDED`; any other leaves the code as it is.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use http::{Request, Response, StatusCode};
    /// use seawall::http::RejectionResponseLayer;
    /// use seawall::{Error, Reason, bulkhead::BulkheadLayer};
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let respond = RejectionResponseLayer::new()
    ///     .status(Reason::Draining, StatusCode::TOO_MANY_REQUESTS)?
    ///     .retry_after(Duration::from_secs(5));
    /// let orders = BulkheadLayer::new("orders");
    /// orders.drain().await;
    /// let server = ServiceBuilder::new().layer(respond).layer(orders).map_err(Error::Inner).service(
    ///     service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }),
    /// );
    /// let answer = server.oneshot(Request::default()).await?;
    /// assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"5".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// A status that is not of an error: 400 to 599 are accepted.
    pub fn status(mut self, reason: Reason, status: StatusCode) -> Result<Self, ConfigErrors> {
        self.settings.status(reason, status)?;
        Ok(self)
    }

    /// Whether a rejection of a server that [drains](Reason::Draining) says `Connection: close` to a
    /// caller of HTTP/1, so that it does not come again on this connection. It does by default.
    /// HTTP/2 has no such header, and closes with `GOAWAY`.
    pub fn close_when_draining(mut self, closes: bool) -> Self {
        self.settings.close_when_draining(closes);
        self
    }
}

impl<R> RejectionResponseLayer<R> {
    pub(crate) const fn of(render: R) -> Self {
        Self { render, settings: RejectionSettings::SERVER }
    }
}

impl<R: Default> Default for RejectionResponseLayer<R> {
    fn default() -> Self {
        Self::of(R::default())
    }
}

impl<S, R: Clone> Layer<S> for RejectionResponseLayer<R> {
    type Service = Respond<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { render, settings } = self;
        Respond { inner, render: render.clone(), settings: *settings, health: Health::Well }
    }
}

// ===== impl Respond =====

/// A service that answers instead of failing; see [`RejectionResponseLayer`].
#[derive(Debug)]
pub struct Respond<S, R> {
    inner: S,
    render: R,
    settings: RejectionSettings,
    health: Health,
}

/// Whether the inner service has failed for good, as an error out of `poll_ready` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    /// It must not be asked again.
    Dead,
}

impl<S, R, A, B> Service<Request<A>> for Respond<S, R>
where
    S: Service<Request<A>, Response = Response<B>>,
    R: Render<B, S::Error> + Clone,
{
    type Response = Response<R::Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future, R, R::Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.health == Health::Well && ready!(self.inner.poll_ready(cx)).is_err() {
            self.health = Health::Dead;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let asked = Asked { settings: self.settings, version: request.version() };
        let stage = match self.health {
            Health::Well => Stage::Calling(self.inner.call(request), self.render.clone(), asked),
            Health::Dead => Stage::Answered(Some(self.render.render_asked(&asked, None))),
        };
        ResponseFuture { stage }
    }
}

impl<S: Clone, R: Clone> Clone for Respond<S, R> {
    fn clone(&self) -> Self {
        let Self { inner, render, settings, health } = self;
        Self { inner: inner.clone(), render: render.clone(), settings: *settings, health: *health }
    }
}

/// The future of a call that is answered whatever happens.
#[pin_project]
pub struct ResponseFuture<F, R, B> {
    #[pin]
    stage: Stage<F, R, B>,
}

#[pin_project(project = StageProj)]
enum Stage<F, R, B> {
    Calling(#[pin] F, R, Asked),
    Answered(Option<Response<B>>),
}

impl<F, R, A, B, E> Future for ResponseFuture<F, R, B>
where
    F: Future<Output = Result<Response<A>, E>>,
    R: Render<A, E, Body = B>,
{
    type Output = Result<Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StageProj::Calling(future, render, asked) => {
                Poll::Ready(Ok(match ready!(future.poll(cx)) {
                    Ok(response) => response.map(|body| render.pass(body)),
                    Err(error) => render.render_asked(asked, Some(&error)),
                }))
            }
            StageProj::Answered(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending, // polled after it was ready
            },
        }
    }
}

impl<F, R, B> fmt::Debug for ResponseFuture<F, R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Calling(..) => "ResponseFuture(calling)",
            Stage::Answered(_) => "ResponseFuture(answered)",
        })
    }
}
