//! Live calls: rejected while down, let through now and then, learnt from if asked to.

use std::future::Ready;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use seawall::bulkhead::BulkheadLayer;
use seawall::health::{Config, HealthLayer, Status};
use seawall::propagate::{FromWithContext, WithContext};
use seawall::timeout::TimeoutLayer;
use seawall::{Deadline, Error, EventKind, Outcome, Reason};
use tokio::time::sleep;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Patient, changed};
use crate::scene::{
    Boxed, Broken, Calls, Fail, Log, answering, broken, fields, is_ready, ms, now, poll_once,
    reason, settle, taking,
};

fn down() -> seawall::health::Builder {
    HealthLayer::builder("x").passive(true).probe_one_in(1_000).initial(Status::Down)
}

#[tokio::test(start_paused = true)]
async fn while_down_calls_are_rejected_at_once_and_the_service_is_left_alone() {
    let log = Log::default();
    let layer = down().observe(log.observer()).build().unwrap();
    // pitfall B33: a service that is never ready does not hold up a rejection
    let (calls, inner) = taking(ms(10));
    let mut service = layer.layer(ConcurrencyLimitLayer::new(0).layer(inner));
    assert!(is_ready(&mut service));
    let began = now();
    assert_eq!(reason(&service.call(7).await), Some(Reason::Unhealthy));
    assert_eq!((calls.count(), began.elapsed()), (0, ms(0)));
    assert_eq!(log.all(), [EventKind::Rejected { reason: Reason::Unhealthy }]);
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_before_it_went_down_is_given_back_with_the_rejection() {
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
        let layer = down().passive(true).rise(10_000).probe_one_in(one_in).build().unwrap();
        let (calls, inner) = answering(Ok);
        let service = layer.layer(inner);
        let mut passed = Vec::new();
        for n in 1..=100_usize {
            match service.clone().oneshot(7).await {
                Ok(_) => passed.push(n),
                rejected => assert_eq!(reason(&rejected), Some(Reason::Unhealthy)),
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
    // A rejection further in says nothing, a call that ran out of time does.
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
    assert_eq!(fields(none), ["passive"]);
    // pitfall B2: once down no call passes, so nothing would ever be learnt
    let wedged = HealthLayer::builder("x").passive(true).probe_one_in(0).build();
    assert_eq!(fields(wedged), ["probe_one_in"]);
    assert_eq!(fields(HealthLayer::builder("x").probe_one_in(0).build()), ["passive"]);
    // With a check both are fine.
    let layer = Patient::new(true).checked().passive(true).build().unwrap();
    let mut config = layer.handle().config();
    config.passive = false;
    layer.handle().reload(config).unwrap();
}

/// The calls that pass of so many that come at the same time while it is down.
async fn passing(layer: &HealthLayer, calls: u32) -> usize {
    let (counted, inner) = answering(|_| Err(broken("no")));
    let service = layer.layer(inner);
    for _ in 0..calls {
        let _ = service.clone().oneshot(7).await;
    }
    counted.count()
}

// pitfall B2: what nobody wrote follows, so that nothing stays down for ever.
#[tokio::test(start_paused = true)]
async fn one_setting_alone_is_not_rejected_for_the_others() {
    let down = Config { initial: Status::Down, ..Config::default() };
    let from_config = |config: &Config| HealthLayer::from_config("x", config.clone()).unwrap();
    assert_eq!(passing(&from_config(&down), 100).await, 10);
    assert_eq!(passing(&from_config(&Config { probe_one_in: 5, ..down.clone() }), 100).await, 20);
    let layer = HealthLayer::builder("x").passive(true).initial(Status::Down).build().unwrap();
    assert_eq!(passing(&layer, 100).await, 10);
    // As from a file, so by a reload; and what was written can be read again.
    let layer = HealthLayer::new("x");
    layer.handle().reload(down.clone()).unwrap();
    assert_eq!((layer.handle().config(), layer.handle().status()), (down.clone(), Status::Down));
    assert_eq!(passing(&layer, 100).await, 10);
    assert_eq!(fields(HealthLayer::from_config("x", Config { rise: 0, ..down })), ["rise"]);
}

// field F14
#[tokio::test(start_paused = true)]
async fn with_few_calls_one_is_let_through_by_time() {
    for (probe_interval, minutes) in [(Duration::from_secs(5), 2), (Duration::from_secs(150), 6)] {
        let layer = HealthLayer::builder("x").passive(true).initial(Status::Down);
        let layer = layer.probe_interval(probe_interval).build().unwrap();
        let (calls, inner) = answering(Ok);
        let service = layer.layer(inner);
        // One call a minute: of ten in a row one would pass, and it takes two.
        let mut minute = 0;
        while layer.handle().status() == Status::Down {
            sleep(Duration::from_secs(60)).await;
            minute += 1;
            let _ = service.clone().oneshot(7).await;
        }
        assert_eq!((minute, calls.count()), (minutes, 2), "{probe_interval:?}");
    }
    // Time counts from when it went down, and from the last call that was let through either way.
    let layer = down().probe_interval(ms(1_000)).probe_one_in(4).rise(10_000).build().unwrap();
    let service = layer.layer(answering(Ok).1);
    let mut passed = Vec::new();
    for millis in [999, 0, 1, 0, 1, 998, 1, 0] {
        sleep(ms(millis)).await;
        passed.push(service.clone().oneshot(7).await.is_ok());
    }
    // The third by time, the fourth by number; the seventh would be next by time, a second after that.
    assert_eq!(passed, [false, false, true, true, false, false, true, true]);
    // None where none shall pass, however long it takes.
    let patient = Patient::new(false);
    let layer = patient.checked().fall(1).build().unwrap();
    let service = layer.layer(answering(Ok).1);
    settle().await;
    for _ in 0..10 {
        sleep(Duration::from_secs(60)).await;
        assert_eq!(reason(&service.clone().oneshot(7).await), Some(Reason::Unhealthy));
    }
}

// field F13: what fails in `poll_ready` is learnt from, whether the caller or the layer asks it.
#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_be_ready_is_learnt_from() {
    #[derive(Clone)]
    struct Unready;
    impl Service<u32> for Unready {
        type Response = usize;
        type Error = Fail;
        type Future = Ready<Result<usize, Fail>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
            Poll::Ready(Err(Error::Inner(broken("gone"))))
        }

        fn call(&mut self, _: u32) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    for learns in [true, false] {
        let patient = Patient::new(true);
        let layer = patient.checked().passive(learns).fall(3).build().unwrap();
        let service = layer.layer(Unready);
        for _ in 0..3 {
            assert!(service.clone().oneshot(7).await.is_err());
        }
        assert_eq!(layer.handle().status() == Status::Down, learns);
    }
}

// One word when it goes down and one when it is up again, however many checks there were.
#[tokio::test(start_paused = true)]
async fn alerts_are_told_once_a_change() {
    let (patient, log) = (Patient::new(true), Arc::new(Mutex::new(Vec::new())));
    let (down, up) = (Arc::clone(&log), Arc::clone(&log));
    let layer = patient
        .checked()
        .on_down(move |event| down.lock().unwrap().push(("down", event.kind)))
        .on_up(move |event| up.lock().unwrap().push(("up", event.kind)))
        .build()
        .unwrap();
    for well in [true, false, true, false] {
        patient.set(well);
        sleep(Duration::from_secs(60)).await;
    }
    let up = ("up", changed(Status::Down, Status::Up, "check"));
    let down = ("down", changed(Status::Up, Status::Down, "check"));
    assert_eq!(*log.lock().unwrap(), [down, up, down]);
    drop(layer);
}

/// A panic is no answer, and as bad as a failure, which is what a circuit breaker makes of it too.
#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_a_bad_one() {
    let panics = |message: &'static str| async move { panic!("{message}") };
    let in_the_future = HealthLayer::builder("x").passive(true).fall(2).build().unwrap();
    let in_the_call = HealthLayer::builder("x").passive(true).fall(2).build().unwrap();
    for expected in [Status::Up, Status::Down] {
        let call = in_the_future.run(|| async { panics("later").await });
        let call: Result<Result<u32, Fail>, _> = AssertUnwindSafe(call).catch_unwind().await;
        assert!(call.is_err());
        assert_eq!(in_the_future.handle().status(), expected);
        let call = AssertUnwindSafe(async {
            in_the_call.run(|| -> Ready<Result<u32, Fail>> { panic!("at once") }).await
        });
        assert!(call.catch_unwind().await.is_err());
        assert_eq!(in_the_call.handle().status(), expected);
    }
    assert_eq!((in_the_future.in_flight(), in_the_call.in_flight()), (0, 0));
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
    let rejecting = down().build().unwrap();
    assert_eq!(reason(&rejecting.run(call).await), Some(Reason::Unhealthy));
    assert_eq!(calls.count(), 1);
}

// field F3: nor is a health that learns misled by the deadlines of callers, whoever tells of them.
#[tokio::test(start_paused = true)]
async fn callers_in_a_hurry_do_not_turn_it_down_for_others() {
    for (hurry, status) in [(Some(50), Status::Up), (None, Status::Down)] {
        let health = HealthLayer::builder("x")
            .passive(true)
            .fall(3)
            .probe_one_in(1)
            .propagate(FromWithContext);
        let health = health.build().unwrap();
        // The dependency's client has a timer of its own, and tells it in its own words.
        let inner = service_fn(|_: WithContext<()>| async {
            sleep(ms(50)).await;
            Err::<(), Fail>(Error::Inner(broken("timer")))
        });
        let service = health.layer(inner);
        for _ in 0..5 {
            let deadline = hurry.map_or(Deadline::NEVER, |after| Deadline::after(ms(after)));
            service.clone().oneshot(WithContext::new((), deadline)).await.unwrap_err();
        }
        assert_eq!(health.handle().status(), status, "{hurry:?}");
    }
}
