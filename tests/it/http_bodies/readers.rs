//! Readers who leave before the end of what they read.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use seawall::circuit_breaker::{Abandonment, CircuitBreakerLayer, State, Trip};
use seawall::http::{GuardedBody, OnBodyEnd};
use seawall::{Classification, Error, Outcome};

use super::completion::Says;
use crate::support::{Broken, Fail};

const GOOD: Classification = Classification::Now(Outcome::SUCCESS);

/// A stream of which one message comes at once, and never another.
fn watched() -> (Channel<Bytes, Broken>, Sender<Bytes, Broken>) {
    let (mut sender, body) = Channel::new(1);
    sender.try_send(Frame::data(Bytes::from_static(b"one"))).unwrap();
    (body, sender)
}

type Watched = Response<GuardedBody<Channel<Bytes, Broken>>>;

async fn hang_up(breaker: &CircuitBreakerLayer<Says, OnBodyEnd>, reads: bool) {
    let (body, _server) = watched();
    let answer: Result<Watched, Fail> = breaker.run(|| async { Ok(Response::new(body)) }).await;
    let mut body = answer.unwrap().into_body();
    if reads {
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await; // evidence counts once a moment
    } else {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

// field F1: those who watch a healthy stream and hang up, whatever hanging up means otherwise.
#[tokio::test(start_paused = true)]
async fn watchers_who_hang_up_harm_nobody() {
    let policies = [
        Abandonment::Silence,
        Abandonment::Ignore,
        Abandonment::Failure,
        Abandonment::After(Duration::from_millis(1)),
    ];
    for policy in policies {
        for head in [Classification::AtEnd, GOOD] {
            let slow = Trip::slow_rate(0.5, Duration::from_millis(10)).at_least(2);
            let breaker = CircuitBreakerLayer::builder("x")
                .trip(Trip::default().or(Trip::consecutive(5)).or(slow))
                .abandonment(policy)
                .classify(Says(head))
                .completion(OnBodyEnd)
                .build()
                .unwrap();
            for _ in 0..40 {
                hang_up(&breaker, true).await;
                assert_eq!(breaker.handle().state(), State::Closed, "{policy:?} {head:?}");
            }
        }
    }
    // Of whom nothing came to: a dependency that hangs is noticed as ever, if it never answered, a little
    // later.
    let breaker = CircuitBreakerLayer::builder("x")
        .classify(Says(Classification::AtEnd))
        .completion(OnBodyEnd);
    let breaker = breaker.build().unwrap();
    for _ in 0..100 {
        if breaker.handle().state() == State::Closed {
            hang_up(&breaker, false).await;
        }
    }
    assert_eq!(breaker.handle().state(), State::Open);
}

// field F1: three probes of which the reader hung up reopened the circuit.
#[tokio::test(start_paused = true)]
async fn probes_whose_readers_hang_up_close_the_circuit() {
    let breaker = CircuitBreakerLayer::builder("x")
        .trip(Trip::consecutive(1))
        .classify(Says(Classification::AtEnd))
        .completion(OnBodyEnd)
        .build()
        .unwrap();
    let failed = breaker
        .run(|| async { Err::<Response<Channel<Bytes, Broken>>, Fail>(Error::Inner(Broken)) })
        .await;
    assert!(failed.is_err());
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..20 {
        hang_up(&breaker, true).await;
        assert_ne!(breaker.handle().state(), State::Open);
    }
    assert_eq!(breaker.handle().state(), State::Closed);
}
