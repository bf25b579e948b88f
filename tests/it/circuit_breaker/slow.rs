//! Calls that take too long, answered or not.

use super::kit::*;

use std::time::Duration;

use seawall::circuit_breaker::{Builder, State, TransitionCause, Trip};
use seawall::{Error, EventKind, Measurement};
use tokio::time::{advance, sleep};

const SLOW: Duration = Duration::from_millis(100);

fn slow(rate: f64, least: u32) -> Builder<ByFault> {
    builder().trip(Trip::slow_rate(rate, SLOW).at_least(least))
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_hangs_is_found_out_at_the_threshold_though_nothing_returns() {
    let rig = Rig::new(slow(0.5, 10));
    let mut watch = rig.handle.watch();
    for nth in 0..10 {
        let mut rig = rig.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(nth)).await;
            rig.ask(Ask::Hang).await
        });
    }
    let mut took = 0;
    while rig.state() == State::Closed && took < 1_000 {
        sleep(Duration::from_millis(1)).await;
        took += 1;
    }
    assert!((109..=112).contains(&took), "{took} ms: the threshold, and nine calls more");
    assert_eq!(watch.changed().await, State::Open);
    assert_eq!(rig.seen.in_flight(), 10, "not one has returned");
    let trip = rig.handle.snapshot().last_trip.unwrap();
    assert_eq!(trip.cause, TransitionCause::SlowRate);
    assert_eq!(trip.measurement, Measurement::SlowRate { observed: 1_000_000, threshold: 500_000 });
}

// pitfalls B9, B17
#[tokio::test(start_paused = true)]
async fn an_answer_at_the_threshold_is_slow_one_before_is_not_and_neither_is_lost() {
    for (took, opens) in [(99, false), (100, true), (101, true)] {
        let mut rig = Rig::new(slow(1.0, 5));
        for _ in 0..5 {
            rig.ask(Ask::After(Duration::from_millis(took), Answer::Success)).await.unwrap();
        }
        assert_eq!(rig.state() == State::Open, opens, "{took} ms");
    }
}

// pitfall B17: the answer and the timer are there in the same poll
#[tokio::test(start_paused = true)]
async fn a_call_that_grew_slow_before_its_answer_is_counted_once() {
    let mut rig = Rig::new(slow(1.0, 10));
    for _ in 0..9 {
        rig.ask(Ask::After(SLOW, Answer::Success)).await.unwrap();
        rig.ask(Ask::After(2 * SLOW, Answer::Success)).await.unwrap();
        if rig.state() == State::Open {
            break;
        }
        let Measurement::SlowRate { observed, .. } = rig.handle.snapshot().gathered else {
            panic!("no rate");
        };
        assert_eq!(observed, 1_000_000);
    }
    let trip = rig.handle.snapshot().last_trip.unwrap();
    assert_eq!(
        trip.measurement,
        Measurement::SlowRate { observed: 1_000_000, threshold: 1_000_000 }
    );
    assert_eq!(rig.seen.calls(), 10, "ten slow calls, each counted once");
}

#[tokio::test(start_paused = true)]
async fn fast_answers_keep_it_closed_and_failures_are_another_rule() {
    let mut rig = Rig::new(slow(0.5, 10));
    for _ in 0..100 {
        rig.ask(GOOD).await.unwrap();
        let failed = rig.ask(Ask::After(SLOW / 2, Answer::Failure)).await;
        assert!(matches!(failed, Err(Error::Inner(_))));
    }
    assert_eq!(rig.state(), State::Closed);
}

// pitfall B4
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_told_of_though_the_breaker_is_quiet_by_then() {
    let diary = Diary::default();
    let trip = Trip::slow_rate(1.0, SLOW).over_calls(5);
    let mut rig = Rig::new(builder().trip(trip).observe(diary.observer()));
    let old = rig.launch(Ask::After(SLOW / 2, Answer::Success));
    rig.handle.reset();
    for _ in 0..5 {
        rig.ask(GOOD).await.unwrap();
    }
    old.await.unwrap();
    assert_eq!(diary.count(EventKind::Late), 1);
}

// pitfalls B6, B7
#[test]
fn time_that_passes_while_the_clock_stands_still_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let trip = Trip::failure_rate(0.5).over_time(Duration::from_millis(10)).at_least(10);
        let mut rig = Rig::new(builder().trip(trip).evidence_ttl(Duration::from_millis(1)));
        for _ in 0..5 {
            let _ = rig.ask(BAD).await;
        }
        let _slow = rig.launch(Ask::After(Duration::from_millis(1), Answer::Success));
        let before = rig.handle.snapshot();
        std::thread::sleep(Duration::from_millis(30)); // the one place where real time has to pass
        assert_eq!(rig.handle.snapshot(), before);
        rig.trip().await;
        let open = rig.handle.snapshot();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(rig.handle.snapshot(), open, "no rest ends");
        assert!(is_rejected(&rig.ask(GOOD).await));
    });
}

// pitfall B7
#[tokio::test(start_paused = true)]
async fn a_year_in_one_step_empties_windows_and_lets_a_probe_pass() {
    let year = Duration::from_secs(365 * 24 * 3600);
    let trip = Trip::failure_rate(0.5).over_time(Duration::from_secs(10)).or(Trip::default());
    let mut rig = Rig::new(builder().trip(trip));
    for _ in 0..9 {
        let _ = rig.ask(BAD).await;
    }
    advance(year).await;
    let Measurement::FailureRate { observed, .. } = rig.handle.snapshot().gathered else {
        let gathered = rig.handle.snapshot().gathered;
        assert!(matches!(gathered, Measurement::Evidence { .. }), "{gathered:?}");
        for _ in 0..9 {
            let _ = rig.ask(BAD).await;
        }
        assert_eq!(rig.state(), State::Closed, "nine a year ago are no evidence");
        rig.trip().await;
        advance(year).await;
        rig.ask(GOOD).await.unwrap();
        assert_eq!(rig.state(), State::HalfOpen);
        return;
    };
    panic!("the window still holds {observed}");
}
