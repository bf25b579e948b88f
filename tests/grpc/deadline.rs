//! Deadlines from a tonic client to a tonic server, and on from there.

use std::time::Duration;

use http::HeaderValue;
use seawall::grpc::{self, parse_timeout};
use seawall::http::{InExtensions, ReadDeadlineLayer, TimeoutHeader, WriteDeadlineLayer};
use seawall::propagate::CallContext;
use seawall::timeout::TimeoutLayer;
use seawall::{Deadline, Error};
use tonic::body::Body;
use tonic::{Code, Request};
use tower::{ServiceBuilder, ServiceExt, service_fn};

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
    let limit =
        TimeoutLayer::builder("orders").limit(MINUTE).propagate(InExtensions).build().unwrap();
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
    let [told, pending_events] = &peer.seen()[..] else { panic!("two calls: {:?}", peer.seen()) };
    let remaining = told.deadline.expect("a deadline").remaining();
    assert!(remaining > Duration::ZERO && remaining <= MINUTE / 2, "{remaining:?}");
    assert!(!told.headers.contains_key("grpc-timeout"), "it does not go on further in");
    let remaining = pending_events.deadline.map(|deadline| deadline.remaining());
    assert!(remaining.is_none_or(|remaining| remaining > MINUTE / 2), "{remaining:?}");
}

// Not over a socket: there tonic's own client gives up first.
#[tokio::test]
async fn a_call_that_comes_too_late_is_rejected_before_any_work() {
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

fn carried(deadline: Deadline) -> CallContext {
    let mut call = CallContext::default();
    call.deadline = Some(deadline);
    call
}

fn timeout(value: &HeaderValue) -> Duration {
    parse_timeout(value).expect("a timeout")
}

// field F3: tonic's server says CANCELLED when its timer rings. If that can only have been the timer of the
// caller's deadline, the caller is told so.
#[tokio::test(start_paused = true)]
async fn a_timer_of_the_server_that_was_the_callers_deadline_is_told_as_that() {
    for (after, code, message, told) in [
        (195, 1, "Timeout%20expired", Code::DeadlineExceeded),
        (195, 1, "Timeout expired", Code::DeadlineExceeded),
        (100, 1, "Timeout%20expired", Code::Cancelled), // a limit of the server's own
        (195, 1, "gone", Code::Cancelled),
        (195, 13, "Timeout%20expired", Code::Internal),
    ] {
        let server = service_fn(move |_: http::Request<Body>| async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            let mut answer = http::Response::new(Body::empty());
            answer
                .headers_mut()
                .insert("content-type", HeaderValue::from_static("application/grpc"));
            answer.headers_mut().insert("grpc-status", HeaderValue::from(code));
            answer.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
            Ok::<_, std::convert::Infallible>(answer)
        });
        let client = grpc::client("peer").build_on(server, Body::new).unwrap();
        let status = unary(&client, with_timeout(Duration::from_millis(200))).await.unwrap_err();
        assert_eq!(status.code(), told, "{code} {message} after {after} ms");
    }
}
