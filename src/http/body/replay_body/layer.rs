//! Recording the bodies of all requests to a service.

use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower::{Layer, Service};

use super::ReplayBody;
use crate::http::body::body_timeout::upload_reporter;

/// How much of each body is kept at most, by default: 64 KiB.
pub const REPLAY_CAP: usize = 64 * 1024;

/// Records the body of each request while it is sent, so that a retry further in can send it again.
///
/// It belongs just outside of the retry, which is told to copy with [`Replay`](crate::http::Replay).
/// A request costs up to the cap in memory for as long as it could be sent again, and no longer: a
/// stream that goes on when its answer has begun is not recorded further. One whose body is larger passes
/// through and is sent once; [`StopReason::NoCopy`](crate::retry::StopReason::NoCopy) says so, if it fails.
///
/// It also tells the timeouts further in, where they carry [`InExtensions`](crate::http::InExtensions),
/// whether the body is still being sent: a caller that is slow to send its request is no evidence against
/// who is called. See [`RequestBodyTimeoutLayer`](crate::http::body_timeout::RequestBodyTimeoutLayer).
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::combinators::BoxBody;
/// use seawall::http::{HttpClassifier, RecordBodyLayer, Replay, ReplayBody};
/// use seawall::{Error, retry::RetryLayer};
/// use tower::{ServiceBuilder, service_fn};
///
/// # type Streaming = BoxBody<Bytes, std::io::Error>;
/// # async fn send(_: Request<ReplayBody<Streaming>>) -> Result<Response<String>, std::io::Error> {
/// #     Ok(Response::default())
/// # }
/// let client = ServiceBuilder::new()
///     .layer(RecordBodyLayer::default())
///     .layer(
///         RetryLayer::builder("api").classify(HttpClassifier).copy_with(Replay::default()).build()?,
///     )
///     .map_err(Error::Inner)
///     .service(service_fn(send)); // hyper, tonic, …
/// # let _ = seawall::check_service::<_, Request<Streaming>>(client);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RecordBodyLayer {
    cap: usize,
}

impl RecordBodyLayer {
    /// Keeps up to `cap` bytes of each body.
    pub const fn new(cap: usize) -> Self {
        Self { cap }
    }
}

impl Default for RecordBodyLayer {
    /// Keeps up to 64 KiB of each body.
    fn default() -> Self {
        Self::new(REPLAY_CAP)
    }
}

impl<S> Layer<S> for RecordBodyLayer {
    type Service = RecordBody<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RecordBody { inner, cap: self.cap }
    }
}

/// Makes the body of each request a [`ReplayBody`].
#[derive(Debug, Clone)]
pub struct RecordBody<S> {
    inner: S,
    cap: usize,
}

impl<S, B> Service<Request<B>> for RecordBody<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let upload_reporter = upload_reporter(&mut request);
        self.inner.call(request.map(|body| ReplayBody::told(body, self.cap, upload_reporter)))
    }
}
