//! Which member has which slot: by rules in whole numbers, so that every platform agrees.
//!
//! Capped rendezvous.
//! Each slot goes to the member with the highest score for it (rendezvous hashing: Thaler, Ravishankar
//! 1998; weights as in Schindelhauer, Schomaker 2005) among those that have less than
//! [their cap](CAP_PERCENT) of it yet. A member that comes takes slots from all others, one that goes
//! leaves its own to all others, and no slot moves between two members that stay, but for those that the
//! cap spills.

use std::sync::LazyLock;

/// Slots of a map, however many members it has: another number would move every key.
pub(super) const SLOTS: usize = 16_384;
/// Slots of a map that is to be even for a thousand members, and of one by Maglev.
pub(super) const FINE_SLOTS: usize = 65_536;
/// How much a member may have, in percent of its fair share.
const CAP_PERCENT: u64 = 105;

/// How the slots of a map are given to its members. Part of the contract, as hashing is: the same map has the same
/// owners in every release.
///
/// ```
/// use seawall::shards::{Fill, Map};
///
/// let caches = ["cache-0", "cache-1", "cache-2", "cache-3"];
/// let even = Map::filled(1, caches, Fill::Maglev)?;
/// let most = (0..4).map(|nth| even.slots_of(caches[nth])).max();
/// assert_eq!(most, Some(16_384)); // a quarter of 65,536, to the slot
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Fill {
    /// 16,384 slots, each of the member with the highest score that is not full: nobody has more than 1.05 of the fair
    /// share and a slot, and of 100 members a further one moves 1.2 of the fewest keys possible. The default.
    #[default]
    Rendezvous,
    /// The same with 65,536 slots, for more than 500 members: of 1,000 nobody has more than 1.06 of the fair share, where
    /// 16,384 slots come to 1.1. Takes four times as long to make.
    FineRendezvous,
    /// 65,536 slots, which the members pick in turns (Maglev): loads differ by less than 1 %, but a further one
    /// of 100 members moves 1.6 of the fewest keys possible, and of 1,000 several times as many. For caches
    /// and for what is cheap to move.
    Maglev,
}

/// The owner of each slot, by its place among the members.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Slots {
    owners: Box<[u16]>,
    /// A hash falls into the slot of its highest bits.
    shift: u32,
}

impl Slots {
    /// Slots in number a power of two.
    pub(super) const fn new(owners: Box<[u16]>) -> Self {
        let shift = u64::BITS - owners.len().ilog2();
        Self { owners, shift }
    }

    /// The slots that these members have. There is one at least, and no more than slots.
    pub(super) fn filled(members: &[Share], by: Fill) -> Self {
        Self::new(match by {
            Fill::Rendezvous => fill(members, SLOTS),
            Fill::FineRendezvous => fill(members, FINE_SLOTS),
            Fill::Maglev => maglev(members, FINE_SLOTS),
        })
    }

    /// Whose a hash is.
    #[inline]
    pub(super) fn owner(&self, hash: u64) -> u16 {
        self.owners[self.slot_of(hash)]
    }

    /// The slot that a hash falls into: its highest bits.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // 16 bits at most
    pub(super) const fn slot_of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    pub(super) const fn owners(&self) -> &[u16] {
        &self.owners
    }

    pub(super) const fn owners_mut(&mut self) -> &mut [u16] {
        &mut self.owners
    }
}

/// The most a member may weigh.
pub(super) const MAX_WEIGHT: u32 = 100;

/// A member, as far as slots are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// The hash of its name.
    pub(super) seed: u64,
    /// From 1 to 100.
    pub(super) weight: u32,
}

/// The owner of each slot, by its place among `members`. There is one at least, and no more than slots.
#[allow(clippy::cast_possible_truncation)] // there are fewer members than slots
fn fill(members: &[Share], slots: usize) -> Box<[u16]> {
    let all: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let cap = |member: &Share| {
        (slots as u64 * u64::from(member.weight) * CAP_PERCENT).div_ceil(100 * all.max(1))
    };
    let even = members.iter().all(|member| member.weight == members[0].weight);
    // Those who are not full, in order: seed, share, what is left, place.
    let mut open: Vec<_> =
        members.iter().enumerate().map(|(at, one)| (one.seed, one, cap(one), at as u16)).collect();
    let mut owners = vec![0_u16; slots].into_boxed_slice();
    for (slot, owner) in owners.iter_mut().enumerate() {
        let salt = mix(slot as u64);
        let best = if even {
            let (mut best, mut highest) = (0, 0);
            for (nth, (seed, ..)) in open.iter().enumerate() {
                let score = mix(seed ^ salt);
                if score >= highest {
                    (best, highest) = (nth, score);
                }
            }
            Some(best)
        } else {
            let scores = open.iter().enumerate().map(|(nth, one)| (nth, one.1, mix(one.0 ^ salt)));
            let best = scores.min_by(|a, b| {
                let cost = |hash, other: &Share| cost(hash) * u64::from(other.weight);
                (cost(a.2, b.1), b.2).cmp(&(cost(b.2, a.1), a.2))
            });
            best.map(|(nth, ..)| nth)
        };
        if let Some(nth) = best.filter(|nth| *nth < open.len()) {
            *owner = open[nth].3;
            open[nth].2 -= 1;
            if open[nth].2 == 0 {
                open.remove(nth);
            }
        }
    }
    owners
}

/// Maglev (Eisenbud et al. 2016, section 3.4): members take turns, each takes the first slot of a permutation of its own that is
/// still free. Steps are odd, and slots in number a power of two, so that a permutation meets every slot. Who weighs
/// less than the heaviest sits turns out.
#[allow(clippy::cast_possible_truncation)] // there are fewer members than slots
fn maglev(members: &[Share], slots: usize) -> Box<[u16]> {
    const FREE: u16 = u16::MAX; // no place of a member: there are fewer
    let mask = slots as u64 - 1;
    let heaviest = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(1).max(1);
    let mut owners = vec![FREE; slots].into_boxed_slice();
    let mut next: Vec<u64> = members.iter().map(|member| mix(member.seed)).collect();
    let steps: Vec<u64> = members.iter().map(|member| mix(!member.seed) | 1).collect();
    let mut taken = vec![0_u64; members.len()];
    let (mut free, mut turn) = (if members.is_empty() { 0 } else { slots }, 0_u64);
    while free > 0 {
        turn += 1;
        for (at, member) in members.iter().enumerate() {
            if free == 0 || taken[at] * heaviest >= turn * u64::from(member.weight) {
                continue;
            }
            while owners[(next[at] & mask) as usize] != FREE {
                next[at] = next[at].wrapping_add(steps[at]);
            }
            owners[(next[at] & mask) as usize] = at as u16;
            taken[at] += 1;
            free -= 1;
        }
    }
    owners
}

/// How much a member wants a slot that is not its own: where keys go that their owner does not take. The lower,
/// the more.
#[inline]
pub(super) fn distance(member: &Share, slot: usize) -> (u64, u64) {
    let hash = mix(member.seed ^ mix(slot as u64));
    ((cost(hash) << 20) / u64::from(member.weight.max(1)), !hash)
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014).
#[inline]
pub(super) const fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Steps between two powers of two for which the logarithm is known.
const STEPS: usize = 4096;

/// `log2(1 + i / STEPS)` in units of 2⁻³².
static LOG2: LazyLock<Box<[u64]>> = LazyLock::new(|| (0..=STEPS).map(log2_by_squaring).collect());

/// By squaring: each turn gives one more binary digit.
fn log2_by_squaring(step: usize) -> u64 {
    let mut x = (1_u128 << 62) + ((step as u128) << 62) / STEPS as u128; // 1 ≤ x ≤ 2, in units of 2⁻⁶²
    if step == STEPS {
        return 1 << 32;
    }
    let mut digits = 0_u64;
    for _ in 0..32 {
        x = (x * x) >> 62;
        digits <<= 1;
        if x >= 2 << 62 {
            x >>= 1;
            digits |= 1;
        }
    }
    digits
}

/// `-log2(hash / 2⁶⁴)` in units of 2⁻³²: what a member pays for a slot, to be divided by its weight.
fn cost(hash: u64) -> u64 {
    let hash = hash.max(1);
    let whole = hash.ilog2();
    let fraction = (hash << (63 - whole)) << 1; // of 2⁶⁴
    let (step, within) = ((fraction >> 52) as usize, (fraction >> 20) & 0xffff_ffff);
    let (low, high) = (LOG2[step], LOG2[step + 1]);
    let log2 = (u64::from(whole) << 32) + low + (((high - low) * within) >> 32);
    (64 << 32) - log2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(count: u64) -> Vec<Share> {
        (0..count).map(|nth| Share { seed: mix(nth ^ 0xabcd), weight: 1 }).collect()
    }

    fn counts(owners: &[u16], members: usize) -> Vec<usize> {
        let mut counts = vec![0; members];
        for owner in owners {
            counts[usize::from(*owner)] += 1;
        }
        counts
    }

    #[test]
    fn every_slot_has_an_owner_and_nobody_has_more_than_the_cap() {
        for members in [1, 2, 3, 7, 10, 100, 500, 501, 1_000] {
            let owners = fill(&shares(members), SLOTS);
            let counts = counts(&owners, usize::try_from(members).unwrap());
            let fair = owners.len() as u64 / members;
            let most = *counts.iter().max().unwrap() as u64;
            assert!(most * 100 <= (fair + 1) * CAP_PERCENT + 100, "{most} of {fair} for {members}");
            assert_eq!(counts.iter().sum::<usize>(), owners.len());
        }
    }

    #[test]
    fn weights_are_shares() {
        let mut members = shares(4);
        members[0].weight = 3;
        members[3].weight = 100;
        let owners = fill(&members, SLOTS);
        let counts = counts(&owners, 4);
        for (member, count) in members.iter().zip(&counts) {
            let fair = owners.len() as f64 * f64::from(member.weight) / 105.0;
            let off = *count as f64 / fair;
            assert!((0.7..=1.06).contains(&off), "{counts:?}: {off}");
        }
    }

    /// At 100 members a further one takes no more than 1.25 times its share from the others, and hardly
    /// anything moves between two who stay.
    #[test]
    fn few_slots_move_when_a_member_comes_or_goes() {
        let before = shares(100);
        let after = shares(101);
        let (old, new) = (fill(&before, SLOTS), fill(&after, SLOTS));
        let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        let ideal = old.len() as f64 / 101.0;
        assert!(moved as f64 <= 1.25 * ideal, "{moved} where {ideal} would do");
        let between = old.iter().zip(&new).filter(|(old, new)| old != new && **new != 100).count();
        assert!(between as f64 <= 0.25 * ideal, "{between} moved between two who stayed");
    }

    fn unevenness(owners: &[u16], members: usize) -> f64 {
        let most = *counts(owners, members).iter().max().unwrap();
        (most * members) as f64 / owners.len() as f64
    }

    fn moves(old: &[u16], new: &[u16], members: usize) -> f64 {
        let moved = old.iter().zip(new).filter(|(old, new)| old != new).count();
        moved as f64 / (old.len() as f64 / members as f64)
    }

    fn assert_fill(members: u64, by: Fill, even: f64, still: f64) {
        let count = usize::try_from(members).unwrap();
        let old = Slots::filled(&shares(members), by);
        let new = Slots::filled(&shares(members + 1), by);
        let (even_is, moved) =
            (unevenness(&old.owners, count), moves(&old.owners, &new.owners, count + 1));
        println!("{members} by {by:?}: {even_is:.3} of the mean, {moved:.2} of the ideal");
        assert!(even_is <= even && moved <= still, "{by:?} of {members}: {even_is}, {moved}");
    }

    // What the documentation of each fill says of it.
    #[test]
    fn fills_are_as_even_and_as_stable_as_they_say() {
        assert_fill(100, Fill::Rendezvous, 1.06, 1.25);
        assert_fill(100, Fill::FineRendezvous, 1.06, 1.25);
        assert_fill(100, Fill::Maglev, 1.01, 1.75);
    }

    #[test]
    #[ignore = "long without optimization: run it with --release"]
    fn fills_of_a_thousand_are_as_even_and_as_stable_as_they_say() {
        assert_fill(1_000, Fill::Rendezvous, 1.11, 1.5);
        assert_fill(1_000, Fill::FineRendezvous, 1.06, 1.5);
        assert_fill(1_000, Fill::Maglev, 1.02, 8.0);
    }

    /// Not a test of correctness: how long it takes to make a map of 100.
    #[test]
    #[ignore = "a measurement: run it with --release --nocapture"]
    fn how_long_a_map_of_a_hundred_takes() {
        for by in [Fill::Rendezvous, Fill::FineRendezvous, Fill::Maglev] {
            let took = (0..20).map(|_| {
                let began = crate::core::time::now();
                assert_eq!(Slots::filled(&shares(100), by).owners.len() % 2, 0);
                began.elapsed()
            });
            println!("{by:?}: {:?}", took.min());
        }
    }

    #[test]
    fn turns_are_by_weight_and_meet_every_slot() {
        for members in [1, 2, 7, 300] {
            let mut members = shares(members);
            members[0].weight = 50;
            let owners = maglev(&members, FINE_SLOTS);
            let all: u32 = members.iter().map(|member| member.weight).sum();
            let counts = counts(&owners, members.len());
            let fair = FINE_SLOTS as f64 * 50.0 / f64::from(all);
            assert!((counts[0] as f64 - fair).abs() <= 51.0, "{} of {fair}", counts[0]);
        }
    }

    #[test]
    fn equal_weights_are_as_no_weights() {
        let mut members = shares(10);
        let plain = fill(&members, SLOTS);
        for member in &mut members {
            member.weight = 7;
        }
        assert_eq!(fill(&members, SLOTS), plain);
        members.push(Share { seed: 1, weight: 1 });
        let with_one_more = fill(&members, SLOTS); // by logarithms: the order among the others is the same
        let moved = plain.iter().zip(&with_one_more).filter(|(old, new)| old != new && **new != 10);
        assert!(moved.count() < plain.len() / 20);
    }

    #[test]
    fn logarithms_are_right_and_fall() {
        for hash in [1, 2, 3, 1 << 20, u64::MAX / 3, u64::MAX - 1, u64::MAX] {
            let right = 64.0 - (hash as f64).log2();
            let ours = cost(hash) as f64 / (1_u64 << 32) as f64;
            assert!((ours - right).abs() < 1e-6, "{hash}: {ours}, {right}");
        }
        let mut last = u64::MAX;
        for step in 0..100_000_u64 {
            let now = cost(step * (u64::MAX / 100_000));
            assert!(now <= last, "{step}");
            last = now;
        }
    }
}
