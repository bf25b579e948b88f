//! Those who wait for their turn.

use std::task::Poll;
use std::time::Duration;

use seawall::propagate::{FromWithContext, WithContext};
use seawall::rate_limit::RateLimitLayer;
use seawall::{Deadline, Reason};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{Passing, timing, too_early};
use crate::scene::{Fail, ms, now, poll_once, reason};

#[tokio::test(start_paused = true)]
async fn calls_wait_in_order_and_no_longer_than_they_must() {
    let layer = RateLimitLayer::builder("x").limit(10).burst(1).queue(3).build().unwrap();
    let (handle, call) = (layer.handle(), timing(&layer, now()));
    let mut calls: Vec<_> = (0..5).map(|_| call()).collect();
    assert_eq!(poll_once(&mut calls[0]), Poll::Ready(Ok(ms(0))));
    let rejected = poll_once(&mut calls[4]);
    assert!(
        matches!(&rejected, Poll::Ready(told) if too_early(told) == Some(ms(400))),
        "{rejected:?}"
    );
    assert_eq!((handle.queued(), handle.available(), handle.in_flight()), (3, 0, 3));
    // The order in which they came counts, not that in which they are polled.
    assert!(poll_once(&mut calls[3]).is_pending());
    let [_, second, third, fourth, _] = <[Passing; 5]>::try_from(calls).ok().unwrap();
    let passed = tokio::join!(fourth, third, second);
    assert_eq!(passed, (Ok(ms(300)), Ok(ms(200)), Ok(ms(100))));
    assert_eq!(handle.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_rejected_at_once() {
    let builder = RateLimitLayer::builder("x").limit(10).burst(1).queue(100).max_wait(ms(250));
    let layer = builder.build().unwrap();
    let call = timing(&layer, now());
    let mut calls: Vec<_> = (0..4).map(|_| call()).collect();
    let rejected = poll_once(&mut calls[3]);
    assert!(
        matches!(&rejected, Poll::Ready(told) if too_early(told) == Some(ms(300))),
        "{rejected:?}"
    );
    assert_eq!(layer.handle().queued(), 2);
}

#[tokio::test(start_paused = true)]
async fn whose_turn_comes_after_the_deadline_is_rejected_at_once() {
    let layer = RateLimitLayer::builder("x")
        .limit(10)
        .burst(1)
        .queue(9)
        .propagate(FromWithContext)
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .service(service_fn(|_: WithContext<u32>| async { Ok::<_, Fail>(()) }));
    let within = |limit| service.clone().oneshot(WithContext::new(0, Deadline::after(ms(limit))));
    assert!(within(50).await.is_ok());
    let mut hurried = Box::pin(within(50));
    assert!(
        matches!(poll_once(&mut hurried), Poll::Ready(told) if reason(&told) == Some(Reason::DeadlineExceeded))
    );
    let began = now();
    assert!(within(150).await.is_ok());
    assert_eq!(now() - began, ms(100));
}

#[tokio::test(start_paused = true)]
async fn when_one_gives_up_those_behind_move_up() {
    let layer = RateLimitLayer::builder("x").limit(10).burst(1).queue(9).build().unwrap();
    let call = timing(&layer, now());
    let mut calls: Vec<_> = (0..5).map(|_| call()).collect();
    let _ = calls.iter_mut().map(poll_once).collect::<Vec<_>>();
    tokio::time::advance(ms(50)).await;
    drop(calls.remove(2));
    let [_, second, fourth, fifth] = <[Passing; 4]>::try_from(calls).ok().unwrap();
    let passed = tokio::join!(second, fourth, fifth, call());
    assert_eq!(passed, (Ok(ms(100)), Ok(ms(200)), Ok(ms(300)), Ok(ms(400))));
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_up_after_its_turn_has_come_has_used_it() {
    let layer = RateLimitLayer::builder("x").limit(10).burst(1).queue(9).build().unwrap();
    let call = timing(&layer, now());
    let mut calls: Vec<_> = (0..2).map(|_| call()).collect();
    let _ = calls.iter_mut().map(poll_once).collect::<Vec<_>>();
    tokio::time::advance(ms(150)).await;
    drop(calls); // its turn was at 100 ms: half of what it used has come back by itself
    assert_eq!(call().await, Ok(ms(150)));
    assert_eq!(call().await, Ok(ms(250)));
}

/// When each call comes, what it costs, and when it gives up.
#[derive(Debug, Clone, Copy)]
struct Plan {
    comes: u64,
    cost: u32,
    patience: Option<u64>,
}

/// When each passes: as if those who give up in time had never come, but not while they still wait
/// before it. The rule, in another way.
fn by_the_rule(plans: &[Plan], step: u64, burst: u64) -> Vec<Option<u64>> {
    let (mut full, mut left) = (0u64, Vec::new());
    plans
        .iter()
        .map(|plan| {
            let after = full.max(plan.comes) + u64::from(plan.cost) * step;
            let held_up = left.iter().copied().max().unwrap_or(0);
            let passes = after.saturating_sub(burst * step).max(plan.comes).max(held_up);
            match plan.patience.map(|patience| plan.comes + patience) {
                Some(until) if until < passes => {
                    left.push(until);
                    None
                }
                _ => {
                    full = after;
                    Some(passes)
                }
            }
        })
        .collect()
}

async fn in_fact(plans: &[Plan], limit: u32, burst: u32) -> Vec<Option<u64>> {
    let layer = RateLimitLayer::builder("x")
        .limit(limit)
        .burst(burst)
        .queue(1_000)
        .max_wait(Duration::from_secs(3600))
        .cost(|plan: &Plan| plan.cost)
        .build()
        .unwrap();
    let began = now();
    let service =
        ServiceBuilder::new().layer(layer).service(service_fn(move |_: Plan| async move {
            Ok::<_, Fail>(u64::try_from((now() - began).as_millis()).unwrap())
        }));
    let calls = plans.iter().map(|plan| {
        let (plan, service) = (*plan, service.clone());
        async move {
            tokio::time::sleep_until(began + ms(plan.comes)).await;
            let call = service.oneshot(plan);
            match plan.patience {
                Some(patience) => tokio::time::timeout(ms(patience), call).await.ok(),
                None => Some(call.await),
            }
            .map(|passed| passed.unwrap())
        }
    });
    futures::future::join_all(calls).await
}

// pitfall B10
#[tokio::test(start_paused = true)]
async fn whoever_gives_up_in_time_leaves_no_trace() {
    let mut left = 0;
    for seed in 0..60 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let (step, burst) = (rng.u64(1..=20) * 5, rng.u32(1..=4));
        let mut comes = 0;
        // Nobody comes or leaves in the very millisecond of a turn: who is first then is not the point.
        let plans: Vec<_> = (0..40)
            .map(|_| {
                comes += rng.u64(0..=10) * 5 + 1;
                let patience = rng.bool().then(|| rng.u64(1..=40) * 5 + 2);
                Plan { comes, cost: rng.u32(1..=burst), patience }
            })
            .collect();
        let limit = u32::try_from(1_000 / step.max(1)).unwrap();
        if 1_000 % step != 0 {
            continue;
        }
        let (rule, fact) =
            (by_the_rule(&plans, step, burst.into()), in_fact(&plans, limit, burst).await);
        assert_eq!(fact, rule, "seed {seed}: step {step}, burst {burst}, {plans:#?}");
        left += rule.iter().filter(|passed| passed.is_none()).count();
    }
    assert!(left > 50, "{left}");
}

/// Calls that come from several threads, of which many are dropped at any moment, while the settings are
/// replaced: nothing is left, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_on_several_threads_nothing_is_left() {
    let builder = RateLimitLayer::builder("x").limit(1_000_000).burst(1).queue(1_000);
    let layer = builder.max_wait(Duration::from_secs(60)).build().unwrap();
    let handle = layer.handle();
    let callers = (0..8).map(|seed| {
        let layer = layer.clone();
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..500 {
                let mut call = Box::pin(layer.run(|| async { Ok::<_, Fail>(()) }));
                match rng.u8(0..4) {
                    0 => drop(call),
                    1 => drop(poll_once(&mut call)),
                    _ => assert_eq!(call.await, Ok(())),
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for limit in (0..200).map(|nth| [1_000_000, 10_000][nth % 2]) {
        handle.reload(seawall::rate_limit::Config { limit, ..handle.config() }).unwrap();
        tokio::task::yield_now().await;
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!((handle.queued(), handle.in_flight()), (0, 0));
}
