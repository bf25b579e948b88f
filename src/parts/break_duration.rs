//! How long to rest before trying again: doubling, capped, with jitter that stays below the cap.

use crate::parts::spread;

/// Doubling steps from `first` to `max`, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ladder {
    pub(crate) first: u64,
    pub(crate) max: u64,
}

impl Ladder {
    /// The `level`-th step, without jitter: `first × 2^level`, at most `max`.
    pub(crate) fn step(self, level: u8) -> u64 {
        let factor = 1_u64.checked_shl(u32::from(level)).unwrap_or(u64::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// The level above `level`, unless the cap is reached.
    pub(crate) fn above(self, level: u8) -> u8 {
        if self.step(level) < self.max { level.saturating_add(1) } else { level }
    }

    /// The `level`-th step with jitter: spread evenly over the upper half of the step.
    pub(crate) fn jittered(self, level: u8, draw: u64) -> u64 {
        let step = self.step(level);
        let half = step / 2;
        (step - half) + spread(half, draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // pitfall B13
        #[test]
        fn a_rest_is_in_the_upper_half_of_its_step(
            first in any::<u64>(), max in any::<u64>(), level in any::<u8>(), draw in any::<u64>(),
        ) {
            let ladder = Ladder { first, max };
            let step = ladder.step(level);
            prop_assert!(step <= max);
            prop_assert!(step <= ladder.step(level.saturating_add(1)));
            let break_duration = ladder.jittered(level, draw);
            prop_assert!(break_duration <= step && break_duration >= step / 2, "{break_duration} of {step}");
        }
    }

    #[test]
    fn it_climbs_until_the_cap_and_no_further() {
        let ladder = Ladder { first: 50, max: 250 };
        let climb = |level: &u8| Some(ladder.above(*level));
        let levels: Vec<_> = std::iter::successors(Some(0), climb).take(6).collect();
        assert_eq!(levels, [0, 1, 2, 3, 3, 3]);
        let steps: Vec<_> = levels.into_iter().map(|level| ladder.step(level)).collect();
        assert_eq!(steps, [50, 100, 200, 250, 250, 250]);
        assert_eq!(Ladder { first: 250, max: 250 }.above(0), 0);
    }

    #[test]
    fn jitter_reaches_both_ends() {
        let ladder = Ladder { first: 100, max: 100 };
        assert_eq!(ladder.jittered(0, 0), 50);
        assert_eq!(ladder.jittered(0, u64::MAX), 100);
    }
}
