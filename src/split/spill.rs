//! The budget of reads that go to the primary because no replica is fresh enough: without one they would drown its writes.

use crate::core::sync::atomic::{AtomicU64, Ordering};
use crate::shell::budget::balance::{Balance, Terms};

/// What one such read costs, in thousandths of a token.
const PRICE: u32 = 1_000;
/// How many of them come in a burst at most.
const BURST: u32 = 10;
/// How many of them are paid for each second, however few queries there are.
const FLOOR: u32 = 10;

/// A share of the queries, and a few each second.
#[derive(Debug)]
pub(super) struct Spill {
    terms: Terms,
    word: AtomicU64,
}

impl Spill {
    /// So many of 100 queries.
    pub(super) fn percent(percent: u32) -> Self {
        let (cap, floor) = if percent == 0 { (0, 0) } else { (BURST, FLOOR) };
        let terms = Terms {
            cap: cap * PRICE,
            deposit: percent * PRICE / 100,
            floor_per_second: floor * PRICE,
        };
        Self { terms, word: AtomicU64::new(Balance::full(&terms).pack()) }
    }

    /// A query came.
    #[inline]
    pub(super) fn earn(&self) {
        if !Balance::unpack(self.word.load(Ordering::Relaxed)).is_full(self.terms.cap) {
            self.update(|balance| Some(balance.with(&self.terms, self.terms.deposit)));
        }
    }

    /// Whether the primary may take one.
    pub(super) fn pay(&self, now: u64) -> bool {
        self.update(|balance| balance.without(&self.terms, now / 1_000_000, PRICE))
    }

    /// For how many it pays now.
    pub(super) fn left(&self, now: u64) -> f64 {
        let balance = Balance::unpack(self.word.load(Ordering::Relaxed));
        f64::from(balance.topped_up(&self.terms, now / 1_000_000).milli()) / f64::from(PRICE)
    }

    #[cold]
    fn update(&self, step: impl Fn(Balance) -> Option<Balance>) -> bool {
        let step = |word| step(Balance::unpack(word)).map(Balance::pack);
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// Plays queries, spills and waiting; `true` if at some moment more was spilled than the budget says.
    fn overruns(steps: &[(u8, u32)], pay: impl Fn(&Spill, u64) -> bool) -> bool {
        let spill = Spill::percent(20);
        let (mut now, mut queries, mut spilled) = (0, 0_u64, 0_u64);
        steps.iter().any(|(kind, count)| {
            for _ in 0..*count {
                match kind {
                    0 => {
                        spill.earn();
                        queries += 1;
                    }
                    1 => spilled += u64::from(pay(&spill, now)),
                    _ => now += SECOND / 1_000,
                }
            }
            let most = u64::from(BURST) * 1_000
                + queries * 200
                + now / (SECOND / 1_000) * u64::from(FLOOR);
            spilled * 1_000 > most
        })
    }

    proptest! {
        // pitfall B63: R3, at every instant
        #[test]
        fn never_more_is_spilled_than_the_budget_says(
            steps in prop::collection::vec((0_u8..3, 0_u32..200), 0..60)
        ) {
            prop_assert!(!overruns(&steps, Spill::pay));
        }
    }

    #[test]
    fn without_a_budget_it_would_be() {
        assert!(overruns(&[(0, 100), (1, 100)], |_, _| true));
        let forgets_to_take = |spill: &Spill, now| spill.left(now) >= 1.0;
        assert!(overruns(&[(0, 100), (1, 100)], forgets_to_take));
    }

    #[test]
    fn none_is_none_and_a_burst_is_ten() {
        let none = Spill::percent(0);
        none.earn();
        assert!(!none.pay(u64::MAX));
        let spill = Spill::percent(20);
        assert!((0..10).all(|_| spill.pay(0)) && !spill.pay(0));
        assert!((0..10).all(|_| spill.pay(SECOND)) && !spill.pay(SECOND));
    }
}
