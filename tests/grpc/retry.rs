//! A whole stack under a client, and calls that are repeated.

use http::Method;
use seawall::grpc::GrpcClassifier;
use seawall::http::{InExtensions, RecordBodyLayer, Replay, ReplayBody};
use seawall::{Error, stack};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceBuilder;

use super::{Client, Peer, STREAM, say, serve, stream, unary};

/// What the guide shows.
fn guard(channel: Channel, replay: Replay) -> impl Client {
    let client = stack::client("peer")
        .classify(GrpcClassifier)
        .carry(InExtensions)
        .copy_with(replay)
        .build()
        .unwrap();
    ServiceBuilder::new()
        .layer(RecordBodyLayer::default())
        .layer(client)
        .map_err(Error::Inner)
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel)
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
