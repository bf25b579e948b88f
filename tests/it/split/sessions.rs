//! What a user has written and read, later queries see.

use seawall::split::{Freshness, Progress, Session, Side};
use seawall::{Measurement, Reason};
use tokio::time::{advance, timeout};

use super::world::*;

const SEEN: Freshness = Freshness::Seen;

// R1
#[tokio::test(start_paused = true)]
async fn users_see_what_they_wrote() {
    let world = World::default();
    world.all(at(1, 10));
    let (orders, user) = (world.orders(), Session::new());
    settle().await;
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    send(&orders, Side::Command, Some(&user)).await.unwrap();
    assert_eq!(user.token(), "1-11");
    world.set("b", at(1, 11));
    for _ in 0..50 {
        assert_eq!(by(&orders, SEEN, Some(&user)).await, "b");
    }
    let other = Session::new();
    let mut both = std::collections::BTreeSet::new();
    for _ in 0..50 {
        both.insert(by(&orders, SEEN, None).await);
        both.insert(by(&orders, Freshness::Any, Some(&other)).await);
    }
    assert_eq!(both.into_iter().collect::<Vec<_>>(), ["a", "b"], "others are not held back");
    assert_eq!(world.calls("primary"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_carries_it_to_another_process() {
    let world = World::default();
    world.all(at(1, 10)).set("b", at(1, 9));
    let orders = world.orders();
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    let user = Session::from_token("1-10").unwrap();
    for _ in 0..20 {
        assert_eq!(by(&orders, SEEN, Some(&user)).await, "a");
    }
}

// R2
#[tokio::test(start_paused = true)]
async fn nobody_goes_back_to_what_was_before() {
    let world = World::default();
    world.all(at(1, 10)).set("a", at(1, 5));
    let (orders, user) = (world.orders(), Session::new());
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    while by(&orders, SEEN, Some(&user)).await != "b" {}
    assert_eq!(user.position(), Some(at(1, 10)));
    for _ in 0..50 {
        assert_eq!(by(&orders, SEEN, Some(&user)).await, "b");
    }
}

// R2: the answers say nothing, so reads stay where they were until that replica has said how far it is
#[tokio::test(start_paused = true)]
async fn nor_where_answers_say_no_position() {
    let world = World::default();
    world.all(at(1, 10));
    let (orders, user) = (world.orders(), Session::new());
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    let silent = async || {
        let side = Side::Query(SEEN);
        send_to(&orders, side, Some(&user), Fate::Silent).await.unwrap().by
    };
    let first = silent().await;
    for _ in 0..50 {
        assert_eq!(silent().await, first);
    }
    // The one that was read from is further now, as it may have been when it was read.
    world.set(first, at(1, 20));
    settle().await;
    for _ in 0..50 {
        assert_eq!(silent().await, first);
    }
    assert_eq!(user.position(), Some(at(1, 20)));
    world.all(at(1, 20));
    settle().await;
    let mut both = std::collections::BTreeSet::new();
    for _ in 0..50 {
        both.insert(silent().await);
        settle().await;
    }
    assert_eq!(both.len(), 2, "and then it may be any again");
}

// pitfall B64
#[tokio::test(start_paused = true)]
async fn after_a_command_without_an_answer_the_primary_answers() {
    for fate in [Fate::Fails, Fate::Hangs, Fate::Silent] {
        let world = World::default();
        world.all(at(1, 10));
        let (orders, user) = (world.orders(), Session::new());
        send(&orders, Side::default(), None).await.unwrap();
        settle().await;
        world.mute("primary");
        settle().await;
        let command = send_to(&orders, Side::Command, Some(&user), fate);
        let _ = timeout(MS, command).await; // if it hangs, it is dropped
        assert!(user.is_uncertain() && user.token() == "0~", "{fate:?}: {user:?}");
        assert_eq!(by(&orders, SEEN, Some(&user)).await, "primary", "{fate:?}");
        // The primary says how far it is: at the command, which no replica has.
        world.set("primary", at(1, 11));
        advance(1_100 * MS).await;
        settle().await;
        assert_eq!(by(&orders, SEEN, Some(&user)).await, "primary", "{fate:?}");
        world.set("b", at(1, 11));
        settle().await;
        assert_eq!(by(&orders, SEEN, Some(&user)).await, "b", "{fate:?}");
        assert!(!user.is_uncertain());
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_uncertain_for_a_bounded_time() {
    let world = World::default();
    world.all(at(1, 10));
    let (orders, user) = (world.orders(), Session::new());
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    world.mute("primary");
    settle().await;
    send_to(&orders, Side::Command, Some(&user), Fate::Fails).await.unwrap_err();
    let silent = async || {
        let query = send_to(&orders, Side::Query(SEEN), Some(&user), Fate::Silent);
        query.await.unwrap().by
    };
    assert_eq!(silent().await, "primary");
    advance(9_000 * MS).await;
    assert_eq!(by(&orders, Freshness::Any, Some(&Session::new())).await.len(), 1);
    assert_eq!(silent().await, "primary");
    advance(10_100 * MS).await;
    assert_ne!(silent().await, "primary");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_not_sent_leaves_no_doubt() {
    let world = World::default();
    world.all(at(1, 10));
    let breaker = seawall::circuit_breaker::CircuitBreakerLayer::new("primary");
    breaker.handle().force_open();
    let open = breaker.run(|| async { Ok::<(), Fail>(()) }).await.unwrap_err();
    *world.node("primary").down.lock().unwrap() =
        Some(seawall::CallError::rejected(&open).unwrap().clone());
    let (orders, user) = (world.orders(), Session::new());
    let (reason, _) = why(send(&orders, Side::Command, Some(&user)).await);
    assert_eq!(reason, Reason::CircuitOpen);
    assert!(!user.is_uncertain());
}

// pitfall B61
#[tokio::test(start_paused = true)]
async fn a_lost_write_is_told_once() {
    let world = World::default();
    world.all(at(1, 10));
    let (orders, user) = (world.orders(), Session::new());
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    let others = Session::from_token("1-10").unwrap();
    send(&orders, Side::Command, Some(&user)).await.unwrap();
    assert_eq!(user.position(), Some(at(1, 11)));
    // A replica that had up to 10 is promoted, and soon is at 500.
    let promoted = Progress::new(at(2, 500)).began(at(1, 10));
    for name in NAMES {
        world.progress(name, at(2, 500), promoted);
    }
    settle().await;
    let lost = send(&orders, Side::Query(SEEN), Some(&user)).await;
    let text = lost.as_ref().unwrap_err().to_string();
    assert!(text.contains("position 1-11 is in no history that is left"), "{text}");
    assert_eq!(why(lost), (Reason::Lost, Measurement::Branched { era: 1, at: 11 }));
    send(&orders, Side::Query(SEEN), Some(&user)).await.unwrap();
    assert_eq!(user.position().map(|at| at.era), Some(2), "and it goes on");
    send(&orders, Side::Query(SEEN), Some(&others)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_told_too_where_a_command_is_first_in_the_new_history() {
    let world = World::default();
    world.all(at(1, 10));
    let (orders, user) = (world.orders(), Session::from_token("1-12").unwrap());
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    let promoted = Progress::new(at(2, 500)).began(at(1, 10));
    for name in NAMES {
        world.progress(name, at(2, 500), promoted);
    }
    send(&orders, Side::Command, Some(&user)).await.unwrap();
    assert_eq!(user.token(), "1-12~", "nobody knows yet whether that is there");
    let with_a_cookie = Session::from_token(&user.token()).unwrap();
    world.progress("primary", at(2, 501), Progress::new(at(2, 501)).began(at(1, 10)));
    settle().await;
    assert_eq!(why(send(&orders, Side::Query(SEEN), Some(&user)).await).0, Reason::Lost);
    assert_eq!(user.token(), "2-501");
    assert_eq!(why(send(&orders, Side::Query(SEEN), Some(&with_a_cookie)).await).0, Reason::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_cannot_send_his_reads_to_the_primary() {
    let world = World::default();
    world.all(at(1, 10));
    let orders = world.orders();
    send(&orders, Side::default(), None).await.unwrap();
    settle().await;
    for token in ["1-18446744073709551615", "4294967295-1"] {
        let stranger = Session::of_stranger(token);
        // It waits until the primary has been asked: others may have written meanwhile.
        assert_ne!(by(&orders, SEEN, Some(&stranger)).await, "primary");
        assert_eq!(stranger.token(), "1-10");
    }
    let honest = Session::of_stranger("1-11"); // a write that another process has just made
    world.set("primary", at(1, 11));
    world.set("b", at(1, 11));
    assert_eq!(by(&orders, SEEN, Some(&honest)).await, "b");
    assert_eq!(world.calls("primary"), 0);
    // Without a word of the primary he gets no more than the budget.
    world.mute("primary");
    settle().await;
    let stranger = Session::of_stranger("9-9");
    for _ in 0..100 {
        let _ = send(&orders, Side::Query(SEEN), Some(&stranger)).await;
    }
    assert!(world.calls("primary") <= 10 + 20 + 51, "{}", world.calls("primary"));
}
