//! Which member has which slot: capped rendezvous, in whole numbers, so that every platform agrees.
//!
//! Each slot goes to the member with the highest score for it (rendezvous hashing: Thaler, Ravishankar
//! 1998; weights as in Schindelhauer, Schomaker 2005) among those that have less than
//! [their cap](CAP_PERCENT) of it yet. A member that comes takes slots from all others, one that goes
//! leaves its own to all others, and no slot moves between two members that stay, but for those that the
//! cap spills.

use std::sync::LazyLock;

/// Slots of a map, however many members it has: another number would move every key.
pub(super) const SLOTS: usize = 16_384;
/// How much a member may have, in percent of its fair share.
const CAP_PERCENT: u64 = 105;

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
pub(super) fn fill(members: &[Share]) -> Box<[u16]> {
    let all: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let cap = |member: &Share| {
        (SLOTS as u64 * u64::from(member.weight) * CAP_PERCENT).div_ceil(100 * all.max(1))
    };
    let mut left: Vec<u64> = members.iter().map(cap).collect();
    let even = members.iter().all(|member| member.weight == members[0].weight);
    let mut owners = vec![0_u16; SLOTS].into_boxed_slice();
    for (slot, owner) in owners.iter_mut().enumerate() {
        let salt = mix(slot as u64);
        let candidates = members.iter().zip(&left).enumerate().filter(|(_, (_, left))| **left > 0);
        let scores = candidates.map(|(at, (member, _))| (at, member, mix(member.seed ^ salt)));
        let best = if even {
            scores.max_by(|a, b| a.2.cmp(&b.2))
        } else {
            scores.min_by(|a, b| {
                let cost = |hash, other: &Share| cost(hash) * u64::from(other.weight);
                (cost(a.2, b.1), b.2).cmp(&(cost(b.2, a.1), a.2))
            })
        };
        if let Some((at, ..)) = best {
            left[at] -= 1;
            *owner = at as u16;
        }
    }
    owners
}

/// The slot that a hash falls into: its highest bits.
#[inline]
#[allow(clippy::cast_possible_truncation)] // 14 bits
pub(super) const fn slot_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SLOTS.ilog2())) as usize
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014).
#[inline]
const fn mix(mut word: u64) -> u64 {
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
            let owners = fill(&shares(members));
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
        let owners = fill(&members);
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
        let (old, new) = (fill(&before), fill(&after));
        let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        let ideal = old.len() as f64 / 101.0;
        assert!(moved as f64 <= 1.25 * ideal, "{moved} where {ideal} would do");
        let between = old.iter().zip(&new).filter(|(old, new)| old != new && **new != 100).count();
        assert!(between as f64 <= 0.25 * ideal, "{between} moved between two who stayed");
    }

    #[test]
    fn equal_weights_are_as_no_weights() {
        let mut members = shares(10);
        let plain = fill(&members);
        for member in &mut members {
            member.weight = 7;
        }
        assert_eq!(fill(&members), plain);
        members.push(Share { seed: 1, weight: 1 });
        let with_one_more = fill(&members); // by logarithms: the order among the others is the same
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
