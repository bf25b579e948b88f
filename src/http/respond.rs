//! Rejections as answers, so that nothing leaves a server stack as an error.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project::pin_project;
use tower::{Layer, Service};

use crate::error::{CallError, Reason, Rejected};

/// Turns the errors of a stack into HTTP answers, so that the stack itself cannot fail.
///
/// What a server makes of an error is never what its author wants: hyper closes the connection, h2
/// resets the stream, axum does not compile. Put this outermost on a server. A rejection becomes
/// 503 or 504 with `Retry-After` where the time is known, and a small problem document (RFC
/// 9457) that names the kind of refusal but no name of your inside. Every other error is a 500
/// without words; [`with`](Self::with) renders as you like.
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
#[derive(Debug, Clone, Copy, Default)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RespondLayer<R = Problem> {
    render: R,
}

/// Makes an answer of an error.
pub trait Render<B, E> {
    /// The answer. `None` stands for an inner service that has failed for good and told so before.
    fn render(&self, error: Option<&E>) -> Response<B>;
}

/// Renders rejections as problem documents; see [`RespondLayer`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Problem;

/// A closure renders.
#[derive(Clone, Copy)]
pub struct RenderBy<F>(F);

impl RespondLayer {
    /// Answers with problem documents.
    pub fn new() -> Self {
        Self::default()
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
        RespondLayer { render: RenderBy(render) }
    }
}

impl<R> RespondLayer<R> {
    #[cfg(feature = "grpc")]
    pub(crate) const fn of(render: R) -> Self {
        Self { render }
    }
}

impl<B, E, F: Fn(Option<&E>) -> Response<B>> Render<B, E> for RenderBy<F> {
    fn render(&self, error: Option<&E>) -> Response<B> {
        (self.0)(error)
    }
}

impl<F> fmt::Debug for RenderBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenderBy(closure)")
    }
}

impl<B: From<String>, E: CallError> Render<B, E> for Problem {
    fn render(&self, error: Option<&E>) -> Response<B> {
        match error.map(CallError::rejected) {
            Some(Some(rejected)) => rejection_response(rejected),
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
    let mut response = problem(status_of(rejected.reason()), rejected.reason().as_str());
    if let Some(delay) = rejected.retry_after() {
        // Whole seconds, rounded up: never earlier than told.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
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
        Respond { inner, render: self.render.clone(), health: Health::Well }
    }
}

// ===== impl Respond =====

/// A service that answers instead of failing; see [`RespondLayer`].
#[derive(Debug)]
pub struct Respond<S, R> {
    inner: S,
    render: R,
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
    type Response = Response<B>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future, R, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.health == Health::Well && ready!(self.inner.poll_ready(cx)).is_err() {
            self.health = Health::Dead;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let stage = match self.health {
            Health::Well => Stage::Calling(self.inner.call(request), self.render.clone()),
            Health::Dead => Stage::Answered(Some(self.render.render(None))),
        };
        ResponseFuture { stage }
    }
}

impl<S: Clone, R: Clone> Clone for Respond<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), render: self.render.clone(), health: self.health }
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
    Calling(#[pin] F, R),
    Answered(Option<Response<B>>),
}

impl<F, R, B, E> Future for ResponseFuture<F, R, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    R: Render<B, E>,
{
    type Output = Result<Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StageProj::Calling(future, render) => Poll::Ready(Ok(match ready!(future.poll(cx)) {
                Ok(response) => response,
                Err(error) => render.render(Some(&error)),
            })),
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
