//! Maps: whose a key is, and what is no map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seawall::shards::{Key, KeyRange, Map, Member, Region};

use super::{hashed, names};

/// Written down once, and true for ever: two releases that disagree lose data.
// pitfall B57
#[test]
fn who_owns_what_is_the_same_in_every_release() {
    let map = hashed(1, 10);
    let owner = |key: Key<'_>| map.owner(key).name().to_owned();
    let text = ["", "a", "acme", "0123456789abcdefghi", "täglich"].map(|it| owner(it.into()));
    assert_eq!(text, GOLDEN_TEXT);
    let long = [130, 200, 1_000].map(|length| owner(Key::from(&vec![b'x'; length])));
    assert_eq!(long, GOLDEN_LONG); // XXH3 has a way of its own for each of these lengths
    let numbers = [0_u64, 1, 7, u64::MAX].map(|it| owner(it.into()));
    assert_eq!(numbers, GOLDEN_NUMBERS);
    let weighted = names(3).into_iter().zip([1, 2, 5]);
    let weighted = weighted.map(|(name, weight)| Member::new(name).weight(weight));
    let weighted = Map::hashed(1, weighted).unwrap();
    let owners =
        ["k0", "k2", "k3", "k5", "k7", "k15"].map(|it| weighted.owner(it).name().to_owned());
    assert_eq!(owners, GOLDEN_WEIGHTED);
}

// By a second implementation, in Python, from the sentences in `src/shards/slots.rs`.
const GOLDEN_LONG: [&str; 3] = ["shard-4", "shard-8", "shard-2"];
const GOLDEN_TEXT: [&str; 5] = ["shard-9", "shard-5", "shard-6", "shard-8", "shard-5"];
const GOLDEN_NUMBERS: [&str; 4] = ["shard-5", "shard-0", "shard-9", "shard-2"];
const GOLDEN_WEIGHTED: [&str; 6] =
    ["shard-2", "shard-0", "shard-0", "shard-1", "shard-1", "shard-1"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_map_is_total_even_and_stable(members in 2_usize..40, gone in any::<prop::sample::Index>()) {
        let (old, all) = (hashed(1, members), names(members));
        let gone = &all[gone.index(members)];
        let left: Vec<_> = all.iter().filter(|name| *name != gone).cloned().collect();
        let new = Map::hashed(2, left).unwrap();
        let (mut counts, mut between) = (BTreeMap::new(), 0);
        for key in 0..4_000_u64 {
            let (was, is) = (old.owner(key).name(), new.owner(key).name());
            *counts.entry(was.to_owned()).or_insert(0_usize) += 1;
            prop_assert_ne!(is, gone);
            between += usize::from(was != gone && was != is);
        }
        let most = counts.values().max().copied().unwrap_or_default() * members;
        prop_assert!(most < 4_000 * 2, "{most} of {members} times the mean"); // few keys are not even
        prop_assert!(between < 4_000 * 5 / 100, "{between} moved between two who stayed");
        let moved = old.moved_to(&new) * members as f64;
        prop_assert!((0.9..1.9).contains(&moved), "{moved} of the share of the one that went");
    }

    #[test]
    fn ranges_are_as_their_bounds_say(mut cuts in prop::collection::btree_set(1_u64..1_000, 1..20), probe in 0_u64..1_100) {
        let last = cuts.pop_last().unwrap();
        let mut ranges = Vec::new();
        let mut from = None;
        for cut in cuts.iter().chain([&last]) {
            ranges.push(match from {
                None => KeyRange::new(..*cut, format!("below-{cut}")),
                Some(from) => KeyRange::new(from..*cut, format!("below-{cut}")),
            });
            from = Some(*cut);
        }
        ranges.push(KeyRange::new(last.., "rest"));
        let map = Map::ranged(1, ranges).unwrap();
        let expected = cuts.iter().chain([&last]).find(|cut| probe < **cut);
        let expected = expected.map_or("rest".to_owned(), |cut| format!("below-{cut}"));
        prop_assert_eq!(map.owner(probe).name(), expected);
    }
}

// pitfall B54
#[test]
fn what_is_wrong_with_a_map_is_told_all_at_once() {
    let wrong = |map: Result<Map, seawall::ConfigErrors>| {
        map.unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        wrong(Map::hashed(0, Vec::<String>::new())),
        ["epoch = 0: 1 or more", "members = 0: 1 to 16384 members"]
    );
    let members = [Member::new(""), Member::new("a").weight(0), Member::new("a").weight(101)];
    assert_eq!(
        wrong(Map::hashed(1, members)),
        [
            r#"members = "": names that are not empty"#,
            r#"members = "a": each name once"#,
            r#"weight = 0: 1 to 100, for member "a""#,
            r#"weight = 101: 1 to 100, for member "a""#,
        ]
    );
    assert_eq!(
        wrong(Map::directory(1, ["a"], [("x", "b"), ("y", "a"), ("y", "a")])),
        [
            r#"pinned = "b": the name of a member, in entry 0"#,
            r#"pinned = "a": each key once, in entry 2"#
        ]
    );
    let many = (0..16_385_u32).map(|nth| nth.to_string());
    assert_eq!(wrong(Map::hashed(1, many)), ["members = 16385: 1 to 16384 members"]);
}

#[test]
fn ranges_with_holes_overlaps_or_loose_ends_are_rejected() {
    let wrong = |ranges: Vec<KeyRange>| {
        let errors = Map::ranged(1, ranges).unwrap_err();
        errors.iter().map(|wrong| wrong.accepted.to_string()).collect::<Vec<_>>()
    };
    let at = |from, to| KeyRange::new::<&str>(from..to, "x");
    assert_eq!(wrong(vec![]), ["1 to 16384 members"]);
    assert_eq!(
        wrong(vec![at("a", "b")]),
        ["the first range begins without a bound", "the last range ends without a bound"]
    );
    let (low, high) = (KeyRange::new(.."m", "low"), KeyRange::new("n".., "high"));
    assert_eq!(wrong(vec![low.clone(), high.clone()]), ["no hole before it"]);
    let overlap = KeyRange::new("l".., "high");
    assert_eq!(wrong(vec![low.clone(), overlap]), ["ranges in order, that do not overlap"]);
    let twice = wrong(vec![high, low]);
    assert!(twice.contains(&"ranges in order, that do not overlap".to_owned()), "{twice:?}");
    let empty = vec![KeyRange::new(.."m", "a"), at("m", "m"), KeyRange::new("m".., "b")];
    assert_eq!(wrong(empty), ["a range that is not empty"]);
    let all = vec![KeyRange::new::<u64>(..=9, "small"), KeyRange::new(10_u64.., "large")];
    let map = Map::ranged(1, all).unwrap();
    assert_eq!((map.owner(9_u64).name(), map.owner(10_u64).name()), ("small", "large"));
}

/// However many members there are, a further one moves its share and no more.
#[test]
fn nothing_special_happens_at_five_hundred_members() {
    let moved = hashed(1, 500).moved_to(&hashed(2, 501)) * 501.0;
    assert!((0.9..2.0).contains(&moved), "{moved} times the share of the new one");
}

#[test]
fn members_that_are_wrong_make_no_regions() {
    let members = [Member::new("a").zone("x").weight(0), Member::new("b").zone("x")];
    let told = Map::geo(1, members, [Region::otherwise(["x"])]).unwrap_err().to_string();
    assert!(told.contains("weight"), "{told}");
}
