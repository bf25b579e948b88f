//! Live calls: refused while down, let through now and then, learnt from if asked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seawall::bulkhead::BulkheadLayer;
use seawall::health::HealthLayer;
use seawall::timeout::TimeoutLayer;
use seawall::{Error, EventKind, Outcome, Reason, Status};
use tokio::time::sleep;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt};

use super::Patient;
use crate::scene::{
    Boxed, Broken, Calls, Fail, Log, answering, broken, fields, is_ready, ms, now, poll_once,
    reason, settle, taking,
};

fn down() -> seawall::health::Builder {
    HealthLayer::builder("x").learn(true).let_through(1_000).initial(Status::Down)
}

#[tokio::test(start_paused = true)]
async fn while_down_calls_are_refused_at_once_and_the_service_is_left_alone() {
    let log = Log::default();
    let layer = down().observe(log.observer()).build().unwrap();
    // pitfall B33: a service that is never ready does not hold up a refusal
    let (calls, inner) = taking(ms(10));
    let mut service = layer.layer(ConcurrencyLimitLayer::new(0).layer(inner));
    assert!(is_ready(&mut service));
    let began = now();
    assert_eq!(reason(&service.call(7).await), Some(Reason::Unhealthy));
    assert_eq!((calls.count(), began.elapsed()), (0, ms(0)));
    assert_eq!(log.all(), [EventKind::Rejected { reason: Reason::Unhealthy }]);
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_before_it_went_down_is_given_back_with_the_refusal() {
    let patient = Patient::new(false);
    let layer = patient.checked().fall(1).build().unwrap();
    let (_, inner) = taking(ms(10));
    let mut other = ConcurrencyLimitLayer::new(1).layer(inner);
    let mut service = layer.layer(other.clone());
    service.ready().await.unwrap();
    settle().await;
    assert_eq!(layer.handle().status(), Status::Down);
    assert!(!is_ready(&mut other));
    assert_eq!(reason(&service.call(7).await), Some(Reason::Unhealthy));
    assert!(is_ready(&mut other));
}

#[tokio::test(start_paused = true)]
async fn one_call_in_so_many_is_let_through() {
    for (one_in, through) in [(1, 100), (2, 50), (10, 10), (99, 1)] {
        let layer = down().learn(true).rise(10_000).let_through(one_in).build().unwrap();
        let (calls, inner) = answering(Ok);
        let service = layer.layer(inner);
        let mut passed = Vec::new();
        for n in 1..=100_usize {
            match service.clone().oneshot(7).await {
                Ok(_) => passed.push(n),
                refused => assert_eq!(reason(&refused), Some(Reason::Unhealthy)),
            }
        }
        let due: Vec<_> = (1..=100).filter(|n| n % one_in as usize == 0).collect();
        assert_eq!((passed, calls.count()), (due, through));
    }
    // With checks and no call let through, none is.
    let patient = Patient::new(false);
    let layer = patient.checked().fall(1).build().unwrap();
    settle().await;
    let service = layer.layer(answering(Ok).1);
    for _ in 0..100 {
        assert_eq!(reason(&service.clone().oneshot(7).await), Some(Reason::Unhealthy));
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_it_learns_from_live_calls_and_comes_back_by_those_let_through() {
    let layer = HealthLayer::new("x");
    let handle = layer.handle();
    let well = Arc::new(AtomicBool::new(false));
    let seen = well.clone();
    let (calls, inner) =
        answering(move |nth| if seen.load(Ordering::SeqCst) { Ok(nth) } else { Err(broken("no")) });
    let service = layer.layer(inner);
    for _ in 0..3 {
        assert_eq!(service.clone().oneshot(7).await, Err(Error::Inner(broken("no"))));
    }
    assert_eq!(handle.status(), Status::Down);
    for _ in 0..20 {
        let _ = service.clone().oneshot(7).await;
    }
    assert_eq!((calls.count(), handle.status()), (5, Status::Down));
    well.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        let _ = service.clone().oneshot(7).await;
    }
    assert_eq!((calls.count(), handle.status()), (7, Status::Up));
    assert_eq!(service.oneshot(7).await, Ok(8));
}

// pitfall B29
#[tokio::test(start_paused = true)]
async fn it_learns_from_what_says_something_about_the_dependency_alone() {
    for (outcome, after) in [
        (Outcome::TRANSIENT, Status::Down),
        (Outcome::FAILURE, Status::Down),
        (Outcome::PUSHBACK, Status::Up),
        (Outcome::IGNORE, Status::Up),
        (Outcome::SUCCESS, Status::Up),
    ] {
        let layer = down().initial(Status::Up).classify(crate::scene::ByWord).build().unwrap();
        let (_, inner) = answering(move |_| Err(Broken { what: "no", outcome }));
        let service = layer.layer(inner);
        for _ in 0..3 {
            let _ = service.clone().oneshot(7).await;
        }
        assert_eq!(layer.handle().status(), after, "{outcome:?}");
    }
    // A refusal further in says nothing, a call that ran out of time does.
    let full = BulkheadLayer::builder("full").limit(1).build().unwrap();
    let (_, slow) = taking(ms(100));
    let mut inside = Box::pin(full.layer(slow.clone()).oneshot(7));
    assert!(poll_once(&mut inside).is_pending());
    let timed = TimeoutLayer::new("timed", ms(10)).layer(slow.clone());
    let full = Boxed::new(full.layer(slow));
    for (inner, after) in [(full, Status::Up), (Boxed::new(timed), Status::Down)] {
        let layer = down().initial(Status::Up).build().unwrap();
        let service = layer.layer(inner);
        for _ in 0..3 {
            assert!(service.clone().oneshot(7).await.is_err());
        }
        assert_eq!(layer.handle().status(), after);
    }
    // And nothing is learnt unless asked to, or from a call that was given up.
    let patient = Patient::new(true);
    let layer = patient.checked().build().unwrap();
    let service = layer.layer(answering(|_| Err(broken("no"))).1);
    for _ in 0..20 {
        assert!(service.clone().oneshot(7).await.is_err());
    }
    assert_eq!(layer.handle().status(), Status::Up);
    let layer = down().initial(Status::Up).fall(1).build().unwrap();
    let mut given_up = Box::pin(layer.layer(taking(ms(10)).1).oneshot(7));
    assert!(poll_once(&mut given_up).is_pending());
    drop(given_up);
    assert_eq!((layer.handle().status(), layer.in_flight()), (Status::Up, 0));
}

#[tokio::test(start_paused = true)]
async fn what_could_never_change_or_never_come_back_is_no_configuration() {
    let none = HealthLayer::builder("x").build();
    assert_eq!(fields(none), ["learn"]);
    // pitfall B2: once down no call passes, so nothing would ever be learnt
    let wedged = HealthLayer::builder("x").learn(true).build();
    assert_eq!(fields(wedged), ["let_through"]);
    let layer = HealthLayer::new("x");
    let handle = layer.handle();
    let (mut wedged, mut none) = (handle.config(), handle.config());
    wedged.let_through = 0;
    none.learn = false;
    assert_eq!(fields(handle.reload(wedged)), ["let_through"]);
    assert_eq!(fields(handle.reload(none)), ["learn"]);
    assert!(handle.config().learn && handle.config().let_through == 10);
    // With a check both are fine.
    let layer = Patient::new(true).checked().learn(true).build().unwrap();
    let mut config = layer.handle().config();
    config.learn = false;
    layer.handle().reload(config).unwrap();
}

#[tokio::test(start_paused = true)]
async fn draining_and_calls_without_a_service() {
    let layer = HealthLayer::new("x");
    let calls = Calls::default();
    let call = || async {
        calls.note();
        sleep(ms(10)).await;
        Ok::<_, Fail>(7)
    };
    let mut under_way = Box::pin(layer.run(call));
    assert!(poll_once(&mut under_way).is_pending());
    let mut draining = Box::pin(layer.drain());
    assert!(poll_once(&mut draining).is_pending());
    assert_eq!(reason(&layer.run(call).await), Some(Reason::Draining));
    assert_eq!(under_way.await, Ok(7));
    assert!(poll_once(&mut draining).is_ready());
    let refusing = down().build().unwrap();
    assert_eq!(reason(&refusing.run(call).await), Some(Reason::Unhealthy));
    assert_eq!(calls.count(), 1);
}
