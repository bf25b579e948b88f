//! Those of a [`Draw`] that are in use, ready to be drawn from.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicUsize};

use super::draw::{Draw, at};

/// Places of members, each as often as it weighs. Who draws while they are changed may draw one of before.
#[derive(Debug)]
pub(super) struct InUse {
    places: Box<[AtomicU32]>,
    count: AtomicUsize,
}

impl InUse {
    /// All of them.
    pub(super) fn new(draw: &Draw) -> Self {
        let places: Box<[_]> = draw.places().iter().copied().map(AtomicU32::new).collect();
        Self { count: AtomicUsize::new(places.len()), places }
    }

    /// Those for which this is so. One at a time may do this.
    pub(super) fn keep(&self, draw: &Draw, is_in_use: impl Fn(usize) -> bool) {
        let kept = draw.places().iter().filter(|place| is_in_use(**place as usize));
        let mut count = 0;
        for (slot, place) in self.places.iter().zip(kept) {
            slot.store(*place, Relaxed);
            count += 1;
        }
        self.count.store(count, Release);
    }

    /// The place that a random number draws.
    pub(super) fn pick(&self, random: u32) -> Option<usize> {
        let nth = at(random, self.count.load(Acquire));
        self.get(nth)
    }

    /// The place whose turn it is.
    pub(super) fn turn(&self, nth: u64) -> Option<usize> {
        let nth = nth.checked_rem(self.count.load(Acquire) as u64)?;
        self.get(nth as usize)
    }

    fn get(&self, nth: usize) -> Option<usize> {
        (nth < self.count.load(Acquire)).then(|| self.places[nth].load(Relaxed) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_in_use_are_drawn_as_often_as_they_weigh() {
        let draw = Draw::new(&[(0, 1), (1, 2), (2, 3)]);
        let in_use = InUse::new(&draw);
        assert!((0..6).all(|nth| in_use.turn(nth) == Some(draw.turn(nth))));
        in_use.keep(&draw, |place| place != 1);
        let mut counts = [0; 3];
        (0..400).for_each(|nth| counts[in_use.turn(nth).unwrap()] += 1);
        assert_eq!(counts, [100, 0, 300]);
        assert!([0, 1 << 20, u32::MAX].iter().all(|random| in_use.pick(*random) != Some(1)));
        in_use.keep(&draw, |_| false);
        assert_eq!((in_use.pick(7), in_use.turn(7)), (None, None));
        in_use.keep(&draw, |_| true);
        assert!((0..6).all(|nth| in_use.turn(nth) == Some(draw.turn(nth))));
    }
}
