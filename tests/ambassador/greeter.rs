//! A gRPC server and client of tonic's, as generated ones are made, on either side of an ambassador.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::service_fn;

use crate::raw::Raw;

/// Answers what it was told, and writes down with which headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Greeter {
    pub(crate) seen: Arc<Mutex<Vec<(Bytes, HeaderMap)>>>,
    /// So many calls fail with UNAVAILABLE first.
    pub(crate) unavailable: Arc<Mutex<u32>>,
}

type Answers = Result<Response<std::pin::Pin<Box<dyn Stream<Item = Said> + Send>>>, Status>;
type Said = Result<Bytes, Status>;

impl Greeter {
    pub(crate) fn failing(times: u32) -> Self {
        Self { unavailable: Arc::new(Mutex::new(times)), ..Self::default() }
    }

    /// Serves over loopback.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let greeter = self.clone();
        let service = service_fn(move |request| greeter.clone().answer(request));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().serve_with_incoming(service, incoming));
        address
    }

    /// The values of a header in the calls that arrived.
    pub(crate) fn saw(&self, header: &str) -> Vec<Option<String>> {
        let value = |headers: &HeaderMap| Some(headers.get(header)?.to_str().unwrap().to_owned());
        self.seen.lock().unwrap().iter().map(|(_, headers)| value(headers)).collect()
    }

    async fn answer(
        self,
        request: hyper::Request<Body>,
    ) -> Result<hyper::Response<Body>, Infallible> {
        let mut grpc = tonic::server::Grpc::new(Raw);
        Ok(match request.uri().path() {
            "/Greeter/Unary" => {
                grpc.unary(service_fn(move |r| self.clone().unary(r)), request).await
            }
            "/Greeter/Stream" => {
                grpc.server_streaming(service_fn(move |r| self.clone().stream(r)), request).await
            }
            _ => grpc.streaming(service_fn(move |r| self.clone().chat(r)), request).await,
        })
    }

    fn note(&self, message: &Bytes, metadata: &MetadataMap) {
        self.seen.lock().unwrap().push((message.clone(), metadata.clone().into_headers()));
    }

    async fn unary(self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.note(request.get_ref(), request.metadata());
        let fails = {
            let mut unavailable = self.unavailable.lock().unwrap();
            let fails = *unavailable > 0;
            *unavailable = unavailable.saturating_sub(1);
            fails
        };
        match &request.get_ref()[..] {
            _ if fails => Err(Status::unavailable("not yet")),
            b"hang" => std::future::pending().await,
            _ => {
                let mut response = Response::new(request.get_ref().clone());
                response.metadata_mut().insert("x-answer", "forty-two".parse().unwrap());
                Ok(response)
            }
        }
    }

    #[allow(clippy::unused_async)] // as a generated trait asks for
    async fn stream(self, request: Request<Bytes>) -> Answers {
        self.note(request.get_ref(), request.metadata());
        let mut items: Vec<_> = [1, 2, 3].map(|number| Ok(Bytes::from(number.to_string()))).into();
        if request.get_ref() == "broken" {
            let mut metadata = MetadataMap::new();
            metadata.insert("x-where", "in the trailers".parse().unwrap());
            items.push(Err(Status::with_metadata(Code::Unavailable, "at last", metadata)));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(items))))
    }

    #[allow(clippy::unused_async)]
    async fn chat(self, request: Request<Streaming<Bytes>>) -> Answers {
        self.note(&Bytes::new(), request.metadata());
        let echo = request.into_inner().map(|said: Said| match &said {
            Ok(word) if word == "bye" => Err(Status::already_exists("so long")),
            _ => said,
        });
        Ok(Response::new(Box::pin(echo)))
    }
}

// ===== the client =====

pub(crate) type Client = tonic::client::Grpc<Channel>;

pub(crate) async fn client(address: SocketAddr) -> Client {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

pub(crate) fn say(message: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from(message))
}

pub(crate) async fn unary(
    address: SocketAddr,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Status> {
    let path = PathAndQuery::from_static("/Greeter/Unary");
    client(address).await.unary(request, path, Raw).await
}

pub(crate) async fn stream(
    address: SocketAddr,
    message: &'static str,
) -> Result<Streaming<Bytes>, Status> {
    let path = PathAndQuery::from_static("/Greeter/Stream");
    Ok(client(address).await.server_streaming(say(message), path, Raw).await?.into_inner())
}

pub(crate) async fn chat(
    address: SocketAddr,
    words: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<Bytes>, Status> {
    let path = PathAndQuery::from_static("/Greeter/Chat");
    Ok(client(address).await.streaming(Request::new(words), path, Raw).await?.into_inner())
}
