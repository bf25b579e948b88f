//! A tonic client and a tonic server, each under its layers, over loopback.
//!
//! ```text
//! cargo run --example tonic_client_server --features grpc
//! ```
//!
//! The service is the one that tonic-health generated, `grpc.health.v1.Health`: a unary method
//! (`Check`) and a stream (`Watch`). With your own it is the same.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use seawall::circuit_breaker::{CircuitBreakerHandle, State};
use seawall::http::{RecordBodyLayer, Replay, ReplayBody, TimeoutHeader, WriteDeadlineLayer};
use seawall::{ConfigErrors, Error, Reason, grpc};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{BoxError, ServiceBuilder};

/// A client that retries, breaks, and gives up in time; what a generated client takes for a channel.
fn guard(channel: Channel) -> Result<(impl Client, CircuitBreakerHandle), ConfigErrors> {
    let layers = grpc::client("orders") // what came of a call stands in `grpc-status`
        .deadline(Duration::from_secs(60))
        .attempt_timeout(Duration::from_secs(10))
        .copy_with(Replay::default().method(Method::POST)) // every call may be repeated
        .build()?;
    let breaker = layers.breaker();
    let client = ServiceBuilder::new()
        .layer(RecordBodyLayer::default()) // so that bodies can be sent again
        .layer(layers)
        .layer(WriteDeadlineLayer::new(TimeoutHeader::Grpc)) // tells the server what is left
        .map_err(Error::Inner)
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    Ok((client, breaker))
}

/// What generated clients ask of a channel.
trait Client:
    GrpcService<
        Body,
        Error: Into<BoxError>,
        ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
    >
{
}

impl<S> Client for S where
    S: GrpcService<
            Body,
            Error: Into<BoxError>,
            ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send>
                              + Send
                              + 'static,
        >
{
}

/// A server that takes no more than it can do, and stops when its caller has.
async fn serve(orders: Orders) -> Result<Channel, Box<dyn StdError>> {
    let layers = grpc::server("orders").deadline_from(TimeoutHeader::Grpc).limit(8).build()?;
    let admission = ServiceBuilder::new().layer(layers).map_err(Error::Inner);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = admission.service(HealthServer::new(orders));
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener)));
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let orders = Orders::default();
    let (client, breaker) = guard(serve(orders.clone()).await?)?;
    let mut client = HealthClient::new(client);

    // Unavailable every other time, which nobody notices.
    for _ in 0..10 {
        assert_eq!(client.check(about("flaky")).await?.into_inner().status, 1);
    }
    let calls = orders.calls.load(Ordering::Relaxed);
    println!("10 calls were answered, with {calls} sent");
    assert!(calls > 10);

    let items: Vec<_> = client.watch(about("three")).await?.into_inner().collect().await;
    assert_eq!(items.len(), 3);

    // A deadline goes with the call, and is told apart from a timeout of ours.
    let mut hasty = about("hang");
    hasty.set_timeout(Duration::from_millis(50));
    let late = client.check(hasty).await.err().ok_or("it hangs")?;
    println!("one that hangs: {late}");

    // Streams that break off in their trailers are failures, and open the circuit.
    let rejected = loop {
        match client.watch(about("broken")).await {
            Ok(stream) => assert!(stream.into_inner().collect::<Vec<_>>().await[1].is_err()),
            Err(status) => break status,
        }
    };
    println!("streams that break off: {rejected}");
    assert_eq!((rejected.code(), breaker.state()), (Code::Unavailable, State::Open));
    assert_eq!(rejected.message(), Reason::CircuitOpen.as_str()); // by us, not by the server
    Ok(())
}

fn about(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: service.into() })
}

// ===== the service =====

/// Answers as the name says.
#[derive(Clone, Default)]
struct Orders {
    calls: Arc<AtomicU32>,
}

const SERVING: HealthCheckResponse = HealthCheckResponse { status: 1 };

#[tonic::async_trait]
impl Health for Orders {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let nth = self.calls.fetch_add(1, Ordering::Relaxed);
        match &*request.get_ref().service {
            "hang" => std::future::pending().await,
            _ if nth % 2 == 1 => Err(Status::unavailable("busy")),
            _ => Ok(Response::new(SERVING)),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let items = match &*request.get_ref().service {
            "broken" => vec![Ok(SERVING), Err(Status::unavailable("half-way"))],
            _ => vec![Ok(SERVING); 3],
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(items))))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
