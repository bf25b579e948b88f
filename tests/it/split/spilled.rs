//! What the primary takes for the replicas: a budget.

use std::time::Duration;

use seawall::split::{Freshness, Side};
use seawall::{CallError, Measurement, Reason};
use tokio::time::advance;

use super::world::*;

// pitfall B63: R3
#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_does_not_drown_the_primary() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.build(world.builder().patience(Duration::ZERO));
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    // Half of the reads want what no replica has, for 10 s.
    let (mut stale, mut spilled) = (0, 0);
    for _ in 0..10_000 {
        advance(MS).await;
        by(&orders, Freshness::Any, None).await;
        match send(&orders, Side::Query(Freshness::AtLeast(at(1, 5))), None).await {
            Ok(answer) => {
                assert_eq!(answer.by, "primary");
                spilled += 1;
            }
            answer => {
                stale += 1;
                assert_eq!(why(answer), (Reason::Stale, Measurement::Behind { by: 4 }));
            }
        }
        assert_eq!(send(&orders, Side::Command, None).await.unwrap().by, "primary");
    }
    assert_eq!(spilled + stale, 10_000);
    // A fifth of 20,000 queries, 10 a second, and a burst of 10.
    assert!((4_000..=4_112).contains(&spilled), "{spilled}");
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_nothing_is_spilled_and_the_caller_is_told_when_to_come_again() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.build(world.builder().patience(Duration::ZERO).spill(0));
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    let stale = send(&orders, Side::Query(Freshness::AtLeast(at(1, 5))), None).await.unwrap_err();
    let rejected = stale.rejected().unwrap();
    assert_eq!(rejected.retry_after(), Some(250 * MS));
    let text = rejected.to_string();
    assert!(
        text.contains("has no replica that is fresh enough (the best of them is 4 behind)"),
        "{text}"
    );
    assert_eq!(world.calls("primary"), 0);
}
