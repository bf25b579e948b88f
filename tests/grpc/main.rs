//! tonic's own client and server, over loopback, with our layers between.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod any_body;
mod breaker;
mod client;
mod deadline;
#[cfg(feature = "endpoints")]
mod endpoints;
mod health;
mod letter;
#[path = "../it/port.rs"]
mod port;
mod raw;
mod rejections;
mod retry;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use http_body_util::StreamBody;
use seawall::Deadline;
use seawall::propagate::CallContext;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::{BoxError, Service, service_fn};

use self::raw::Raw;

const UNARY: &str = "/peer.Peer/Unary";
const STREAM: &str = "/peer.Peer/Stream";

// ===== the server =====

/// What reached the server, and what it was told.
#[derive(Debug, Clone)]
struct Seen {
    message: Bytes,
    headers: HeaderMap,
    deadline: Option<Deadline>,
}

/// A server that does what the message says, and writes down what it saw.
#[derive(Debug, Clone)]
struct Peer {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// So many calls are answered with UNAVAILABLE first.
    unavailable: Arc<Mutex<u32>>,
    arrivals: mpsc::UnboundedSender<()>,
    /// A stream that will be cut waits for this.
    cut: Arc<Notify>,
}

impl Peer {
    /// With the other end of its door bell.
    fn new() -> (Self, mpsc::UnboundedReceiver<()>) {
        let (arrivals, bell) = mpsc::unbounded_channel();
        (
            Self {
                seen: Arc::default(),
                unavailable: Arc::default(),
                arrivals,
                cut: Arc::default(),
            },
            bell,
        )
    }

    fn failing(times: u32) -> Self {
        let (peer, _) = Self::new();
        *peer.unavailable.lock().unwrap() = times;
        peer
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn note(&self, request: &Request<Bytes>) {
        let headers = request.metadata().clone().into_headers();
        let deadline = request.extensions().get::<CallContext>().and_then(|call| call.deadline);
        let message = request.get_ref().clone();
        self.seen.lock().unwrap().push(Seen { message, headers, deadline });
        let _ = self.arrivals.send(()); // nobody has to listen
    }

    async fn unary(self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.note(&request);
        let fails = {
            let mut unavailable = self.unavailable.lock().unwrap();
            let fails = *unavailable > 0;
            *unavailable = unavailable.saturating_sub(1);
            fails
        };
        match &request.get_ref()[..] {
            _ if fails => Err(Status::unavailable("not yet")),
            b"unavailable" => Err(Status::unavailable("as told")),
            b"not found" => Err(Status::not_found("as told")),
            b"hang" => std::future::pending().await,
            _ => Ok(Response::new(request.into_inner())),
        }
    }

    #[allow(clippy::unused_async)] // as a generated trait asks for
    async fn stream(
        self,
        request: Request<Bytes>,
    ) -> Result<Response<impl Stream<Item = Result<Bytes, Status>> + use<>>, Status> {
        self.note(&request);
        let one = tokio_stream::once(Ok(Bytes::from("one")));
        let rest: Vec<_> = match &request.get_ref()[..] {
            b"unavailable" => vec![Err(Status::unavailable("in the trailers"))],
            _ => vec![Ok(Bytes::from("two")), Ok(Bytes::from("three"))],
        };
        let hangs = request.get_ref() == "hang";
        let rest = tokio_stream::iter(rest).take_while(move |_| !hangs);
        // After it has no more to say, a stream that hangs is silent for ever.
        let silence = tokio_stream::iter(hangs.then_some(())).then(|()| std::future::pending());
        Ok(Response::new(one.chain(rest).chain(silence)))
    }

    /// As a generated server does it.
    async fn answer(
        self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Infallible> {
        let mut grpc = tonic::server::Grpc::new(Raw);
        Ok(match request.uri().path() {
            UNARY => grpc.unary(service_fn(move |r| self.clone().unary(r)), request).await,
            STREAM => {
                grpc.server_streaming(service_fn(move |r| self.clone().stream(r)), request).await
            }
            path => self.by_hand(path),
        })
    }

    /// The service, for layers around it.
    fn service(
        &self,
    ) -> impl Service<
        http::Request<Body>,
        Response = http::Response<Body>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + use<> {
        let peer = self.clone();
        service_fn(move |request| peer.clone().answer(request))
    }

    /// Answers that tonic's server would never give.
    fn by_hand(self, path: &str) -> http::Response<Body> {
        let message = Bytes::from_static(b"\0\0\0\0\x03one");
        let one = tokio_stream::once(Ok(http_body::Frame::data(message)));
        let body = if path == "/cut" {
            let cut = tokio_stream::once(()).then(move |()| {
                let peer = self.clone();
                async move {
                    peer.cut.notified().await;
                    Err(std::io::Error::other("cut"))
                }
            });
            Body::new(StreamBody::new(one.chain(cut)))
        } else {
            Body::new(StreamBody::new(one.map(|frame: Result<_, std::io::Error>| frame)))
        };
        let mut response = http::Response::new(body);
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
        response
    }
}

/// Serves over loopback; returns a channel to it.
async fn serve<S, B>(service: S) -> Channel
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener)));
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

// ===== the client =====

/// What a generated client asks of the service under it.
trait Client:
    GrpcService<Body, ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static> + Clone
{
}

impl<S> Client for S where
    S: GrpcService<Body, ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static>
        + Clone
{
}

/// As a generated client does it.
async fn unary<S>(service: &S, request: Request<Bytes>) -> Result<Bytes, Status>
where
    S: Client,
{
    let mut client = tonic::client::Grpc::new(service.clone());
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static(UNARY);
    Ok(client.unary(request, path, Raw).await?.into_inner())
}

async fn stream<S>(
    service: &S,
    path: &'static str,
    message: &'static str,
) -> Result<Streaming<Bytes>, Status>
where
    S: Client,
{
    let mut client = tonic::client::Grpc::new(service.clone());
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static(path);
    Ok(client.server_streaming(say(message), path, Raw).await?.into_inner())
}

fn say(message: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from(message))
}
