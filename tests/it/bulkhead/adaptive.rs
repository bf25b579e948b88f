//! An adaptive limit, through the public API: a dependency of ten workers in virtual time.

use std::borrow::Cow;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use seawall::bulkhead::{Adaptive, BulkheadHandle, BulkheadLayer, Config, Overrides};
use seawall::{CallError, Classification, Outcome, Reason, stack};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scene::{Fail, ms, poll_once};

/// Answers each call after `takes`, ten at a time; the others queue.
fn ten_workers(
    takes: Duration,
) -> impl Service<u32, Response = u32, Error = Fail, Future: Send> + Clone + Send + 'static {
    let workers = Arc::new(Semaphore::new(10));
    service_fn(move |nth: u32| {
        let workers = Arc::clone(&workers);
        async move {
            let _worker = workers.acquire().await.expect("never closed");
            sleep(takes).await;
            Ok(nth)
        }
    })
}

/// So many calls a second, for so long. Returns how many were answered within a tenth of a second.
async fn load<S>(service: &S, a_second: u32, for_seconds: u32) -> u32
where
    S: Service<u32, Response = u32, Error = Fail, Future: Send> + Clone + Send + 'static,
{
    let mut calls = JoinSet::new();
    for nth in 0..a_second * for_seconds {
        let call = service.clone().oneshot(nth);
        calls.spawn(async move { matches!(timeout(ms(100), call).await, Ok(Ok(_))) });
        sleep(Duration::from_secs(1) / a_second).await;
    }
    calls.join_all().await.into_iter().map(u32::from).sum()
}

fn adaptive(initial: u32) -> Adaptive {
    Adaptive { initial, ..Adaptive::default() }
}

// pitfall B23: the limit neither drifts nor collapses under lasting overload.
#[tokio::test(start_paused = true)]
async fn under_three_times_the_load_all_that_can_be_done_is_done() {
    // 10 workers of 10 ms do 1,000 calls a second.
    let layer = BulkheadLayer::builder("users").adaptive(Adaptive::default()).build().unwrap();
    let users = layer.layer(ten_workers(ms(10)));
    load(&users, 3_000, 3).await;
    let answered = load(&users, 3_000, 10).await;
    assert!(answered >= 9_800, "{answered} of 10,000, limit {}", layer.handle().limit());
    assert!((10..100).contains(&layer.handle().limit()), "{}", layer.handle().limit());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_too_low_grows_with_the_load() {
    let layer = BulkheadLayer::builder("users").adaptive(adaptive(2)).build().unwrap();
    let users = layer.layer(ten_workers(ms(10)));
    load(&users, 800, 10).await;
    assert!(layer.handle().limit() >= 8, "{}", layer.handle().limit());
    assert!(load(&users, 800, 1).await >= 780);
}

/// One call at a time answers nothing about load: the limit holds still, for the application is the limit.
#[tokio::test(start_paused = true)]
async fn idle_times_and_calls_that_answer_at_once_change_nothing() {
    let layer = BulkheadLayer::builder("users").adaptive(Adaptive::default()).build().unwrap();
    for _ in 0..1_000 {
        layer.run(|| async { Ok::<_, Fail>(()) }).await.unwrap();
        layer
            .run(|| async {
                sleep(ms(3)).await;
                Ok::<_, Fail>(())
            })
            .await
            .unwrap();
    }
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!((layer.handle().limit(), layer.handle().in_flight()), (40, 0));
}

/// Calls that hang and are dropped: what they say is said by leaving.
#[tokio::test(start_paused = true)]
async fn a_hang_brings_it_down_and_good_answers_bring_it_back() {
    let layer = BulkheadLayer::builder("users").adaptive(Adaptive::default()).build().unwrap();
    let users = layer.layer(ten_workers(ms(10)));
    load(&users, 500, 3).await;
    let stuck = layer.layer(service_fn(|_: u32| pending::<Result<u32, Fail>>()));
    load(&stuck, 500, 3).await;
    assert!(layer.handle().limit() <= 4, "{}", layer.handle().limit());
    assert_eq!(layer.handle().in_flight(), 0);
    load(&users, 500, 2).await;
    assert!(load(&users, 500, 1).await >= 490, "limit {}", layer.handle().limit());
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_in_when_the_limit_grows() {
    let layer = BulkheadLayer::builder("users")
        .adaptive(adaptive(2))
        .queue(100)
        .max_wait(ms(50))
        .build()
        .unwrap();
    let users = layer.layer(ten_workers(ms(10)));
    // Far more than two at a time, each at its full queue.
    assert!(load(&users, 600, 10).await >= 5_500, "limit {}", layer.handle().limit());
}

fn judged(result: Result<&u32, &Fail>) -> Outcome {
    match result {
        Ok(&busy) if busy == u32::MAX => Outcome::PUSHBACK,
        Ok(_) => Outcome::SUCCESS,
        Err(_) => Outcome::FAILURE,
    }
}

#[derive(Clone, Copy)]
struct Judge;

impl seawall::Classify<u32, Fail> for Judge {
    fn classify(&self, result: Result<&u32, &Fail>) -> Classification {
        judged(result).into()
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_ask_for_less_load_lower_it_if_they_are_classified() {
    let busy = || async {
        sleep(ms(1)).await;
        Ok::<_, Fail>(u32::MAX)
    };
    let plain = BulkheadLayer::builder("users").adaptive(Adaptive::default()).build().unwrap();
    let judged = BulkheadLayer::builder("users")
        .adaptive(Adaptive::default())
        .classify(Judge)
        .build()
        .unwrap();
    for _ in 0..100 {
        plain.run(busy).await.unwrap();
        judged.run(busy).await.unwrap();
        sleep(ms(20)).await;
    }
    assert_eq!(plain.handle().limit(), 40);
    assert!(judged.handle().limit() <= 4, "{}", judged.handle().limit());
}

#[tokio::test(start_paused = true)]
async fn in_the_ready_made_stack_timed_out_attempts_lower_it() {
    let layer = stack::client("users")
        .attempt_timeout(ms(50))
        .bulkhead(Config { adaptive: Some(Adaptive::default()), ..Config::default() })
        .breaker(seawall::circuit_breaker::Config { shadow: true, ..Default::default() })
        .no_budget()
        .cloned()
        .build()
        .unwrap();
    let handle = layer.handle();
    let bulkhead: &BulkheadHandle = handle.bulkhead();
    let mut users = layer.layer(ten_workers(ms(10)));
    for nth in 0..300 {
        assert_eq!(users.ready().await.unwrap().call(nth).await.unwrap(), nth);
    }
    assert_eq!(bulkhead.limit(), 40);
    let hang = service_fn(|_: u32| pending::<Result<u32, Fail>>());
    let mut stuck = layer.layer(hang);
    for nth in 0..50 {
        let ended = stuck.ready().await.unwrap().call(nth).await.unwrap_err();
        assert_eq!(ended.rejected().map(seawall::Rejected::reason), Some(Reason::TimedOut));
    }
    assert!(bulkhead.limit() <= 10, "{}", bulkhead.limit());
}

/// Of a call that costs more than the limit is now, there can be one at a time.
#[tokio::test(start_paused = true)]
async fn a_dear_call_passes_alone_and_one_above_the_maximum_never() {
    let layer = BulkheadLayer::builder("exports")
        .adaptive(Adaptive { max: 100, ..adaptive(10) })
        .cost(|cost: &u32| *cost)
        .build()
        .unwrap();
    let mut exports = layer.layer(ten_workers(ms(10)));
    let (first, second) = (exports.call(50), exports.call(50));
    let reason = |result: Result<u32, Fail>| result.unwrap_err().rejected().unwrap().reason();
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first, reason(second)), (Ok(50), Reason::Full));
    assert_eq!(reason(exports.call(101).await), Reason::CostTooHigh);
    assert_eq!(exports.call(11).await, Ok(11));
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_its_bounds_turns_it_off_and_on() {
    let layer = BulkheadLayer::builder("users").adaptive(Adaptive::default()).build().unwrap();
    let handle = layer.handle();
    let with = |adaptive| Config { limit: 7, adaptive, ..Config::default() };
    handle.reload(with(Some(Adaptive { max: 20, initial: 10, ..Adaptive::default() }))).unwrap();
    assert_eq!(handle.limit(), 20); // what it was, as far as that is allowed
    handle.reload(with(None)).unwrap();
    assert_eq!(handle.limit(), 7);
    handle.reload(with(Some(adaptive(12)))).unwrap();
    assert_eq!(handle.limit(), 12);
    let wrong = Adaptive { min: 0, max: 0, initial: 9, tolerance: 5 };
    let problems = handle.reload(with(Some(wrong))).unwrap_err().to_string();
    for field in ["adaptive.min", "adaptive.initial", "adaptive.tolerance"] {
        assert!(problems.contains(field), "{field}: {problems}");
    }
    assert_eq!(handle.limit(), 12);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_limit_of_its_own() {
    let tenants = BulkheadLayer::builder("tenants")
        .adaptive(adaptive(4))
        .keyed(|tenant: &&'static str| Cow::from(*tenant))
        .build()
        .unwrap();
    let stuck = service_fn(|_: &'static str| pending::<Result<(), Fail>>());
    let mut stuck = tenants.layer(stuck);
    for _ in 0..50 {
        let _ = timeout(ms(200), stuck.ready().await.unwrap().call("slow")).await;
    }
    let limit = |key| tenants.handle().key(key).map(|handle| handle.limit());
    let _other = poll(stuck.ready().await.unwrap().call("other"));
    assert_eq!((limit("slow"), limit("other")), (Some(2), Some(4)));
}

fn poll<F: Future>(future: F) -> std::pin::Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(poll_once(&mut future).is_pending());
    future
}

#[tokio::test(start_paused = true)]
async fn a_key_with_a_limit_of_its_own_has_a_fixed_one() {
    let tenants = BulkheadLayer::builder("tenants")
        .adaptive(adaptive(4))
        .keyed(|tenant: &&'static str| Cow::from(*tenant))
        .overrides([("acme", Overrides { limit: Some(7), ..Overrides::default() })])
        .build()
        .unwrap();
    let handle = tenants.handle();
    let mut service = tenants.layer(service_fn(|_: &'static str| pending::<Result<(), Fail>>()));
    let _calls = [poll(service.call("acme")), poll(service.call("other"))];
    let limit = |key| handle.key(key).unwrap().limit();
    assert_eq!((limit("acme"), limit("other")), (7, 4));
    let other = handle.key("other").unwrap();
    other.reload(Config { limit: 9, adaptive: None, ..other.config() }).unwrap();
    assert_eq!((other.limit(), other.config().adaptive), (9, None));
}

#[test]
fn it_is_written_in_files_and_stays_as_it_was_written() {
    let config: Config = serde_json::from_str(r#"{ "adaptive": { "max": 300 } }"#).unwrap();
    assert_eq!(config.adaptive, Some(Adaptive { max: 300, ..Adaptive::default() }));
    assert!(serde_json::from_str::<Config>(r#"{ "adaptive": { "most": 300 } }"#).is_err());
}
