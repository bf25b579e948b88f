//! The same answers as a limiter that many use.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use seawall::Reason;
use seawall::rate_limit::RateLimitLayer;

use super::{call, costing, too_early};
use crate::scene::reason;

/// A rate limit and one of `governor` that are asked the same at the same time.
async fn agree(rng: &mut fastrand::Rng) -> (u32, u32, u32) {
    let limit = [1, 2, 5, 10, 100, 1_000][rng.usize(..6)]; // a second is a multiple of each
    let burst = rng.u32(1..=20);
    let builder = RateLimitLayer::builder("x").limit(limit).burst(burst);
    let (_, mut ours) = costing(builder);
    let clock = FakeRelativeClock::default();
    let size = NonZeroU32::new(burst).unwrap();
    let quota = Quota::per_second(NonZeroU32::new(limit).unwrap()).allow_burst(size);
    let theirs = RateLimiter::direct_with_clock(quota, clock.clone());

    let (mut passed, mut early, mut never) = (0, 0, 0);
    for _ in 0..100 {
        let pause = Duration::from_nanos(rng.u64(0..3_000_000_000 / u64::from(limit)));
        tokio::time::advance(pause).await;
        clock.advance(pause);
        let cost = NonZeroU32::new(rng.u32(1..=burst + 1)).unwrap();
        let told = call(&mut ours, cost.get()).await;
        match theirs.check_n(cost) {
            Ok(Ok(())) => {
                assert_eq!(told, Ok(cost.get()));
                passed += 1;
            }
            Ok(Err(not_until)) => {
                assert_eq!(too_early(&told), Some(not_until.wait_time_from(clock.now())));
                early += 1;
            }
            Err(_) => {
                assert_eq!(reason(&told), Some(Reason::CostTooHigh));
                never += 1;
            }
        }
    }
    (passed, early, never)
}

// pitfall B10
#[tokio::test(start_paused = true)]
async fn it_decides_as_governor_does() {
    let mut seen = (0, 0, 0);
    for seed in 0..100 {
        let (passed, early, never) = agree(&mut fastrand::Rng::with_seed(seed)).await;
        seen = (seen.0 + passed, seen.1 + early, seen.2 + never);
    }
    assert!(seen.0 > 1_000 && seen.1 > 1_000 && seen.2 > 100, "{seen:?}");
}
