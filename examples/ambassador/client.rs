//! The HTTP client: which version it speaks to the upstream, and whose fault it is if a call breaks.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Parts;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall::http::{AsError, TimeoutHeader, WriteDeadline, WriteDeadlineLayer};
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::body::{Outgoing, Upload};
use crate::pool::{Lent, Lost, Pool};
use crate::proxy::Upstream;

/// The client failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The caller did not send the rest of its request.
    #[error("the request's body broke off")]
    Caller,
    /// Nothing was sent, for no connection came about.
    #[error("{0}")]
    Connect(#[source] BoxError),
    #[error("{0}")]
    Upstream(#[source] BoxError),
}

impl AsError for Broken {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        self
    }
}

/// Whether a call is one of gRPC, or an answer is.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// A client that speaks HTTP/2 for gRPC, and for all else if it is told to, and HTTP/1.1 otherwise. It
/// tells gRPC servers how much time is left.
#[derive(Debug, Clone)]
pub(crate) struct Client(Arc<Versions>);

type Http2 = legacy::Client<HttpConnector, Upload>;

#[derive(Debug)]
struct Versions {
    one: Arc<Pool>,
    two: Http2,
    grpc: WriteDeadline<Http2>,
    /// Speak HTTP/2, and not only for gRPC.
    http2: bool,
    host: HeaderValue,
}

impl Client {
    /// On the runtime of the caller.
    pub(crate) fn of(upstream: &Upstream, http2: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let two = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_only(true)
            .build(connector);
        let grpc = WriteDeadlineLayer::new(TimeoutHeader::Grpc).layer(two.clone());
        let one = Pool::new(upstream.root());
        Self(Arc::new(Versions { one, two, grpc, http2, host: upstream.host() }))
    }
}

impl Service<Request<Outgoing>> for Client {
    type Response = Response<Arrival>;
    type Error = Broken;
    /// In a box of its own, or each layer outside would carry all that it holds.
    type Future = BoxFuture<'static, Result<Response<Arrival>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Outgoing>) -> Self::Future {
        Box::pin(Arc::clone(&self.0).send(request))
    }
}

impl Versions {
    async fn send(
        self: Arc<Self>,
        request: Request<Outgoing>,
    ) -> Result<Response<Arrival>, Broken> {
        let failed = Arc::new(AtomicBool::new(false));
        let request = request.map(|body| Upload::new(body, Arc::clone(&failed)));
        let is_grpc = is_grpc(request.headers());
        let answer = if is_grpc || self.http2 {
            self.over_http2(request, is_grpc).await
        } else {
            self.over_http1(request).await
        };
        // hyper tells it in another way for each version, so the body itself is asked.
        answer.map_err(|error| if failed.load(Ordering::Relaxed) { Broken::Caller } else { error })
    }

    async fn over_http1(&self, mut request: Request<Upload>) -> Result<Response<Arrival>, Broken> {
        let mut path = Parts::default();
        path.path_and_query = std::mem::take(request.uri_mut()).into_parts().path_and_query;
        *request.uri_mut() = Uri::from_parts(path).unwrap_or_default();
        request.headers_mut().insert(header::HOST, self.host.clone());
        match self.one.send(request).await {
            Ok((response, lent)) => Ok(response.map(|body| Arrival { body, _lent: Some(lent) })),
            Err(Lost::Connect(error)) => Err(Broken::Connect(error)),
            Err(Lost::Call(error)) => Err(Broken::Upstream(error.into())),
        }
    }

    async fn over_http2(
        &self,
        mut request: Request<Upload>,
        is_grpc: bool,
    ) -> Result<Response<Arrival>, Broken> {
        // We read trailers, whoever asked; whether the caller does is between it and us.
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        let answer = if is_grpc {
            self.grpc.clone().oneshot(request).await
        } else {
            self.two.request(request).await
        };
        match answer {
            Ok(response) => Ok(response.map(|body| Arrival { body, _lent: None })),
            Err(error) if error.is_connect() => Err(Broken::Connect(error.into())),
            Err(error) => Err(Broken::Upstream(error.into())),
        }
    }
}

// ===== impl Arrival =====

/// The body of the upstream's answer, and the connection on which it comes.
#[derive(Debug)]
pub(crate) struct Arrival {
    body: Incoming,
    /// Dropped after the body, when the call is over.
    _lent: Option<Lent>,
}

impl Body for Arrival {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
