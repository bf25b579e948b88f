//! A generated client over the ready-made stack.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use seawall::circuit_breaker::{State, Trip};
use seawall::grpc::{self, Rejection};
use seawall::http::{RecordBodyLayer, Replay, ReplayBody};
use seawall::propagate::CallContext;
use seawall::stack::KeyOverrides;
use seawall::{Deadline, Error, Reason, Rejected, circuit_breaker};
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tower::{Service, ServiceBuilder, ServiceExt};

use super::raw::Raw;
use super::{Peer, STREAM, UNARY, say, serve, unary};

/// One failure opens it.
fn touchy() -> circuit_breaker::Config {
    let break_duration = Duration::from_secs(600);
    circuit_breaker::Config {
        trip: Trip::consecutive(1),
        break_duration,
        max_break_duration: break_duration,
        ..Default::default()
    }
}

/// The type can be named.
struct Shop {
    peer: grpc::Client<Channel, Body>,
}

// field "gRPC": rejections of a client's own stack are codes, and need no layer of their own.
#[tokio::test]
async fn a_rejection_is_unavailable_to_a_generated_client() {
    let (peer, _bell) = Peer::new();
    let channel = serve(peer.service()).await;
    let built = grpc::client("peer").breaker(touchy()).build_on(channel.clone(), Body::new);
    let shop = Shop { peer: built.unwrap() };
    unary(&shop.peer, say("unavailable")).await.unwrap_err();
    assert_eq!(shop.peer.handle().breaker().state(), State::Open);
    let status = unary(&shop.peer, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "circuit_open"));
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"), "the break is known");

    let layers = grpc::client("peer").breaker(touchy()).build().unwrap();
    let by_hand = ServiceBuilder::new()
        .layer(RecordBodyLayer::default())
        .layer(layers)
        .map_err(Error::Inner)
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    unary(&by_hand, say("unavailable")).await.unwrap_err();
    let status = unary(&by_hand, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "circuit_open"));
}

/// The type can be named.
struct Methods {
    peer: grpc::KeyedClient<Channel, Body>,
}

// field S3: a method that fails leaves the others alone.
#[tokio::test]
async fn each_method_has_a_breaker_of_its_own() {
    let (peer, _bell) = Peer::new();
    let channel = serve(peer.service()).await;
    let built = grpc::client("peer").per_method().breaker(touchy()).build_on(channel, Body::new);
    let methods = Methods { peer: built.unwrap() };
    let breakers = methods.peer.handle().breakers().clone();
    unary(&methods.peer, say("unavailable")).await.unwrap_err();
    assert_eq!(breakers.keys(), [UNARY.into()]);
    assert_eq!(breakers.key(UNARY).unwrap().state(), State::Open);
    let status = unary(&methods.peer, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "circuit_open"));

    let mut inner = tonic::client::Grpc::new(methods.peer.clone());
    inner.ready().await.unwrap();
    let path = PathAndQuery::from_static(STREAM);
    let items = inner.server_streaming(say("hello"), path, Raw).await.unwrap().into_inner();
    drop(items);
    assert_eq!(breakers.key(STREAM).unwrap().state(), State::Closed);

    let wrong = grpc::client("x").per_method().overrides([("Shop/Count", KeyOverrides::default())]);
    assert!(wrong.build().unwrap_err().to_string().contains("as in \"/shop.Orders/Count\""));
}

// field "gRPC": a caller can tell who rejected, and that it was no server.
#[tokio::test]
async fn a_generated_client_can_tell_a_rejection_from_a_failure() {
    let (peer, _bell) = Peer::new();
    let full = grpc::server("busy").limit(1).build().unwrap();
    full.drain().await;
    let told = Trip::consecutive(2);
    let config = circuit_breaker::Config { trip: told, ..touchy() };
    let client = grpc::client("peer")
        .breaker(config)
        .build_on(serve(peer.service()).await, Body::new)
        .unwrap();
    let failed = unary(&client, say("unavailable")).await.unwrap_err();
    assert_eq!(Rejection::from_details(failed.details()), None);
    assert_eq!(failed.code(), Code::Unavailable);

    client.handle().breaker().force_open();
    let status = unary(&client, say("hello")).await.unwrap_err();
    let rejection = Rejection::from_details(status.details()).unwrap();
    assert_eq!(rejection.reason(), Some(Reason::CircuitOpen));
    assert_eq!((rejection.layer(), rejection.name()), ("circuit_breaker", "peer"));

    // Layers around the stack see all of it.
    let mut around = client.clone();
    let answer = around.ready().await.unwrap().call(http::Request::new(Body::empty())).await;
    let rejected: Option<Rejected> = answer.unwrap().extensions().get().cloned();
    assert_eq!(rejected.unwrap().reason(), Reason::CircuitOpen);

    // A server that rejects tells no peer the names of its inside.
    let stack = ServiceBuilder::new().layer(full).map_err(Error::<std::io::Error>::Inner);
    let inside =
        stack.service_fn(|_: http::Request<Body>| async { Ok(http::Response::new(Body::empty())) });
    let answer = inside.oneshot(http::Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.headers()["grpc-message"], "draining");
    assert!(!answer.headers().contains_key("grpc-status-details-bin"));
}

#[test]
fn details_of_others_and_garbage_tell_of_no_rejection() {
    let info = |domain: &str| {
        let field =
            |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
        let info = [field(1, b"full"), field(2, domain.as_bytes())].concat();
        let any = field(1, b"type.googleapis.com/google.rpc.ErrorInfo");
        field(3, &[any, field(2, &info)].concat())
    };
    let ours = Rejection::from_details(&info("seawall")).unwrap();
    assert_eq!((ours.reason(), ours.layer()), (Some(Reason::Full), ""));
    assert_eq!(Rejection::from_details(&info("googleapis.com")), None);
    let ours = info("seawall");
    for cut in 0..ours.len() {
        assert_eq!(Rejection::from_details(&ours[..cut]), None, "{cut}");
    }
    assert_eq!(Rejection::from_details(&[0xff; 64]), None);
}

// field "gRPC": the message is recorded and sent again.
#[tokio::test]
async fn a_call_is_repeated_with_its_message() {
    let peer = Peer::failing(2);
    let client = grpc::client("peer")
        .copy_with(Replay::default().method(Method::POST))
        .build_on(serve(peer.service()).await, Body::new)
        .unwrap();
    assert_eq!(unary(&client, say("hello")).await.unwrap(), "hello");
    assert_eq!(peer.seen().len(), 3);
    assert!(peer.seen().iter().all(|seen| seen.message == "hello"));
}

/// How a stream ends, whatever came before.
async fn end(client: &grpc::Client<Channel, Body>, request: Request<Bytes>) -> Option<Status> {
    let mut inner = tonic::client::Grpc::new(client.clone());
    inner.ready().await.unwrap();
    let path = PathAndQuery::from_static(STREAM);
    let mut items = match inner.server_streaming(request, path, Raw).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Some(status),
    };
    loop {
        match items.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => return Some(status),
            None => return None,
        }
    }
}

// field "gRPC": a deadline is that of the whole call.
#[tokio::test]
async fn a_deadline_bounds_the_stream() {
    let (peer, _bell) = Peer::new();
    let channel = serve(peer.service()).await;
    let client = grpc::client("peer").build_on(channel, Body::new).unwrap();
    let limit = Duration::from_millis(200);
    let mut by_header = say("hang");
    by_header.set_timeout(limit);
    let mut by_call = say("hang");
    let mut call = CallContext::default();
    call.deadline = Some(Deadline::after(limit));
    by_call.extensions_mut().insert(call);
    for request in [by_header, by_call] {
        let status = end(&client, request).await.expect("it never ends well");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    assert_eq!(client.handle().breaker().state(), State::Closed);
    let mut patient = say("hello");
    patient.set_timeout(Duration::from_secs(600));
    assert!(end(&client, patient).await.is_none(), "it ended in time");
}

// field S1: nor is a caller who streams slowly evidence against the server.
#[tokio::test]
async fn a_stream_of_requests_that_stalls_harms_nobody() {
    let (peer, _bell) = Peer::new();
    let client = grpc::client("peer")
        .deadline(Duration::from_millis(2500))
        .attempt_timeout(Duration::from_secs(2))
        .breaker(touchy())
        .build_on(serve(peer.service()).await, Body::new)
        .unwrap();
    let mut inner = tonic::client::Grpc::new(client.clone());
    inner.ready().await.unwrap();
    let path = PathAndQuery::from_static(UNARY);
    let silence = Request::new(tokio_stream::pending::<Bytes>());
    let status = inner.client_streaming(silence, path, Raw).await.map(drop).unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "request_timeout"));
    assert_eq!(client.handle().breaker().state(), State::Closed);
}
