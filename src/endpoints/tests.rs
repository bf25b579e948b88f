//! The outlier detection, tested without a runtime.

use proptest::prelude::*;

use super::config::Config;
use super::machine::{Cause, Effect, Outliers, Params, Seen};
use crate::core::time::Tick;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const STEP: u64 = 250 * MS;

fn params() -> Params {
    Config::default().params()
}

/// Members, of which each is told what comes in a step.
struct Fleet {
    machine: Outliers,
    params: Params,
    seen: Vec<Seen>,
    now: Tick,
}

impl Fleet {
    fn new(count: u64, params: Params) -> Self {
        let seen = (0..count).map(|id| Seen { id, ..Seen::default() }).collect();
        let mut fleet = Self { machine: Outliers::default(), params, seen, now: Tick(SECOND) };
        assert_eq!(fleet.step(0), []);
        fleet
    }

    /// What a step does, after so long; what was counted in a row is forgotten where the shell forgets it.
    fn step(&mut self, passed: u64) -> Vec<Effect> {
        self.now = self.now.plus(passed);
        let effects =
            self.machine.step(&self.params, self.now, 7, self.seen.iter().copied()).to_vec();
        for effect in &effects {
            if let Effect::Ejected { nth, .. } | Effect::Returned(nth) | Effect::Recalled(nth, _) =
                *effect
            {
                let seen = &mut self.seen[nth];
                (seen.consecutive, seen.latency, seen.samples) = (0, 0, 0);
            }
        }
        effects
    }

    fn calls(&mut self, nth: usize, successes: u64, failures: u64) {
        let seen = &mut self.seen[nth];
        seen.successes += successes;
        seen.failures += failures;
        seen.consecutive = if successes > 0 { 0 } else { seen.consecutive + failures as u32 };
    }

    fn takes(&mut self, nth: usize, latency: u64) {
        (self.seen[nth].latency, self.seen[nth].samples) = (latency, 100);
    }
}

fn ejected(effects: &[Effect]) -> Vec<(usize, Cause)> {
    let ejected = effects.iter().filter_map(|effect| match effect {
        Effect::Ejected { nth, cause, .. } => Some((*nth, *cause)),
        _ => None,
    });
    ejected.collect()
}

#[test]
fn failures_in_a_row_eject_from_two_members_on() {
    for count in 1..=20 {
        let mut fleet = Fleet::new(count, params());
        fleet.calls(0, 0, 4);
        assert_eq!(fleet.step(STEP), [], "four of five");
        fleet.calls(0, 0, 1);
        let expected: &[_] = if count == 1 { &[] } else { &[(0, Cause::Consecutive)] };
        assert_eq!(ejected(&fleet.step(STEP)), expected, "of {count}");
    }
}

/// One bad member, of as few as there can be: by its share of failures, with successes in between.
#[test]
fn a_share_of_failures_is_compared_with_that_of_the_peers() {
    for count in 2..=5 {
        let mut fleet = Fleet::new(count, params());
        for nth in 0..count as usize {
            fleet.calls(nth, 60, if nth == 1 { 30 } else { 1 });
        }
        assert_eq!(ejected(&fleet.step(1)), [(1, Cause::Outlier)], "of {count}");
        let mut fleet = Fleet::new(count, params());
        for nth in 0..count as usize {
            fleet.calls(nth, 60, 30); // all the same: it is the dependency
        }
        assert_eq!(fleet.step(1), [], "of {count}");
    }
}

#[test]
fn where_all_fail_nobody_is_an_outlier() {
    let mut fleet = Fleet::new(4, params());
    for _ in 0..20 {
        (0..4).for_each(|nth| fleet.calls(nth, 0, 30));
        let after = fleet.step(STEP);
        assert_eq!(ejected(&after), [], "{after:?}");
    }
}

#[test]
fn few_calls_say_nothing_of_shares() {
    let mut fleet = Fleet::new(4, params());
    (1..4).for_each(|nth| fleet.calls(nth, 100, 0));
    fleet.calls(0, 12, 7);
    assert_eq!(fleet.step(1), []);
    fleet.calls(0, 1, 0);
    assert_eq!(ejected(&fleet.step(1)), [(0, Cause::Outlier)]);
}

#[test]
fn latency_is_compared_with_the_median_of_the_peers() {
    for count in 2..=5_u64 {
        let mut fleet = Fleet::new(count, params());
        (0..count as usize).for_each(|nth| fleet.takes(nth, 50 * MS));
        fleet.takes(0, 149 * MS);
        assert_eq!(fleet.step(STEP), []);
        fleet.takes(0, 150 * MS);
        assert_eq!(ejected(&fleet.step(STEP)), [(0, Cause::Latency)], "of {count}");
    }
    let mut fleet = Fleet::new(3, params());
    (0..3).for_each(|nth| fleet.takes(nth, 10_000));
    fleet.takes(0, 900_000);
    assert_eq!(fleet.step(STEP), [], "less than a millisecond is noise");
}

/// An ejection lasts longer each time, and a good time makes up for it.
#[test]
fn ejections_grow_and_decay() {
    let mut fleet = Fleet::new(4, params());
    for times in 1..=40 {
        fleet.calls(0, 0, 5);
        let effects = fleet.step(1);
        assert!(
            matches!(effects[..], [Effect::Ejected { nth: 0, times: told, .. }] if told == times)
        );
        let lasts = (SECOND * u64::from(times)).min(30 * SECOND);
        assert_eq!(fleet.step(lasts - 1), [], "the {times}th time");
        assert_eq!(fleet.step(lasts / 10 + 1), [Effect::Returned(0)]);
    }
    fleet.step(38 * SECOND); // a good time
    fleet.calls(0, 0, 5);
    assert!(matches!(fleet.step(1)[..], [Effect::Ejected { times: 3, .. }]));
}

#[test]
fn whoever_is_still_bad_does_not_return() {
    let mut fleet = Fleet::new(4, params());
    fleet.calls(0, 0, 5);
    assert_eq!(ejected(&fleet.step(1)), [(0, Cause::Consecutive)]);
    fleet.calls(0, 0, 1); // a probe
    assert_eq!(ejected(&fleet.step(2 * SECOND)), [(0, Cause::StillBad)]);
    fleet.calls(0, 0, 1);
    fleet.calls(0, 1, 0); // the last one is good
    assert_eq!(fleet.step(3 * SECOND), [Effect::Returned(0)]);

    (0..4).for_each(|nth| fleet.takes(nth, 10 * MS));
    fleet.takes(0, 90 * MS);
    assert_eq!(ejected(&fleet.step(1)), [(0, Cause::Latency)]);
    fleet.takes(0, 80 * MS);
    assert_eq!(ejected(&fleet.step(4 * SECOND)), [(0, Cause::StillBad)]);
    fleet.takes(0, 20 * MS);
    assert_eq!(fleet.step(5 * SECOND), [Effect::Returned(0)]);
}

/// A probe that hangs is no good one: it is waited for, as long again, for an old call may hang for ever.
#[test]
fn whoever_is_asked_and_has_not_answered_returns_later() {
    let mut fleet = Fleet::new(4, params());
    fleet.calls(0, 0, 5);
    assert_eq!(ejected(&fleet.step(1)), [(0, Cause::Consecutive)]);
    fleet.seen[0].in_flight = 1;
    assert_eq!(fleet.step(3 * SECOND / 2), []);
    fleet.calls(0, 1, 0);
    assert_eq!(fleet.step(1), [Effect::Returned(0)]);
    fleet.calls(0, 0, 5);
    fleet.step(1);
    assert_eq!(fleet.step(3 * SECOND), []);
    assert_eq!(fleet.step(3 * SECOND), [Effect::Returned(0)]);
}

/// One answer of a peer is no latency to be compared with.
#[test]
fn a_peer_that_is_hardly_known_is_no_measure_of_latency() {
    let mut fleet = Fleet::new(2, params());
    fleet.takes(0, 90 * MS);
    fleet.takes(1, 10 * MS);
    fleet.seen[1].samples = 1;
    assert_eq!(fleet.step(STEP), []);
    fleet.seen[1].samples = 10;
    assert_eq!(ejected(&fleet.step(STEP)), [(0, Cause::Latency)]);
}

/// Members come and go between steps, and what is known stays with each.
#[test]
fn who_stays_is_known_and_who_comes_is_new() {
    let mut fleet = Fleet::new(4, params());
    fleet.calls(2, 0, 5);
    assert_eq!(ejected(&fleet.step(1)), [(2, Cause::Consecutive)]);
    let new = Seen { id: 9, ..Seen::default() };
    fleet.seen.remove(0);
    fleet.seen.insert(2, new); // 1, 2 (ejected), 9, 3
    assert_eq!(fleet.step(1), [Effect::Joined(2)]);
    assert_eq!(fleet.machine.ejected(), 1);
    assert_eq!(fleet.step(2 * SECOND), [Effect::Returned(1)]);
}

/// pitfall B22: when members leave, fewer may be ejected.
#[test]
fn the_ejected_return_when_too_few_others_are_left() {
    let mut fleet = Fleet::new(4, params());
    fleet.calls(0, 0, 5);
    fleet.calls(1, 0, 6);
    assert_eq!(ejected(&fleet.step(1)).len(), 2);
    fleet.seen.truncate(2);
    assert_eq!(fleet.step(1).len(), 1, "one of two may be");
    fleet.seen.truncate(1);
    fleet.step(1);
    assert_eq!(fleet.machine.ejected(), 0);
}

#[test]
fn panic_is_when_too_few_are_left() {
    let mut params = Params { max_ejected_ppm: 1_000_000, ..params() };
    let mut fleet = Fleet::new(4, params);
    for nth in 0..4 {
        assert!(fleet.machine.panic(&params).is_none() || nth > 2, "{nth}");
        fleet.calls(nth, 0, 5);
        fleet.step(1);
    }
    assert!(fleet.machine.panic(&params).is_some());
    params.panic_ppm = 0;
    assert!(fleet.machine.panic(&params).is_none());
}

#[derive(Debug, Clone)]
enum Did {
    Calls { nth: usize, successes: u64, failures: u64 },
    Takes { nth: usize, latency: u64 },
    Passes(u64),
    Leaves(usize),
    Joins,
}

fn did() -> impl Strategy<Value = Did> {
    prop_oneof![
        4 => (0..20_usize, 0..50_u64, 0..50_u64)
            .prop_map(|(nth, successes, failures)| Did::Calls { nth, successes, failures }),
        2 => (0..20_usize, 1..500_u64).prop_map(|(nth, latency)| Did::Takes { nth, latency: latency * MS }),
        2 => (0..3 * SECOND).prop_map(Did::Passes),
        1 => (0..20_usize).prop_map(Did::Leaves),
        1 => Just(Did::Joins),
    ]
}

proptest! {
    /// pitfall B22: whatever happens, no more are ejected than the share, rounded down; an ejection lasts as long as it
    /// may; who returns had its time, or gives way to the bound.
    #[test]
    fn the_bounds_hold(
        count in 1_u64..=20,
        share in 0_u32..=1_000_000,
        all in prop::collection::vec(did(), 0..60),
    ) {
        let params = Params { max_ejected_ppm: share, ..params() };
        let (mut fleet, mut next) = (Fleet::new(count, params), count);
        for did in all {
            let len = fleet.seen.len();
            let mut passed = 1;
            match did {
                Did::Calls { nth, successes, failures } => fleet.calls(nth % len, successes, failures),
                Did::Takes { nth, latency } => fleet.takes(nth % len, latency),
                Did::Passes(time) => passed = time,
                Did::Leaves(nth) if len > 1 => drop(fleet.seen.remove(nth % len)),
                Did::Leaves(_) => {}
                Did::Joins => {
                    fleet.seen.push(Seen { id: next, ..Seen::default() });
                    next += 1;
                }
            }
            fleet.step(passed);
            let most = fleet.seen.len() as u64 * u64::from(share) / 1_000_000;
            prop_assert!(fleet.machine.ejected() as u64 <= most);
        }
        // Left alone, all return.
        let good = |fleet: &mut Fleet| (0..fleet.seen.len()).for_each(|nth| {
            fleet.calls(nth, 1, 0);
            fleet.takes(nth, MS);
        });
        for _ in 0..3 {
            good(&mut fleet);
            fleet.step(40 * SECOND);
        }
        prop_assert_eq!(fleet.machine.ejected(), 0);
    }

    /// Time that goes backwards, or far ahead, harms nothing.
    #[test]
    fn any_time_will_do(times in prop::collection::vec(any::<u64>(), 1..20)) {
        let mut fleet = Fleet::new(3, params());
        for time in times {
            fleet.now = Tick(time);
            fleet.calls(0, 0, 5);
            fleet.step(0);
            prop_assert!(fleet.machine.ejected() <= 1);
        }
    }
}
