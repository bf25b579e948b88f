//! Shuffle shards: each key has a few members of all, by a keyed hash, so that hardly any two keys have the same.

use super::siphash::siphash;
use super::slots::{SLOTS, Share, mix};

/// The most members a key can have.
pub(super) const MOST: usize = 16;

/// Which members the keys of each slot have.
#[derive(PartialEq, Eq)]
pub(super) struct Shuffled {
    secret: [u8; 16],
    /// Members of each key.
    each: usize,
    /// So many for each slot, the one that it would have alone first.
    owners: Box<[u16]>,
}

impl Shuffled {
    /// Each slot has the `each` members with the highest scores for it (rendezvous hashing). There are no fewer.
    #[allow(clippy::cast_possible_truncation)] // there are fewer members than slots
    pub(super) fn new(members: &[Share], each: usize, secret: [u8; 16]) -> Self {
        let mut owners = Vec::with_capacity(SLOTS * each);
        // The secret decides who has what: who knows the names of members learns nothing of that.
        let seeds: Vec<_> =
            members.iter().map(|member| siphash(&secret, &member.seed.to_le_bytes())).collect();
        let mut best: Vec<(u64, u16)> = Vec::with_capacity(each + 1);
        for slot in 0..SLOTS {
            let salt = mix(slot as u64);
            best.clear();
            for (at, seed) in seeds.iter().enumerate() {
                let score = mix(seed ^ salt);
                if best.len() < each || best.last().is_some_and(|(worst, _)| score > *worst) {
                    let place = best.partition_point(|(better, _)| *better >= score);
                    best.insert(place, (score, at as u16));
                    best.truncate(each);
                }
            }
            owners.extend(best.iter().map(|(_, at)| at));
        }
        Self { secret, each, owners: owners.into() }
    }

    /// The members that a key has.
    #[inline]
    pub(super) fn owners(&self, key: &[u8]) -> &[u16] {
        let slot = siphash(&self.secret, key) >> (u64::BITS - SLOTS.ilog2());
        let from = usize::try_from(slot).unwrap_or_default() * self.each;
        &self.owners[from..from + self.each]
    }

    /// The first choice of each slot.
    pub(super) fn first(&self) -> Box<[u16]> {
        self.owners.iter().step_by(self.each).copied().collect()
    }

    pub(super) const fn each(&self) -> usize {
        self.each
    }

    /// Equal for maps of one secret.
    pub(super) fn fingerprint(&self) -> u64 {
        siphash(&self.secret, b"fingerprint")
    }
}

/// How likely it is that two keys share exactly 0, 1, … of their `each` members out of `all`: the hypergeometric
/// distribution, and that one in [`SLOTS`] has the very slot of the other.
#[allow(clippy::cast_precision_loss)] // probabilities
pub(super) fn overlap(all: usize, each: usize) -> Vec<f64> {
    // The other draws `each` of `all`: at each draw a member in common or not.
    let mut chance = vec![0.0; each + 1];
    chance[0] = 1.0;
    for drawn in 0..each {
        for common in (0..=drawn).rev() {
            let hit = (each - common) as f64 / (all - drawn) as f64;
            let was = chance[common];
            chance[common + 1] += was * hit;
            chance[common] = was * (1.0 - hit);
        }
    }
    let same_slot = 1.0 / SLOTS as f64;
    for chance in &mut chance {
        *chance *= 1.0 - same_slot;
    }
    chance[each] += same_slot;
    chance
}
