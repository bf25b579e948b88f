//! How long to wait between attempts. Jitter comes after the cap, so that it never vanishes there
//! and never exceeds it (pitfall B13).

use crate::parts::spread;

/// What the waits are made from, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Curve {
    pub(crate) base: u64,
    /// In thousandths.
    pub(crate) factor: u32,
    pub(crate) cap: u64,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    None,
    Full,
    Equal,
    Decorrelated,
    /// So many percent more or less.
    Symmetric(u8),
}

impl Curve {
    /// The `nth` wait without jitter, counted from 1: `base × factor^(nth−1)`, at most the cap.
    pub(crate) fn step(&self, nth: u32) -> u64 {
        let times = nth.saturating_sub(1);
        if self.factor.is_multiple_of(1000) {
            let growth = u64::from(self.factor / 1000).saturating_pow(times);
            return self.base.saturating_mul(growth).min(self.cap);
        }
        let factor = (u128::from(self.factor) << POINT) / 1000;
        let step = u128::from(self.base).saturating_mul(power(factor, times)) >> POINT;
        u64::try_from(step).unwrap_or(u64::MAX).min(self.cap)
    }

    /// The `nth` wait, `last` being the one before it (zero before the first).
    ///
    /// Full, equal and decorrelated jitter after Brooker, "Exponential Backoff and Jitter" (AWS
    /// Architecture Blog, 2015).
    pub(crate) fn wait(&self, nth: u32, last: u64, draw: u64) -> u64 {
        let step = self.step(nth);
        match self.shape {
            Shape::None => step,
            Shape::Full => spread(step, draw),
            Shape::Equal => step - step / 2 + spread(step / 2, draw),
            Shape::Symmetric(percent) => {
                let most = (u128::from(step) * u128::from(percent) / 100) as u64; // percent <= 100
                let shortest = step.saturating_sub(most);
                shortest.saturating_add(spread(most.saturating_mul(2), draw)).min(self.cap)
            }
            Shape::Decorrelated => {
                let base = self.base.min(self.cap);
                let most = last.max(base).saturating_mul(3);
                (base + spread(most - base, draw)).min(self.cap)
            }
        }
    }
}

/// Bits after the point of a fixed-point number.
const POINT: u32 = 32;

/// `factor^times` in fixed point, by squaring, at most `u128::MAX`. The error of some thousand steps is
/// smaller than one step of the smallest factor, 1.001, so it never shrinks; after that it is at its most.
fn power(factor: u128, times: u32) -> u128 {
    let multiply =
        |a: u128, b: u128| a.checked_mul(b).map_or(u128::MAX, |product| product >> POINT);
    let (mut power, mut square, mut left) = (1 << POINT, factor, times);
    while left > 0 {
        if left & 1 == 1 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        left >>= 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000_000_000;

    fn curves() -> impl Strategy<Value = Curve> {
        let shapes = prop::sample::select(vec![
            Shape::None,
            Shape::Full,
            Shape::Equal,
            Shape::Decorrelated,
            Shape::Symmetric(1),
            Shape::Symmetric(20),
            Shape::Symmetric(100),
        ]);
        let cap = prop_oneof![Just(u64::MAX), 0..DAY];
        (
            1..DAY,
            prop_oneof![(1_u32..=10).prop_map(|whole| whole * 1000), 1000_u32..=10_000],
            cap,
            shapes,
        )
            .prop_map(|(base, factor, cap, shape)| Curve { base, factor, cap, shape })
    }

    proptest! {
        // pitfall B13
        #[test]
        fn a_wait_is_within_its_bounds_at_any_attempt(
            curve in curves(), last in any::<u64>(), draw in any::<u64>(),
            nth in prop_oneof![0_u32..100, Just(1_000_000), Just(u32::MAX)],
        ) {
            let step = curve.step(nth);
            prop_assert!(step <= curve.cap);
            prop_assert!(step <= curve.step(nth.saturating_add(1)));
            let wait = curve.wait(nth, last, draw);
            match curve.shape {
                Shape::None => prop_assert_eq!(wait, step),
                Shape::Full => prop_assert!(wait <= step),
                Shape::Equal => prop_assert!(wait <= step && wait >= step / 2),
                Shape::Symmetric(percent) => {
                    let most = (u128::from(step) * u128::from(percent) / 100) as u64;
                    prop_assert!(wait <= curve.cap && wait >= step - most);
                    prop_assert!(wait <= step.saturating_add(most));
                }
                Shape::Decorrelated => {
                    prop_assert!(wait <= curve.cap && wait >= curve.base.min(curve.cap));
                }
            }
        }
    }

    // pitfall B13: jitter must not vanish at the cap
    #[test]
    fn at_the_cap_the_jitter_still_spreads() {
        for shape in [Shape::Full, Shape::Equal, Shape::Decorrelated, Shape::Symmetric(20)] {
            let curve = Curve { base: 100, factor: 2000, cap: 1_000, shape };
            let waits: Vec<_> =
                (0..100).map(|n| curve.wait(50, 400, n * (u64::MAX / 100))).collect();
            let (min, max) = (waits.iter().min(), waits.iter().max());
            assert!(max > min && max <= Some(&1_000), "{shape:?}: {waits:?}");
        }
    }
}
