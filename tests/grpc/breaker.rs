//! What a breaker under a tonic client counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use seawall::circuit_breaker::{
    Abandonment, CircuitBreakerHandle, CircuitBreakerLayer, State, Trip,
};
use seawall::grpc::{GrpcClassifier, at_trailers};
use seawall::{Error, Event, EventKind, Measurement, Reason, Rejected};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Channel;
use tower::ServiceBuilder;

use super::{Client, Peer, STREAM, say, serve, stream, unary};

/// So many failures in a row open the circuit.
const FAILURES: u32 = 3;

struct Books {
    breaker: CircuitBreakerHandle,
    abandoned: Arc<AtomicU32>,
}

impl Books {
    /// Failures in a row.
    fn failures(&self) -> u32 {
        match self.breaker.snapshot().gathered {
            Measurement::Count { observed, .. } => observed,
            other => panic!("a count, not {other:?}"),
        }
    }

    fn abandoned(&self) -> u32 {
        self.abandoned.load(Ordering::SeqCst)
    }
}

fn guard(channel: Channel) -> (impl Client, Books) {
    let abandoned = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&abandoned);
    let layer = CircuitBreakerLayer::builder("peer")
        .classify(GrpcClassifier)
        .completion(at_trailers())
        .trip(Trip::consecutive(FAILURES))
        .abandonment(Abandonment::Ignore) // so that the count shows failures alone
        .observe(move |event: &Event| {
            if event.kind == EventKind::Abandoned {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        })
        .build()
        .unwrap();
    let books = Books { breaker: layer.handle(), abandoned };
    (ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(channel), books)
}

#[tokio::test]
async fn unavailable_in_the_headers_trips_and_the_rejection_is_found_behind_the_status() {
    let (peer, _bell) = Peer::new();
    let (client, books) = guard(serve(peer.service()).await);
    for failure in 1..=FAILURES {
        let status = unary(&client, say("unavailable")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{failure}");
    }
    assert_eq!(books.breaker.state(), State::Open);
    let status = unary(&client, say("hello")).await.unwrap_err();
    let rejected = Rejected::find(&status).map(Rejected::reason);
    assert_eq!(rejected, Some(Reason::CircuitOpen), "{status:?}");
    assert_eq!(peer.seen().len(), FAILURES as usize);
}

// pitfall B29: the head of such a stream is an `Ok(200)`.
#[tokio::test]
async fn unavailable_in_the_trailers_trips() {
    let (peer, _bell) = Peer::new();
    let (client, books) = guard(serve(peer.service()).await);
    for failures in 1..=FAILURES {
        let mut items = stream(&client, STREAM, "unavailable").await.unwrap();
        assert_eq!(items.next().await.unwrap().unwrap(), "one");
        assert_eq!(books.breaker.state(), State::Closed, "not before the trailers");
        assert_eq!(items.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
        if failures < FAILURES {
            assert_eq!(books.failures(), failures);
        }
    }
    assert_eq!(books.breaker.state(), State::Open);
}

#[tokio::test]
async fn what_ends_well_is_good_and_no_is_an_answer() {
    let (peer, _bell) = Peer::new();
    let (client, books) = guard(serve(peer.service()).await);
    let fail = async || unary(&client, say("unavailable")).await.unwrap_err();
    fail().await;
    let items = stream(&client, STREAM, "hello").await.unwrap();
    assert_eq!(books.failures(), 1, "its head says nothing yet");
    assert_eq!(items.map(Result::unwrap).collect::<Vec<_>>().await.len(), 3);
    assert_eq!(books.failures(), 0, "a stream that ended well");
    fail().await;
    unary(&client, say("hello")).await.unwrap();
    assert_eq!(books.failures(), 0, "a call that went well");
    fail().await;
    unary(&client, say("not found")).await.unwrap_err();
    assert_eq!(books.failures(), 0, "a no");
    assert_eq!(books.abandoned(), 0);
}

#[tokio::test]
async fn a_stream_that_is_cut_or_ends_without_trailers_has_failed() {
    let (peer, _bell) = Peer::new();
    let (client, books) = guard(serve(peer.service()).await);
    for (nth, path) in ["/cut", "/no-trailers"].into_iter().enumerate() {
        let mut items = stream(&client, path, "").await.unwrap();
        assert_eq!(items.next().await.unwrap().unwrap(), "one", "{path}");
        peer.cut.notify_one();
        assert!(items.next().await.is_none_or(|item| item.is_err()), "{path}");
        drop(items);
        assert_eq!((books.failures(), books.abandoned()), (nth as u32 + 1, 0), "{path}");
    }
}

// field F1
#[tokio::test]
async fn a_stream_that_its_reader_drops_was_answered() {
    let (peer, _bell) = Peer::new();
    let (client, books) = guard(serve(peer.service()).await);
    unary(&client, say("unavailable")).await.unwrap_err();
    assert_eq!(books.failures(), 1);
    let mut items = stream(&client, STREAM, "hang").await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), "one");
    drop(items);
    assert_eq!((books.failures(), books.abandoned()), (0, 0), "it lives");
}

// field F1: by default, who leaves without an answer counts against the dependency until it answers.
#[tokio::test]
async fn watchers_who_hang_up_do_not_open_the_circuit() {
    let (peer, _bell) = Peer::new();
    let layer =
        CircuitBreakerLayer::builder("peer").classify(GrpcClassifier).completion(at_trailers());
    let layer = layer.build().unwrap();
    let channel = serve(peer.service()).await;
    let client = ServiceBuilder::new().layer(layer.clone()).map_err(Error::Inner).service(channel);
    for watcher in 0..40 {
        let mut items = stream(&client, STREAM, "hang").await.unwrap();
        assert_eq!(items.next().await.unwrap().unwrap(), "one");
        drop(items);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await; // another moment
        assert_eq!(layer.handle().state(), State::Closed, "{watcher}");
    }
}
