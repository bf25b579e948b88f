//! The ready-made client over many endpoints, under a generated client.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;
use seawall::circuit_breaker::{self, State, Trip};
use seawall::endpoints::Endpoint;
use seawall::http::Replay;
use seawall::{circuit_breaker::Config, grpc};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Channel;

use super::{Peer, STREAM, say, serve, stream, unary};

const MINUTE: Duration = Duration::from_secs(60);

/// The type can be named.
struct Shop {
    peers: grpc::EndpointsClient<Channel, Body>,
}

/// Opens at the first failure, for good.
fn touchy() -> Config {
    let (break_duration, max_break_duration) = (10 * MINUTE, 10 * MINUTE);
    let trip = Trip::consecutive(1);
    circuit_breaker::Config { trip, break_duration, max_break_duration, ..Default::default() }
}

/// A client of these peers, by their names.
async fn shop(peers: &[(&'static str, &Peer)], breaker: Config) -> Shop {
    let mut channels = HashMap::new();
    for (name, peer) in peers {
        channels.insert(*name, serve(peer.service()).await);
    }
    let peers = grpc::endpoints("peers")
        .members(peers.iter().map(|(name, _)| Endpoint::new(*name)))
        .copy_with(Replay::default().method(Method::POST))
        .deadline(2 * MINUTE)
        .attempt_timeout(MINUTE)
        .breaker(breaker)
        .over_channels(move |endpoint| Ok(channels[endpoint.name()].clone()), Body::new)
        .unwrap();
    Shop { peers }
}

#[tokio::test]
async fn a_call_that_one_endpoint_cannot_serve_goes_to_another() {
    let (bad, one, two) = (Peer::failing(u32::MAX), Peer::failing(0), Peer::failing(0));
    let shop = shop(&[("bad", &bad), ("one", &one), ("two", &two)], Config::default()).await;
    for _ in 0..60 {
        assert_eq!(unary(&shop.peers, say("hello")).await.unwrap(), "hello");
    }
    assert!(!bad.seen().is_empty() && !one.seen().is_empty() && !two.seen().is_empty());
    assert_eq!(one.seen().len() + two.seen().len(), 60);
}

// The status that counts is the one in the trailers: it shuts this endpoint, and no other.
#[tokio::test]
async fn a_status_in_trailers_opens_the_breaker_of_its_endpoint() {
    let (one, two) = (Peer::failing(0), Peer::failing(0));
    let shop = shop(&[("one", &one), ("two", &two)], touchy()).await;
    let mut items = stream(&shop.peers, STREAM, "unavailable").await.unwrap();
    let mut last = Ok(());
    while let Some(item) = items.next().await {
        last = item.map(drop);
    }
    assert_eq!(last.unwrap_err().code(), Code::Unavailable);

    let (failed, other) = if one.seen().is_empty() { ("two", "one") } else { ("one", "two") };
    let state = |name| shop.peers.handle().member(name).unwrap().breaker().state();
    assert_eq!((state(failed), state(other)), (State::Open, State::Closed));
    for _ in 0..20 {
        unary(&shop.peers, say("hello")).await.unwrap();
    }
    let seen = if failed == "one" { &one } else { &two };
    assert_eq!(seen.seen().len(), 1);
}

#[tokio::test]
async fn where_no_endpoint_takes_it_a_rejection_is_unavailable_to_a_generated_client() {
    let (one, two) = (Peer::failing(0), Peer::failing(0));
    let shop = shop(&[("one", &one), ("two", &two)], touchy()).await;
    for name in ["one", "two"] {
        shop.peers.handle().member(name).unwrap().breaker().force_open();
    }
    let status = unary(&shop.peers, say("hello")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "circuit_open"));
}

// A timeout that a caller sets is the deadline of all attempts, and endpoints are told of it.
#[tokio::test]
async fn a_deadline_goes_to_the_endpoint() {
    let peer = Peer::failing(0);
    let shop = shop(&[("one", &peer)], Config::default()).await;
    let mut request = say("hello");
    request.set_timeout(MINUTE);
    unary(&shop.peers, request).await.unwrap();
    assert!(peer.seen()[0].headers.contains_key("grpc-timeout"));
}
