//! Deadlines from a tonic client to a tonic server, and on from there.

use std::time::Duration;

use http::HeaderValue;
use seawall::grpc::{self, parse_timeout};
use seawall::http::{InExtensions, ReadDeadlineLayer, TimeoutHeader, WriteDeadlineLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Call, Deadline, Error};
use tonic::body::Body;
use tonic::{Code, Request};
use tower::{ServiceBuilder, ServiceExt};

use super::{Peer, say, serve, unary};

const MINUTE: Duration = Duration::from_secs(60);

/// A server as the guide has it, not yet on a socket.
fn server(
    peer: &Peer,
) -> impl tower::Service<
    http::Request<Body>,
    Response = http::Response<seawall::http::ResponseBody<Body>>,
    Error = std::convert::Infallible,
    Future: Send,
>
+ Clone
+ Send
+ 'static
+ use<> {
    let limit = TimeoutLayer::builder("orders").limit(MINUTE).carry(InExtensions).build().unwrap();
    ServiceBuilder::new()
        .layer(grpc::respond())
        .layer(ReadDeadlineLayer::new(TimeoutHeader::Grpc))
        .layer(limit)
        .map_err(Error::Inner)
        .service(peer.service())
}

fn with_timeout(timeout: Duration) -> Request<bytes::Bytes> {
    let mut request = say("hello");
    request.set_timeout(timeout);
    request
}

#[tokio::test]
async fn the_timeout_of_a_tonic_client_is_the_deadline_of_the_server() {
    let (peer, _bell) = Peer::new();
    let client = serve(server(&peer)).await;
    unary(&client, with_timeout(MINUTE / 2)).await.unwrap();
    unary(&client, say("hello")).await.unwrap();
    let [told, untold] = &peer.seen()[..] else { panic!("two calls: {:?}", peer.seen()) };
    let remaining = told.deadline.expect("a deadline").remaining();
    assert!(remaining > Duration::ZERO && remaining <= MINUTE / 2, "{remaining:?}");
    assert!(!told.headers.contains_key("grpc-timeout"), "it does not go on further in");
    let remaining = untold.deadline.map(|deadline| deadline.remaining());
    assert!(remaining.is_none_or(|remaining| remaining > MINUTE / 2), "{remaining:?}");
}

// Not over a socket: there tonic's own client gives up first.
#[tokio::test]
async fn a_call_that_comes_too_late_is_refused_before_any_work() {
    let (peer, _bell) = Peer::new();
    let status = unary(&server(&peer), with_timeout(Duration::ZERO)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "deadline_exceeded"));
    assert!(peer.seen().is_empty(), "{:?}", peer.seen());
}

#[tokio::test]
async fn a_call_that_goes_out_tells_what_is_left() {
    let (peer, _bell) = Peer::new();
    let margin = MINUTE / 6;
    let client = ServiceBuilder::new()
        .layer(WriteDeadlineLayer::new(TimeoutHeader::Grpc).margin(margin))
        .service(serve(peer.service()).await);
    let mut request = say("hello");
    request.extensions_mut().insert(carried(Deadline::after(MINUTE)));
    unary(&client, request).await.unwrap();
    // What the user asked for is not stretched.
    let mut request = with_timeout(MINUTE / 2);
    request.extensions_mut().insert(carried(Deadline::after(MINUTE)));
    unary(&client, request).await.unwrap();
    let told: Vec<_> =
        peer.seen().iter().map(|seen| timeout(&seen.headers["grpc-timeout"])).collect();
    assert!(told[0] > Duration::ZERO && told[0] <= MINUTE.saturating_sub(margin), "{told:?}");
    assert!(told[1] > Duration::ZERO && told[1] <= MINUTE / 2, "{told:?}");
}

/// Two servers in a row: the second is told less than the first was.
#[tokio::test]
async fn a_deadline_passes_through_a_server_to_the_next() {
    let (back, _bell) = Peer::new();
    let onward = ServiceBuilder::new()
        .layer(WriteDeadlineLayer::new(TimeoutHeader::Grpc).margin(Duration::from_secs(1)))
        .service(serve(server(&back)).await);
    let front = ServiceBuilder::new()
        .layer(ReadDeadlineLayer::new(TimeoutHeader::Grpc))
        .service(onward.map_response(|response: http::Response<Body>| response));
    let client = serve(front).await;
    unary(&client, with_timeout(MINUTE / 2)).await.unwrap();
    let remaining = back.seen()[0].deadline.expect("a deadline").remaining();
    assert!(remaining <= (MINUTE / 2).saturating_sub(Duration::from_secs(1)), "{remaining:?}");
}

fn carried(deadline: Deadline) -> Call {
    let mut call = Call::default();
    call.deadline = Some(deadline);
    call
}

fn timeout(value: &HeaderValue) -> Duration {
    parse_timeout(value).expect("a timeout")
}
