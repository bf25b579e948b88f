//! A capped balance of tokens that fills slowly by itself: the arithmetic of a retry budget.
//!
//! The same account in all the libraries that have one (Finagle `RetryBudget`, gRPC retry
//! throttling, AWS SDK standard mode), with two differences: successes pay in, not requests, so that
//! a chain of services that is down does not multiply what the lowest one gets; and a retry that
//! succeeds gets its price back, so that retries that help are not rationed.

/// What an account is governed by, in thousandths of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub(crate) cap: u32,
    /// Paid in for each success.
    pub(crate) deposit: u32,
    /// Comes by itself, each second.
    pub(crate) floor_per_second: u32,
}

/// An account, small enough to be one atomic word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Balance {
    /// Thousandths of a token.
    milli: u32,
    /// Until when the floor has been paid in, in milliseconds.
    paid_ms: u64,
}

impl Balance {
    /// The most an account can hold, in thousandths: what fits beside the time.
    pub(crate) const MOST: u32 = (1 << 24) - 1;

    /// A full account.
    pub(crate) const fn full(terms: &Terms) -> Self {
        Self { milli: terms.cap, paid_ms: 0 }
    }

    pub(crate) const fn pack(self) -> u64 {
        self.paid_ms << 24 | self.milli as u64
    }

    pub(crate) const fn unpack(word: u64) -> Self {
        Self { milli: (word & Self::MOST as u64) as u32, paid_ms: word >> 24 }
    }

    /// Thousandths of a token.
    pub(crate) const fn milli(self) -> u32 {
        self.milli
    }

    pub(crate) const fn is_full(self, cap: u32) -> bool {
        self.milli >= cap
    }

    /// Pays in.
    #[must_use]
    pub(crate) fn with(self, terms: &Terms, more: u32) -> Self {
        Self { milli: self.milli.saturating_add(more).min(terms.cap), ..self }
    }

    /// Takes `price` out, after what has come by itself since the last time. `None`: too little.
    pub(crate) fn without(self, terms: &Terms, now_ms: u64, price: u32) -> Option<Self> {
        let at = self.topped_up(terms, now_ms);
        Some(Self { milli: at.milli.checked_sub(price)?, ..at })
    }

    /// The account with its floor paid in.
    #[must_use]
    pub(crate) fn topped_up(self, terms: &Terms, now_ms: u64) -> Self {
        let waited = now_ms.saturating_sub(self.paid_ms);
        let come = waited.saturating_mul(u64::from(terms.floor_per_second)) / 1000;
        if come == 0 {
            return self; // it adds up; only what is left beside a whole thousandth is lost
        }
        let come = u32::try_from(come).unwrap_or(u32::MAX);
        // The time of the word holds 34 years.
        Self { paid_ms: now_ms.min(u64::MAX >> 24), ..self.with(terms, come) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::explore::{LONG, stories};
    use proptest::prelude::*;

    const TERMS: Terms = Terms { cap: 50_000, deposit: 200, floor_per_second: 1_000 };

    proptest! {
        // pitfall B20: at every instant, against an oracle that counts what was paid in
        #[test]
        fn what_is_taken_was_there(ops in prop::collection::vec((0_u8..3, 0_u64..500), 0..500)) {
            account(ops)?;
        }
    }

    #[test]
    fn what_is_taken_was_there_however_long_the_story() {
        for ops in stories(8, prop::collection::vec((0_u8..3, 0_u64..500), LONG)) {
            let taken = account(ops).expect("the account is right");
            assert!(taken > 1_000_000, "{taken} thousandths were taken");
        }
    }

    /// Keeps the account beside an oracle, and returns what was taken.
    fn account(ops: Vec<(u8, u64)>) -> Result<u64, TestCaseError> {
        let (mut balance, mut now) = (Balance::full(&TERMS), 0);
        let (mut paid, mut taken) = (u64::from(TERMS.cap), 0_u64);
        for (op, gap) in ops {
            match op {
                0 => {
                    balance = balance.with(&TERMS, TERMS.deposit);
                    paid += u64::from(TERMS.deposit);
                }
                1 => {
                    if let Some(left) = balance.without(&TERMS, now, 1_000) {
                        balance = left;
                        taken += 1_000;
                    }
                }
                _ => now += gap,
            }
            prop_assert!(taken <= paid + now * u64::from(TERMS.floor_per_second) / 1_000);
            prop_assert!(balance.milli() <= TERMS.cap);
            // Who is full need not be written to: no success would change it.
            prop_assert_eq!(balance.is_full(TERMS.cap), balance.with(&TERMS, 1) == balance);
            prop_assert_eq!(Balance::unpack(balance.pack()), balance);
        }
        Ok(taken)
    }

    // pitfall B20: idle time does not save up more than the cap
    #[test]
    fn a_long_rest_fills_it_and_no_more() {
        let mut balance = Balance::full(&TERMS);
        for _ in 0..50 {
            balance = balance.without(&TERMS, 0, 1_000).expect("50 tokens");
        }
        assert_eq!(balance.without(&TERMS, 0, 1_000), None);
        assert!(balance.without(&TERMS, 1_000, 1_000).is_some());
        let rested = balance.topped_up(&TERMS, u64::MAX);
        assert_eq!(rested.milli(), TERMS.cap);
        assert_eq!(Balance::unpack(rested.pack()), rested, "and the time fits its word");
    }
}
