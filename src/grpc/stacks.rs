//! The recommended stacks of gRPC, ready made.

use std::sync::Arc;

use tower::Layer;

use super::{
    GrpcClassifier, StatusInTrailers, StreamDeadline, StreamDeadlineLayer, Trailers, at_trailers,
    rejections, respond,
};
use crate::core::completion::OnResponse;
use crate::http::{HandleError, InTimeoutHeader, OnTrailers, Replay, ServerBuilder, TimeoutHeader};
use crate::retry::Chosen;
use crate::stack::{self, ClientBuilder, Tell};

/// Starts to build the [stack around a client](stack::client) of gRPC: answers count as
/// [`GrpcClassifier`] reads them, a stream when its trailers are there (its place in the bulkhead is free
/// as soon as it has begun); a deadline is heeded that
/// comes [in the extensions](crate::http::InExtensions), or that a caller sets with
/// `tonic::Request::set_timeout` ([in `grpc-timeout`](InTimeoutHeader)), and [bounds the
/// stream](StreamDeadlineLayer) of the answer. A rejection reaches a generated client as an
/// [answer](rejections): `UNAVAILABLE`, or `DEADLINE_EXCEEDED` where time ran out.
///
/// [`build_on`](ClientBuilder::build_on) puts it on a channel, with all that a generated client needs: see
/// [`Client`](super::Client).
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
) -> ClientBuilder<
    GrpcClassifier,
    Chosen<Replay>,
    InTimeoutHeader,
    OnTrailers<StatusInTrailers>,
    OnResponse,
    AsAnswers,
> {
    stack::client(name)
        .telling(AsAnswers { streams: StreamDeadlineLayer::new() })
        .classify(GrpcClassifier)
        .completion(at_trailers())
        .propagate(InTimeoutHeader::new(TimeoutHeader::Grpc))
        .copy_with(Replay::default())
}

/// Rejections are answers that every gRPC client understands, and deadlines bound streams.
#[derive(Debug, Clone, Copy)]
pub struct AsAnswers {
    streams: StreamDeadlineLayer,
}

impl<S> Tell<S> for AsAnswers {
    type Service = StreamDeadline<HandleError<S, Trailers>>;

    fn tell(&self, stack: S) -> Self::Service {
        self.streams.layer(rejections().layer(stack))
    }
}

impl<C, R, K, F, H, Q> ClientBuilder<C, R, K, F, H, AsAnswers, Q> {
    /// Whether the deadline of a call [bounds the stream](StreamDeadlineLayer) of its answer, as it does
    /// in gRPC and by default. If not, it is that of the head alone.
    pub fn bound_streams(self, bounds: bool) -> Self {
        let streams = if bounds { StreamDeadlineLayer::new() } else { StreamDeadlineLayer::off() };
        self.telling(AsAnswers { streams })
    }
}

/// Starts to build the stack of a gRPC server, the [`server`](crate::http::server) of HTTP with rejections
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
