//! How old the calls are that are under way.

use crate::core::time::Tick;

/// Ages that are told apart.
const CELLS: usize = 5;

/// Counts calls under way by age. The youngest cell is the first; in the last is whoever is older.
///
/// A cell lasts a quarter of the age that is asked for, so that an age is known to a quarter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    /// When each cell began, the youngest first.
    began: [Tick; CELLS],
    calls: [u32; CELLS],
    all: u32,
}

impl Ages {
    pub(super) const fn new() -> Self {
        Self { began: [Tick::ZERO; CELLS], calls: [0; CELLS], all: 0 }
    }

    /// A call begins. What comes is when it began as far as this knows: of two threads that read the clock one after the other,
    /// the later may come first.
    pub(super) fn start(&mut self, now: Tick, overdue_after: u64) -> Tick {
        let width = (overdue_after / (CELLS as u64 - 1)).max(1);
        if now.since(self.began[0]) >= width {
            let oldest = self.calls[CELLS - 1];
            self.calls.copy_within(..CELLS - 1, 1);
            self.began.copy_within(..CELLS - 1, 1);
            self.calls[CELLS - 1] += oldest;
            (self.calls[0], self.began[0]) = (0, now);
        }
        self.calls[0] += 1;
        self.all += 1;
        now.max(self.began[0])
    }

    pub(super) fn end(&mut self, sent: Tick) {
        let cell = self.began.iter().position(|began| sent >= *began).unwrap_or(CELLS - 1);
        // It may stand one further on, if it began when a cell did.
        let stands = (cell..CELLS).find(|&cell| self.calls[cell] > 0);
        if let Some(cell) = stands {
            self.calls[cell] -= 1;
            self.all -= 1;
        }
    }

    /// Whether half of them, and more than one, are older than that.
    pub(super) fn mostly_older_than(&self, age: u64, now: Tick) -> bool {
        let older = |&(cell, _): &(usize, &u32)| {
            // All of a cell began before the next younger one did.
            let latest = if cell == 0 { now } else { self.began[cell - 1] };
            now.since(latest) > age
        };
        let old: u32 = self.calls.iter().enumerate().filter(older).map(|(_, calls)| calls).sum();
        self.all > 1 && old.saturating_mul(2) >= self.all
    }
}
