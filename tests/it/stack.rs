//! The ready-made stack.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::circuit_breaker::State;
use seawall::retry::{self, Backoff};
use seawall::{Error, Event, EventKind, Reason, bulkhead, stack};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{Log, answering, broken, now, reason, settle, taking};
use crate::support::{
    Broken, CountingWaker, Fail, Ready, now as now_of, poll_once, probe, ready_once,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn attempts_that_hang_are_ended_and_made_again_within_the_deadline() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let client = stack::client("x").deadline(ms(1000)).attempt_timeout(ms(300)).cloned();
    let client = client.build().unwrap();
    let service = ServiceBuilder::new().layer(client.clone()).map_err(Error::Inner).service(
        service_fn(move |n: u32| {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            async move {
                if nth == 0 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Broken>(n)
            }
        }),
    );
    assert_eq!(seawall::check_service(service).oneshot(7).await, Ok(7));
    assert_eq!((calls.load(Ordering::Relaxed), client.in_flight()), (2, 0));

    let hanging = ServiceBuilder::new()
        .layer(client.clone())
        .map_err(Error::Inner)
        .service(service_fn(|_: u32| std::future::pending::<Result<u32, Broken>>()));
    let began = now();
    let ended: Result<u32, Fail> = hanging.oneshot(7).await;
    assert!(matches!(ended, Err(Error::Rejected(why)) if why.reason() == Reason::TimedOut));
    assert!(began.elapsed() <= ms(1000), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn five_attempts_then_the_circuit_opens_and_all_services_share_it() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let client = stack::client("x").cloned().build().unwrap();
    let failing = service_fn(move |_: u32| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Err::<u32, _>(Broken) }
    });
    let stack = ServiceBuilder::new().layer(client.clone()).map_err(Error::Inner);
    let (mut one, mut other) = (stack.clone().service(failing.clone()), stack.service(failing));
    assert_eq!(one.ready().await.unwrap().call(1).await, Err(Error::Inner(Broken)));
    assert_eq!(calls.load(Ordering::Relaxed), stack::ClientConfig::default().retry.attempts);
    while client.breaker().state() == State::Closed {
        other.ready().await.unwrap().call(1).await.unwrap_err();
    }
    let rejected = one.ready().await.unwrap().call(1).await;
    assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::CircuitOpen));
    assert_eq!(client.retry().config().attempts, stack::ClientConfig::default().retry.attempts);
    client.drain().await;
}

// pitfall B27
#[test]
fn what_contradicts_itself_is_told_all_at_once() {
    let config = bulkhead::Config { limit: 0, ..bulkhead::Config::default() };
    let client = stack::client("x").deadline(ms(300)).attempt_timeout(ms(300)).bulkhead(config);
    let problems = client.cloned().build().unwrap_err();
    let fields: Vec<_> = problems.iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["attempt_timeout", "limit"]);
    assert!(problems.to_string().contains("less than deadline = 300ms"), "{problems}");
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn a_drained_stack_rejects_over_a_service_that_is_never_ready() {
    let client = stack::client("x").cloned().build().unwrap();
    client.drain().await;
    let (handle, probe) = probe();
    handle.set_ready(Ready::No);
    let mut service = client.layer(probe);
    let (task, mut one) = (CountingWaker::new(), &mut service);
    assert_eq!(now_of(ready_once(&mut one, &task)), Ok(()));
    let rejected = now_of(poll_once(&mut Box::pin(one.call(7)), &task));
    assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
}

#[tokio::test(start_paused = true)]
async fn one_observer_hears_every_layer() {
    let layers = Arc::new(Mutex::new(BTreeSet::new()));
    let heard = Arc::clone(&layers);
    let config = bulkhead::Config { limit: 1, ..bulkhead::Config::default() };
    // Without waits that are drawn: else a last one that leads past the deadline ends the call early.
    let retry = retry::Config { attempts: 5, backoff: Backoff::none(), ..retry::Config::default() };
    let client = stack::client("x")
        .deadline(ms(1000))
        .attempt_timeout(ms(300))
        .retry(retry)
        .bulkhead(config)
        .observe(move |event: &Event| {
            let name = event.origin.to_string();
            heard.lock().unwrap().insert((name, kind(event.kind)));
        })
        .cloned()
        .build()
        .unwrap();
    let hanging = ServiceBuilder::new()
        .layer(client)
        .map_err(Error::Inner)
        .service(service_fn(|_: u32| std::future::pending::<Result<u32, Broken>>()));
    let calls = (0..2).map(|n| hanging.clone().oneshot(n));
    futures::future::join_all(calls).await;
    let heard: Vec<_> = layers.lock().unwrap().iter().map(|(_, kind)| *kind).collect();
    let sources: BTreeSet<_> =
        layers.lock().unwrap().iter().map(|(name, _)| name.clone()).collect();
    for kind in ["rejected", "retrying"] {
        assert!(heard.contains(&kind), "{heard:?}");
    }
    // Both timeouts, the bulkhead and the retry.
    assert!(sources.len() >= 4, "{sources:?}");
}

const fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Rejected { .. } => "rejected",
        EventKind::Retrying { .. } => "retrying",
        _ => "other",
    }
}

// field F19
#[tokio::test(start_paused = true)]
async fn a_burst_that_a_healthy_dependency_can_serve_is_served() {
    for crowd in [100_u32, 1_000] {
        let layer = seawall::stack::client("x").cloned().build().unwrap();
        let (calls, inner) = crate::scene::taking(Duration::from_millis(20));
        let service = tower::Layer::layer(&layer, inner);
        let calling: Vec<_> =
            (0..crowd).map(|nth| tokio::spawn(service.clone().oneshot(nth))).collect();
        for (nth, call) in calling.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().ok(), u32::try_from(nth).ok(), "of {crowd}");
        }
        assert_eq!((calls.count(), calls.most()), (crowd as usize, 64));
    }
    // What hangs does not keep the line waiting for ever, and says which it was.
    let layer = seawall::stack::client("x").deadline(Duration::from_secs(60)).cloned();
    let layer = layer.attempt_timeout(Duration::from_secs(50)).build().unwrap();
    let (_, inner) = crate::scene::taking(Duration::from_secs(600));
    let service = tower::Layer::layer(&layer, inner);
    let hung: Vec<_> = (0..64).map(|nth| tokio::spawn(service.clone().oneshot(nth))).collect();
    crate::scene::settle().await;
    let waits = service.oneshot(64).await;
    assert_eq!(crate::scene::reason(&waits), Some(seawall::Reason::QueueTimeout));
    drop(hung);
}

// ===== one shell =====

/// Waits a second between two attempts, and has one place for which nobody waits.
fn narrow(log: &Log) -> stack::ClientBuilder {
    let second = Duration::from_secs(1);
    let retry = retry::Config { backoff: Backoff::fixed(second), ..retry::Config::default() };
    let places = bulkhead::Config { limit: 1, queue: 0, ..bulkhead::Config::default() };
    stack::client("x").deadline(60 * second).retry(retry).bulkhead(places).observe(log.observer())
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_failed_holds_no_place_while_the_call_waits() {
    let client = narrow(&Log::default()).cloned().build().unwrap();
    let (_, inner) = answering(|nth| if nth == 1 { Err(broken("no")) } else { Ok(nth) });
    let service = client.layer(inner);
    let first = tokio::spawn(service.clone().oneshot(1));
    settle().await;
    assert_eq!((client.in_flight(), client.bulkhead().in_flight()), (1, 0));
    assert_eq!(service.oneshot(2).await, Ok(2));
    assert_eq!(first.await.unwrap(), Ok(3));
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_asked_for_again_holds_no_place_either() {
    let classify = |nth: &u32| {
        if *nth == 1 { seawall::Outcome::TRANSIENT } else { seawall::Outcome::SUCCESS }
    };
    let client = narrow(&Log::default()).classify_response(classify).cloned().build().unwrap();
    let (_, inner) = answering(Ok);
    let service = client.layer(inner);
    let first = tokio::spawn(service.clone().oneshot(1));
    settle().await;
    assert_eq!(client.bulkhead().in_flight(), 0);
    assert_eq!(service.oneshot(2).await, Ok(2));
    assert_eq!(first.await.unwrap(), Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_between_two_attempts_pays_for_nothing() {
    let client = narrow(&Log::default()).cloned().build().unwrap();
    let handle = client.handle();
    let full = handle.budget().unwrap().balance();
    let (calls, inner) = answering(|_| Err(broken("no")));
    let mut call = Box::pin(client.layer(inner).oneshot(1));
    assert!(crate::scene::poll_once(&mut call).is_pending());
    assert!(handle.budget().unwrap().balance() < full);
    drop(call);
    assert_eq!(handle.budget().unwrap().balance(), full);
    assert_eq!((calls.count(), client.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_further_in_may_be_waited_for_and_costs_no_budget() {
    let log = Log::default();
    let config = retry::Config {
        on_rejection: retry::OnRejection::Wait,
        backoff: Backoff::fixed(ms(50)),
        ..retry::Config::default()
    };
    let client = narrow(&log).retry(config).cloned().build().unwrap();
    let full = client.handle().budget().unwrap().balance();
    let (calls, inner) = taking(ms(220));
    let service = client.layer(inner);
    let inside = tokio::spawn(service.clone().oneshot(1));
    settle().await;
    assert_eq!(service.oneshot(2).await, Ok(2));
    assert_eq!((inside.await.unwrap(), calls.count(), calls.most()), (Ok(1), 2, 1));
    assert_eq!(client.handle().budget().unwrap().balance(), full);
    let why = |kind: &EventKind| matches!(kind, EventKind::Retrying { .. });
    assert_eq!(log.all().iter().filter(|kind| why(kind)).count(), 5); // at 50, 100, … ms
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_call_between_two_attempts_and_one_that_waits_for_a_place() {
    let places = bulkhead::Config { limit: 1, queue: 9, max_wait: ms(9_000), ..Default::default() };
    let retry = retry::Config { backoff: Backoff::none(), ..retry::Config::default() };
    let client = stack::client("x").deadline(ms(1_000)).attempt_timeout(ms(900)).retry(retry);
    let client = client.bulkhead(places).cloned().build().unwrap();
    let (calls, inner) = taking(ms(5_000));
    let service = client.layer(inner);
    let began = now();
    let ends = [1, 2].map(|nth| tokio::spawn(service.clone().oneshot(nth)));
    for end in ends {
        assert_eq!(reason(&end.await.unwrap()), Some(Reason::TimedOut));
        assert_eq!(began.elapsed(), ms(1_000));
    }
    assert_eq!((calls.alive(), client.in_flight(), client.bulkhead().queued()), (0, 0, 0));
    assert_eq!(client.bulkhead().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_waits_for_its_place_in_turn_and_is_made_again_after_it_failed() {
    let places = bulkhead::Config { limit: 1, queue: 9, ..Default::default() };
    let retry = retry::Config { attempts: 10, backoff: Backoff::none(), ..Default::default() };
    let client = stack::client("x").bulkhead(places).retry(retry).cloned().build().unwrap();
    let (calls, inner) = answering(|nth| if nth % 2 == 1 { Err(broken("no")) } else { Ok(nth) });
    let service = client.layer(inner);
    let crowd: Vec<_> = (0..4).map(|nth| tokio::spawn(service.clone().oneshot(nth))).collect();
    for call in crowd {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!((calls.count(), client.in_flight()), (8, 0));
}
