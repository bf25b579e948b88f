//! Sliding windows: the last N calls, exactly, or the last T, in exact slices.

use crate::core::time::Tick;

/// How many of a window's calls were marked (failed, or slow), and how many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Counts {
    pub(crate) marked: u32,
    pub(crate) total: u32,
}

impl Counts {
    /// The share of marked calls, in parts per million, rounded down.
    pub(crate) fn ppm(self) -> u32 {
        if self.total == 0 {
            return 0;
        }
        let ppm = u64::from(self.marked) * 1_000_000 / u64::from(self.total);
        u32::try_from(ppm).unwrap_or(u32::MAX)
    }

    /// `marked / total ≥ ppm / 1_000_000`, exactly.
    pub(crate) fn reaches(self, ppm: u32) -> bool {
        u64::from(self.marked) * 1_000_000 >= u64::from(ppm) * u64::from(self.total)
    }

    pub(crate) fn plus_marked(self, more: u32) -> Self {
        Self { marked: self.marked.saturating_add(more), total: self.total.saturating_add(more) }
    }
}

/// A sliding window of one-bit outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Window {
    Calls(Ring),
    Time(Slices),
}

impl Window {
    pub(crate) fn over_calls(size: u32) -> Self {
        Self::Calls(Ring::new(size))
    }

    pub(crate) fn over_time(nanos: u64) -> Self {
        Self::Time(Slices::new(nanos))
    }

    pub(crate) fn record(&mut self, now: Tick, marked: bool) {
        match self {
            Self::Calls(ring) => ring.record(marked),
            Self::Time(slices) => slices.record(now, marked),
        }
    }

    pub(crate) fn counts(&mut self, now: Tick) -> Counts {
        match self {
            Self::Calls(ring) => ring.counts(),
            Self::Time(slices) => slices.counts(now),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Calls(ring) => ring.clear(),
            Self::Time(slices) => slices.clear(),
        }
    }

    /// Whether it spans as much as `other`, whatever either holds.
    pub(crate) fn spans_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Calls(a), Self::Calls(b)) => a.size == b.size,
            (Self::Time(a), Self::Time(b)) => a.width == b.width,
            _ => false,
        }
    }

    /// Whether one more unmarked call would change nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Calls(ring) => ring.counts.marked == 0 && ring.counts.total == ring.size,
            Self::Time(_) => false,
        }
    }
}

/// The last `size` calls, one bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ring {
    bits: Box<[u64]>,
    size: u32,
    next: u32,
    counts: Counts,
}

impl Ring {
    fn new(size: u32) -> Self {
        Self {
            bits: vec![0; size.div_ceil(64) as usize].into(),
            size,
            next: 0,
            counts: Counts::default(),
        }
    }

    fn record(&mut self, marked: bool) {
        let (word, bit) = ((self.next / 64) as usize, 1_u64 << (self.next % 64));
        let was_marked = self.bits[word] & bit != 0;
        if self.counts.total < self.size {
            self.counts.total += 1;
        }
        self.counts.marked -= u32::from(was_marked);
        self.counts.marked += u32::from(marked);
        if marked {
            self.bits[word] |= bit;
        } else {
            self.bits[word] &= !bit;
        }
        self.next = (self.next + 1) % self.size;
    }

    const fn counts(&self) -> Counts {
        self.counts
    }

    fn clear(&mut self) {
        self.bits.fill(0);
        self.next = 0;
        self.counts = Counts::default();
    }
}

/// How finely time is cut: a window is off by less than one of these.
const SLICES: usize = 10;

/// The last stretch of time, cut into slices that fall off the end one by one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slices {
    /// Nanoseconds a slice covers.
    width: u64,
    /// The number of the slice that is being filled, counted from the policy's first tick.
    current: u64,
    slices: Box<[Counts; SLICES]>,
    sum: Counts,
}

impl Slices {
    fn new(nanos: u64) -> Self {
        Self {
            width: (nanos / SLICES as u64).max(1),
            current: 0,
            slices: Box::new([Counts::default(); SLICES]),
            sum: Counts::default(),
        }
    }

    fn record(&mut self, now: Tick, marked: bool) {
        self.roll(now);
        let slice = &mut self.slices[(self.current % SLICES as u64) as usize];
        // A slice that is full to the brim of its counter stops counting: the ratio holds.
        if self.sum.total == u32::MAX {
            return;
        }
        for counts in [slice, &mut self.sum] {
            counts.total += 1;
            counts.marked += u32::from(marked);
        }
    }

    fn counts(&mut self, now: Tick) -> Counts {
        self.roll(now);
        self.sum
    }

    /// Drops what is too old. Costs at most one visit per slice, however long nobody looked.
    fn roll(&mut self, now: Tick) {
        let current = now.0 / self.width;
        if current <= self.current {
            return; // the same slice, or a clock that was read before another's
        }
        let passed = (current - self.current).min(SLICES as u64);
        for nth in 1..=passed {
            let index = ((self.current.wrapping_add(nth)) % SLICES as u64) as usize;
            let old = std::mem::take(&mut self.slices[index]);
            self.sum.total -= old.total;
            self.sum.marked -= old.marked;
        }
        self.current = current;
    }

    fn clear(&mut self) {
        *self.slices = [Counts::default(); SLICES];
        self.sum = Counts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    // pitfall B9
    #[test]
    fn the_boundary_belongs_to_the_threshold() {
        let at = |marked, total, ppm| Counts { marked, total }.reaches(ppm);
        assert!(at(50, 100, 500_000) && !at(49, 100, 500_000));
        assert!(at(1, 1000, 1_000) && !at(1, 1001, 1_000));
        assert!(at(u32::MAX, u32::MAX, 1_000_000));
    }

    #[test]
    fn a_share_is_told_in_millionths_rounded_down() {
        let ppm = |marked, total| Counts { marked, total }.ppm();
        assert_eq!((ppm(0, 0), ppm(0, 3)), (0, 0));
        assert_eq!((ppm(1, 3), ppm(2, 3), ppm(3, 3)), (333_333, 666_666, 1_000_000));
        assert_eq!(ppm(u32::MAX, u32::MAX), 1_000_000);
    }

    #[test]
    fn provisional_failures_are_calls_too() {
        let counts = Counts { marked: 1, total: 4 };
        assert_eq!(counts.plus_marked(2), Counts { marked: 3, total: 6 });
        assert_eq!(counts.plus_marked(u32::MAX), Counts { marked: u32::MAX, total: u32::MAX });
    }

    #[test]
    fn windows_are_alike_that_span_the_same() {
        let all = [
            Window::over_calls(1),
            Window::over_calls(100),
            Window::over_time(100),
            Window::over_time(1_000),
        ];
        for (nth, window) in all.iter().enumerate() {
            let mut used = window.clone();
            used.record(Tick(7), true);
            for (other, fresh) in all.iter().enumerate() {
                assert_eq!(used.spans_like(fresh), nth == other, "{window:?} and {fresh:?}");
            }
        }
    }

    proptest! {
        /// Cleared, it goes on as if it had never heard of anything.
        #[test]
        fn nothing_is_left_of_what_was_cleared(
            over_time in any::<bool>(),
            size in 1_u32..200,
            before in prop::collection::vec((0_u64..100, any::<bool>()), 0..300),
            after in prop::collection::vec((0_u64..100, any::<bool>()), 0..300),
        ) {
            let fresh = || {
                if over_time { Window::over_time(u64::from(size) * 10) } else { Window::over_calls(size) }
            };
            let (mut cleared, mut oracle, mut now) = (fresh(), fresh(), 0);
            for (gap, marked) in before {
                now += gap;
                cleared.record(Tick(now), marked);
            }
            cleared.clear();
            prop_assert_eq!(cleared.counts(Tick(now)), Counts::default());
            for (gap, marked) in after {
                now += gap;
                for window in [&mut cleared, &mut oracle] {
                    window.record(Tick(now), marked);
                }
                prop_assert_eq!(cleared.counts(Tick(now)), oracle.counts(Tick(now)));
            }
        }

        /// The shell keeps a success to itself while this holds, so it must be true of every success
        /// to come; and it must come to hold, or a healthy breaker would lock for ever.
        #[test]
        fn a_window_is_quiet_when_a_success_changes_nothing(
            size in 1_u32..100,
            calls in prop::collection::vec(any::<bool>(), 0..300),
        ) {
            let mut window = Window::over_calls(size);
            for marked in calls {
                window.record(Tick::ZERO, marked);
                let mut next = window.clone();
                next.record(Tick::ZERO, false);
                let unchanged = next.counts(Tick::ZERO) == window.counts(Tick::ZERO)
                    && window.counts(Tick::ZERO).marked == 0;
                prop_assert_eq!(window.is_quiet(), unchanged);
            }
            (0..size).for_each(|_| window.record(Tick::ZERO, false));
            prop_assert!(window.is_quiet());
            let mut over_time = Window::over_time(1_000);
            (0..size).for_each(|_| over_time.record(Tick::ZERO, false));
            prop_assert!(!over_time.is_quiet(), "time goes on");
        }

        // pitfall B8
        #[test]
        fn a_ring_is_the_last_n_calls(size in 1_u32..200, calls in prop::collection::vec(any::<bool>(), 0..600)) {
            let mut window = Window::over_calls(size);
            let mut oracle = VecDeque::new();
            for marked in calls {
                window.record(Tick::ZERO, marked);
                oracle.push_back(marked);
                if oracle.len() > size as usize { oracle.pop_front(); }
                let counts = window.counts(Tick::ZERO);
                prop_assert_eq!(counts.total as usize, oracle.len());
                prop_assert_eq!(counts.marked as usize, oracle.iter().filter(|m| **m).count());
            }
        }

        // pitfall B8: gaps of nothing, of a slice, of the window, and of much more
        #[test]
        fn slices_are_the_last_stretch_of_time_to_within_a_slice(
            width in 1_u64..1_000,
            calls in prop::collection::vec((0_usize..6, 0_u64..1_000, any::<bool>()), 0..300),
        ) {
            let span = width * SLICES as u64;
            let mut window = Window::over_time(span);
            let mut oracle: Vec<(u64, bool)> = Vec::new();
            let mut now = 0;
            for (gap, some, marked) in calls {
                now += [0, 1, width, span, 10 * span, some][gap];
                window.record(Tick(now), marked);
                oracle.push((now, marked));
                let counts = window.counts(Tick(now));
                let since = |age: u64| oracle.iter().filter(move |(at, _)| now - at < age);
                let (least, most) = (since(span - width), since(span));
                prop_assert!(counts.total as usize >= least.clone().count());
                prop_assert!(counts.total as usize <= most.clone().count());
                prop_assert!(counts.marked as usize >= least.filter(|(_, m)| *m).count());
                prop_assert!(counts.marked as usize <= most.filter(|(_, m)| *m).count());
            }
        }
    }

    // pitfall B7: a year in one step
    #[test]
    fn a_long_gap_empties_the_window() {
        let mut window = Window::over_time(1_000);
        window.record(Tick(10), true);
        assert_eq!(window.counts(Tick(u64::MAX)), Counts::default());
        window.record(Tick(5), true); // a clock that was read earlier
        assert_eq!(window.counts(Tick(u64::MAX)).total, 1);
    }
}
