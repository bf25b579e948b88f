//! The figures that the guide and `docs/` promise, measured on the machine.

use super::*;
use crate::circuit_breaker::Trip;
use crate::{Measurement, Signal::Failure, Signal::Success};

/// The median over `runs` of the calls it takes to open, when calls fail in this ratio.
fn median_to_trip(trip: &Trip, healthy: usize, ratio: f64, runs: u64) -> usize {
    let mut lab = Lab::with(|config| config.trip = trip.clone());
    lab.calls(Success, healthy);
    let mut counts: Vec<_> = (0..runs).map(|seed| calls_to_trip(&lab, ratio, seed)).collect();
    counts.sort_unstable();
    counts[counts.len() / 2]
}

fn calls_to_trip(lab: &Lab, ratio: f64, seed: u64) -> usize {
    let mut lab = lab.clone();
    let mut rng = fastrand::Rng::with_seed(seed);
    for nth in 1.. {
        let _ = lab.call(if rng.f64() < ratio { Failure } else { Success });
        if lab.state() == State::Open {
            return nth;
        }
    }
    unreachable!("the loop has no end")
}

fn mean_to_trip(trip: &Trip, ratio: f64, runs: u64) -> f64 {
    let lab = Lab::with(|config| config.trip = trip.clone());
    let total: usize = (0..runs).map(|seed| calls_to_trip(&lab, ratio, seed)).sum();
    total as f64 / runs as f64
}

#[test]
fn calls_until_the_trip_after_a_thousand_healthy_ones() {
    let half = Trip::failure_rate(0.5).at_least(100);
    let tenth = Trip::failure_rate(0.1).at_least(100);
    let in_a_row = Trip::consecutive(5);
    #[rustfmt::skip]
    let table = [
        // rule, all fail, 80 %, 60 %, cold and all fail
        ("evidence", Trip::default(), [17_usize, 27, 68, 17]),
        ("half of 100", half, [50, 62, 83, 100]),
        ("a tenth of 100", tenth, [10, 12, 16, 100]),
        ("5 in a row", in_a_row, [5, 8, 24, 5]),
    ];
    for (name, trip, expected) in table {
        let runs = [(1_000, 1.0, 1), (1_000, 0.8, 1_001), (1_000, 0.6, 1_001), (0, 1.0, 1)];
        for ((healthy, ratio, runs), expected) in runs.into_iter().zip(expected) {
            let seen = median_to_trip(&trip, healthy, ratio, runs);
            // All-fail columns are exact; a median of a thousand is within a tenth of the true one.
            let slack = if runs == 1 { 0 } else { expected.div_ceil(10) };
            let range = expected - slack..=expected + slack;
            assert!(range.contains(&seen), "{name} at {ratio}: {seen} instead of {expected}");
        }
    }
}

/// The mean number of calls until a false trip, exactly: every failure takes the machine one rung up
/// and every success one down, and that is all there is to it.
fn mean_calls_to_a_false_trip(ratio: f64) -> f64 {
    // E(k) = 1 + p·E(k+1) + q·E(max(k−1, 0)), E(rungs) = 0, solved from the bottom: E(k) = E(k+1) + d(k)
    // with d(0) = 1/p and d(k) = (1 + q·d(k−1))/p.
    let (p, q) = (ratio, 1.0 - ratio);
    let mut difference = 1.0 / p;
    let mut mean = difference;
    for _ in 1..rungs() {
        difference = (1.0 + q * difference) / p;
        mean += difference;
    }
    mean
}

/// How many rungs the default rule has, after checking on the machine that it climbs them one by one.
fn rungs() -> usize {
    let mut lab = Lab::with(|_| ());
    let mut heights = vec![height(&mut lab)];
    while lab.state() == State::Closed {
        let mut down = lab.clone();
        let _ = down.call(Success);
        let below = heights[heights.len().saturating_sub(2)];
        assert!(height(&mut down).abs_diff(below) <= 1, "a success takes what a failure gave");
        let _ = lab.call(Failure);
        heights.push(height(&mut lab));
    }
    heights.len() - 1
}

fn height(lab: &mut Lab) -> u32 {
    match lab.machine.gathered(&lab.params, lab.now) {
        Measurement::Evidence { observed, .. } => observed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_until_a_false_trip() {
    for (ratio, promised) in [(0.30, 7.9e6), (0.35, 2.7e5), (0.40, 1.5e4), (0.50, 306.0)] {
        let exact = mean_calls_to_a_false_trip(ratio);
        assert!((exact / promised - 1.0).abs() < 0.05, "{exact} instead of {promised} at {ratio}");
    }
    // The machine agrees with the chain where trips are frequent enough to be waited for.
    for (ratio, runs) in [(0.5, 2_000), (0.4, 60)] {
        let (seen, exact) =
            (mean_to_trip(&Trip::default(), ratio, runs), mean_calls_to_a_false_trip(ratio));
        assert!((0.7..1.4).contains(&(seen / exact)), "{seen} instead of {exact} at {ratio}");
    }
}

#[test]
fn classic_rules_trip_falsely_far_sooner() {
    let in_a_row = mean_to_trip(&Trip::consecutive(5), 0.3, 1_000);
    assert!((500.0..700.0).contains(&in_a_row), "{in_a_row}");
    let tenth = mean_to_trip(&Trip::failure_rate(0.1).at_least(100), 0.1, 1_000);
    assert!((100.0..170.0).contains(&tenth), "{tenth}");
    let mut half = Lab::with(|config| config.trip = Trip::failure_rate(0.5).at_least(100));
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..100_000 {
        let _ = half.call(if rng.f64() < 0.3 { Failure } else { Success });
    }
    assert_eq!(half.state(), State::Closed);
}

#[test]
fn half_open_it_closes_as_often_as_wald_says() {
    let mut half_open = Lab::with(|_| ());
    half_open.trip();
    half_open.break_duration();
    for (ratio, promised) in [(0.0, 1.0), (0.1, 0.90), (0.3, 0.65), (0.7, 0.002), (1.0, 0.0)] {
        let mut rng = fastrand::Rng::with_seed(11);
        let runs = 20_000;
        let closed = (0..runs)
            .filter(|_| {
                let mut lab = half_open.clone();
                loop {
                    let _ = lab.call(if rng.f64() < ratio { Failure } else { Success });
                    match lab.state() {
                        State::HalfOpen => {}
                        state => return state == State::Closed,
                    }
                }
            })
            .count();
        let seen = closed as f64 / f64::from(runs);
        assert!((seen - promised).abs() < 0.01, "{seen} instead of {promised} at {ratio}");
        if ratio == 0.7 {
            assert!((0.001..0.003).contains(&seen), "{seen}");
        }
    }
}

#[test]
fn a_breaker_is_small() {
    let lab = Lab::with(|config| config.trip = Trip::default().or(Trip::failure_rate(0.5)));
    let windows = 2 * size_of::<super::super::rules::RuleState>() + 128_usize.div_ceil(64) * 8;
    let whole = size_of_val(&lab.machine) + windows;
    assert!(whole <= 288, "{whole} bytes, ring of 100 calls included");
}
