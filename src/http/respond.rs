//! Rejections as answers, so that nothing leaves a server stack as an error.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::ResponseBody;
use super::manners::{Asked, Mannered, Manners};
use crate::config::ConfigErrors;
use crate::error::{CallError, Reason, Rejected};

/// Turns the errors of a stack into HTTP answers, so that the stack itself cannot fail.
///
/// What a server makes of an error is never what its author wants: hyper closes the connection, h2
/// resets the stream, axum does not compile. Put this outermost on a server. A rejection becomes
/// 503 or 504 and a small problem document (RFC 9457) that names the kind of refusal but no name of
/// your inside; a 503 has a [`Retry-After`](Self::retry_after), and says [`Connection:
/// close`](Self::close_when_draining) to HTTP/1 while the server drains. Every other error is a 500
/// without words; [`with`](Self::with) and [`render`](Self::render) render as you like.
///
/// It answers for services of any body: see [`ResponseBody`].
///
/// An error out of `poll_ready` means that the inner service is dead for good, and no answer can be
/// made of it there. It is remembered, and every call from then on is answered with 503.
///
/// ```
/// use http::{Request, Response};
/// use seawall::bulkhead::BulkheadLayer;
/// use seawall::{Error, http::RespondLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, service_fn};
///
/// # async fn handle(_: Request<String>) -> Result<Response<String>, Infallible> { Ok(Response::default()) }
/// let server = ServiceBuilder::new()
///     .layer(RespondLayer::new())
///     .layer(BulkheadLayer::new("orders"))
///     .map_err(Error::Inner)
///     .service(service_fn(handle)); // Error = Infallible
/// # fn cannot_fail<S: tower::Service<Request<String>, Error = Infallible>>(_: S) {}
/// # cannot_fail(server);
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RespondLayer<R = Problem> {
    render: R,
    manners: Manners,
}

/// Makes an answer of an error, for a service whose answers have a body `B`.
pub trait Render<B, E> {
    /// The body of all answers.
    type Body;

    /// The body of an answer of the service inside.
    fn pass(&self, body: B) -> Self::Body;

    /// The answer. `None` stands for an inner service that has failed for good and told so before.
    fn render(&self, error: Option<&E>) -> Response<Self::Body>;

    /// The same, by one who heeds [how it is asked](Asked). By default that makes no difference.
    fn render_asked(&self, asked: &Asked, error: Option<&E>) -> Response<Self::Body> {
        let _ = asked;
        self.render(error)
    }
}

/// Renders rejections as problem documents; see [`RespondLayer`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Problem;

/// A closure renders, with the body of the service inside.
#[derive(Clone, Copy)]
pub struct RenderBy<F>(F);

/// A closure renders, with bytes.
#[derive(Clone, Copy)]
pub struct RenderBytes<F>(F);

impl RespondLayer {
    /// Answers with problem documents.
    pub const fn new() -> Self {
        Self::of(Problem)
    }

    /// Answers with what `render` makes of each error.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use http::{Request, Response, StatusCode};
    /// use seawall::http::{RespondLayer, status_of};
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
    /// shop.drain().await; // from here on it refuses everybody
    /// let server = ServiceBuilder::new()
    ///     .layer(RespondLayer::with(words))
    ///     .layer(shop)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: Request<()>| async { Ok(Response::new(String::from("hello"))) }));
    /// let answer = server.oneshot(Request::default()).await?;
    /// assert_eq!((answer.status().as_u16(), &**answer.body()), (503, "Please come back later."));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn with<B, E, F>(render: F) -> RespondLayer<RenderBy<F>>
    where
        F: Fn(Option<&E>) -> Response<B>,
    {
        RespondLayer::of(RenderBy(render))
    }

    /// Answers with what `render` makes of each error, over services of any body: its own is text or
    /// bytes.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use http::{Response, StatusCode};
    /// use seawall::http::{AtEnd, RespondLayer, status_of};
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
    ///     .layer(RespondLayer::render(words))
    ///     .layer(BulkheadLayer::builder("shop").finish(AtEnd).build()?)
    ///     .map_err(Error::Inner);
    /// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(stack);
    /// # drop(app);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn render<T, E, F>(render: F) -> RespondLayer<RenderBytes<F>>
    where
        F: Fn(Option<&E>) -> Response<T>,
        T: Into<Bytes>,
    {
        RespondLayer::of(RenderBytes(render))
    }
}

#[expect(private_bounds, reason = "the renderers of this crate, which can be told how")]
impl<R: Mannered> RespondLayer<R> {
    /// After how long whoever was refused with a 503 or 429 may come back, where the layer that
    /// refused does not know: [1 s](super::RETRY_AFTER_REFUSAL) by default. `None` says nothing.
    ///
    /// It is the header `Retry-After`, in whole seconds, rounded up; for gRPC
    /// `grpc-retry-pushback-ms`.
    pub fn retry_after(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.manners.retry_after(delay.into());
        self
    }

    /// Answers refusals for this reason with another status than [`status_of`] says: a full server
    /// with `429 Too Many Requests`, for instance. For gRPC 429 is `RESOURCE_EXHAUSTED`, 503
    /// `UNAVAILABLE` and 504 `DEADLINE_EXCEEDED`; any other leaves the code as it is.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use http::{Request, Response, StatusCode};
    /// use seawall::http::RespondLayer;
    /// use seawall::{Error, Reason, bulkhead::BulkheadLayer};
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let respond = RespondLayer::new()
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
        self.manners.status(reason, status)?;
        Ok(self)
    }

    /// Whether a refusal of a server that [drains](Reason::Draining) says `Connection: close` to a
    /// caller of HTTP/1, so that it does not come again on this connection. It does by default.
    /// HTTP/2 has no such header, and closes with `GOAWAY`.
    pub fn close_when_draining(mut self, closes: bool) -> Self {
        self.manners.close_when_draining(closes);
        self
    }
}

impl<R> RespondLayer<R> {
    pub(crate) const fn of(render: R) -> Self {
        Self { render, manners: Manners::SERVER }
    }
}

impl<R: Default> Default for RespondLayer<R> {
    fn default() -> Self {
        Self::of(R::default())
    }
}

impl<B, E, F: Fn(Option<&E>) -> Response<B>> Render<B, E> for RenderBy<F> {
    type Body = B;

    fn pass(&self, body: B) -> B {
        body
    }

    fn render(&self, error: Option<&E>) -> Response<B> {
        (self.0)(error)
    }
}

impl<B, E, T, F> Render<B, E> for RenderBytes<F>
where
    F: Fn(Option<&E>) -> Response<T>,
    T: Into<Bytes>,
{
    type Body = ResponseBody<B>;

    fn pass(&self, body: B) -> ResponseBody<B> {
        ResponseBody::new(body)
    }

    fn render(&self, error: Option<&E>) -> Response<ResponseBody<B>> {
        (self.0)(error).map(ResponseBody::own)
    }
}

impl<F> fmt::Debug for RenderBytes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenderBytes(closure)")
    }
}

impl<F> fmt::Debug for RenderBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenderBy(closure)")
    }
}

impl Mannered for Problem {}

impl<B, E: CallError> Render<B, E> for Problem {
    type Body = ResponseBody<B>;

    fn pass(&self, body: B) -> ResponseBody<B> {
        ResponseBody::new(body)
    }

    fn render(&self, error: Option<&E>) -> Response<ResponseBody<B>> {
        let asked = Asked { manners: Manners::SERVER, version: Version::HTTP_2 };
        Render::<B, E>::render_asked(self, &asked, error)
    }

    fn render_asked(&self, asked: &Asked, error: Option<&E>) -> Response<ResponseBody<B>> {
        match error.map(CallError::rejected) {
            Some(Some(rejected)) => answer_to(rejected, asked),
            Some(None) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            None => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

/// A rejection as an HTTP answer: status, `Retry-After`, and a small problem document.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use http::{Response, StatusCode};
/// use seawall::bulkhead::BulkheadLayer;
/// use seawall::http::rejection_response;
/// use seawall::{CallError, Error};
/// use std::convert::Infallible;
///
/// /// In a handler that calls through a layer itself.
/// async fn report(reports: &BulkheadLayer) -> Response<String> {
///     let made = reports.run(|| async { Ok::<_, Error<Infallible>>("ready".to_owned()) }).await;
///     match made {
///         Ok(report) => Response::new(report),
///         Err(Error::Rejected(why)) => rejection_response(&why),
///         Err(Error::Inner(never)) => match never {},
///     }
/// }
///
/// let reports = BulkheadLayer::new("reports");
/// assert_eq!(report(&reports).await.status(), StatusCode::OK);
/// reports.drain().await;
/// let refused = report(&reports).await;
/// assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
/// assert!(refused.body().contains(r#""reason":"draining""#));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn rejection_response<B: From<String>>(rejected: &Rejected) -> Response<B> {
    answer_to(rejected, &Asked { manners: Manners::CLIENT, version: Version::HTTP_2 })
}

fn answer_to<B: From<String>>(rejected: &Rejected, asked: &Asked) -> Response<B> {
    let Asked { manners, version } = asked;
    let mut response = problem(manners.status_of(rejected.reason()), rejected.reason().as_str());
    manners.write(response.headers_mut(), rejected, *version);
    response
}

/// The status that tells of a reason: 504 where time ran out, 408 and 400 where the caller did not send
/// its request in time or broke it off, 503 for the rest.
///
/// ```
/// use http::StatusCode;
/// use seawall::{Reason, http::status_of};
///
/// assert_eq!(status_of(Reason::TimedOut), StatusCode::GATEWAY_TIMEOUT);
/// assert_eq!(status_of(Reason::CircuitOpen), StatusCode::SERVICE_UNAVAILABLE);
/// ```
pub fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::TimedOut | Reason::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::RequestBroken => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A problem document (RFC 9457). `kind` is one of our own words, which needs no escaping.
fn problem<B: From<String>>(status: StatusCode, kind: &str) -> Response<B> {
    let title = status.canonical_reason().unwrap_or_default();
    let code = status.as_u16();
    let body =
        format!(r#"{{"type":"about:blank","title":"{title}","status":{code},"reason":"{kind}"}}"#);
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<S, R: Clone> Layer<S> for RespondLayer<R> {
    type Service = Respond<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { render, manners } = self;
        Respond { inner, render: render.clone(), manners: *manners, health: Health::Well }
    }
}

// ===== impl Respond =====

/// A service that answers instead of failing; see [`RespondLayer`].
#[derive(Debug)]
pub struct Respond<S, R> {
    inner: S,
    render: R,
    manners: Manners,
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
        let asked = Asked { manners: self.manners, version: request.version() };
        let stage = match self.health {
            Health::Well => Stage::Calling(self.inner.call(request), self.render.clone(), asked),
            Health::Dead => Stage::Answered(Some(self.render.render_asked(&asked, None))),
        };
        ResponseFuture { stage }
    }
}

impl<S: Clone, R: Clone> Clone for Respond<S, R> {
    fn clone(&self) -> Self {
        let Self { inner, render, manners, health } = self;
        Self { inner: inner.clone(), render: render.clone(), manners: *manners, health: *health }
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
