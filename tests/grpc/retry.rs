//! A whole stack under a client, and calls that are repeated.

use http::Method;
use seawall::bulkhead::BulkheadHandle;
use seawall::circuit_breaker::{CircuitBreakerHandle, State};
use seawall::grpc::{GrpcClassifier, at_trailers};
use seawall::http::{InExtensions, RecordBodyLayer, Replay, ReplayBody};
use seawall::{Error, stack};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceBuilder;

use super::{Client, Peer, STREAM, say, serve, stream, unary};

fn guard(channel: Channel, replay: Replay) -> impl Client {
    guard_with(channel, replay).0
}

/// What the guide shows.
fn guard_with(
    channel: Channel,
    replay: Replay,
) -> (impl Client, CircuitBreakerHandle, BulkheadHandle) {
    let client = stack::client("peer")
        .classify(GrpcClassifier)
        .propagate(InExtensions)
        .completion(at_trailers())
        .permit_completion(at_trailers())
        .copy_with(replay)
        .build()
        .unwrap();
    let (breaker, bulkhead) = (client.breaker(), client.bulkhead());
    let client = ServiceBuilder::new()
        .layer(RecordBodyLayer::default())
        .layer(client)
        .map_err(Error::Inner)
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    (client, breaker, bulkhead)
}

// pitfall B29: streams that fail in their trailers trip the breaker of the stack, and those that are
// in flight hold a place in its bulkhead if that was asked for.
#[tokio::test]
async fn a_stream_is_over_at_its_trailers_to_the_whole_stack() {
    let (peer, _bell) = Peer::new();
    let (client, breaker, bulkhead) = guard_with(serve(peer.service()).await, Replay::default());
    let open = stream(&client, STREAM, "hang").await.unwrap();
    assert_eq!(bulkhead.in_flight(), 1);
    drop(open);
    assert_eq!(bulkhead.in_flight(), 0);
    for _ in 0..100 {
        let Ok(items) = stream(&client, STREAM, "unavailable").await else { break };
        items.collect::<Vec<_>>().await;
    }
    assert_ne!(breaker.state(), State::Closed);
}

#[tokio::test]
async fn a_tonic_client_works_unchanged_over_the_whole_stack() {
    let (peer, _bell) = Peer::new();
    let client = guard(serve(peer.service()).await, Replay::default());
    assert_eq!(unary(&client, say("hello")).await.unwrap(), "hello");
    assert_eq!(unary(&client, say("not found")).await.unwrap_err().code(), Code::NotFound);
    let items = stream(&client, STREAM, "hello").await.unwrap();
    let items: Vec<_> = items.map(Result::unwrap).collect().await;
    assert_eq!(items, ["one", "two", "three"]);
}

// pitfall B15: each attempt brings the whole body.
#[tokio::test]
async fn a_call_is_repeated_with_its_whole_body_where_post_is_allowed() {
    let peer = Peer::failing(2);
    let client = guard(serve(peer.service()).await, Replay::default().method(Method::POST));
    assert_eq!(unary(&client, say("the whole of it")).await.unwrap(), "the whole of it");
    let messages: Vec<_> = peer.seen().into_iter().map(|seen| seen.message).collect();
    assert_eq!(messages, ["the whole of it"; 3]);
}

// pitfall B29: a POST that nobody spoke for is sent once.
#[tokio::test]
async fn a_call_is_not_repeated_unless_somebody_said_so() {
    let peer = Peer::failing(1);
    let client = guard(serve(peer.service()).await, Replay::default());
    assert_eq!(unary(&client, say("once")).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(peer.seen().len(), 1);
}
