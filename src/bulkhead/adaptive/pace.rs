//! How many there were in the last half second.

use crate::core::time::Tick;

pub(super) const HALF_SECOND: u64 = 500_000_000;

/// Counts over a sliding half second: all of the present one, and of the one before as much as still counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    half: u64,
    present: u32,
    before: u32,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { half: 0, present: 0, before: 0 }
    }

    pub(super) fn count(&mut self, now: Tick) {
        self.turn(now);
        self.present = self.present.saturating_add(1);
    }

    pub(super) fn lately(&mut self, now: Tick) -> u64 {
        self.turn(now);
        let left = HALF_SECOND - now.0 % HALF_SECOND;
        u64::from(self.present) + u64::from(self.before) * left / HALF_SECOND
    }

    fn turn(&mut self, now: Tick) {
        let half = now.0 / HALF_SECOND;
        if half > self.half {
            self.before = if half == self.half + 1 { self.present } else { 0 };
            (self.half, self.present) = (half, 0);
        }
    }
}
