//! The ends of time and of counting.

use super::*;
use crate::circuit_breaker::{Abandonment, Span, Trip, TripRule};

use proptest::prelude::*;

/// A deterministic walk that tries every input at every state it meets.
fn wander(
    lab: &mut Lab,
    seed: u64,
    steps: usize,
    mut time: impl FnMut(u64, &mut fastrand::Rng) -> u64,
) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut passes: Vec<Pass> = Vec::new();
    for _ in 0..steps {
        lab.now = Tick(time(lab.now.0, &mut rng));
        lab.draw = rng.u64(..);
        match rng.u8(0..20) {
            0..8 => passes.extend(lab.try_admit()),
            8..14 if !passes.is_empty() => {
                let pass = passes.swap_remove(rng.usize(..passes.len()));
                let signal = rng.choice([
                    Signal::Success,
                    Signal::Failure,
                    Signal::Failure,
                    Signal::Pushback,
                    Signal::Ignored,
                ]);
                let took = rng.bool().then(|| rng.u64(..));
                let retry_after = rng.bool().then(|| rng.u64(..));
                let sample =
                    Sample { signal: signal.unwrap_or(Signal::Failure), took, retry_after };
                let _ = lab.step(Input::CallGuard { pass, sample });
            }
            14..16 if !passes.is_empty() => {
                let mut pass = passes.swap_remove(rng.usize(..passes.len()));
                pass.pending = rng.bool();
                let _ =
                    lab.step(Input::Abandon { pass, waited: Some(rng.u64(..)), usual: lab.usual });
            }
            16 if !passes.is_empty() => {
                let pass = &mut passes[0];
                pass.overdue = true;
                let pass = *pass;
                let _ = lab.step(Input::Overdue { pass });
            }
            17 => {
                let _ = lab.step(Input::Configure);
            }
            18 if rng.u8(0..10) == 0 => {
                let orders = [
                    Command::Reset,
                    Command::HoldOpen,
                    Command::ReleaseOpen,
                    Command::HoldClosed,
                    Command::ReleaseClosed,
                ];
                lab.command(orders[rng.usize(..orders.len())]);
            }
            _ => {
                let _ = lab.machine.gathered(&lab.params, lab.now);
            }
        }
    }
}

/// Lets go of every hold, and shows that at the end of time good answers close it.
fn finds_its_way_out(lab: &mut Lab) {
    for _ in 0..1_000 {
        lab.command(Command::ReleaseOpen);
        lab.command(Command::ReleaseClosed);
    }
    lab.now = Tick::NEVER; // so that no rest, of whatever length, holds it up
    for _ in 0..20_000 {
        if lab.state() == State::Closed {
            return;
        }
        let _ = lab.call(Signal::Success);
    }
    panic!("stuck: {lab:?}");
}

fn any_config() -> impl Strategy<Value = Config> {
    let duration = || {
        prop_oneof![
            Just(Duration::from_nanos(1)),
            Just(Duration::from_millis(50)),
            Just(Duration::MAX),
            (1_u64..).prop_map(Duration::from_nanos),
        ]
    };
    let span = prop_oneof![
        (1_u32..300).prop_map(Span::Calls),
        Just(Span::Time(Duration::MAX)),
        Just(Span::Time(Duration::from_millis(1))),
    ];
    let rule = prop_oneof![
        Just(TripRule::Evidence { tolerated: 0.000_001, broken: 0.999_999, odds: u64::MAX }),
        Just(TripRule::Evidence { tolerated: 0.3, broken: 0.7, odds: 1_000_000 }),
        Just(TripRule::Evidence { tolerated: 0.499_999, broken: 0.5, odds: 2 }),
        prop_oneof![Just(1), Just(5), Just(u32::MAX)]
            .prop_map(|failures| TripRule::Consecutive { failures }),
        (span.clone(), 0.000_001..1.0_f64).prop_map(|(over, rate)| TripRule::FailureRate {
            rate,
            over,
            at_least: None
        }),
        (span, 0.000_001..1.0_f64).prop_map(|(over, rate)| TripRule::SlowRate {
            rate,
            threshold: Duration::from_secs(1),
            over,
            at_least: None,
        }),
    ];
    let small = || prop_oneof![Just(1_u32), Just(10_000), 1_u32..20];
    (
        prop::collection::vec(rule, 1..4),
        (duration(), duration(), duration(), duration()),
        (small(), small(), small()),
        (duration(), duration(), any::<bool>()),
        prop_oneof![
            Just(Abandonment::Silence),
            Just(Abandonment::Ignore),
            Just(Abandonment::Failure),
            Just(Abandonment::After(Duration::MAX)),
        ],
    )
        .prop_map(
            |(
                rules,
                (a, b, evidence_ttl, max_retry_after),
                (probes, close_threshold, reopen_threshold),
                more,
                abandonment,
            )| {
                Config {
                    trip: Trip { rules, misplaced: Vec::new() },
                    evidence_ttl,
                    abandonment,
                    break_duration: a.min(b),
                    max_break_duration: a.max(b),
                    max_retry_after,
                    probes,
                    close_threshold,
                    reopen_threshold,
                    ramp: more.0,
                    slow_start: more.1,
                    shadow: more.2,
                    ..Config::default()
                }
            },
        )
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn every_state_has_a_way_out_under_any_config(config in any_config(), seed in any::<u64>()) {
        let mut lab = Lab::new(&config);
        wander(&mut lab, seed, 500, |now, rng| now.saturating_add(rng.u64(0..SECOND)));
        finds_its_way_out(&mut lab);
    }

    // time running backwards, standing still, and leaping to its end; nothing panics or overflows
    #[test]
    fn time_may_do_what_it_likes(config in any_config(), seed in any::<u64>()) {
        let mut lab = Lab::new(&config);
        wander(&mut lab, seed, 500, |now, rng| match rng.u8(0..10) {
            0 => now.saturating_sub(rng.u64(..)),
            1 => rng.u64(..),
            2 => u64::MAX,
            3 => 0,
            4 => now,
            _ => now.saturating_add(rng.u64(0..SECOND)),
        });
        finds_its_way_out(&mut lab);
    }
}

#[test]
fn a_clock_that_runs_backwards_neither_opens_nor_closes_nor_probes() {
    let mut lab = Lab::with(|_| ());
    lab.now = Tick(10 * SECOND);
    lab.calls(Signal::Failure, 16);
    lab.now = Tick(SECOND);
    let _ = lab.call(Signal::Failure);
    assert_eq!(lab.state(), State::Open);
    let until = lab.machine.probes_at().unwrap();
    lab.now = Tick::ZERO;
    assert!(lab.try_admit().is_none());
    lab.now = until;
    lab.admit();
    lab.now = Tick::ZERO;
    assert!(lab.try_admit().is_none());
}

// pitfall B7
#[test]
fn a_gap_of_a_year_in_one_step_ends_every_rest_and_every_ramp() {
    let mut lab = Lab::with(|config| {
        config.trip = Trip::failure_rate(0.5).over_time(Duration::from_secs(10));
    });
    lab.calls(Signal::Failure, 9);
    lab.wait(YEAR);
    assert_eq!(lab.trip(), 10, "the window is empty after a year");
    lab.wait(YEAR);
    lab.admit();
    assert_eq!(lab.state(), State::HalfOpen);
    lab.wait(YEAR);
    let _ = lab.call(Signal::Success);
    lab.calls(Signal::Success, 6);
    assert_eq!(lab.state(), State::Closed);
    lab.wait(YEAR);
    for _ in 0..1_000 {
        lab.admit();
    }
}

#[test]
fn the_longest_rest_ends_at_the_end_of_time() {
    let mut lab = Lab::with(|config| {
        (config.break_duration, config.max_break_duration) = (Duration::MAX, Duration::MAX);
    });
    lab.now = Tick(u64::MAX - 5);
    lab.trip();
    assert!(lab.try_admit().is_none());
    lab.now = Tick::NEVER;
    lab.admit();
}
