//! The last few events, and when they were: so many within so much time, exactly.

use std::collections::VecDeque;

use crate::core::time::Tick;

/// When the last `most` events were, at most so long ago.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Recent {
    most: u32,
    within: u64,
    at: VecDeque<Tick>,
}

impl Recent {
    pub(crate) fn new(most: u32, within: u64) -> Self {
        Self { most, within, at: VecDeque::new() }
    }

    pub(crate) fn record(&mut self, now: Tick) {
        self.drop_old(now);
        if self.at.len() >= self.most as usize {
            self.at.pop_front();
        }
        self.at.push_back(now);
    }

    /// How many there were, the oldest of them no longer ago than the span (`≤`).
    pub(crate) fn count(&mut self, now: Tick) -> u32 {
        self.drop_old(now);
        u32::try_from(self.at.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn clear(&mut self) {
        self.at.clear();
    }

    /// Whether it looks for as many within as long.
    pub(crate) fn is_like(&self, most: u32, within: u64) -> bool {
        (self.most, self.within) == (most, within)
    }

    fn drop_old(&mut self, now: Tick) {
        while self.at.front().is_some_and(|at| now.since(*at) > self.within) {
            self.at.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // pitfall B8
        #[test]
        fn it_counts_what_an_oracle_that_forgets_nothing_counts(
            most in 1_u32..10, within in 0_u64..100, gaps in prop::collection::vec(0_u64..60, 0..200),
        ) {
            let (mut recent, mut all, mut now) = (Recent::new(most, within), Vec::new(), Tick::ZERO);
            for (nth, gap) in gaps.into_iter().enumerate() {
                now = now.plus(gap);
                if nth % 3 > 0 {
                    recent.record(now);
                    all.push(now);
                }
                let seen = all.iter().filter(|at| now.since(**at) <= within).count();
                prop_assert_eq!(recent.count(now), (seen as u32).min(most));
            }
        }
    }
}
