//! Drawing members by their weights.

/// Places of members, each as often as it weighs, evenly spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Draw(Box<[u32]>);

impl Draw {
    /// Of `(place, weight)`.
    pub(super) fn new(members: &[(u32, u32)]) -> Self {
        let common = members.iter().fold(0, |common, (_, weight)| gcd(common, *weight)).max(1);
        // The k-th turn of a member that weighs w is due at (2k + 1) / 2w of a round.
        let mut turns: Vec<(u64, u32)> = Vec::new();
        for (place, weight) in members {
            let weight = u64::from(weight / common);
            turns.extend((0..weight).map(|nth| (((2 * nth + 1) << 32) / (2 * weight), *place)));
        }
        turns.sort_unstable();
        Self(turns.into_iter().map(|(_, place)| place).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn places(&self) -> &[u32] {
        &self.0
    }

    /// The place that a random number draws.
    #[inline]
    pub(super) fn pick(&self, random: u32) -> usize {
        self.0.get(at(random, self.0.len())).map_or(0, |place| *place as usize)
    }

    /// Two places that a random number draws: not the same, unless one weighs more than half.
    #[inline]
    pub(super) fn pick_two(&self, random: u64) -> (usize, usize) {
        let len = self.0.len() as u64;
        let one = ((random >> 32) * len) >> 32;
        let further = (((random & 0xffff_ffff) * len.saturating_sub(1)) >> 32) + 1;
        let other = if one + further < len { one + further } else { one + further - len };
        let place = |at: u64| self.0.get(at as usize).map_or(0, |place| *place as usize);
        (place(one), place(other))
    }

    /// The place whose turn it is.
    #[inline]
    pub(super) fn turn(&self, nth: u64) -> usize {
        let at = nth.checked_rem(self.0.len() as u64).unwrap_or(0);
        self.0.get(at as usize).map_or(0, |place| *place as usize)
    }
}

/// Which of so many a random number draws.
#[inline]
pub(super) fn at(random: u32, count: usize) -> usize {
    ((u64::from(random) * count as u64) >> 32) as usize
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_weights_take_no_room() {
        assert_eq!(Draw::new(&[(0, 7), (1, 7), (2, 7)]).0.len(), 3);
        assert!(Draw::new(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn each_is_drawn_as_often_as_it_weighs(weights in prop::collection::vec(1_u32..=100, 1..20)) {
            let members: Vec<_> = (0..).zip(weights.iter().copied()).collect();
            let draw = Draw::new(&members);
            let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let mut counts = vec![0_u64; weights.len()];
            (0..all).for_each(|nth| counts[draw.turn(nth)] += 1);
            for (count, weight) in counts.iter().zip(&weights) {
                prop_assert_eq!(*count, u64::from(*weight));
            }
            prop_assert!(draw.pick(0) < weights.len() && draw.pick(u32::MAX) < weights.len());
        }

        #[test]
        fn two_that_are_drawn_are_two(count in 2_u32..50, random in any::<u64>()) {
            let draw = Draw::new(&(0..count).map(|place| (place, 1)).collect::<Vec<_>>());
            let (one, other) = draw.pick_two(random);
            prop_assert!(one != other && one.max(other) < count as usize);
        }

        /// Nobody gets all of its turns at once.
        #[test]
        fn turns_are_spread(heavy in 2_u32..50) {
            let draw = Draw::new(&[(0, heavy), (1, heavy)]);
            prop_assert_eq!(&*draw.0, [0, 1]);
            let uneven = Draw::new(&[(0, 2 * heavy), (1, 1), (2, 1)]);
            let firsts: Vec<_> = uneven.0.iter().take(heavy as usize / 2).collect();
            prop_assert!(firsts.iter().filter(|place| ***place != 0).count() <= 2);
        }
    }
}
