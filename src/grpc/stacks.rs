//! The recommended stacks of gRPC, ready made.

use std::sync::Arc;

use super::{GrpcClassifier, StatusInTrailers, Trailers, at_trailers, respond};
use crate::http::{AtTrailers, InTimeoutHeader, Replay, ServerBuilder, TimeoutHeader};
use crate::retry::Chosen;
use crate::stack::{self, ClientBuilder};

/// Starts to build the [stack around a client](stack::client) of gRPC: answers count as
/// [`GrpcClassifier`] reads them, a stream when its trailers are there (its place in the bulkhead is free
/// as soon as it has begun); a deadline is heeded that
/// travels [in the extensions](crate::http::InExtensions), or that a caller sets with
/// `tonic::Request::set_timeout` ([in `grpc-timeout`](InTimeoutHeader)).
///
/// By itself it repeats only what was certainly never sent: every gRPC call is a POST, and only you can
/// know which may be acted on twice. If all may, say
/// `.copy_with(Replay::default().method(Method::POST))`. A message is a body that is streamed, so it has
/// to be [recorded](crate::http::RecordBodyLayer) to be sent again.
///
/// ```
/// use seawall::http::{RecordBodyLayer, ReplayBody};
/// use seawall::{ConfigErrors, Error, grpc};
/// use tonic::{body::Body, client::GrpcService, transport::Channel};
/// use tower::ServiceBuilder;
///
/// fn guard(channel: Channel) -> Result<impl GrpcService<Body>, ConfigErrors> {
///     Ok(ServiceBuilder::new()
///         .layer(RecordBodyLayer::default())
///         .layer(grpc::client("orders").build()?)
///         .map_err(Error::Inner)
///         .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
///         .service(channel))
/// } // and then: `OrdersClient::new(guard(channel)?)`
/// ```
pub fn client(
    name: impl Into<Arc<str>>,
) -> ClientBuilder<GrpcClassifier, Chosen<Replay>, InTimeoutHeader, AtTrailers<StatusInTrailers>> {
    stack::client(name)
        .classify(GrpcClassifier)
        .finish(at_trailers())
        .carry(InTimeoutHeader::new(TimeoutHeader::Grpc))
        .copy_with(Replay::default())
}

/// Starts to build the stack of a gRPC server, the [`server`](crate::http::server) of HTTP with refusals
/// that every gRPC client understands.
///
/// ```
/// use seawall::{ConfigErrors, Error, grpc, http::TimeoutHeader};
/// use std::convert::Infallible;
/// use tonic::transport::Server;
/// use tower::ServiceBuilder;
///
/// # fn server() -> Result<(), ConfigErrors> {
/// let layers = grpc::server("orders").deadline_from(TimeoutHeader::Grpc).build()?;
/// let layers = ServiceBuilder::new().layer(layers).map_err(Error::<Infallible>::Inner);
/// let server = Server::builder().layer(layers); // and then: `.add_service(…)`
/// # let _ = server;
/// # Ok(()) }
/// # server().unwrap();
/// ```
pub fn server(name: impl Into<Arc<str>>) -> ServerBuilder<Trailers> {
    ServerBuilder::new(name.into(), respond())
}
