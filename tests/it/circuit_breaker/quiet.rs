//! Coming back while few call, and being let go of by a hand.

use super::kit::*;

use std::time::Duration;

use seawall::circuit_breaker::{Builder, Position, State};
use seawall::{Error, EventKind, Measurement, Reason};
use tokio::time::advance;

/// Calls at once, and says how many of them were let through.
fn burst(rig: &mut Rig, calls: usize) -> usize {
    let before = rig.seen.calls();
    let calls: Vec<_> = (0..calls).map(|_| rig.launch(Ask::Hang)).collect();
    let passed = rig.seen.calls() - before;
    drop(calls);
    passed
}

// field S5
#[tokio::test(start_paused = true)]
async fn a_first_burst_after_a_quiet_time_passes_if_the_last_probe_was_well() {
    for idle in [1, 2, 20, 3_600] {
        for good in 1..=7 {
            let mut rig = Rig::new(builder());
            rig.trip().await;
            rig.break_duration().await;
            for _ in 0..good {
                rig.ask(GOOD).await.unwrap();
            }
            advance(Duration::from_secs(idle)).await;
            assert_eq!(burst(&mut rig, 30), 30, "after {idle} s, {good} good probes");
            assert_eq!(rig.state(), State::Closed);
        }
    }
}

// field S5
#[tokio::test(start_paused = true)]
async fn one_good_probe_closes_after_half_a_rest_without_a_bad_one() {
    for (break_duration, closes_after) in [(50, 25), (400, 200), (10_000, 1_000)] {
        let break_duration = Duration::from_millis(break_duration);
        let mut rig =
            Rig::new(builder().break_duration(break_duration).max_break_duration(break_duration));
        rig.trip().await;
        rig.break_duration().await;
        rig.ask(GOOD).await.unwrap();
        advance(Duration::from_millis(closes_after - 1)).await;
        let early = rig.launch(Ask::Hang);
        assert_eq!(rig.state(), State::HalfOpen, "rest {break_duration:?}");
        advance(Duration::from_millis(1)).await;
        let _later = rig.launch(Ask::Hang);
        assert_eq!(rig.state(), State::HalfOpen, "one is out that may yet fail");
        drop(early);
        advance(Duration::from_millis(1)).await;
        rig.ask(GOOD).await.unwrap();
    }
}

// field S5: a dependency that answers one probe, and hangs on the next, has not recovered
#[tokio::test(start_paused = true)]
async fn time_alone_closes_nothing_while_a_probe_hangs() {
    let mut rig = Rig::new(builder());
    rig.trip().await;
    rig.break_duration().await;
    rig.ask(GOOD).await.unwrap();
    let hanging = rig.launch(Ask::Hang);
    for _ in 0..20 {
        advance(Duration::from_millis(10)).await;
        drop(rig.launch(Ask::Hang));
        assert_eq!(rig.state(), State::HalfOpen);
    }
    drop(hanging);
    assert_eq!(rig.state(), State::Closed);
}

// field S5
#[tokio::test(start_paused = true)]
async fn bad_answers_begin_the_time_anew_and_a_lead_of_them_is_not_forgiven_by_it() {
    let mut rig = Rig::new(builder());
    rig.trip().await;
    rig.break_duration().await;
    for answer in [GOOD, GOOD, BAD] {
        let _ = rig.ask(answer).await;
    }
    advance(Duration::from_millis(24)).await;
    rig.ask(GOOD).await.unwrap();
    assert_eq!(rig.state(), State::HalfOpen, "24 ms after the bad one");
    for answer in [BAD, BAD] {
        let _ = rig.ask(answer).await;
    }
    advance(Duration::from_secs(20)).await;
    assert_eq!(burst(&mut rig, 30), 1, "failures lead");
}

fn cold(builder: Builder<ByFault>) -> Rig {
    Rig::new(builder.slow_start(Duration::from_secs(60)))
}

// field F9
#[tokio::test(start_paused = true)]
async fn released_after_an_hour_the_load_comes_back_gently() {
    for how in 0..4 {
        let mut rig = cold(builder());
        match how {
            0 => {
                let mut hand = rig.handle.switch(Position::Auto);
                hand.set(Position::Open);
                advance(Duration::from_secs(3_600)).await;
                hand.set(Position::Auto);
            }
            1 => {
                let first = {
                    let mut hand = rig.handle.switch(Position::Auto);
                    hand.set(Position::Open);
                    hand
                };
                let mut last = rig.handle.switch(Position::Auto);
                last.set(Position::Open);
                advance(Duration::from_secs(3_600)).await;
                drop(first);
                drop(last);
            }
            2 => {
                rig.trip().await;
                rig.handle.reset();
            }
            _ => {
                rig.trip().await;
                rig.break_duration().await;
                drop(rig.launch(GOOD));
                rig.handle.reset();
                rig.handle.reset(); // a second does not undo it
            }
        }
        assert_eq!(rig.state(), State::Closed);
        let passed = burst(&mut rig, 1_000);
        assert!((1..=130).contains(&passed), "{passed} of 1,000 on a cold dependency, way {how}");
        advance(Duration::from_secs(60)).await;
        assert_eq!(burst(&mut rig, 1_000), 1_000, "and all of it is back in the end, way {how}");
    }
}

// field F9: without a slow start there is still the ramp, as large as that after probes
#[tokio::test(start_paused = true)]
async fn a_hand_begins_the_ramp_that_good_probes_begin() {
    let mut probed = Rig::new(builder());
    probed.trip().await;
    probed.recover().await;
    let by_probes = burst(&mut probed, 1_000);
    assert!(by_probes < 1_000);

    let mut rig = Rig::new(builder());
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open);
    hand.set(Position::Auto);
    assert_eq!(burst(&mut rig, 1_000), by_probes);
    rig.trip().await;
    rig.handle.reset();
    assert_eq!(burst(&mut rig, 1_000), by_probes);
}

// field F9: held closed, calls pass; let go of, a dependency that was kept away just before is cold
#[tokio::test(start_paused = true)]
async fn a_hand_that_moves_from_open_over_closed_to_nowhere_leaves_the_rest_of_the_ramp() {
    for (held, all_pass) in [(0, false), (59, false), (60, true)] {
        let mut rig = cold(builder());
        let mut hand = rig.handle.switch(Position::Auto);
        hand.set(Position::Open);
        advance(Duration::from_secs(3_600)).await;
        hand.set(Position::Closed);
        assert_eq!(burst(&mut rig, 1_000), 1_000, "held closed, every call passes");
        advance(Duration::from_secs(held)).await;
        hand.set(Position::Auto);
        assert_eq!(burst(&mut rig, 1_000) == 1_000, all_pass, "held closed for {held} s");
    }
    let mut rig = cold(builder());
    advance(Duration::from_secs(3_600)).await;
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Closed);
    drop(hand);
    assert_eq!(burst(&mut rig, 1_000), 1_000, "nothing was ever kept away");
}

// field F12
#[tokio::test(start_paused = true)]
async fn rejections_of_the_ramp_have_a_reason_and_numbers_of_their_own() {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().observe(diary.observer()));
    rig.trip().await;
    rig.recover().await;
    assert_eq!(rig.state(), State::Closed);
    let mut calls: Vec<_> = (0..300).map(|_| rig.launch(Ask::Hang)).collect();
    let Some(Err(Error::Rejected(why))) = calls.pop().map(|mut call| match poll(call.as_mut()) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("let through"),
    }) else {
        panic!("not rejected");
    };
    assert_eq!(why.reason(), Reason::Recovering);
    let numbers = Measurement::Recovering { in_flight: 128, limit: 128, share: 1_000_000 };
    assert_eq!(why.measurement(), numbers);
    assert!(why.retry_after().is_some());
    let text =
        "circuit_breaker `dep`: is recovering (128 of 128 calls at a time), try again in 50ms";
    assert_eq!(why.to_string(), text);
    assert_eq!(rig.handle.snapshot().recovering, Some(numbers));
    assert_eq!(diary.count(EventKind::Rejected { reason: Reason::Recovering }), 172);
    assert_eq!(diary.count(EventKind::Rejected { reason: Reason::CircuitOpen }), 0);
    drop(calls);
    advance(Duration::from_secs(1)).await;
    assert_eq!(rig.handle.snapshot().recovering, None);
}

// field F12
#[tokio::test(start_paused = true)]
async fn a_slow_start_tells_its_share() {
    let mut rig = cold(builder());
    rig.trip().await;
    rig.recover().await;
    advance(Duration::from_secs(45)).await;
    let told = rig.handle.snapshot().recovering.unwrap();
    assert_eq!(told.to_string(), "50 % of calls let through");
}

// field F15
#[tokio::test(start_paused = true)]
async fn it_closes_at_exactly_so_many_good_probes_and_opens_at_so_many_bad_ones() {
    for n in 1..=8 {
        let mut rig = Rig::new(builder().close_threshold(n).reopen_threshold(n));
        rig.trip().await;
        rig.break_duration().await;
        for _ in 1..n {
            rig.ask(GOOD).await.unwrap();
            assert_eq!(rig.state(), State::HalfOpen);
        }
        rig.ask(GOOD).await.unwrap();
        assert_eq!(rig.state(), State::Closed, "close_threshold({n})");

        let mut rig = Rig::new(builder().close_threshold(100).reopen_threshold(n));
        rig.trip().await;
        rig.break_duration().await;
        rig.ask(GOOD).await.unwrap();
        for _ in 1..n {
            let _ = rig.ask(BAD).await;
            assert_eq!(rig.state(), State::HalfOpen);
        }
        let _ = rig.ask(BAD).await;
        assert_eq!(rig.state(), State::Open, "reopen_threshold({n})");
    }
}
