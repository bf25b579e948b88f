//! What is seen and done from outside: handles, watches, switches, shadow, draining.

use super::kit::*;

use std::time::Duration;

use seawall::circuit_breaker::{Position, State, TransitionCause, Trip};
use seawall::{Error, EventKind, Measurement, Reason};
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_what_has_gathered_why_it_opened_and_when_it_probes() {
    let mut rig = Rig::new(builder());
    for _ in 0..4 {
        let _ = rig.ask(BAD).await;
    }
    let snapshot = rig.handle.snapshot();
    assert_eq!(snapshot.state, State::Closed);
    let Measurement::Evidence { observed, threshold } = snapshot.gathered else {
        panic!("{snapshot:?}");
    };
    assert_eq!((observed, threshold), (4_000, 16_305), "four, of ln(10^6) / ln(0.7/0.3)");
    let text = snapshot.gathered.to_string();
    assert_eq!(text, "failures outweigh successes by 4, 17 is the limit"); // field F16
    assert_eq!((snapshot.last_trip, snapshot.next_probe_in), (None, None));

    rig.trip().await;
    advance(Duration::from_millis(10)).await;
    let snapshot = rig.handle.snapshot();
    let trip = snapshot.last_trip.unwrap();
    assert_eq!((snapshot.state, trip.cause), (State::Open, TransitionCause::Evidence));
    assert_eq!(trip.ago, Duration::from_millis(10));
    assert!(
        matches!(trip.measurement, Measurement::Evidence { observed, .. } if observed >= threshold)
    );
    let next = snapshot.next_probe_in.unwrap();
    assert!((15..=40).contains(&next.as_millis()), "{next:?} of a rest of 25 to 50 ms");

    advance(Duration::from_secs(1)).await;
    let snapshot = rig.handle.snapshot();
    assert_eq!(snapshot.state, State::Open, "until somebody comes to probe");
    assert_eq!(snapshot.next_probe_in, Some(Duration::ZERO));
    rig.ask(GOOD).await.unwrap();
    assert_eq!(rig.handle.snapshot().state, State::HalfOpen);
    assert_eq!(rig.handle.snapshot().next_probe_in, None);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_names_its_layer_its_reason_what_was_measured_and_when_to_come_back() {
    let rules = [
        (
            Trip::consecutive(3).or(Trip::default()),
            TransitionCause::Consecutive,
            Measurement::Count { observed: 3, threshold: 3 },
            "circuit_breaker `dep`: circuit is open (3 of 3 failures in a row), try again in ",
        ),
        (
            Trip::consecutive(50).or(Trip::failure_rate(0.25).at_least(12)),
            TransitionCause::FailureRate,
            Measurement::FailureRate { observed: 1_000_000, threshold: 250_000 },
            "circuit_breaker `dep`: circuit is open (100 % of calls failed, 25 % is the limit), \
             try again in ",
        ),
    ];
    for (trip, cause, measurement, message) in rules {
        let mut rig = Rig::new(builder().trip(trip));
        rig.trip().await;
        assert_eq!(rig.handle.snapshot().last_trip.unwrap().cause, cause);
        let Err(Error::Rejected(why)) = rig.ask(GOOD).await else { panic!("let through") };
        assert_eq!((why.origin().layer(), why.origin().name()), ("circuit_breaker", "dep"));
        assert_eq!((why.reason(), why.measurement()), (Reason::CircuitOpen, measurement));
        assert_eq!(why.retry_after(), rig.handle.snapshot().next_probe_in);
        assert!(why.to_string().starts_with(message), "{why}");

        // While a probe is out, the rest of them hear the same.
        rig.break_duration().await;
        let _probe = rig.launch(Ask::Hang);
        let Err(Error::Rejected(why)) = rig.ask(GOOD).await else { panic!("let through") };
        assert_eq!((why.reason(), why.measurement()), (Reason::CircuitOpen, measurement));
        assert_eq!(why.retry_after(), Some(Duration::from_millis(50)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_hand_knows_no_time_to_come_back() {
    let mut rig = Rig::new(builder());
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open);
    let Err(Error::Rejected(why)) = rig.ask(GOOD).await else { panic!("let through") };
    assert_eq!((why.retry_after(), why.measurement()), (None, Measurement::Nothing));
    let text = "circuit_breaker `dep`: circuit is open (held open by hand)";
    assert_eq!(why.to_string(), text); // field F16
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_each_change_and_misses_none_while_nobody_waits() {
    let mut rig = Rig::new(builder());
    let mut watch = rig.handle.watch();
    assert!(poll(Box::pin(watch.changed()).as_mut()).is_pending());
    rig.trip().await;
    assert_eq!(watch.changed().await, State::Open);
    assert!(poll(Box::pin(watch.changed()).as_mut()).is_pending());

    let waiting = tokio::spawn(async move {
        let next = watch.changed().await;
        (next, watch)
    });
    tokio::task::yield_now().await;
    rig.break_duration().await;
    let probe = rig.launch(Ask::Hang);
    let (next, mut watch) = waiting.await.unwrap();
    assert_eq!(next, State::HalfOpen, "woken, though it did not look by itself");
    drop(probe);
    rig.handle.reset();
    assert_eq!(watch.changed().await, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_not_told_of_a_reset_that_changes_no_state() {
    let rig = Rig::new(builder());
    let mut watch = rig.handle.watch();
    rig.handle.reset();
    assert!(poll(Box::pin(watch.changed()).as_mut()).is_pending());
}

#[tokio::test(start_paused = true)]
async fn hands_at_a_switch_are_counted_open_beats_closed_and_a_dropped_one_lets_go() {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().observe(diary.observer()));
    let (mut operator, mut deployment) =
        (rig.handle.switch(Position::Auto), rig.handle.switch(Position::Auto));
    operator.set(Position::Closed);
    operator.set(Position::Closed);
    assert_eq!(rig.state(), State::ForcedClosed);
    for _ in 0..100 {
        assert!(!is_rejected(&rig.ask(BAD).await));
    }
    deployment.set(Position::Open);
    assert_eq!(rig.state(), State::ForcedOpen);
    assert!(is_rejected(&rig.ask(GOOD).await));
    operator.set(Position::Open);
    drop(deployment);
    assert_eq!(rig.state(), State::ForcedOpen);
    advance(Duration::from_secs(3600)).await;
    assert!(is_rejected(&rig.ask(GOOD).await), "no timer ends it (pitfall B5)");
    operator.set(Position::Closed);
    assert_eq!(rig.state(), State::ForcedClosed);
    drop(operator);
    assert_eq!(rig.state(), State::Closed);
    for _ in 0..16 {
        let _ = rig.ask(BAD).await;
    }
    assert_eq!(rig.state(), State::Closed, "it starts without evidence");

    let states: Vec<_> = diary.changes().iter().map(|change| change.to).collect();
    let path = [State::ForcedClosed, State::ForcedOpen, State::ForcedClosed, State::Closed];
    assert_eq!(states, path, "and not a step more");
}

#[tokio::test(start_paused = true)]
async fn a_hand_that_moves_from_open_to_closed_never_lets_go_in_between() {
    let diary = Diary::default();
    let rig = Rig::new(builder().observe(diary.observer()));
    let mut hand = rig.handle.switch(Position::Auto);
    for position in [Position::Open, Position::Closed, Position::Open, Position::Auto] {
        hand.set(position);
        assert_eq!(hand.position(), position);
    }
    assert!(diary.changes()[..3].iter().all(|change| change.to != State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_reset_closes_and_forgets_but_does_not_let_go() {
    let mut rig = Rig::new(builder());
    rig.trip().await;
    rig.handle.reset();
    assert_eq!(rig.state(), State::Closed);
    assert_eq!(rig.handle.snapshot().last_trip, None);
    rig.ask(GOOD).await.unwrap();
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open);
    rig.handle.reset();
    assert_eq!(rig.state(), State::ForcedOpen);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_nothing_is_rejected_and_what_would_be_is_reported() {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().shadow(true).observe(diary.observer()));
    rig.trip().await;
    for nth in 1..=100 {
        let answer = rig.ask(if nth % 2 == 0 { GOOD } else { BAD }).await;
        assert_eq!(answer.is_ok(), nth % 2 == 0, "the dependency's own answer");
        assert_eq!(rig.state(), State::Open, "shadow calls decide nothing");
    }
    assert_eq!(diary.count(EventKind::ShadowRejected), 100);
    assert_eq!(diary.count(EventKind::Rejected { reason: Reason::CircuitOpen }), 0);
    assert_eq!(rig.seen.calls(), 117);

    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open);
    rig.ask(GOOD).await.unwrap();
    hand.set(Position::Auto);

    rig.trip().await;
    rig.recover().await;
    assert_eq!(rig.state(), State::Closed, "probes are probes, in shadow too");
    rig.reload(|config| config.shadow = false);
    rig.trip().await;
    assert!(is_rejected(&rig.ask(GOOD).await));
}

#[tokio::test(start_paused = true)]
async fn drained_it_rejects_all_and_returns_when_the_last_call_is_over() {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().observe(diary.observer()));
    let call = rig.launch(Ask::After(Duration::from_secs(5), Answer::Success));
    assert_eq!(rig.layer.in_flight(), 1);
    let layer = rig.layer.clone();
    let mut drained = Box::pin(async move { layer.drain().await });
    assert!(poll(drained.as_mut()).is_pending());
    for _ in 0..10 {
        let rejected = rig.ask(GOOD).await;
        assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
    }
    assert_eq!(rig.seen.calls(), 1);
    assert_eq!(diary.count(EventKind::Rejected { reason: Reason::Draining }), 10);
    assert_eq!(diary.count(EventKind::Abandoned), 0, "nobody gave up a call");
    call.await.unwrap();
    assert!(poll(drained.as_mut()).is_ready());
    assert_eq!(rig.layer.in_flight(), 0);
}
