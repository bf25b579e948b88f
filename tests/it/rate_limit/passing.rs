//! Who passes, and when.

use std::task::Poll;
use std::time::Duration;

use seawall::rate_limit::{Config, RateLimitLayer};
use seawall::{CallError, Measurement, Outcome, Reason, Retryable};

use super::{call, costing, timing, too_early};
use crate::scene::{Fail, fields, measurement, ms, now, poll_once, reason};

// pitfall B10: a burst is as large as it says, and no larger at the edge of a window
#[tokio::test(start_paused = true)]
async fn no_window_holds_more_than_a_burst_and_what_comes_back_in_it() {
    let layer = RateLimitLayer::new("x", 10, Duration::from_secs(1)).unwrap();
    let call = timing(&layer, now());
    let passed = |_| async { call().await.is_ok() };
    let mut count = 0;
    for nth in 0..10 {
        count += u32::from(passed(nth).await);
    }
    assert_eq!(count, 10);
    tokio::time::advance(ms(950)).await; // the edge of a fixed window
    assert!(passed(0).await);
    tokio::time::advance(ms(100)).await;
    let mut more = 0;
    for nth in 0..20 {
        more += u32::from(passed(nth).await);
    }
    assert_eq!(more, 9); // 10.5 have come back since, and one was used
}

#[tokio::test(start_paused = true)]
async fn a_rejection_says_when_to_come_back_and_that_is_exact() {
    let (handle, mut service) = costing(RateLimitLayer::builder("x").limit(4).burst(2));
    assert_eq!(handle.available(), 2);
    assert!(call(&mut service, 2).await.is_ok());
    let rejected = call(&mut service, 1).await;
    assert_eq!(too_early(&rejected), Some(ms(250)));
    assert_eq!(measurement(&rejected), Some(Measurement::TooEarly { by: 250_000_000, queued: 0 }));
    let told = "rate_limit `x`: has reached its rate limit (the next call may come in 250ms), try again in 250ms";
    assert_eq!(rejected.unwrap_err().to_string(), told);
    tokio::time::advance(Duration::from_nanos(249_999_999)).await;
    assert_eq!(too_early(&call(&mut service, 1).await), Some(Duration::from_nanos(1)));
    tokio::time::advance(Duration::from_nanos(1)).await;
    assert!(call(&mut service, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_costs_nothing_passes_and_what_costs_too_much_is_told_so() {
    let (_, mut service) = costing(RateLimitLayer::builder("x").limit(1).burst(3).queue(10));
    assert!(call(&mut service, 3).await.is_ok());
    assert!(call(&mut service, 0).await.is_ok());
    let rejected = call(&mut service, 4).await;
    assert_eq!(reason(&rejected), Some(Reason::CostTooHigh));
    assert_eq!(measurement(&rejected), Some(Measurement::Cost { cost: 4, most: 3 }));
    let why = rejected.unwrap_err().rejected().cloned().unwrap();
    assert_eq!(Outcome::of_rejection(&why).retryable, Retryable::Never); // it would be the same
}

// pitfall B10: a rate that does not divide a second
#[tokio::test(start_paused = true)]
async fn an_odd_rate_is_met_and_never_exceeded() {
    let layer = RateLimitLayer::builder("x").limit(7).burst(1).build().unwrap();
    let call = timing(&layer, now());
    let mut passed = 0;
    for _ in 0..70_000 {
        passed += u32::from(call().await.is_ok());
        tokio::time::advance(ms(1)).await;
    }
    // Every 142.86 ms, looked at every millisecond: 143 ms apart.
    assert_eq!(passed, 70_000u32.div_ceil(143));
}

#[test]
fn what_does_not_wait_needs_no_runtime() {
    let layer = RateLimitLayer::new("x", 1, Duration::from_secs(1)).unwrap();
    let call = || Box::pin(layer.run(|| async { Ok::<_, Fail>(()) }));
    assert_eq!(poll_once(&mut call()), Poll::Ready(Ok(())));
    let rejected = poll_once(&mut call());
    assert!(matches!(rejected, Poll::Ready(told) if reason(&told) == Some(Reason::RateLimited)));
}

#[tokio::test(start_paused = true)]
async fn while_it_warms_up_the_rate_grows_from_a_third() {
    let warm_up = Duration::from_secs(10);
    let layer = RateLimitLayer::builder("x").limit(300).burst(1).warm_up(warm_up).build().unwrap();
    let call = timing(&layer, now());
    let second = async || {
        let mut passed = 0;
        for _ in 0..1_000 {
            passed += u32::from(call().await.is_ok());
            tokio::time::advance(ms(1)).await;
        }
        passed
    };
    let mut rates = Vec::new();
    for _ in 0..12 {
        rates.push(second().await);
    }
    assert!((90..=110).contains(&rates[0]), "{rates:?}");
    assert!((180..=210).contains(&rates[5]), "{rates:?}");
    assert!((240..=300).contains(&rates[11]), "{rates:?}");
    assert!(rates[..10].is_sorted(), "{rates:?}");
    tokio::time::advance(Duration::from_secs(5)).await; // too short a pause to cool down
    assert!(second().await >= 240);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!((90..=110).contains(&second().await));
}

#[test]
fn wrong_settings_are_named() {
    let wrong = |config: Config| fields(RateLimitLayer::from_config("x", config));
    let base = Config::default;
    assert_eq!(wrong(base()), [""; 0]);
    assert_eq!(wrong(Config { limit: 0, ..base() }), ["limit"]);
    assert_eq!(wrong(Config { limit: 1_000_000_001, ..base() }), ["limit"]);
    assert_eq!(wrong(Config { period: Duration::ZERO, ..base() }), ["period"]);
    assert_eq!(wrong(Config { period: Duration::MAX, ..base() }), ["period"]);
    assert_eq!(wrong(Config { burst: Some(0), ..base() }), ["burst"]);
    let slow = Config { limit: 1, period: Duration::from_secs(3600), ..base() };
    assert_eq!(wrong(Config { burst: Some(1_000_000), ..slow.clone() }), ["burst"]);
    assert_eq!(wrong(Config { burst: Some(24 * 30), ..slow }), [""; 0]);
    assert_eq!(wrong(Config { queue: 10_001, ..base() }), ["queue"]);
    assert_eq!(wrong(Config { queue: 1, max_wait: Duration::ZERO, ..base() }), ["max_wait"]);
    assert_eq!(wrong(Config { warm_up: Duration::MAX, ..base() }), ["warm_up"]);
    let all = Config { limit: 0, queue: 10_001, ..base() };
    assert_eq!(wrong(all), ["limit", "queue"]);
}
