//! New settings for a running breaker.

use super::kit::*;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use seawall::Error;
use seawall::circuit_breaker::{Abandonment, Config, Position, State, Trip};
use tokio::time::advance;

type Turn = fn(&mut Config);

/// Every setting, turned.
const TURNS: [(&str, Turn); 13] = [
    ("trip", |d| d.trip = Trip::failure_rate(0.9).or(Trip::default())),
    ("evidence_ttl", |d| d.evidence_ttl = Duration::from_secs(1)),
    ("abandonment", |d| d.abandonment = Abandonment::Ignore),
    ("break_duration", |d| d.break_duration = Duration::from_millis(1)),
    ("max_break_duration", |d| d.max_break_duration = Duration::from_secs(60)),
    ("max_retry_after", |d| d.max_retry_after = Duration::ZERO),
    ("probes", |d| d.probes = 1),
    ("probe_deadline", |d| d.probe_deadline = Duration::from_nanos(1)),
    ("close_threshold", |d| d.close_threshold = 1),
    ("reopen_threshold", |d| d.reopen_threshold = 1),
    ("ramp", |d| d.ramp = Duration::ZERO),
    ("slow_start", |d| d.slow_start = Duration::from_secs(1)),
    ("shadow", |d| d.shadow = true),
];

// pitfall B26
#[tokio::test(start_paused = true)]
async fn whichever_dial_is_turned_an_open_breaker_stays_open_and_evidence_stays() {
    for (name, turn) in TURNS {
        let mut rig = Rig::new(builder());
        rig.trip().await;
        rig.reload(turn);
        assert_eq!(rig.state(), State::Open, "{name}");
        assert_eq!(is_rejected(&rig.ask(GOOD).await), name != "shadow", "{name}");

        let mut rig = Rig::new(builder());
        for _ in 0..16 {
            let _ = rig.ask(BAD).await;
        }
        let flying = rig.launch(Ask::After(Duration::from_millis(5), Answer::Failure));
        rig.reload(turn);
        assert_eq!(rig.state(), State::Closed, "{name}");
        assert!(matches!(flying.await, Err(Error::Inner(_))), "{name}: not disturbed");
        assert_eq!(rig.state(), State::Open, "{name}: sixteen before and one after");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_was_turned_is_in_force_for_the_next_call() {
    let mut rig = Rig::new(builder());
    rig.reload(|config| config.trip = Trip::consecutive(2));
    let _ = rig.ask(BAD).await;
    let _ = rig.ask(BAD).await;
    assert_eq!(rig.state(), State::Open);
    rig.reload(|config| (config.close_threshold, config.ramp) = (1, Duration::ZERO));
    rig.break_duration().await;
    rig.ask(GOOD).await.unwrap();
    rig.ask(GOOD).await.unwrap();
    assert_eq!(rig.state(), State::Closed);
    // A quiet breaker decides by its digest, which was made under the old settings.
    rig.reload(|config| config.trip = Trip::consecutive(1));
    let _ = rig.ask(BAD).await;
    assert_eq!(rig.state(), State::Open);
    rig.reload(|config| config.shadow = true);
    rig.ask(GOOD).await.unwrap();
    rig.reload(|config| config.shadow = false);
    assert!(is_rejected(&rig.ask(GOOD).await));
}

#[tokio::test(start_paused = true)]
async fn a_slow_rule_that_is_added_watches_the_calls_that_come_after() {
    let mut rig = Rig::new(builder());
    let slow = Trip::slow_rate(1.0, Duration::from_secs(1)).at_least(3).or(Trip::default());
    rig.reload(|config| config.trip = slow);
    let hanging: Vec<_> = (0..3)
        .map(|_| {
            let call = rig.launch(Ask::Hang);
            tokio::spawn(call)
        })
        .collect();
    tokio::task::yield_now().await;
    advance(Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    assert_eq!(rig.state(), State::Open);
    assert!(hanging.iter().all(|task| !task.is_finished()), "they are slow, not over");
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn bad_config_leave_the_old_ones_in_force_and_the_next_good_ones_are_accepted() {
    let mut rig = Rig::new(builder().trip(Trip::consecutive(3)));
    let before = rig.handle.config();
    for _ in 0..3 {
        let bad = Config { probes: 0, break_duration: Duration::ZERO, ..Config::default() };
        let errors = rig.handle.reload(bad).unwrap_err();
        assert_eq!(errors.iter().count(), 2);
        assert_eq!(rig.handle.config(), before);
    }
    for _ in 0..2 {
        let _ = rig.ask(BAD).await;
    }
    assert_eq!(rig.state(), State::Closed);
    let mut good = before.clone();
    good.trip = Trip::consecutive(5);
    rig.handle.reload(good.clone()).unwrap();
    assert_eq!(rig.handle.config(), good);
    for _ in 0..3 {
        assert_eq!(rig.state(), State::Closed);
        let _ = rig.ask(BAD).await;
    }
    assert_eq!(rig.state(), State::Open, "two before and three after");
}

#[tokio::test(start_paused = true)]
async fn more_reloads_than_a_digest_can_tell_apart_are_all_noticed() {
    let mut rig = Rig::new(builder());
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open);
    for nth in 0..2_000_u64 {
        rig.reload(|config| config.evidence_ttl = Duration::from_secs(1 + nth));
        rig.reload(|config| config.shadow = nth % 2 == 0);
        assert_eq!(is_rejected(&rig.ask(GOOD).await), nth % 2 == 1, "after {nth}");
    }
    for shadow in [true, false] {
        for _ in 0..511 {
            rig.reload(|config| config.shadow = !shadow);
        }
        rig.reload(|config| config.shadow = shadow);
        assert_eq!(is_rejected(&rig.ask(GOOD).await), !shadow);
    }
}

// pitfall B26
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_because_config_are_turned_under_load() {
    let rig = Rig::new(builder());
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (mut rig, stop, calls) = (rig.clone(), stop.clone(), calls.clone());
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    rig.ask(GOOD).await.expect("healthy");
                    let _ = rig.launch(Ask::Now(Answer::Pushback)).await;
                    calls.fetch_add(1, SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let handle = rig.handle.clone();
    let reloads = tokio::spawn(async move {
        for nth in 0..600 {
            let mut config = handle.config();
            TURNS[nth % TURNS.len()].1(&mut config);
            if nth % 4 == 0 {
                config = Config::default();
            }
            handle.reload(config).unwrap();
            tokio::task::yield_now().await;
        }
    });
    reloads.await.unwrap();
    stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(calls.load(SeqCst) > 0);
    assert_eq!(rig.state(), State::Closed);
    assert_eq!(rig.layer.in_flight(), 0);
}
