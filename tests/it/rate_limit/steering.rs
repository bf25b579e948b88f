//! Reloading, reserving, draining.

use std::task::Poll;
use std::time::Duration;

use seawall::Reason;
use seawall::rate_limit::{Config, RateLimitLayer};

use super::{Passing, timing, too_early};
use crate::scene::{fields, in_time, ms, now, poll_once, reason};

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
