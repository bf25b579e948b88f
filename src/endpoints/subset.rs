//! Which endpoints of a large fleet a client uses.

use std::cmp::Reverse;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::service::MAX_ENDPOINTS;
use crate::core::config::ConfigError;

/// So many of the endpoints, as the id of the client says: rendezvous hashing.
#[derive(Debug, Clone)]
pub(super) struct Subset {
    size: usize,
    id: Arc<str>,
}

/// FNV-1a (Fowler, Noll, Vo), of 64 bits.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

impl Subset {
    pub(super) const fn new(size: usize, id: Arc<str>) -> Self {
        Self { size, id }
    }

    pub(super) fn check(&self, problems: &mut Vec<ConfigError>) {
        if !(1..=MAX_ENDPOINTS).contains(&self.size) {
            let accepted = format!("1 to {MAX_ENDPOINTS}");
            problems.push(ConfigError::new("subset.size", self.size, accepted));
        }
        if self.id.is_empty() {
            problems.push(ConfigError::new("subset.id", "", "an id that no other client has"));
        }
    }

    /// Of those in the zone as many as the size says, and as many of the others; in their order.
    pub(super) fn of(&self, zone: Option<&str>, all: &[Endpoint]) -> Box<[Endpoint]> {
        let is_near = |one: &&Endpoint| zone.is_none() || one.get_zone() == zone;
        let (near, far): (Vec<_>, Vec<_>) = all.iter().partition(is_near);
        let mut members: Vec<_> = self.best(near).chain(self.best(far)).cloned().collect();
        members.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        members.into()
    }

    fn best<'a>(&self, mut all: Vec<&'a Endpoint>) -> impl Iterator<Item = &'a Endpoint> {
        all.sort_by_cached_key(|one| Reverse(score(&self.id, one.name())));
        all.truncate(self.size);
        all.into_iter()
    }
}

/// How much a client is for an endpoint: the same on every platform and in every version.
fn score(id: &str, name: &str) -> u64 {
    let bytes = id.bytes().chain([0xff]).chain(name.bytes()); // which is in no text
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // Names differ in their last characters, which must reach all bits (SplitMix).
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(count: usize) -> Vec<Endpoint> {
        (0..count).map(|nth| Endpoint::new(format!("10.0.0.{nth}:80"))).collect()
    }

    #[test]
    fn a_subset_is_the_same_everywhere() {
        // Written down when it was made: clients of other versions choose by it too.
        assert_eq!(score("frontend-1", "10.0.0.1:80"), 3_045_078_430_126_487_277);
        assert_ne!(score("a", "bc"), score("ab", "c"));
    }

    #[test]
    fn each_endpoint_is_in_about_as_many_subsets() {
        let all = fleet(100);
        let mut counts = std::collections::BTreeMap::new();
        for client in 0..1_000 {
            let subset = Subset::new(20, format!("frontend-{client}").into()).of(None, &all);
            assert_eq!(subset.len(), 20);
            assert!(subset.is_sorted_by_key(|one| one.name().to_owned()));
            subset.iter().for_each(|one| *counts.entry(one.name().to_owned()).or_insert(0) += 1);
        }
        assert!(counts.values().all(|count| (140..=260).contains(count)), "{counts:?}");
        assert_eq!(counts.len(), 100);
    }

    #[test]
    fn of_a_list_that_changes_by_one_a_subset_changes_by_one() {
        let (all, subset) = (fleet(100), Subset::new(20, "frontend-7".into()));
        let before = subset.of(None, &all);
        for gone in 0..100 {
            let mut less = all.clone();
            let gone = less.remove(gone);
            let after = subset.of(None, &less);
            let new = after.iter().filter(|one| !before.contains(one)).count();
            assert_eq!(new, usize::from(before.contains(&gone)));
        }
    }

    #[test]
    fn a_zone_has_a_subset_of_its_own() {
        let zones = |one: (usize, Endpoint)| {
            one.1.zone(if one.0.is_multiple_of(4) { "here" } else { "there" })
        };
        let all: Vec<_> = fleet(100).into_iter().enumerate().map(zones).collect();
        let members = Subset::new(10, "frontend-7".into()).of(Some("here"), &all);
        assert_eq!(members.iter().filter(|one| one.get_zone() == Some("here")).count(), 10);
        assert_eq!(members.len(), 20);
    }
}
