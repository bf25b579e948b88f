//! Members that are down, hang or panic; and what else can be wrong.

use std::time::Duration;

use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::split::{Freshness, Member, Replicas, Side, Split};
use seawall::{CallError, Error, Position, Reason};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::world::*;

fn is_open() -> seawall::Rejected {
    let breaker = CircuitBreakerLayer::new("replica");
    breaker.handle().force_open();
    let mut service = breaker.layer(service_fn(|(): ()| async { Ok::<(), Fail>(()) }));
    let call = futures::FutureExt::now_or_never(service.call(())).unwrap();
    call.unwrap_err().rejected().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_circuit_is_open_is_left_alone() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.orders();
    *world.node("a").down.lock().unwrap() = Some(is_open());
    let mut rejected = 0;
    for _ in 0..100 {
        rejected += u32::from(send(&orders, Side::Query(Freshness::Any), None).await.is_err());
    }
    assert_eq!(rejected, 1, "the first one finds it out");
    *world.node("a").down.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..100 {
        by(&orders, Freshness::Any, None).await;
    }
    assert!(world.calls("a") > 10, "and it comes back");
}

#[tokio::test(start_paused = true)]
async fn where_no_replica_is_up_the_primary_answers_as_the_budget_allows() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.orders();
    for name in ["a", "b"] {
        *world.node(name).down.lock().unwrap() = Some(is_open());
    }
    let answers: Vec<_> = {
        let mut answers = Vec::new();
        for _ in 0..100 {
            answers.push(send(&orders, Side::Query(Freshness::Any), None).await);
        }
        answers
    };
    let by_primary = answers.iter().flatten().filter(|answer| answer.by == "primary").count();
    let none = |answer: &&Result<Answer, Fail>| {
        let rejected = answer.as_ref().err().and_then(|error| error.rejected());
        rejected.is_some_and(|why| why.reason() == Reason::NoReplica)
    };
    let none = answers.iter().filter(none).count();
    assert!((25..=30).contains(&by_primary), "10 and a fifth: {by_primary}");
    assert_eq!(by_primary + none + 2, 100, "two find it out");
}

/// All replicas down at the start: it starts.
#[tokio::test(start_paused = true)]
async fn it_starts_with_nobody_to_answer() {
    let world = World::default();
    for name in NAMES {
        world.mute(name);
    }
    let orders = world.orders();
    assert_eq!(send(&orders, Side::Command, None).await.unwrap().by, "primary");
}

#[tokio::test(start_paused = true)]
async fn questions_that_hang_or_panic_are_asked_again_and_hold_up_nobody() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let reads = Replicas::builder("reads")
        .side(|at_least: &u64| Side::Query(Freshness::AtLeast(at(1, *at_least))))
        .positions(service_fn(|member: Member| async move {
            assert!(!member.is_primary());
            match member.name() {
                "a" => {
                    ASKED.fetch_add(1, Relaxed);
                    panic!("the user's code")
                }
                "b" => std::future::pending::<Result<Position, BoxError>>().await,
                _ => Ok(at(1, 7)),
            }
        }))
        .replicas(["a", "b", "c"])
        .over(|name| {
            let name = name.to_owned();
            Ok(service_fn(move |_: u64| {
                let name = name.clone();
                async { Ok::<_, Fail>(name) }
            }))
        })
        .unwrap();
    for _ in 0..10 {
        assert_eq!(reads.clone().oneshot(7).await.unwrap(), "c");
        settle().await;
    }
    assert!((20..40).contains(&ASKED.load(Relaxed)), "{}", ASKED.load(Relaxed));
}

#[tokio::test(start_paused = true)]
async fn each_member_is_asked_at_a_bounded_rate() {
    let world = World::default();
    world.all(at(1, 1));
    let orders = world.orders();
    send(&orders, Side::default(), None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!((38..=42).contains(&world.questions("a")), "{}", world.questions("a"));
    // And all the time somebody waits.
    let before = world.questions("a");
    for _ in 0..20 {
        let _ = send(&orders, Side::Query(Freshness::AtLeast(at(1, 9))), None).await;
    }
    let more = world.questions("a") - before;
    assert!((150..=260).contains(&more), "in a second: {more}");
    drop(orders);
    let before = world.questions("a");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.questions("a"), before, "nobody asks for nobody");
}

#[tokio::test(start_paused = true)]
async fn replicas_alone_take_no_commands() {
    let reads = Replicas::builder("reads")
        .side(|side: &Side| *side)
        .replicas(["a"])
        .over(|_| Ok(service_fn(|_: Side| async { Ok::<_, Fail>(()) })))
        .unwrap();
    for side in [Side::Command, Side::Query(Freshness::Latest)] {
        let refused = reads.clone().oneshot(side).await.unwrap_err();
        assert_eq!(refused.rejected().unwrap().reason(), Reason::Stale);
    }
    reads.clone().oneshot(Side::Query(Freshness::Any)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn drained_it_rejects_both_sides() {
    let world = World::default();
    world.all(at(1, 1));
    let (primary, replica) = (world.clone(), world.clone());
    let split = world.builder().primary("primary", move |name| primary.member(name));
    let split = split.over(move |name| replica.member(name)).unwrap();
    let handle = split.handle();
    let hangs = Req { side: Side::Command, session: None, fate: Fate::Hangs };
    let hanging = tokio::spawn(split.clone().oneshot(hangs));
    tokio::task::yield_now().await;
    assert_eq!(handle.in_flight(), 1);
    assert!(tokio::time::timeout(MS, handle.drain()).await.is_err());
    hanging.abort();
    handle.drain().await;
    for side in [Side::Command, Side::Query(Freshness::Any), Side::Query(Freshness::Latest)] {
        let req = Req { side, session: None, fate: Fate::Answered };
        assert_eq!(why(split.clone().oneshot(req).await).0, Reason::Draining);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let wrong = Split::builder("orders")
        .replicas(["a", "", "a", "primary"])
        .every(Duration::ZERO)
        .timeout(Duration::MAX)
        .patience(Duration::from_secs(60))
        .uncertain_for(Duration::MAX)
        .spill(101)
        .primary("primary", |_| Ok(service_fn(|(): ()| async { Ok::<(), Fail>(()) })))
        .over(|_| Ok(service_fn(|(): ()| async { Ok::<(), Fail>(()) })))
        .unwrap_err();
    let text = wrong.to_string();
    for part in [
        "side",
        "replicas",
        "not empty",
        "each name once",
        "every",
        "timeout",
        "patience",
        "uncertain_for",
        "spill",
        "0 to 100",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let none = Replicas::builder("reads")
        .replicas([""; 0])
        .over(|_| Ok(service_fn(|(): ()| async { Ok::<(), Fail>(()) })))
        .unwrap_err();
    assert!(none.to_string().contains("1 to 64 replicas"), "{none}");
    let unmade = Replicas::builder("reads")
        .replicas(["a"])
        .over(|_| Err::<tower::util::BoxCloneSyncService<(), (), Fail>, _>("no route".into()))
        .unwrap_err();
    assert!(unmade.to_string().contains("no route"), "{unmade}");
}

// pitfall B52
#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_ready_holds_up_nobody() {
    let world = World::default();
    world.all(at(1, 1));
    let (primary, replica) = (world.clone(), world.clone());
    let split = world.builder().primary("primary", move |name| primary.member(name));
    let split = split
        .over(move |name| {
            let permits = usize::from(name != "a");
            let limit = std::sync::Arc::new(tokio::sync::Semaphore::new(permits * 1_000));
            let layer = tower::limit::GlobalConcurrencyLimitLayer::with_semaphore(limit);
            Ok(layer.layer(replica.member(name)?))
        })
        .unwrap();
    for _ in 0..50 {
        let req = Req { side: Side::Query(Freshness::Any), session: None, fate: Fate::Answered };
        assert_eq!(split.clone().oneshot(req).await.unwrap().by, "b");
    }
    let _ = Error::<std::io::Error>::Inner;
}
