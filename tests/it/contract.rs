//! What tower asks of a service, and this crate of a layer, for every layer and every pair.

use std::borrow::Cow;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::retry::{self, Backoff};
use seawall::stack;
use seawall::testing::{Check, Contract, Scenario};
use tokio::time::timeout;
use tower::buffer::Buffer;
use tower::limit::ConcurrencyLimit;
use tower::{Service, ServiceExt};

use crate::subjects::{LIMIT, Subject, each};
use crate::support::{Boxed, Broken, Fail, Ready, Reply, echo, scripted};

// ===== the kit =====

// pitfalls B2, B12, B33
#[tokio::test(start_paused = true)]
async fn every_layer_keeps_the_contract_and_what_goes_beyond_it() {
    each(async |kind| {
        let contract = Contract::new(echo(), move || kind.make())
            .with(Check::BEYOND.iter().copied())
            .inner_calls(kind.attempts())
            .in_flight(Subject::in_flight);
        contract.check().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_faces_for_balancers_keep_the_contract() {
    let breaker = || CircuitBreakerLayer::new("kit").backpressure();
    Contract::new(echo(), breaker).check_uncloned().await.unwrap();
    let bulkhead = || BulkheadLayer::new("kit").backpressure();
    Contract::new(echo(), bulkhead).check_uncloned().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_ready_made_stacks_keep_the_contract() {
    let client = || {
        let mut config = retry::Config::default();
        (config.attempts, config.backoff) =
            (stack::ClientConfig::default().retry.attempts, Backoff::none());
        stack::client("kit").deadline(LIMIT).attempt_timeout(LIMIT / 2).retry(config)
    };
    let one = Contract::new(echo(), move || client().cloned().build().unwrap())
        .with(Check::BEYOND.iter().copied())
        .inner_calls(stack::ClientConfig::default().retry.attempts as usize);
    one.in_flight(stack::ClientLayer::in_flight).check().await.unwrap();
    let keyed = move || client().keyed(|_: &u32| Cow::Borrowed("k")).cloned().build().unwrap();
    let keyed = Contract::new(echo(), keyed)
        .with(Check::BEYOND.iter().copied())
        .inner_calls(stack::ClientConfig::default().retry.attempts as usize);
    keyed.in_flight(stack::KeyedClientLayer::in_flight).check().await.unwrap();
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn the_layers_of_http_keep_the_contract() {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use seawall::http::body_timeout::BodyTimeoutLayer;
    use seawall::http::drain::DrainLayer;
    use seawall::http::{
        HandleErrorLayer, ReadDeadlineLayer, RejectionResponseLayer, TimeoutHeader,
        WriteDeadlineLayer,
    };

    let full = || Full::<Bytes>::from("a body");
    let exchange = || {
        let request = move || Request::new(full());
        Scenario::new(request, move |_| Response::new(full()), || Fail::Inner(Broken))
    };
    let read = || ReadDeadlineLayer::new(TimeoutHeader::Grpc);
    Contract::new(exchange(), read).check().await.unwrap();
    let write = || WriteDeadlineLayer::new(TimeoutHeader::Grpc);
    Contract::new(exchange(), write).check().await.unwrap();
    Contract::new(exchange(), || BodyTimeoutLayer::new("kit")).check().await.unwrap();
    Contract::new(exchange(), DrainLayer::new).check().await.unwrap();
    // It answers where the others fail.
    Contract::new(exchange(), HandleErrorLayer::new).check().await.unwrap();
    let respond = Contract::new(exchange(), RejectionResponseLayer::new);
    let respond = respond.without(Check::AnswersArePassedOn).without(Check::ReadyErrorIsTold);
    respond.check().await.unwrap();
}

// ===== over tower's own =====

/// `calls` in a row, each awaited before the next: on one service, on a clone each, and on a clone
/// that is readied by nobody.
async fn one_after_the_other(service: Boxed, calls: u32) {
    let mut one = service.clone();
    for nth in 0..calls {
        assert_eq!(one.ready().await.unwrap().call(nth).await, Ok(nth));
        assert_eq!(service.clone().oneshot(nth).await, Ok(nth));
        assert_eq!(service.clone().call(nth).await, Ok(nth));
    }
}

/// Many tasks at a time, on clones of one service.
async fn all_at_once(service: Boxed, tasks: u32) {
    let tasks: Vec<_> = (0..tasks)
        .map(|nth| {
            let service = service.clone();
            tokio::spawn(async move { (nth, service.oneshot(nth).await) })
        })
        .collect();
    for task in tasks {
        let (nth, answer) = task.await.unwrap();
        assert_eq!(answer, Ok(nth));
    }
}

async fn within_limit(what: impl Future<Output = ()>) {
    timeout(LIMIT / 2, what).await.expect("it hangs");
}

// pitfalls B2, B33: nobody waits with a reservation in hand
#[tokio::test(start_paused = true)]
async fn it_works_over_a_concurrency_limit_of_one() {
    each(async |kind| {
        let (handle, probe) = scripted(Ready::Yes, Reply::After(2));
        let limited = Boxed::new(ConcurrencyLimit::new(probe, 1));
        within_limit(async {
            one_after_the_other(kind.make().wrap(limited.clone()), 3).await;
            all_at_once(kind.make().wrap(limited.clone()), 20).await;
        })
        .await;
        drop(limited);
        handle.assert_at_rest();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_works_over_a_buffer() {
    each(async |kind| {
        let (handle, probe) = scripted(Ready::Yes, Reply::After(2));
        let limited = ConcurrencyLimit::new(probe, 1);
        let buffered = Buffer::new(limited, 1).map_err(|error| match error.downcast::<Fail>() {
            Ok(fail) => *fail,
            Err(error) => panic!("the buffer failed: {error}"),
        });
        let buffered = Boxed::new(buffered);
        within_limit(async {
            one_after_the_other(kind.make().wrap(buffered.clone()), 3).await;
            all_at_once(kind.make().wrap(buffered.clone()), 20).await;
        })
        .await;
        handle.assert_no_breach();
    })
    .await;
}
