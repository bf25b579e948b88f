//! Bounded loads: what a member may have in flight (Mirrokni, Thorup, Zadimoghaddam 2016), and how that is counted.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::shell::in_flight::thread;

/// A power of two.
const LANES: usize = 8;

/// The calls that a member of this weight may have in flight, this one among them, while `all` are in flight with this one:
/// its share of them times the factor, in thousandths, rounded up.
pub(super) fn capacity(all: u64, weight: u32, weights: u64, factor: u32) -> u64 {
    let share = u128::from(all) * u128::from(weight) * u128::from(factor);
    let most = share.div_ceil(u128::from(weights.max(1)) * 1_000);
    u64::try_from(most).unwrap_or(u64::MAX).max(1)
}

/// Aligned so that no two share a cache line, nor a pair of lines that is fetched together.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct InFlight(AtomicU32);

impl InFlight {
    pub(super) fn begins(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn ends(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    #[inline]
    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

#[repr(align(128))]
#[derive(Debug, Default)]
struct Lane(AtomicU64);

/// Calls in flight in all, in lanes by thread: each call writes its own, and only who has to compare reads all.
#[derive(Debug, Default)]
pub(super) struct Total([Lane; LANES]);

impl Total {
    /// Returns the lane, which it ends in too.
    pub(super) fn begins(&self) -> u8 {
        let lane = thread() % LANES;
        self.0[lane].0.fetch_add(1, Relaxed);
        lane as u8
    }

    pub(super) fn ends(&self, lane: u8) {
        self.0[usize::from(lane) % LANES].0.fetch_sub(1, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.iter().map(|lane| lane.0.load(Relaxed)).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_have_its_share_and_a_quarter_more_rounded_up() {
        for (all, most) in
            [(1, 1), (8, 1), (9, 2), (80, 10), (81, 11), (u64::MAX, u64::MAX / 8 + 1)]
        {
            let is = capacity(all, 1, 10, 1_250);
            assert!(is.abs_diff(most) <= u64::from(all == u64::MAX) * 2, "{is} of {all}");
        }
        assert_eq!(capacity(100, 3, 10, 1_250), 38, "by weight");
        assert_eq!(capacity(0, 1, 0, 1_250), 1);
    }

    /// However calls fall, somebody has room: together the members may have more than there are.
    #[test]
    fn there_is_always_somebody_with_room() {
        for members in 1..40_u64 {
            for all in 1..500 {
                let room = members * capacity(all, 1, members, 1_001);
                assert!(room >= all, "{members} members, {all} calls");
            }
        }
    }
}
