//! Calls in flight to one replica, counted by thread so that threads do not fight over one cache line.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use crate::shell::in_flight::thread;

/// A power of two.
const LANES: usize = 8;
/// A lane looks at the others at every so many calls. A power of two.
const LOOK_EVERY: u32 = 16;

/// The lane of this thread.
#[inline]
pub(super) fn lane() -> u8 {
    (thread() % LANES) as u8
}

/// Aligned so that no two share a cache line, nor a pair of lines that is fetched together.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Lane {
    in_flight: AtomicU32,
    begun: AtomicU32,
    /// In flight in the other lanes, as of late.
    others: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Load([Lane; LANES]);

impl Load {
    /// A call begins.
    #[inline]
    pub(super) fn begin(&self, lane: u8) {
        let own = &self.0[usize::from(lane) % LANES];
        own.in_flight.fetch_add(1, Relaxed);
        // Another thread of this lane may count the same.
        let begun = own.begun.load(Relaxed);
        own.begun.store(begun.wrapping_add(1), Relaxed);
        if begun.is_multiple_of(LOOK_EVERY) {
            let others = self.in_flight().saturating_sub(own.in_flight.load(Relaxed));
            own.others.store(others, Relaxed);
        }
    }

    /// It is over.
    #[inline]
    pub(super) fn end(&self, lane: u8) {
        self.0[usize::from(lane) % LANES].in_flight.fetch_sub(1, Relaxed);
    }

    /// Calls in flight, of other threads as of late.
    #[inline]
    pub(super) fn about(&self, lane: u8) -> u32 {
        let own = &self.0[usize::from(lane) % LANES];
        own.in_flight.load(Relaxed).saturating_add(own.others.load(Relaxed))
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.0.iter().map(|lane| lane.in_flight.load(Relaxed)).fold(0, u32::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_other_threads_are_seen() {
        let load = Load::default();
        load.begin(1);
        load.begin(2);
        assert_eq!((load.in_flight(), load.about(2)), (2, 2));
        load.end(1);
        load.end(2);
        assert_eq!(load.in_flight(), 0);
    }
}
