//! Timeout, through the public API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use seawall::propagate::{FromWithContext, WithContext};
use seawall::timeout::{Config, TimeoutLayer};
use seawall::{Deadline, Error, EventKind, Measurement, Reason};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{
    Boxed, Calls, Fail, Log, is_ready, measurement, ms, now, poll_once, reason, taking,
};

const REJECTED: EventKind = EventKind::Rejected { reason: Reason::TimedOut };

// ----- who wins -----

// pitfall B17
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_when_the_time_is_up_wins() {
    let log = Log::default();
    let layer = TimeoutLayer::builder("x").limit(ms(100)).observe(log.observer()).build().unwrap();
    let (_, inner) = taking(ms(100));
    let mut call = Box::pin(layer.layer(inner).oneshot(7));
    assert!(poll_once(&mut call).is_pending());
    // Both timers have run out before anyone looks.
    advance(ms(5_000)).await;
    assert_eq!(poll_once(&mut call), Poll::Ready(Ok(7)));
    assert_eq!(log.all(), []);
}

// pitfall B17
#[tokio::test(start_paused = true)]
async fn woken_by_both_at_the_same_instant_the_answer_wins() {
    for _ in 0..100 {
        let (_, inner) = taking(ms(100));
        assert_eq!(TimeoutLayer::new("x", ms(100)).layer(inner).oneshot(7).await, Ok(7));
    }
    let (_, late) = taking(ms(101));
    let late = TimeoutLayer::new("x", ms(100)).layer(late).oneshot(7).await;
    assert_eq!(reason(&late), Some(Reason::TimedOut));
}

// pitfall B17
#[tokio::test(start_paused = true)]
async fn a_call_that_ran_out_of_time_is_told_of_once_with_the_limit() {
    let log = Log::default();
    let layer = TimeoutLayer::builder("x").limit(ms(100)).observe(log.observer()).build().unwrap();
    let (_, inner) = taking(ms(200));
    let began = now();
    let mut call = Box::pin(layer.layer(inner).oneshot(7));
    let ended = call.as_mut().await;
    assert_eq!(reason(&ended), Some(Reason::TimedOut));
    assert_eq!(measurement(&ended), Some(Measurement::Elapsed { limit: 100_000_000 }));
    assert_eq!(began.elapsed(), ms(100));
    drop(call);
    assert_eq!(log.all(), [REJECTED]);
}

// pitfall B18
#[tokio::test(start_paused = true)]
async fn the_inner_call_is_gone_before_anybody_is_told() {
    let (calls, inner) = taking(ms(200));
    let alive = calls.clone();
    let told = Arc::new(AtomicBool::new(false));
    let seen = told.clone();
    let observer = move |_: &seawall::Event| {
        assert_eq!(alive.alive(), 0, "the observer came first");
        seen.store(true, Ordering::SeqCst);
    };
    let layer = TimeoutLayer::builder("x").limit(ms(100)).observe(observer).build().unwrap();
    let mut call = Box::pin(layer.layer(inner).oneshot(7));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(calls.alive(), 1);
    assert!(call.as_mut().await.is_err());
    // The future of the call is still held.
    assert_eq!(calls.alive(), 0);
    assert!(told.load(Ordering::SeqCst));
    drop(call);
}

// pitfall B18
#[tokio::test(start_paused = true)]
async fn what_waited_in_line_until_its_time_was_up_never_reaches_the_service() {
    let (calls, inner) = taking(ms(1_000));
    let layer = TimeoutLayer::builder("x").limit(ms(100)).cover_readiness(true).build().unwrap();
    let service = ServiceBuilder::new().concurrency_limit(1).service(inner);
    let first = service.clone().oneshot(1);
    let second = layer.layer(service.clone()).oneshot(2);
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first, reason(&second)), (Ok(1), Some(Reason::TimedOut)));
    sleep(ms(5_000)).await;
    assert_eq!(calls.count(), 1);
}

// ----- how long -----

#[test]
fn no_timer_is_made_until_the_service_is_pending() {
    // Outside a runtime a timer could not be made: it would panic.
    let service = service_fn(|n: u32| async move { Ok::<_, Fail>(n) });
    let service = TimeoutLayer::new("x", ms(100)).layer(service);
    assert_eq!(poll_once(&mut Box::pin(service.oneshot(7))), Poll::Ready(Ok(7)));
    // Nor is one made where there is no limit.
    let hanging = service_fn(|_: u32| std::future::pending::<Result<u32, Fail>>());
    let hanging = TimeoutLayer::new("x", Duration::MAX).layer(hanging);
    assert!(poll_once(&mut Box::pin(hanging.oneshot(7))).is_pending());
}

#[tokio::test(start_paused = true)]
async fn the_clock_starts_when_the_service_is_first_pending() {
    let (_, inner) = taking(ms(90));
    let mut service = TimeoutLayer::new("x", ms(100)).layer(inner);
    let mut call = Box::pin(service.ready().await.unwrap().call(7));
    advance(ms(1_000)).await; // nobody has polled it
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(call.await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn zero_gives_what_is_there_and_max_waits_for_ever() {
    let there = service_fn(|n: u32| async move { Ok::<_, Fail>(n) });
    let zero = TimeoutLayer::new("x", Duration::ZERO);
    assert_eq!(poll_once(&mut Box::pin(zero.layer(there).oneshot(7))), Poll::Ready(Ok(7)));
    let (calls, slow) = taking(ms(1));
    let Poll::Ready(ended) = poll_once(&mut Box::pin(zero.layer(slow).oneshot(7))) else {
        panic!("zero waits");
    };
    assert_eq!((reason(&ended), calls.alive()), (Some(Reason::TimedOut), 0));

    let year = Duration::from_secs(365 * 86_400);
    for limit in [Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_nanos(u64::MAX - 1)]
    {
        let (_, inner) = taking(year);
        assert_eq!(TimeoutLayer::new("x", limit).layer(inner).oneshot(7).await, Ok(7));
    }
}

#[tokio::test(start_paused = true)]
async fn each_request_may_have_a_limit_of_its_own() {
    let layer = TimeoutLayer::builder("x")
        .limit(ms(100))
        .limit_by(|n: &u32| (*n > 0).then(|| ms(u64::from(*n))))
        .build()
        .unwrap();
    for (request, limit) in [(0, 100), (20, 20), (500, 500)] {
        let (_, inner) = taking(ms(10_000));
        let began = now();
        let ended = layer.layer(inner).oneshot(request).await;
        assert_eq!(reason(&ended), Some(Reason::TimedOut));
        assert_eq!(measurement(&ended), Some(Measurement::Elapsed { limit: limit * 1_000_000 }));
        assert_eq!(began.elapsed(), ms(limit));
    }
}

// ----- deadlines -----

/// A stack of timeouts that carry deadlines, outermost first; answers with what was left at the
/// bottom.
async fn left_beyond(limits: &[u64], came: Option<Deadline>) -> Option<Duration> {
    let bottom = service_fn(|request: WithContext<()>| async move {
        Ok::<_, Fail>(request.call.deadline.map(|deadline| deadline.remaining()))
    });
    let mut stack = tower::util::BoxCloneService::new(bottom);
    for limit in limits.iter().rev() {
        let layer = TimeoutLayer::builder("x")
            .limit(ms(*limit))
            .propagate(FromWithContext)
            .build()
            .unwrap();
        stack = tower::util::BoxCloneService::new(layer.layer(stack));
    }
    let mut request = WithContext::from(());
    request.call.deadline = came;
    stack.oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_travels_only_ever_shrinks() {
    let after = |n| Some(Deadline::after(ms(n)));
    assert_eq!(left_beyond(&[100], None).await, Some(ms(100)));
    assert_eq!(left_beyond(&[100], after(50)).await, Some(ms(50)));
    assert_eq!(left_beyond(&[100], after(500)).await, Some(ms(100)));
    assert_eq!(left_beyond(&[100], Some(Deadline::NEVER)).await, Some(ms(100)));
    assert_eq!(left_beyond(&[100, 30, 700], after(500)).await, Some(ms(30)));
    assert_eq!(left_beyond(&[30, 100], after(500)).await, Some(ms(30)));
}

#[tokio::test(start_paused = true)]
async fn whichever_limit_comes_first_ends_the_call_and_says_so() {
    for (own, told, at, why) in [
        (ms(100), Some(50), 50, Reason::DeadlineExceeded),
        (ms(50), Some(100), 50, Reason::TimedOut),
        (ms(50), None, 50, Reason::TimedOut),
        (Duration::MAX, Some(50), 50, Reason::DeadlineExceeded),
        (Duration::ZERO, Some(50), 0, Reason::TimedOut),
    ] {
        let layer =
            TimeoutLayer::builder("x").limit(own).propagate(FromWithContext).build().unwrap();
        let inner = service_fn(|_: WithContext<()>| std::future::pending::<Result<(), Fail>>());
        let began = now();
        let told = told.map_or(Deadline::NEVER, |told| Deadline::after(ms(told)));
        let ended = layer.layer(inner).oneshot(WithContext::new((), told)).await;
        assert_eq!((reason(&ended), began.elapsed()), (Some(why), ms(at)), "{own:?} {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_whose_time_is_over_is_rejected_on_arrival_and_its_reservation_released() {
    let calls = Calls::default();
    let seen = calls.clone();
    let inner = service_fn(move |_: WithContext<()>| {
        seen.note();
        async { Ok::<_, Fail>(()) }
    });
    let inner = ServiceBuilder::new().concurrency_limit(1).service(inner);
    let layer = TimeoutLayer::builder("x").propagate(FromWithContext).build().unwrap();
    let mut service = layer.layer(inner);
    let mut other = service.clone();
    service.ready().await.unwrap();
    assert!(!is_ready(&mut other), "the one reservation is taken");
    // Asking at the very instant of a deadline is too late.
    let mut call = Box::pin(service.call(WithContext::new((), Deadline::at(now()))));
    assert!(is_ready(&mut other), "the reservation was not released");
    let Poll::Ready(rejected) = poll_once(&mut call) else {
        panic!("a rejection waits for nobody")
    };
    assert_eq!(reason(&rejected), Some(Reason::DeadlineExceeded));
    assert_eq!(calls.count(), 0);
}

// ----- readiness -----

#[tokio::test(start_paused = true)]
async fn readiness_is_part_of_the_call_if_asked_to() {
    let never = || ServiceBuilder::new().concurrency_limit(0).service(taking(ms(1)).1);
    let mut covered = TimeoutLayer::builder("x")
        .limit(ms(100))
        .cover_readiness(true)
        .build()
        .unwrap()
        .layer(never());
    assert!(is_ready(&mut covered));
    let began = now();
    assert_eq!(reason(&covered.call(7).await), Some(Reason::TimedOut));
    assert_eq!(began.elapsed(), ms(100));

    let mut plain = TimeoutLayer::new("x", ms(100)).layer(never());
    assert!(!is_ready(&mut plain));
    // Called all the same, it has its limit.
    assert_eq!(reason(&plain.call(7).await), Some(Reason::TimedOut));
}

// ----- steering -----

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_counts_for_new_calls_and_leaves_those_under_way_alone() {
    let layer = TimeoutLayer::new("x", ms(100));
    let handle = layer.handle();
    let (_, inner) = taking(ms(150));
    let service = layer.layer(inner);
    let mut before = Box::pin(service.clone().oneshot(1));
    assert!(poll_once(&mut before).is_pending());
    handle.reload(Config::from(ms(200))).unwrap();
    assert_eq!(handle.config().limit, ms(200));
    assert_eq!(handle.in_flight(), 1);
    let (before, after) = tokio::join!(before, service.clone().oneshot(2));
    assert_eq!((reason(&before), after), (Some(Reason::TimedOut), Ok(2)));
    handle.reload(Config::from(Duration::MAX)).unwrap();
    assert_eq!(handle.config().limit, Duration::MAX);
}

#[tokio::test(start_paused = true)]
async fn draining_rejects_the_new_and_awaits_those_under_way() {
    let layer = TimeoutLayer::new("x", ms(100));
    let (_, inner) = taking(ms(50));
    let service: Boxed = Boxed::new(layer.layer(inner));
    let call = tokio::spawn(service.clone().oneshot(1));
    crate::scene::settle().await;
    let mut draining = Box::pin(layer.drain());
    assert!(poll_once(&mut draining).is_pending());
    assert_eq!(reason(&service.oneshot(2).await), Some(Reason::Draining));
    let began = now();
    draining.await;
    assert_eq!(began.elapsed(), ms(50));
    assert_eq!(call.await.unwrap(), Ok(1));
    assert_eq!(layer.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_service_has_its_limit_too() {
    let layer = TimeoutLayer::new("x", ms(100));
    let ran = AtomicU32::new(0);
    let quick = layer.run(|| async {
        ran.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Fail>(7)
    });
    assert_eq!(quick.await, Ok(7));
    let slow = layer.run(|| async {
        sleep(ms(200)).await;
        ran.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Fail>(7)
    });
    assert_eq!(reason(&slow.await), Some(Reason::TimedOut));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    let failed = layer.run(|| async { Err::<(), _>(Error::Inner(crate::scene::broken("no"))) });
    assert_eq!(failed.await, Err(Error::Inner(crate::scene::broken("no"))));
}
