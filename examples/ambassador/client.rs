//! The HTTP client: which version it speaks to the upstream, and whose fault it is if a call breaks.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall::http::{AsError, InExtensions, TimeoutHeader, WriteDeadline, WriteDeadlineLayer};
use seawall::propagate::Propagate;
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::body::{Outgoing, Upload};
use crate::headers::{self, Added};
use crate::outbound::Outbound;
use crate::pool::Pool;
use crate::proxy::Upstream;
use crate::wire::{self, Connection, Exchange, Fault};

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
    let kind = headers::get(headers, &header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The body of the upstream's answer.
pub(crate) type Arrival = Either<wire::Arrival<Pool>, Incoming>;

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
    upstream: Upstream,
    host: HeaderValue,
    /// Where the upstream is told how many attempts there were before.
    tell_attempts: Option<HeaderName>,
}

impl Client {
    /// On the runtime of the caller.
    pub(crate) fn of(upstream: &Upstream, http2: bool, tell_attempts: Option<HeaderName>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let two = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_only(true)
            // Until the upstream has said how many streams it takes, which it does at once (RFC 9113 §3.4):
            // what it rejects would have to be sent again.
            .http2_initial_max_send_streams(1)
            .build(connector);
        let grpc = WriteDeadlineLayer::new(TimeoutHeader::Grpc).layer(two.clone());
        let (one, host) = (Pool::new(upstream.root()), upstream.host());
        let upstream = upstream.clone();
        Self(Arc::new(Versions { one, two, grpc, http2, upstream, host, tell_attempts }))
    }
}

impl Service<Outbound> for Client {
    type Response = Response<Arrival>;
    type Error = Broken;
    /// In a box of its own, or each layer outside would carry all that it holds.
    type Future = BoxFuture<'static, Result<Response<Arrival>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Outbound) -> Self::Future {
        let client = Arc::clone(&self.0);
        if request.is_grpc || client.http2 {
            return Box::pin(client.over_http2(request));
        }
        match client.one.idle() {
            Some(connection) => Box::pin(client.over_http1(request, connection).map(told)),
            None => Box::pin(async move {
                let connection = client.one.connect().await.map_err(Broken::Connect)?;
                told(client.over_http1(request, connection).await)
            }),
        }
    }
}

/// What came of a call over HTTP/1.1.
fn told(answer: Result<Response<wire::Arrival<Pool>>, Fault>) -> Result<Response<Arrival>, Broken> {
    match answer {
        Ok(response) => Ok(response.map(Either::Left)),
        Err(Fault::Body(_)) => Err(Broken::Caller),
        Err(fault) => Err(Broken::Upstream(fault.into())),
    }
}

impl Versions {
    fn over_http1(
        &self,
        request: Outbound,
        connection: Box<Connection>,
    ) -> Exchange<Outgoing, Pool> {
        let attempts = self.attempts(&request);
        let attempts = attempts.as_ref().map(|(name, value)| (*name, value));
        let more = [(&header::HOST, &self.host)].into_iter().chain(attempts);
        let added = request.head.extensions.get().map_or(&[][..], Added::lines);
        connection.send(&request.head, more, added, request.body, Arc::clone(&self.one))
    }

    async fn over_http2(self: Arc<Self>, sealed: Outbound) -> Result<Response<Arrival>, Broken> {
        let failed = Arc::new(AtomicBool::new(false));
        let attempts = self.attempts(&sealed).map(|(name, value)| (name.clone(), value));
        let Outbound { head, body, call, is_grpc, .. } = sealed;
        let mut head = Arc::unwrap_or_clone(head);
        if self.upstream.is_named_by(&head.uri) {
            head.uri = self.upstream.join(&head.uri).unwrap_or_default();
        }
        let added = head.extensions.remove::<Added>();
        let mut request = Request::from_parts(head, Upload::new(body, Arc::clone(&failed)));
        InExtensions.inject(&mut request, &call);
        // We read trailers, whoever asked; whether the caller does is between it and us.
        let fields = request.headers_mut();
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        fields.remove(header::HOST); // the authority says it
        fields.extend(attempts);
        fields.extend(
            added.iter().flat_map(Added::fields).map(|(name, value)| (name.clone(), value.clone())),
        );
        let answer = if is_grpc {
            self.grpc.clone().oneshot(request).await
        } else {
            self.two.request(request).await
        };
        match answer {
            Ok(response) => Ok(response.map(Either::Right)),
            // hyper does not say that it was the body, so that itself is asked.
            Err(_) if failed.load(Ordering::Relaxed) => Err(Broken::Caller),
            Err(error) if error.is_connect() => Err(Broken::Connect(error.into())),
            Err(error) => Err(Broken::Upstream(error.into())),
        }
    }

    /// What is told of the attempts before, if there were any and it is to be told.
    fn attempts(&self, request: &Outbound) -> Option<(&HeaderName, HeaderValue)> {
        let name = self.tell_attempts.as_ref()?;
        let before = request.attempts_before();
        (before > 0).then(|| (name, HeaderValue::from(before)))
    }
}
