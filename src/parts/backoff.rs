//! How long to wait between attempts. Jitter comes after the cap, so that it never vanishes there
//! and never exceeds it (pitfall B13).

use crate::parts::spread;

/// What the waits are made from, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Curve {
    pub(crate) base: u64,
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
}

impl Curve {
    /// The `nth` wait without jitter, counted from 1: `base × factor^(nth−1)`, at most the cap.
    pub(crate) fn step(&self, nth: u32) -> u64 {
        let growth = u64::from(self.factor).saturating_pow(nth.saturating_sub(1));
        self.base.saturating_mul(growth).min(self.cap)
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
            Shape::Decorrelated => {
                let base = self.base.min(self.cap);
                let most = last.max(base).saturating_mul(3);
                (base + spread(most - base, draw)).min(self.cap)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000_000_000;

    fn curves() -> impl Strategy<Value = Curve> {
        let shapes =
            prop::sample::select(vec![Shape::None, Shape::Full, Shape::Equal, Shape::Decorrelated]);
        let cap = prop_oneof![Just(u64::MAX), 0..DAY];
        (1..DAY, 1_u32..=10, cap, shapes).prop_map(|(base, factor, cap, shape)| Curve {
            base,
            factor,
            cap,
            shape,
        })
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
                Shape::Decorrelated => {
                    prop_assert!(wait <= curve.cap && wait >= curve.base.min(curve.cap));
                }
            }
        }
    }

    // pitfall B13: jitter must not vanish at the cap
    #[test]
    fn at_the_cap_the_jitter_still_spreads() {
        for shape in [Shape::Full, Shape::Equal, Shape::Decorrelated] {
            let curve = Curve { base: 100, factor: 2, cap: 1_000, shape };
            let waits: Vec<_> =
                (0..100).map(|n| curve.wait(50, 400, n * (u64::MAX / 100))).collect();
            let (min, max) = (waits.iter().min(), waits.iter().max());
            assert!(max > min && max <= Some(&1_000), "{shape:?}: {waits:?}");
        }
    }
}
