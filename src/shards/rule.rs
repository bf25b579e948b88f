//! Whose a key is: the rule of a map, and who is next where the owner may be passed over.

use std::collections::{BTreeSet, HashMap};

use super::key::Key;
use super::range::Ranges;
use super::region::Regions;
use super::shuffle::Shuffled;
use super::slots::{FINE_SLOTS, Share, Slots, distance};

#[derive(PartialEq, Eq)]
pub(super) enum Rule {
    Hashed { slots: Slots, pinned: HashMap<Box<[u8]>, u16> },
    Ranged(Ranges),
    Geo(Regions),
    Shuffled(Shuffled),
}

impl Rule {
    /// The owner of a key, by its place among the members.
    #[inline]
    pub(super) fn owner(&self, key: &Key<'_>) -> u16 {
        match self {
            Self::Hashed { slots, pinned } if pinned.is_empty() => slots.owner(key.hash()),
            Self::Hashed { slots, pinned } => match pinned.get(key.as_bytes()) {
                Some(owner) => *owner,
                None => slots.owner(key.hash()),
            },
            Self::Ranged(ranges) => ranges.owner(key.as_bytes()),
            Self::Geo(regions) => regions.home(key).slots.owner(key.hash()),
            Self::Shuffled(shuffled) => shuffled.owners(key.as_bytes())[0],
        }
    }

    /// Who takes a key whose owner is passed over: the first, in the order of the key, whom `accepts` takes. Never
    /// somebody whom the rule does not allow.
    pub(super) fn next(
        &self,
        key: &Key<'_>,
        shares: &[Share],
        mut accepts: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let (slot, owner) = (slot_of(key), self.owner(key));
        if accepts(owner) {
            return Some(owner);
        }
        let mut nearest = |among: &mut dyn Iterator<Item = u16>| {
            let mut all: Vec<_> = among
                .filter(|at| *at != owner)
                .map(|at| (distance(&shares[usize::from(at)], slot), at))
                .collect();
            all.sort_unstable();
            all.into_iter().map(|(_, at)| at).find(|at| accepts(*at))
        };
        match self {
            Self::Hashed { .. } => nearest(&mut places(shares.len())),
            // A range is its owner's: nobody else can have what lies in it.
            Self::Ranged(_) => None,
            Self::Geo(regions) => {
                regions.home(key).zones.iter().find_map(|zone| nearest(&mut zone.iter().copied()))
            }
            Self::Shuffled(shuffled) => {
                shuffled.owners(key.as_bytes())[1..].iter().copied().find(|at| accepts(*at))
            }
        }
    }

    /// Whether a member could ever have a key: another is outside of the zones of a resident region, or not one of those of a
    /// shuffled key.
    pub(super) fn allows(&self, key: &Key<'_>, at: u16) -> bool {
        match self {
            Self::Hashed { .. } | Self::Ranged(_) => true,
            Self::Geo(regions) => regions.home(key).zones.iter().any(|zone| zone.contains(&at)),
            Self::Shuffled(shuffled) => shuffled.owners(key.as_bytes()).contains(&at),
        }
    }

    /// The slots of whoever hashes, each with a word that tells what kind of keys it is for.
    fn tables(&self) -> Vec<(String, Slots)> {
        match self {
            Self::Hashed { slots, .. } => vec![(String::new(), slots.clone())],
            Self::Ranged(_) => Vec::new(),
            Self::Geo(regions) => {
                let named = regions.homes().map(|(name, home)| {
                    (
                        name.map_or_else(String::new, |name| format!("={name}")),
                        (*home.slots).clone(),
                    )
                });
                named.collect()
            }
            Self::Shuffled(shuffled) => {
                vec![(shuffled.fingerprint().to_string(), Slots::new(shuffled.first()))]
            }
        }
    }

    /// The share of the keys that another rule gives to somebody else, where `same` tells which places are
    /// one member.
    #[allow(clippy::cast_precision_loss)] // a share
    pub(super) fn moved_to(&self, other: &Self, same: impl Fn(u16, u16) -> bool) -> f64 {
        let (moved, all) = match (self, other) {
            (Self::Ranged(old), Self::Ranged(new)) => {
                let starts: BTreeSet<_> = old.starts().chain(new.starts()).collect();
                let differs = |start: &&&[u8]| !same(old.owner(start), new.owner(start));
                (starts.iter().filter(differs).count(), starts.len())
            }
            _ => {
                let (old, new): (_, HashMap<_, _>) =
                    (self.tables(), other.tables().into_iter().collect());
                let moved = old.iter().map(|(kind, old)| match new.get(kind) {
                    Some(new) => (0..FINE_SLOTS)
                        .map(|at| (at as u64) << (u64::BITS - FINE_SLOTS.ilog2()))
                        .filter(|hash| !same(old.owner(*hash), new.owner(*hash)))
                        .count(),
                    None => FINE_SLOTS,
                });
                (moved.sum(), old.len() * FINE_SLOTS)
            }
        };
        if all == 0 { 1.0 } else { moved as f64 / all as f64 }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Hashed { pinned: _, slots: _ } => "hashed",
            Self::Ranged(_) => "ranged",
            Self::Geo(_) => "geo",
            Self::Shuffled(_) => "shuffled",
        }
    }
}

/// The slot by which members are put in order; the same whatever the rule.
#[allow(clippy::cast_possible_truncation)] // 16 bits
fn slot_of(key: &Key<'_>) -> usize {
    (key.hash() >> (u64::BITS - FINE_SLOTS.ilog2())) as usize
}

#[allow(clippy::cast_possible_truncation)] // there are fewer members than slots
fn places(members: usize) -> impl Iterator<Item = u16> {
    (0..members).map(|at| at as u16)
}
