//! Reloading, reserving, draining.

use std::task::Poll;
use std::time::Duration;

use seawall::propagate::{FromWithContext, WithContext};
use seawall::rate_limit::{Config, RateLimitLayer};
use seawall::{Deadline, Reason};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{Passing, timing, too_early};
use crate::scene::{Fail, fields, in_time, ms, now, poll_once, reason};

#[tokio::test(start_paused = true)]
async fn after_a_reload_those_who_wait_go_by_the_new_settings() {
    let layer = RateLimitLayer::builder("x").limit(10).burst(1).queue(9).build().unwrap();
    let (handle, call) = (layer.handle(), timing(&layer, now()));
    let mut calls: Vec<_> = (0..4).map(|_| call()).collect();
    let _ = calls.iter_mut().map(poll_once).collect::<Vec<_>>();
    tokio::time::advance(ms(50)).await; // half of what the first used has come back
    handle.reload(Config { limit: 5, ..handle.config() }).unwrap();
    let [_, second, third, fourth] = <[Passing; 4]>::try_from(calls).ok().unwrap();
    let passed = tokio::join!(second, third, fourth);
    assert_eq!(passed, (Ok(ms(150)), Ok(ms(350)), Ok(ms(550))));

    assert_eq!(fields(handle.reload(Config { limit: 0, ..handle.config() })), ["limit"]);
    assert_eq!(handle.config().limit, 5);
}

#[tokio::test(start_paused = true)]
async fn a_reload_gives_nobody_a_second_burst() {
    let layer = RateLimitLayer::new("x", 10, Duration::from_secs(1)).unwrap();
    let (handle, call) = (layer.handle(), timing(&layer, now()));
    for _ in 0..7 {
        assert!(call().await.is_ok());
    }
    for limit in [20, 5, 10] {
        handle.reload(Config { limit, ..handle.config() }).unwrap();
        assert_eq!(handle.available(), 3);
    }
    handle.reload(Config { burst: Some(2), ..handle.config() }).unwrap();
    assert_eq!(handle.available(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_reload_nobody_waits_in_vain() {
    let builder =
        RateLimitLayer::builder("x").limit(100).burst(1).queue(50).propagate(FromWithContext);
    let layer = builder.build().unwrap();
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .service(service_fn(|_: WithContext<u32>| async { Ok::<_, Fail>(()) }));
    let within =
        |limit| Box::pin(service.clone().oneshot(WithContext::new(0, Deadline::after(limit))));
    let began = now();
    assert!(within(ms(10_000)).await.is_ok());
    let (mut patient, mut hurried) = (within(ms(10_000)), within(ms(500)));
    assert!(poll_once(&mut patient).is_pending() && poll_once(&mut hurried).is_pending());
    let handle = layer.handle();
    let hour = Duration::from_secs(3600);
    handle.reload(Config { limit: 1, period: hour, ..handle.config() }).unwrap();
    let (patient, hurried) = in_time(async { tokio::join!(patient, hurried) }).await;
    assert!(too_early(&patient) > Some(hour / 2));
    assert_eq!(reason(&hurried), Some(Reason::DeadlineExceeded));
    assert!(now() - began < ms(20));
    assert_eq!(handle.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reload_leaves_turns_that_have_come_alone() {
    let layer = RateLimitLayer::builder("x").limit(10).burst(1).queue(20).build().unwrap();
    let handle = layer.handle();
    let at = [(); 10].map(|()| handle.reserve(1).unwrap());
    tokio::time::advance(ms(2_000)).await;
    assert_eq!(handle.available(), 1);
    handle.reload(handle.config()).unwrap();
    assert_eq!(handle.available(), 1);
    for reservation in at {
        assert!(reservation.ready_at() <= now());
    }
}

// pitfall B10
#[tokio::test(start_paused = true)]
async fn a_turn_that_was_not_used_in_time_comes_back_only_as_far_as_time_has_not_given_it_back() {
    let day = Duration::from_secs(24 * 3600);
    let layer = RateLimitLayer::new("x", 100, day).unwrap();
    let (handle, call) = (layer.handle(), timing(&layer, now()));
    let half = handle.reserve(50).unwrap();
    tokio::time::advance(day / 2).await;
    for _ in 0..100 {
        assert!(call().await.is_ok());
    }
    drop(half);
    assert_eq!(handle.available(), 0);
    assert!(call().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_reservation_is_a_turn_and_comes_back_if_it_is_dropped_before_its_time() {
    let layer = RateLimitLayer::builder("x").limit(10).burst(1).queue(9).build().unwrap();
    let (handle, began) = (layer.handle(), now());
    let call = timing(&layer, began);
    let at = [(); 4].map(|()| handle.reserve(1).unwrap());
    assert_eq!(at.each_ref().map(|at| at.ready_at() - began), [ms(0), ms(100), ms(200), ms(300)]);
    assert!(too_early(&call().await).is_none()); // it waited behind them, as it may
    assert_eq!(now() - began, ms(400));
    for reservation in at {
        reservation.ready().await; // its time has come long ago
    }
    assert_eq!(now() - began, ms(400));

    let (kept, dropped, last) =
        (handle.reserve(1).unwrap(), handle.reserve(1).unwrap(), handle.reserve(1).unwrap());
    assert_eq!(last.ready_at() - began, ms(700));
    let mut waits = Box::pin(last.ready());
    assert!(poll_once(&mut waits).is_pending());
    drop(dropped);
    waits.await;
    assert_eq!(now() - began, ms(600));
    drop(kept);
    assert_eq!(handle.queued(), 0);
    assert_eq!(
        reason(&handle.reserve(2).map_err(seawall::Error::<crate::scene::Broken>::from)),
        Some(Reason::CostTooHigh)
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_waits_at_once_or_lets_them_end() {
    for patient in [false, true] {
        let layer = RateLimitLayer::builder("x").limit(10).burst(1).queue(9).build().unwrap();
        let began = now();
        let call = timing(&layer, began);
        let mut calls: Vec<_> = (0..2).map(|_| call()).collect();
        let _ = calls.iter_mut().map(poll_once).collect::<Vec<_>>();
        let waiting = calls.pop().unwrap();
        let drained = async {
            if patient {
                layer.drain_to_completion().await;
            } else {
                layer.drain().await;
            }
            now() - began
        };
        let (told, drained) = in_time(async { tokio::join!(waiting, drained) }).await;
        if patient {
            assert_eq!((told, drained), (Ok(ms(100)), ms(100)));
        } else {
            assert_eq!((reason(&told), drained), (Some(Reason::Draining), ms(0)));
        }
        assert!(
            matches!(poll_once(&mut call()), Poll::Ready(told) if reason(&told) == Some(Reason::Draining))
        );
    }
}
