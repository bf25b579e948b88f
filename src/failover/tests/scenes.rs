//! What tiers do in outages that somebody has had.

use super::super::machine::{FULL, Mode, PROBE_INTERVAL, Params, Probes, Tiers, choose, order};

const SECOND: u64 = 1_000_000_000;
const PARAMS: Params = Params { up_for: 10 * SECOND, max_up_for: 300 * SECOND, step: SECOND };

/// The share of the first tier after each second, whose health is `health` then; the second is whole.
fn first(health: impl Fn(u64) -> u32, seconds: u64) -> Vec<u32> {
    let mut tiers = Tiers::new(2, 0);
    let share = |second| {
        tiers.step(&PARAMS, second * SECOND, &[health(second), FULL]);
        tiers.shares()[0]
    };
    (0..seconds).map(share).collect()
}

#[test]
fn a_tier_keeps_its_load_while_most_of_it_is_well_and_then_spills_in_proportion() {
    for (health, share) in [(100, 100), (72, 100), (50, 70), (10, 14), (0, 0)] {
        let is = first(|second| if second == 0 { FULL } else { health * FULL / 100 }, 3);
        assert_eq!(is[2], share * FULL / 100, "{health} % healthy");
    }
}

#[test]
fn it_comes_back_after_ten_seconds_from_five_percent_doubling() {
    let is = first(|second| if (1..=5).contains(&second) { 0 } else { FULL }, 30);
    assert_eq!((is[0], is[1]), (FULL, 0), "down at once");
    let back = is.iter().skip(1).position(|share| *share > 0).unwrap() + 1;
    assert_eq!(back, 15, "well for ten seconds since the fifth");
    let returns: Vec<_> = is[back..back + 6].iter().map(|share| share / 10_000).collect();
    assert_eq!(returns, [5, 10, 20, 40, 80, 100]);
}

// pitfall B71
#[test]
fn a_tier_that_flaps_each_second_gets_nothing_and_one_that_flaps_slowly_ever_less_often() {
    let flaps = first(|second| if second % 2 == 1 { 0 } else { FULL }, 600);
    assert!(flaps[1..].iter().all(|share| *share == 0), "each second");
    // Well for a minute, down for a second: it returns after 10 s, 20 s, 40 s, and then not at all.
    let slowly = first(|second| if second % 60 == 1 { 0 } else { FULL }, 1_200);
    let returns: Vec<_> =
        (1..slowly.len()).filter(|second| slowly[second - 1] == 0 && slowly[*second] > 0).collect();
    assert_eq!(returns.len(), 3, "{returns:?}");
}

#[test]
fn quiet_makes_up_for_losses() {
    let mut tiers = Tiers::new(2, 0);
    let mut now = 0;
    for _ in 0..4 {
        now += SECOND;
        tiers.step(&PARAMS, now, &[0, FULL]);
        for _ in 0..200 {
            now += SECOND;
            tiers.step(&PARAMS, now, &[FULL, FULL]);
        }
    }
    assert!(tiers.tiers()[0].losses > 0);
    for _ in 0..3_600 {
        now += SECOND;
        tiers.step(&PARAMS, now, &[FULL, FULL]);
    }
    assert_eq!(tiers.tiers()[0].losses, 0);
}

#[test]
fn if_all_are_down_the_first_takes_all() {
    let mut tiers = Tiers::new(3, 0);
    tiers.step(&PARAMS, 1, &[0, 0, 0]);
    assert_eq!((tiers.shares(), tiers.mode()), (vec![FULL, 0, 0], Mode::Panic));
    tiers.step(&PARAMS, 2, &[0, 0, FULL]);
    let third = (vec![0, 0, FULL], Mode::Spilling);
    assert_eq!(
        (tiers.shares(), tiers.mode()),
        third,
        "nobody else serves, so it takes all at once"
    );
    tiers.step(&PARAMS, 3, &[0, FULL / 2, FULL]);
    assert_eq!(tiers.shares(), [0, 700_000, 300_000], "by health alone");
    tiers.step(&PARAMS, 3 + 12 * SECOND, &[0, 0, FULL]);
    assert_eq!((tiers.shares(), tiers.mode()), third);
}

#[test]
fn a_tier_that_is_down_is_tried_once_a_second_and_with_one_call_in_ten() {
    let mut probes = Probes::new(3);
    let (health, shares) = ([0, FULL, 0], [0, FULL, 0]);
    let mut tried = |now: u64, calls: usize| {
        let tries = (0..calls).filter_map(|_| probes.next(now, &health, &shares));
        tries.collect::<Vec<_>>()
    };
    assert!(tried(5, 100).is_empty(), "they have just gone down");
    assert!(tried(5 + PROBE_INTERVAL - 1, 100).is_empty());
    assert_eq!(tried(5 + PROBE_INTERVAL, 100), [0, 2]);
    assert_eq!(tried(5 + 9 * PROBE_INTERVAL, 10), [0], "not each call is one");
    assert_eq!(tried(5 + 9 * PROBE_INTERVAL, 1), [2]);
    for _ in 0..100 {
        assert_eq!(probes.next(u64::MAX, &[FULL, FULL, FULL], &shares), None, "none is down");
    }
}

#[test]
fn further_attempts_leave_out_tiers_that_are_down_while_there_are_others() {
    assert_eq!(order(&[0, FULL, 0], &[0, FULL, FULL], 1, 1), [2, 1, 0]);
    assert_eq!(order(&[0, FULL, 0], &[0, FULL, FULL], 1, 2), [1, 2, 0]);
    assert_eq!(order(&[FULL, 0, 0], &[FULL; 3], 0, 1), [1, 2, 0]);
    assert_eq!(order(&[0, 0, FULL], &[0, 0, FULL], 2, usize::MAX), [2, 0, 1]);
    assert_eq!(order(&[FULL, 0], &[0, 0], 0, 1), [0, 1]);
}

#[test]
fn draws_meet_tiers_by_their_shares() {
    let shares = [700_000, 0, 300_000];
    assert_eq!([0, 699_999, 700_000, 999_999].map(|draw| choose(&shares, draw)), [0, 0, 2, 2]);
}

/// Time that stands still, runs backwards or leaps does no harm.
#[test]
fn any_time_will_do() {
    let mut tiers = Tiers::new(2, 5 * SECOND);
    for (now, health) in [(9, 0), (3, FULL), (0, FULL), (u64::MAX, FULL), (u64::MAX, 0), (1, FULL)]
    {
        tiers.step(&PARAMS, now, &[health, FULL]);
        assert_eq!(tiers.shares().iter().sum::<u32>(), FULL);
    }
}
