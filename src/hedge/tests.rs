//! The algorithm of a hedge: all races of up to four attempts, and the percentile.

use super::config::Config;
use super::machine::{Failure, Latencies, Params, Race, Verdict};

const MS: u64 = 1_000_000;

fn params(max_hedges: u32, on_failure: bool) -> Params {
    Params::from_config(&Config { max_hedges, on_failure, ..Config::default() }).expect("valid")
}

/// All that can happen to a race, each way to its end.
fn explore(params: &Params, race: Race, in_flight: u32, ended: &mut u32) {
    assert_eq!(race.begun() <= params.max_hedges, race.has_room(params));
    assert!(race.begun() <= 1 + params.max_hedges);
    if race.has_room(params) {
        let mut slow = race;
        slow.begin_another();
        explore(params, slow, in_flight + 1, ended);
    }
    let failures = [Failure::Final, Failure::Transient, Failure::Rejected];
    for failure in failures.map(Some).into_iter().chain([None]) {
        let mut after = race;
        let left = in_flight - 1;
        match after.result(params, failure) {
            Verdict::End => {
                // pitfall B19: it ends if and only if no attempt can win any more, or none is wanted.
                let wanted = matches!(failure, Some(Failure::Transient | Failure::Rejected));
                assert!(!wanted || left == 0, "{race:?} {failure:?}");
                *ended += 1;
            }
            Verdict::Wait => {
                assert!(left > 0);
                explore(params, after, left, ended);
            }
            Verdict::Next => {
                assert!(left == 0 && params.on_failure && failure == Some(Failure::Transient));
                let mut next = after;
                next.begin_another();
                explore(params, next, 1, ended);
            }
        }
    }
}

#[test]
fn a_call_ends_when_nobody_can_win_any_more_and_not_before() {
    let mut ways = Vec::new();
    for max_hedges in 1..=3 {
        for on_failure in [false, true] {
            let mut ended = 0;
            explore(&params(max_hedges, on_failure), Race::begin(), 1, &mut ended);
            ways.push(ended);
        }
    }
    assert!(ways.iter().all(|&ways| ways > 4), "{ways:?}");
    println!("ways to the end: {ways:?}");
}

#[test]
fn the_percentile_is_that_of_the_last_answers_and_unknown_at_first() {
    let mut latencies = Latencies::new();
    let mut seen = None;
    for nth in 1..=63 {
        assert_eq!(latencies.note(nth * MS, 95), None);
    }
    for nth in 64..=256 {
        seen = latencies.note(nth * MS, 95).or(seen);
    }
    assert_eq!(seen, Some(243 * MS)); // of 1 to 256 ms
    for _ in 0..256 {
        seen = latencies.note(7 * MS, 95).or(seen);
    }
    assert_eq!(seen, Some(7 * MS));
}

#[test]
fn settings_are_accepted_up_to_their_bounds_and_no_further() {
    let accepted = |config: Config| config.validate().is_ok();
    for percentile in [50, 99] {
        assert!(accepted(Config { percentile, ..Config::default() }));
    }
    for percentile in [0, 49, 100] {
        assert!(!accepted(Config { percentile, ..Config::default() }));
    }
    for (max_hedges, is_accepted) in [(0, false), (1, true), (10, true), (11, false)] {
        assert_eq!(accepted(Config { max_hedges, ..Config::default() }), is_accepted);
    }
    let wrong = Config {
        delay: Some(std::time::Duration::ZERO),
        percentile: 7,
        max_hedges: 0,
        ..Config::default()
    };
    assert_eq!(wrong.validate().unwrap_err().iter().count(), 3);
}
