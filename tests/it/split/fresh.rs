//! How fresh an answer is: positions tell, and what is unknown is not fresh.

use std::time::Duration;

use seawall::split::{Freshness, Side};
use seawall::{Measurement, Reason};
use tokio::time::{Instant, advance, sleep};

use super::world::*;

/// Tokio's time.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

// R5
#[tokio::test(start_paused = true)]
async fn commands_go_to_the_primary_and_queries_to_replicas() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.orders();
    for _ in 0..100 {
        assert_eq!(send(&orders, Side::Command, None).await.unwrap().by, "primary");
        assert_ne!(by(&orders, Freshness::Any, None).await, "primary");
    }
    assert_eq!(world.calls("primary"), 100);
    assert!(world.calls("a") > 20 && world.calls("b") > 20);
}

#[tokio::test(start_paused = true)]
async fn the_latest_is_the_primarys_and_no_spill() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.build(world.builder().spill(0));
    for _ in 0..100 {
        assert_eq!(by(&orders, Freshness::Latest, None).await, "primary");
    }
}

// pitfall B62: R6
#[tokio::test(start_paused = true)]
async fn a_replica_that_says_nothing_is_not_fresh() {
    let world = World::default();
    world.set("primary", at(1, 5));
    let orders = world.orders();
    settle().await;
    assert_eq!(by(&orders, Freshness::AtLeast(at(1, 0)), None).await, "primary");
    assert_eq!(by(&orders, Freshness::Within(Duration::from_secs(3_600)), None).await, "primary");
    assert_ne!(by(&orders, Freshness::Any, None).await, "primary");
}

#[tokio::test(start_paused = true)]
async fn a_query_waits_for_a_replica_that_is_about_to_come() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.orders();
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    let begun = now();
    let arrives = async {
        sleep(20 * MS).await;
        world.set("b", at(1, 2));
    };
    let ((), answer) = tokio::join!(arrives, by(&orders, Freshness::AtLeast(at(1, 2)), None));
    assert_eq!(answer, "b");
    let took = begun.elapsed();
    assert!(took >= 20 * MS && took <= 30 * MS, "asked every 5 ms, not every 250: {took:?}");
}

// R4
#[tokio::test(start_paused = true)]
async fn it_waits_no_longer_than_its_patience_and_only_so_many_do() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.build(world.builder().max_waiting(3));
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    let begun = now();
    let all = (0..5).map(|_| async {
        let answer = send(&orders, Side::Query(Freshness::AtLeast(at(1, 2))), None).await;
        (answer.unwrap().by, begun.elapsed())
    });
    let answers = futures::future::join_all(all).await;
    assert!(answers.iter().all(|(by, _)| *by == "primary"));
    let at_once = answers.iter().filter(|(_, took)| took.is_zero()).count();
    assert_eq!(at_once, 2);
    assert!(answers.iter().all(|(_, took)| *took <= 51 * MS));
    // Who goes away while he waits leaves his place to another.
    for _ in 0..10 {
        let waits = send(&orders, Side::Query(Freshness::AtLeast(at(1, 2))), None);
        assert!(tokio::time::timeout(10 * MS, waits).await.is_err());
    }
}

// pitfall B60
#[tokio::test(start_paused = true)]
async fn on_an_idle_primary_a_replica_that_has_all_stays_young() {
    let world = World::default();
    world.all(at(1, 7));
    let orders = world.orders();
    send(&orders, Side::default(), None).await.unwrap();
    for _ in 0..20 {
        settle().await;
        assert_ne!(by(&orders, Freshness::Within(300 * MS), None).await, "primary");
    }
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_the_question_to_the_primary() {
    let world = World::default();
    world.all(at(1, 7));
    let orders = world.build(world.builder().every(1_000 * MS).patience(Duration::ZERO).spill(0));
    send(&orders, Side::default(), None).await.unwrap();
    sleep(MS).await;
    let within = |age: u64| Side::Query(Freshness::Within(Duration::from_millis(age)));
    send(&orders, within(500), None).await.unwrap();
    // Nothing was written since, but nobody has asked since either.
    advance(900 * MS).await;
    let old = send(&orders, within(500), None).await;
    assert_eq!(why(old), (Reason::Stale, Measurement::Age { limit: 500_000_000 }));
    send(&orders, within(1_000), None).await.unwrap();
    // The replicas stay where they are while the primary goes on: they grow old from the last question before that.
    world.set("primary", at(1, 8));
    sleep(3_000 * MS).await;
    why(send(&orders, within(2_000), None).await);
    send(&orders, within(5_000), None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_query_leaves_half_of_its_time_to_whoever_answers() {
    use seawall::Deadline;
    use seawall::propagate::{CallContext, Propagate};

    struct Short;
    impl Propagate<Req> for Short {
        fn extract(&self, _: &Req) -> CallContext {
            let mut call = CallContext::default();
            call.deadline = Some(Deadline::after(20 * MS));
            call
        }
        fn inject(&self, _: &mut Req, _: &CallContext) {}
    }

    let world = World::default();
    world.all(at(1, 1));
    let orders = world.build(world.builder().propagate(Short));
    settle().await;
    let begun = now();
    assert_eq!(by(&orders, Freshness::AtLeast(at(1, 2)), None).await, "primary");
    assert!(begun.elapsed() <= 11 * MS, "{:?}", begun.elapsed());
}
