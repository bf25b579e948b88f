//! Further kinds of maps: by region, shuffled, filled in other ways; and plans that make loads even.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seawall::ConfigErrors;
use seawall::shards::{Fill, Key, Map, Member, Plan, Region, SlotMove};

use super::{hashed, names};

fn wrong(map: Result<Map, ConfigErrors>) -> Vec<String> {
    map.unwrap_err().iter().map(ToString::to_string).collect()
}

// pitfall B57
#[test]
fn who_owns_what_by_other_fills_is_the_same_in_every_release() {
    let owners = |by| {
        let map = Map::filled(1, names(10), by).unwrap();
        ["", "a", "acme", "0123456789abcdefghi", "täglich"]
            .map(|it| map.owner(it).name().to_owned())
    };
    assert_eq!(owners(Fill::Maglev), GOLDEN_MAGLEV);
    assert_eq!(owners(Fill::FineRendezvous), GOLDEN_FINE);
    let shuffled = Map::shuffled(1, names(8), 2, *b"0123456789abcdef").unwrap();
    let owners = ["acme", "bravo"].map(|key| {
        shuffled.owners(key).iter().map(|one| one.name().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(owners, GOLDEN_SHUFFLED);
}

// By a second implementation, in Python, from the sentences in `src/shards/`.
const GOLDEN_MAGLEV: [&str; 5] = ["shard-9", "shard-8", "shard-8", "shard-8", "shard-9"];
const GOLDEN_FINE: [&str; 5] = ["shard-6", "shard-7", "shard-9", "shard-7", "shard-5"];
const GOLDEN_SHUFFLED: [[&str; 2]; 2] = [["shard-3", "shard-5"], ["shard-6", "shard-0"]];

fn unevenness(map: &Map) -> f64 {
    let most = map.members().iter().map(|one| map.slots_of(one.name())).max().unwrap();
    (most * map.members().len()) as f64 / map.slots() as f64
}

// pitfall B40
#[test]
fn a_hundred_shards_are_even_and_one_more_moves_its_share() {
    for (by, even, still) in [
        (Fill::Rendezvous, 1.06, 1.25),
        (Fill::FineRendezvous, 1.06, 1.25),
        (Fill::Maglev, 1.01, 1.75),
    ] {
        let map = |count| Map::filled(1, names(count), by).unwrap();
        let moved = map(100).moved_to(&map(101)) * 101.0;
        assert!(unevenness(&map(100)) <= even, "{by:?}: {}", unevenness(&map(100)));
        assert!((0.9..=still).contains(&moved), "{by:?}: {moved} of the fewest that can move");
    }
}

fn zoned() -> Vec<Member> {
    let all = ["eu-0", "eu-1", "eu-2", "us-0", "us-1", "asia-0"];
    all.iter().map(|name| Member::new(*name).zone(name.split_once('-').unwrap().0)).collect()
}

fn geo(regions: impl IntoIterator<Item = Region>) -> Map {
    Map::geo(1, zoned(), regions).unwrap()
}

// pitfall B58
#[test]
fn keys_are_at_home_in_their_region_and_residents_never_leave_it() {
    let map = geo([
        Region::new("de", ["eu"]).resident(),
        Region::new("uk", ["eu", "us"]),
        Region::new("moon", ["moonbase", "asia"]).resident(),
        Region::otherwise(["us"]),
    ]);
    let mut homes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for nth in 0..200_u64 {
        for region in ["de", "uk", "moon", "fr"] {
            let key = Key::from(nth).in_region(region);
            homes.entry(region).or_default().insert(map.owner(key).name().to_owned());
            // Everything in its zones is down.
            let elsewhere = |zone| move |one: &Member| one.get_zone() != Some(zone);
            let next = |down| map.owner_among(key, elsewhere(down)).map(|one| one.get_zone());
            match region {
                "de" => assert_eq!(next("eu"), None),
                "uk" => assert_eq!(next("eu"), Some(Some("us"))),
                "moon" => assert_eq!(next("asia"), None),
                _ => assert!(matches!(next("us"), Some(Some("eu" | "asia")))),
            }
        }
    }
    let sets: Vec<_> =
        homes.values().map(|all| all.iter().map(|n| &**n).collect::<Vec<_>>()).collect();
    let eu = vec!["eu-0", "eu-1", "eu-2"];
    assert_eq!(sets, [eu.clone(), vec!["us-0", "us-1"], vec!["asia-0"], eu]);
    assert_eq!(map.owner("x").get_zone(), Some("us"));
}

#[test]
fn a_zone_that_is_gone_sends_its_keys_to_the_next() {
    let without_eu = zoned().into_iter().filter(|one| one.get_zone() != Some("eu"));
    let regions = || [Region::new("uk", ["eu", "us"]), Region::otherwise(["asia", "eu"])];
    let map = Map::geo(2, without_eu, regions()).unwrap();
    assert_eq!(map.owner(Key::from("x").in_region("uk")).get_zone(), Some("us"));
    let moved = geo(regions()).moved_to(&map);
    assert!((moved - 0.5).abs() < 1e-9, "one of two regions moved, not {moved}");
}

#[test]
fn what_is_wrong_with_regions_is_told_all_at_once() {
    let homeless = [Member::new("a"), Member::new("b").zone("eu")];
    let regions = [
        Region::new("", ["eu"]),
        Region::new("de", ["eu", "eu"]),
        Region::new("uk", ["mars"]),
        Region::new("uk", ["eu"]),
    ];
    assert_eq!(
        wrong(Map::geo(0, homeless, regions)),
        [
            "epoch = 0: 1 or more",
            r#"members = "a": members with a zone"#,
            r#"regions = ["", "de", "uk", "uk"]: regions, and one `Region::otherwise` for all other keys"#,
            r#"regions = Region("" in ["eu"]): names that are not empty"#,
            r#"regions = Region("de" in ["eu", "eu"]): each zone once"#,
            r#"regions = Region("uk" in ["mars"]): one zone at least that has members"#,
            r#"regions = Region("uk" in ["eu"]): each region once"#,
        ]
    );
}

/// So many pairs of keys.
const PAIRS: u64 = 20_000;
const SECRET: [u8; 16] = *b"not to be known!";

// pitfall B40
#[test]
fn keys_of_shuffle_shards_share_members_as_the_hypergeometric_distribution_says() {
    for (members, each) in [(8, 2), (8, 3), (20, 4), (5, 5), (3, 1)] {
        let map = Map::shuffled(1, names(members), each, SECRET).unwrap();
        let own = |nth: u64| {
            let own: BTreeSet<_> = map.owners(nth).into_iter().map(Member::name).collect();
            assert_eq!(own.len(), each);
            own
        };
        let mut seen = vec![0_u32; each + 1];
        for nth in 0..PAIRS {
            seen[own(2 * nth).intersection(&own(2 * nth + 1)).count()] += 1;
        }
        let says = map.overlap();
        assert!((says.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        for (seen, says) in seen.iter().zip(&says) {
            let is = f64::from(*seen) / PAIRS as f64;
            let deviation = (says * (1.0 - says) / PAIRS as f64).sqrt();
            assert!((is - says).abs() <= 4.5 * deviation + 1e-9, "{members} {each}: {is}, {says}");
        }
    }
    let all = Map::shuffled(1, names(8), 2, SECRET).unwrap().overlap()[2];
    assert!((all - 1.0 / 28.0).abs() < 1e-4, "{all}");
}

#[test]
fn shuffle_shards_stay_when_others_come_and_nobody_else_takes_a_key() {
    let (old, new) = (
        Map::shuffled(1, names(20), 3, SECRET).unwrap(),
        Map::shuffled(2, names(21), 3, SECRET).unwrap(),
    );
    let mut moved = 0;
    for nth in 0..2_000_u64 {
        let own: Vec<_> = old.owners(nth);
        let gone = own.iter().filter(|one| !new.owners(nth).contains(one)).count();
        assert!(gone <= 1, "{gone} of three went for one that came");
        moved += gone;
        assert_eq!(old.owner(nth), own[0]);
        assert_eq!(old.owner_among(nth, |one| one != own[0] && one != own[1]), Some(own[2]));
        assert_eq!(old.owner_among(nth, |one| !own.contains(&one)), None);
    }
    let share = moved as f64 / 2_000.0 * 21.0 / 3.0;
    assert!((0.8..1.2).contains(&share), "{share} times the share of the one that came");
    assert!((old.moved_to(&new) * 21.0 - 1.0).abs() < 0.2);
    let otherwise = Map::shuffled(2, names(20), 3, *b"another 16 bytes").unwrap();
    assert_eq!(old.moved_to(&otherwise), 1.0);
}

#[test]
fn what_is_wrong_with_shuffle_shards_is_told_all_at_once() {
    let members = [Member::new("a"), Member::new("b").weight(2)];
    assert_eq!(
        wrong(Map::shuffled(0, members, 3, SECRET)),
        [
            "epoch = 0: 1 or more",
            "each = 3: 1 to 2 members",
            r#"weight = 2: 1 for shuffle shards, for member "b""#,
        ]
    );
    assert_eq!(wrong(Map::shuffled(1, names(30), 17, SECRET)), ["each = 17: 1 to 16 members"]);
    assert_eq!(wrong(Map::shuffled(1, names(3), 0, SECRET)), ["each = 0: 1 to 3 members"]);
}

/// The loads of the members by a map.
fn loads(map: &Map, loads: &[u64]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (nth, load) in loads.iter().enumerate() {
        let key = key_in(map.slots(), nth);
        *sums.entry(map.owner(key).name().to_owned()).or_default() += load;
    }
    sums
}

/// A number whose hash falls into this slot.
fn key_in(slots: usize, slot: usize) -> u64 {
    use std::sync::OnceLock;
    static KEYS: OnceLock<Vec<u64>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let map = hashed(1, 1);
        let mut keys = vec![None; map.slots()];
        let mut left = map.slots();
        for nth in 0_u64.. {
            let slot = map.slot(nth).unwrap();
            left -= usize::from(keys[slot].replace(nth).is_none());
            if left == 0 {
                break;
            }
        }
        keys.into_iter().flatten().collect()
    });
    assert_eq!(keys.len(), slots);
    keys[slot]
}

fn highest_over_mean(sums: &BTreeMap<String, u64>, members: usize) -> f64 {
    *sums.values().max().unwrap() as f64 * members as f64 / sums.values().sum::<u64>() as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_plan_does_what_it_says_and_moves_no_more_than_it_may(
        members in 2_usize..12,
        heavy in prop::collection::vec((0_usize..16_384, 1_u64..5_000), 0..40),
        most in 1_usize..200,
    ) {
        let map = hashed(1, members);
        let mut loads_are = vec![1; map.slots()];
        for (slot, load) in &heavy {
            loads_are[*slot] += load;
        }
        let plan = map.plan(&loads_are, most).unwrap();
        prop_assert!(plan.moves().len() <= most);
        prop_assert!(plan.after() <= plan.before());
        let next = map.reassigned(2, plan.moves()).unwrap();
        let (before, after) = (loads(&map, &loads_are), loads(&next, &loads_are));
        prop_assert!((highest_over_mean(&before, members) - plan.before()).abs() < 1e-9);
        prop_assert!((highest_over_mean(&after, members) - plan.after()).abs() < 1e-9);
        let moved = map.moved_to(&next) * map.slots() as f64;
        prop_assert!((moved - plan.moves().len() as f64).abs() < 1e-6, "each slot moves once");
    }
}

/// One tenant is a third of the load: it gets a member almost for itself, with few moves.
#[test]
fn a_busy_slot_is_relieved_within_one_percent_of_the_slots() {
    let map = hashed(1, 4);
    let mut loads = vec![10; map.slots()];
    loads[map.slot("acme").unwrap()] = 30_000;
    let plan = map.plan(&loads, None).unwrap();
    assert!(plan.moves().len() <= 163, "{}", plan.moves().len());
    assert!(plan.before() > 1.4 && plan.after() < plan.before() - 0.02, "{plan:?}");
    let even: Plan = map.plan(&vec![0; map.slots()], None).unwrap();
    assert_eq!((even.moves(), even.before()), (&[][..], 1.0));
}

#[test]
fn what_is_wrong_with_a_plan_or_its_moves_is_told_all_at_once() {
    let map = hashed(5, 3);
    let told = |errors: ConfigErrors| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        told(map.plan(&[1, 2], 0).unwrap_err()),
        ["loads = 2: a number for each of 16384 slots", "most_moves = 0: 1 to 16384 slots"]
    );
    let ranged = Map::ranged(1, [seawall::shards::KeyRange::new::<u64>(.., "a")]).unwrap();
    let no_slots = [r#"map = "ranged": a map of slots: hashed, filled or directory"#];
    assert_eq!(told(ranged.plan(&[], None).unwrap_err()), no_slots);
    let slot = map.slot("acme").unwrap();
    let owner = map.owner("acme").name().to_owned();
    let other = if owner == "shard-0" { "shard-1" } else { "shard-0" };
    let one = |slot, from: &str, to: &str| SlotMove { slot, from: from.into(), to: to.into() };
    let moves = [
        one(slot, &owner, other),
        one(slot, &owner, other),
        one(20_000, &owner, other),
        one((slot + 1) % 16_384, "nobody", other),
    ];
    let wrong = told(map.reassigned(5, &moves).unwrap_err());
    assert_eq!(wrong[0], "epoch = 5: later than 5");
    assert_eq!(
        wrong[1],
        format!("moves = slot {slot} from {owner:?} to {other:?}: each slot once")
    );
    assert_eq!(
        wrong[2],
        format!("moves = slot 20000 from {owner:?} to {other:?}: a slot below 16384")
    );
    assert!(wrong[3].contains(r#": a slot of "nobody", not of "shard-"#), "{}", wrong[3]);
}
