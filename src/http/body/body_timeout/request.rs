//! The same for the bodies of requests.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower::{Layer, Service};

use super::body::TimedBody;
use super::handle::BodyTimeoutHandle;
use super::layer::Policy;
use crate::core::upload::{Upload, UploadReporter};

/// Puts time limits on the bodies of requests: one that stalls is ended, one that flows is not, however
/// slow it is. Made by [`BodyTimeoutLayer::requests`](super::BodyTimeoutLayer::requests).
///
/// Put it outermost, outside of the timeouts that carry [`InExtensions`](crate::http::InExtensions), as the
/// ready-made stacks of HTTP do. They then measure the time of who is called, and not that of the caller:
/// their own limits do not run while the body waits for more, and run anew from each part of it. A call
/// whose body stalls, for the idle limit of this layer or for all of the time that the outermost timeout
/// gives, is rejected with [`RequestTimeout`](crate::Reason::RequestTimeout), a `408`; one whose body breaks
/// off with [`RequestBroken`](crate::Reason::RequestBroken), a `400`, if it fails. Neither is evidence
/// against anybody. A [deadline](crate::propagate::CallContext::deadline) that the caller told holds as ever.
///
/// The service inside gets a [`TimedBody`], which ends with a [`BoxError`](https://docs.rs/tower/0.5/tower/type.BoxError.html). A body that is
/// [recorded](crate::http::RecordBodyLayer) is measured too, and needs this only for an idle limit of its
/// own. So is one of reqwest that is a stream, by timeouts that carry `InTimeout`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use axum::{Router, body::Body, extract::Request, routing::put};
/// use bytes::Bytes;
/// use http_body_util::channel::Channel;
/// use seawall::http::body_timeout::BodyTimeoutLayer;
/// use seawall::{Error, http};
/// use std::{convert::Infallible, time::Duration};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// let uploads = BodyTimeoutLayer::builder("uploads").idle(Duration::from_millis(20)).build()?;
/// let stack = ServiceBuilder::new()
///     .layer(uploads.requests())
///     .layer(http::server("files").build()?)
///     .map_err(Error::Inner);
/// let app: Router = Router::new().route("/", put(|body: Bytes| async move { body })).layer(stack);
///
/// let (_sender, stalls) = Channel::<Bytes, Infallible>::new(1); // nothing ever comes of it
/// let answer = app.oneshot(Request::put("/").body(Body::new(stalls))?).await?;
/// assert_eq!(answer.status(), 408);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RequestBodyTimeoutLayer {
    policy: Arc<Policy>,
}

impl RequestBodyTimeoutLayer {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self { policy }
    }

    /// Inspects and controls it.
    pub fn handle(&self) -> BodyTimeoutHandle {
        BodyTimeoutHandle::new(Arc::clone(&self.policy))
    }
}

impl<S> Layer<S> for RequestBodyTimeoutLayer {
    type Service = RequestBodyTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestBodyTimeout { inner, policy: Arc::clone(&self.policy) }
    }
}

/// Puts time limits on the bodies of requests; see [`RequestBodyTimeoutLayer`].
#[derive(Clone)]
pub struct RequestBodyTimeout<S> {
    inner: S,
    policy: Arc<Policy>,
}

#[cfg(feature = "reqwest")]
impl<S> RequestBodyTimeout<S> {
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Puts the limits on a body.
    pub(crate) fn time<B>(&self, body: B, upload_reporter: UploadReporter) -> TimedBody<B> {
        TimedBody::new(body, Arc::clone(&self.policy), upload_reporter)
    }
}

impl<S, B> Service<Request<B>> for RequestBodyTimeout<S>
where
    S: Service<Request<TimedBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let upload_reporter = upload_reporter(&mut request);
        let timed = |body| TimedBody::new(body, Arc::clone(&self.policy), upload_reporter);
        self.inner.call(request.map(timed))
    }
}

impl<S: fmt::Debug> fmt::Debug for RequestBodyTimeout<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBodyTimeout").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// For whoever hands on the body of this request. What is there from the start needs no telling.
pub(in crate::http) fn upload_reporter<B: Body>(request: &mut Request<B>) -> UploadReporter {
    if request.body().is_end_stream() {
        return UploadReporter::default();
    }
    let upload = Upload::new();
    request.extensions_mut().insert(upload.clone());
    UploadReporter::new(Some(upload))
}
