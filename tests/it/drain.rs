//! What a drain ends, what it waits for, and whom it tells: the same for every layer.

use std::convert::Infallible;
use std::task::Poll;
use std::time::Duration;

use seawall::bulkhead::{self, BulkheadLayer};
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::health::HealthLayer;
use seawall::retry::{self, Backoff, RetryLayer, StopReason};
use seawall::stack;
use seawall::timeout::TimeoutLayer;
use seawall::{Error, EventKind, Reason};
use tower::util::BoxService;
use tower::{Layer, Service, ServiceExt};

use crate::scene::{Log, answering, broken, in_time, is_ready, ms, now, reason, settle, taking};
use crate::subjects::each;
use crate::support::{
    Boxed, Broken, CountingWaker, Ready, Reply, poll_once, probe, ready_once, scripted,
};

/// Longer than anything here waits for.
const LONG: Duration = Duration::from_secs(3600);

// ===== what nobody polls =====

// field F7
#[tokio::test(start_paused = true)]
async fn a_future_that_nobody_polls_holds_up_no_drain_and_does_not_begin_later() {
    each(async |kind| {
        let (subject, (handle, probe)) = (kind.make(), probe());
        let mut service = subject.wrap(probe);
        let readied = service.ready().await.unwrap().call(1);
        let unready = service.clone().call(2);
        in_time(subject.drain()).await;
        assert_eq!(subject.in_flight(), 0, "of those in flight");
        for late in [readied, unready] {
            assert_eq!(reason(&late.await), Some(Reason::Draining));
        }
        assert_eq!(handle.answered(), 0);
        drop(service);
        handle.assert_at_rest();
    })
    .await;
}

// field F7
#[tokio::test(start_paused = true)]
async fn neither_does_one_for_a_balancer() {
    let (handle, probe) = probe();
    let breaker = CircuitBreakerLayer::new("x");
    let mut service = breaker.backpressure().layer(probe.clone());
    let call = service.ready().await.unwrap().call(1);
    in_time(breaker.drain()).await;
    assert_eq!(reason(&call.await), Some(Reason::Draining));

    let bulkhead = BulkheadLayer::new("x");
    let mut service = bulkhead.backpressure().layer(probe);
    let call = service.ready().await.unwrap().call(1);
    in_time(bulkhead.drain()).await;
    assert_eq!(reason(&call.await), Some(Reason::Draining));
    assert_eq!((bulkhead.handle().in_flight(), handle.answered()), (0, 0));
}

// field F7
#[tokio::test(start_paused = true)]
async fn what_was_polled_is_waited_for() {
    each(async |kind| {
        let (subject, (_, inner)) = (kind.make(), taking(ms(100)));
        let service = subject.wrap(inner.map_err(|_| Error::Inner(Broken)));
        let mut call = Box::pin(service.oneshot(1));
        assert!(CountingWaker::new().poll(&mut call).is_pending());
        let began = now();
        let (answer, ()) = tokio::join!(call, subject.drain());
        assert_eq!((answer, began.elapsed()), (Ok(1), ms(100)));
    })
    .await;
}

// ===== who waits for readiness =====

// field F7
#[tokio::test(start_paused = true)]
async fn a_drain_wakes_whoever_waits_in_poll_ready() {
    each(async |kind| {
        let (subject, (_ledger, probe)) = (kind.make(), scripted(Ready::No, Reply::Answers));
        let (mut service, task) = (subject.wrap(probe), CountingWaker::new());
        if ready_once(&mut service, &task).is_ready() {
            return; // it waits in the call
        }
        let wakes = task.wakes();
        in_time(subject.drain()).await;
        assert!(task.wakes() > wakes, "nobody was told");
        assert!(ready_once(&mut service, &task).is_ready());
        assert_eq!(reason(&service.call(1).await), Some(Reason::Draining));
    })
    .await;
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_drain_wakes_a_balancer_that_waits_in_poll_ready() {
    let wakes = async |mut service: Balanced, drain: Draining| {
        let task = CountingWaker::new();
        assert!(ready_once(&mut service, &task).is_pending());
        let wakes = task.wakes();
        in_time(drain).await;
        assert!(task.wakes() > wakes, "nobody was told");
        assert!(ready_once(&mut service, &task).is_ready());
        assert_eq!(reason(&service.call(1).await), Some(Reason::Draining));
    };
    let (_ledger, probe) = scripted(Ready::No, Reply::Answers);
    let breaker = CircuitBreakerLayer::new("x");
    let service = breaker.backpressure().layer(probe.clone());
    wakes(BoxService::new(service), Box::pin(async move { breaker.drain().await })).await;
    let bulkhead = BulkheadLayer::new("x");
    let service = bulkhead.backpressure().layer(probe);
    wakes(BoxService::new(service), Box::pin(async move { bulkhead.drain().await })).await;

    // For a place, and not for the inner service.
    let bulkhead = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let (_, inner) = taking(ms(100));
    let layer = bulkhead.backpressure();
    let mut full = layer.layer(inner.clone().map_err(|_| Error::Inner(Broken)));
    let call = tokio::spawn(full.ready().await.unwrap().call(1));
    settle().await;
    let service = layer.layer(inner.map_err(|_| Error::Inner(Broken)));
    wakes(BoxService::new(service), Box::pin(async move { bulkhead.drain().await })).await;
    assert_eq!(call.await.unwrap(), Ok(1));
}

type Draining = std::pin::Pin<Box<dyn Future<Output = ()>>>;
type Balanced = BoxService<u32, u32, crate::support::Fail>;

// field F7
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_readiness_has_not_begun() {
    each(async |kind| {
        // A fallback and a hedge have no drain, and stand there around one that has.
        if kind.layers() != 1 || kind.is("fallback") || kind.is("hedge") {
            return; // one further in has begun by the word of one further out
        }
        let (subject, (handle, probe)) = (kind.make(), scripted(Ready::No, Reply::Answers));
        let mut service = subject.wrap(probe);
        let (mut call, task) = (service.call(1), CountingWaker::new()); // nobody readied it
        assert!(poll_once(&mut call, &task).is_pending());
        let (wakes, mut drain) = (task.wakes(), subject.drain());
        assert!(CountingWaker::new().poll(&mut drain).is_pending());
        assert!(task.wakes() > wakes, "nobody was told");
        let Poll::Ready(answer) = poll_once(&mut call, &task) else { panic!("it still waits") };
        assert_eq!(reason(&answer), Some(Reason::Draining));
        in_time(drain).await;
        assert_eq!((handle.calls(), subject.in_flight()), (0, 0));
        drop((call, service));
        handle.assert_at_rest();
    })
    .await;
}

// ===== retry =====

/// A retry that waits long between its attempts.
fn patient(log: &Log) -> retry::Builder {
    let wait = Backoff::fixed(Duration::from_secs(20));
    RetryLayer::builder("x").attempts(3).backoff(wait).max_elapsed(LONG).observe(log.observer())
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_backoff_ends_at_once() {
    let log = Log::default();
    let layer = patient(&log).cloned().build().unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    let call = tokio::spawn(layer.layer(inner).oneshot(1));
    settle().await;
    let (full, began) = (50.0, now());
    in_time(layer.drain()).await;
    assert_eq!(reason(&call.await.unwrap()), Some(Reason::Draining));
    assert_eq!((calls.count(), began.elapsed(), layer.in_flight()), (1, ms(0), 0));
    assert!(
        log.all().contains(&EventKind::Stopped { attempts: 1, why: StopReason::Draining.as_str() })
    );
    assert_eq!(layer.handle().budget().unwrap().balance(), full, "what was paid came back");
}

// field F7
#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_during_a_drain_is_the_last() {
    let log = Log::default();
    let layer = patient(&log).build().unwrap();
    let attempt = || async {
        tokio::time::sleep(ms(100)).await;
        Err::<u32, _>(Error::Inner(broken("no")))
    };
    let began = now();
    let (answer, ()) = tokio::join!(layer.run(attempt), layer.drain());
    // It has an answer of its own, and that is told.
    assert_eq!((answer, began.elapsed()), (Err(Error::Inner(broken("no"))), ms(100)));
    assert_eq!(log.all(), [EventKind::Stopped { attempts: 1, why: StopReason::Draining.as_str() }]);
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_retry_can_be_drained_with_all_its_attempts() {
    let layer = patient(&Log::default()).cloned().build().unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    let service = layer.layer(inner);
    let call = tokio::spawn(service.clone().oneshot(1));
    settle().await;
    let began = now();
    layer.drain_to_completion().await;
    assert_eq!((calls.count(), began.elapsed()), (3, Duration::from_secs(40)));
    assert_eq!(call.await.unwrap(), Err(Error::Inner(broken("no"))));
    assert_eq!(reason(&service.oneshot(2).await), Some(Reason::Draining));

    // And one who has no time for that after all still gets it over with.
    let layer = patient(&Log::default()).cloned().build().unwrap();
    let (_, inner) = answering(|_| Err(broken("no")));
    let call = tokio::spawn(layer.layer(inner).oneshot(1));
    settle().await;
    let began = now();
    tokio::join!(layer.drain_to_completion(), async {
        tokio::time::sleep(ms(500)).await;
        layer.drain().await;
    });
    assert_eq!(began.elapsed(), ms(500));
    assert_eq!(reason(&call.await.unwrap()), Some(Reason::Draining));
}

// ===== bulkhead =====

/// One place, and a line for all who want it.
fn narrow() -> BulkheadLayer {
    BulkheadLayer::builder("x").limit(1).queue(1000).max_wait(LONG).build().unwrap()
}

// field F7
#[tokio::test(start_paused = true)]
async fn those_in_line_are_sent_away_at_once() {
    let layer = narrow();
    let (calls, inner) = taking(ms(100));
    let service = layer.layer(inner);
    let mut crowd: Vec<_> = (0..6).map(|nth| tokio::spawn(service.clone().oneshot(nth))).collect();
    settle().await;
    let unpolled = service.clone().call(6);
    let began = now();
    in_time(layer.drain()).await;
    assert_eq!((calls.count(), began.elapsed()), (1, ms(100)));
    assert_eq!(crowd.remove(0).await.unwrap(), Ok(0));
    for sent_away in crowd {
        assert_eq!(reason(&sent_away.await.unwrap()), Some(Reason::Draining));
    }
    assert_eq!(reason(&unpolled.await), Some(Reason::Draining));
    let handle = layer.handle();
    assert_eq!((layer.in_flight(), handle.in_flight(), handle.queued()), (0, 0, 0));
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_bulkhead_can_be_drained_with_its_line() {
    let layer = narrow();
    let (calls, inner) = taking(ms(100));
    let service = layer.layer(inner);
    let crowd: Vec<_> = (0..6).map(|nth| tokio::spawn(service.clone().oneshot(nth))).collect();
    settle().await;
    let began = now();
    in_time(layer.drain_to_completion()).await;
    assert_eq!((calls.count(), began.elapsed()), (6, ms(600)));
    for (nth, call) in crowd.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().ok(), u32::try_from(nth).ok());
    }
}

// ===== the others, drained with those that wait =====

// field F7
#[tokio::test(start_paused = true)]
async fn the_other_layers_can_be_drained_with_those_that_wait_too() {
    let breaker = CircuitBreakerLayer::new("x");
    let timeout = TimeoutLayer::new("x", LONG);
    let health = HealthLayer::new("x");
    let keyed = CircuitBreakerLayer::builder("x").keyed(|_: &u32| "k".into()).build().unwrap();
    let tenants = BulkheadLayer::builder("x").keyed(|_: &u32| "k".into()).build().unwrap();
    macro_rules! waits_too {
        ($layer:expr) => {{
            let (handle, probe) = scripted(Ready::After(3), Reply::Answers);
            let mut service = $layer.layer(Boxed::new(probe));
            let mut call = Box::pin(service.call(1));
            let task = CountingWaker::new();
            assert!(poll_once(&mut call, &task).is_pending());
            let (answer, ()) = tokio::join!(call, in_time($layer.drain_to_completion()));
            assert_eq!((answer, handle.calls()), (Ok(1), 1));
            assert_eq!(reason(&service.call(2).await), Some(Reason::Draining));
        }};
    }
    waits_too!(breaker);
    waits_too!(timeout);
    waits_too!(health);
    waits_too!(keyed);
    waits_too!(tenants);
}

// ===== the ready-made stacks =====

type Stack = stack::ClientLayer<
    seawall::Classifier,
    seawall::retry::Cloned,
    seawall::propagate::NoPropagation,
>;

fn client(limit: u32) -> Stack {
    let wait = Backoff::fixed(Duration::from_secs(20));
    let retry = retry::Config { backoff: wait, max_elapsed: LONG, ..Default::default() };
    let places = bulkhead::Config { limit, queue: 100, max_wait: LONG, ..Default::default() };
    stack::client("x")
        .deadline(LONG)
        .attempt_timeout(LONG / 2)
        .retry(retry)
        .bulkhead(places)
        .cloned()
        .build()
        .unwrap()
}

// field F7
#[tokio::test(start_paused = true)]
async fn the_waits_in_a_client_stack_end_at_once() {
    // Between two attempts.
    let layer = client(64);
    let (calls, inner) = answering(|_| Err(broken("no")));
    let call = tokio::spawn(layer.layer(inner).oneshot(1));
    settle().await;
    let began = now();
    in_time(layer.drain()).await;
    assert_eq!(reason(&call.await.unwrap()), Some(Reason::Draining));
    assert_eq!((calls.count(), began.elapsed()), (1, ms(0)));

    // For a place, behind an attempt that is waited for.
    let layer = client(1);
    let (calls, inner) = taking(ms(100));
    let service = layer.layer(inner);
    let inside = tokio::spawn(service.clone().oneshot(1));
    settle().await;
    let waits = tokio::spawn(service.clone().oneshot(2));
    settle().await;
    let began = now();
    in_time(layer.drain()).await;
    assert_eq!(inside.await.unwrap(), Ok(1));
    assert_eq!(reason(&waits.await.unwrap()), Some(Reason::Draining));
    assert_eq!((calls.count(), began.elapsed()), (1, ms(100)));

    // For readiness, in front of the stack and within a call.
    let layer = client(64);
    let (_ledger, probe) = scripted(Ready::No, Reply::Answers);
    let mut service = layer.layer(probe);
    let (mut call, task) = (Box::pin(service.clone().call(1)), CountingWaker::new());
    assert!(poll_once(&mut call, &task).is_pending());
    assert!(!is_ready(&mut service));
    let (answer, ()) = in_time(async { tokio::join!(call, layer.drain()) }).await;
    assert_eq!(reason(&answer), Some(Reason::Draining));
    assert_eq!(reason(&in_time(service.oneshot(1)).await), Some(Reason::Draining));
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_client_stack_can_be_drained_with_all_its_waits() {
    let layer = client(1);
    let (calls, inner) = answering(|nth| if nth == 1 { Err(broken("no")) } else { Ok(nth) });
    let call = tokio::spawn(layer.layer(inner).oneshot(1));
    settle().await;
    let began = now();
    layer.drain_to_completion().await;
    assert_eq!((call.await.unwrap(), calls.count()), (Ok(2), 2));
    assert_eq!(began.elapsed(), Duration::from_secs(20));
}

#[cfg(feature = "http")]
mod server {
    use http::{Request, Response, StatusCode};
    use tower::{ServiceBuilder, service_fn};

    use super::*;

    // field F7
    #[tokio::test(start_paused = true)]
    async fn requests_in_line_are_sent_away_or_served_as_one_likes() {
        for to_completion in [false, true] {
            let places =
                bulkhead::Config { limit: 1, queue: 10, max_wait: ms(900), ..Default::default() };
            let layer =
                seawall::http::server("x").deadline(ms(2000)).bulkhead(places).build().unwrap();
            let handler = service_fn(|_: Request<String>| async {
                tokio::time::sleep(ms(100)).await;
                Ok::<_, Infallible>(Response::new("done".to_owned()))
            });
            let service = ServiceBuilder::new()
                .layer(layer.clone())
                .map_err(Error::<Infallible>::Inner)
                .service(handler);
            let ask = || {
                let service = service.clone();
                tokio::spawn(async move {
                    service.oneshot(Request::new(String::new())).await.map(|answer| answer.status())
                })
            };
            let inside = ask();
            settle().await;
            let waits = ask();
            settle().await;
            if to_completion {
                in_time(layer.drain_to_completion()).await;
            } else {
                in_time(layer.drain()).await;
            }
            assert_eq!(inside.await.unwrap().unwrap(), StatusCode::OK);
            let expected =
                if to_completion { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            assert_eq!(waits.await.unwrap().unwrap(), expected);
            assert_eq!(ask().await.unwrap().unwrap(), StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}
