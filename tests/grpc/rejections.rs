//! What a tonic client is told when a server's layers reject.

use std::time::Duration;

use seawall::Error;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, State, Trip};
use seawall::grpc::{self, GrpcClassifier, at_trailers};
use seawall::timeout::TimeoutLayer;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tower::ServiceBuilder;

use super::{Peer, STREAM, say, serve, stream, unary};

fn pushback(status: &Status) -> Option<u64> {
    status.metadata().get("grpc-retry-pushback-ms")?.to_str().unwrap().parse().ok()
}

#[tokio::test]
async fn a_full_bulkhead_is_unavailable_on_every_connection() {
    let (peer, mut bell) = Peer::new();
    let bulkhead = BulkheadLayer::builder("orders").limit(1).build().unwrap();
    let handle = bulkhead.handle();
    let server = ServiceBuilder::new()
        .layer(grpc::respond())
        .layer(bulkhead)
        .map_err(Error::Inner)
        .service(peer.service());
    let (first, second) = (serve(server.clone()).await, serve(server).await);
    let holder = tokio::spawn(async move { unary(&first, say("hang")).await });
    bell.recv().await.unwrap();
    let status = unary(&second, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "full"));
    assert_eq!(pushback(&status), Some(1000), "field S4: a while, where nobody knows better");
    assert_eq!(peer.seen().len(), 1);
    holder.abort();
    // The place comes back when the server hears that the caller has gone.
    let freed = async {
        while handle.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed).await.unwrap();
    assert_eq!(unary(&second, say("hello")).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_timeout_is_deadline_exceeded() {
    let (peer, _bell) = Peer::new();
    let server = ServiceBuilder::new()
        .layer(grpc::respond())
        .layer(TimeoutLayer::new("orders", Duration::from_millis(20)))
        .map_err(Error::Inner)
        .service(peer.service());
    let status = unary(&serve(server).await, say("hang")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "timed_out"));
    assert_eq!(pushback(&status), None);
}

// pitfall B30: where the time to come back is known, the client learns it.
#[tokio::test]
async fn an_open_circuit_is_unavailable_with_pushback() {
    let (peer, _bell) = Peer::new();
    let break_duration = Duration::from_secs(600);
    let breaker = CircuitBreakerLayer::builder("orders")
        .classify(GrpcClassifier)
        .trip(Trip::consecutive(1))
        .break_duration(break_duration)
        .max_break_duration(break_duration)
        .build()
        .unwrap();
    let handle = breaker.handle();
    let server = ServiceBuilder::new()
        .layer(grpc::respond())
        .layer(breaker)
        .map_err(Error::Inner)
        .service(peer.service());
    let client = serve(server).await;
    unary(&client, say("unavailable")).await.unwrap_err();
    assert_eq!(handle.state(), State::Open);
    let status = unary(&client, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "circuit_open"));
    let told = pushback(&status).expect("the break is known");
    assert!(told > 0 && u128::from(told) <= break_duration.as_millis(), "{told}");
}

/// The breaker hands on a body of its own, and rejections have to have one too.
#[tokio::test]
async fn a_server_may_learn_from_its_own_trailers() {
    let (peer, _bell) = Peer::new();
    let break_duration = Duration::from_secs(600);
    let breaker = CircuitBreakerLayer::builder("orders")
        .classify(GrpcClassifier)
        .completion(at_trailers())
        .trip(Trip::consecutive(1))
        .break_duration(break_duration)
        .max_break_duration(break_duration)
        .build()
        .unwrap();
    let server = ServiceBuilder::new()
        .layer(grpc::respond())
        .layer(breaker)
        .map_err(Error::Inner)
        .service(peer.service());
    let client = serve(server).await;
    let items = stream(&client, STREAM, "unavailable").await.unwrap();
    assert_eq!(items.filter(Result::is_err).collect::<Vec<_>>().await.len(), 1);
    let status = unary(&client, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "circuit_open"));
}

#[tokio::test]
async fn a_rejection_of_the_client_is_a_code_to_its_caller_if_that_was_asked_for() {
    let (peer, _bell) = Peer::new();
    let channel = serve(peer.service()).await;
    let breaker = || {
        let breaker = CircuitBreakerLayer::builder("orders").classify(GrpcClassifier);
        breaker.completion(at_trailers()).trip(Trip::consecutive(1)).build().unwrap()
    };
    let plain =
        ServiceBuilder::new().layer(breaker()).map_err(Error::Inner).service(channel.clone());
    unary(&plain, say("unavailable")).await.unwrap_err();
    let status = unary(&plain, say("hello")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);

    let told = ServiceBuilder::new()
        .layer(grpc::rejections())
        .layer(breaker())
        .map_err(Error::Inner)
        .service(channel);
    unary(&told, say("unavailable")).await.unwrap_err();
    let status = unary(&told, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "circuit_open"));
    assert!(pushback(&status).is_some());
}
