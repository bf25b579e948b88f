//! The places of a bulkhead, counted so that threads seldom meet.
//!
//! One word says how many are taken and who waits. While threads fight over it and there is plenty of room,
//! each keeps a few places at hand: whoever leaves puts its place into the lane of its thread, and the next
//! who comes there takes it, and neither touches the word. A place in a lane counts as taken. So the limit
//! holds to the last place, and whoever finds no room calls in what the lanes hold before it is rejected.
//!
//! Nobody is left waiting beside a free place: whoever calls in says so in the word and then swaps each lane
//! for nothing, and whoever leaves adds to its lane and then looks at the word. As both change the lane, one
//! of the two comes second, and sees what the other did. Nobody is rejected beside one either: one calls in at
//! a time, no places are kept meanwhile, and whoever finds no room just then waits for it to be done.

use std::sync::OnceLock;
#[cfg(not(all(test, seawall_loom)))]
use std::thread::available_parallelism;

use super::machine::{Effect, Input, Kept, Occupancy, Params};
use crate::core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::shell::in_flight::thread;
use crate::shell::locked::Locked;

/// The most lanes. A power of two; more do not pay.
#[cfg(not(all(test, seawall_loom)))]
const MOST_LANES: usize = 16;

/// All lanes together keep no more than the limit halved so many times.
#[cfg(not(all(test, seawall_loom)))]
const HALVED: u32 = 2;

pub(super) struct Places {
    /// The occupancy. Whoever lets the count of those who wait begin or go on being more than zero
    /// does so in the line, so that the two agree; all others need no lock.
    word: AtomicU64,
    lanes: OnceLock<Box<[Lane]>>,
    may_spread: bool,
    /// Held by who calls in, and by who lets threads keep places.
    turn: Locked<()>,
}

/// Places that the threads of one lane keep. Aligned so that no two share a cache line, nor a pair of lines
/// that is fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(AtomicU32);

impl Places {
    /// One of many bulkheads is too small a thing to have lanes.
    pub(super) fn new(may_spread: bool) -> Self {
        let word = AtomicU64::new(Occupancy::default().pack());
        let places = Self { word, lanes: OnceLock::new(), may_spread, turn: Locked::new(()) };
        if cfg!(all(test, seawall_loom)) {
            places.lanes(); // loom does not see who waits for whom in std's `OnceLock`
        }
        places
    }

    /// What the word says: places in lanes are among those that are taken.
    #[inline]
    pub(super) fn counted(&self) -> Occupancy {
        Occupancy::unpack(self.word.load(Ordering::Relaxed))
    }

    /// Who is inside and who waits.
    #[inline]
    pub(super) fn occupancy(&self) -> Occupancy {
        let at = self.counted();
        if at.kept == Kept::None { at } else { self.occupancy_beside(at) }
    }

    /// Unless the word stands still meanwhile, the lanes hold places of another moment.
    #[cold]
    fn occupancy_beside(&self, mut at: Occupancy) -> Occupancy {
        for _ in 0..3 {
            let inside = at.inside.saturating_sub(self.kept());
            let now = self.counted();
            if now == at {
                return Occupancy { inside, ..at };
            }
            at = now;
        }
        at
    }

    #[cold]
    fn kept(&self) -> u32 {
        self.lanes().iter().map(|lane| lane.0.load(Ordering::Relaxed)).sum()
    }

    /// Whether a call of one place would come in at once, as far as can be seen.
    #[inline]
    pub(super) fn looks_free(&self, limit: u32) -> bool {
        let at = self.counted();
        at.waiting == 0 && (at.inside < limit || self.occupancy().inside < limit)
    }

    /// Takes places if there are enough. `None` if it cannot say alone: somebody waits, places are kept, or
    /// others come in between.
    #[inline]
    pub(super) fn enter_alone(&self, limit: u32, cost: u32) -> Option<bool> {
        let word = self.word.load(Ordering::Relaxed);
        if !Occupancy::is_plain(word) {
            return None;
        }
        match Occupancy::enter_plain(word, limit, cost) {
            Some(after) => self.exchange(word, after).then_some(true),
            None => Some(false),
        }
    }

    /// Takes places if there are enough and nobody waits. Whoever finds none while [some may be
    /// kept](Self::may_be_kept) can [call them in](Self::enter_last).
    pub(super) fn enter(&self, limit: u32, cost: u32) -> bool {
        let is_light = cost == 1;
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if is_light && Occupancy::is_plain(word) {
                self.spread(limit); // or we would not have come here
            }
            let word = self.word.load(Ordering::Relaxed);
            let at = Occupancy::unpack(word);
            if is_light && at.lends(limit) && self.lane().take() {
                return true;
            }
            let Some(after) = at.enter(limit, cost) else { return false };
            if self.exchange(word, after.pack()) {
                return true;
            }
        }
    }

    /// Calls in what threads keep, and takes places if there are enough now. Returns how many are for those who
    /// wait, too.
    #[cold]
    pub(super) fn enter_last(&self, limit: u32, cost: u32) -> (bool, Option<u32>) {
        self.turn.with(|()| {
            let waits_for = self.gather();
            let enter = |word| Some(Occupancy::unpack(word).enter(limit, cost)?.pack());
            let entered = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, enter);
            (entered.is_ok(), waits_for)
        })
    }

    /// Gives places back, if nobody waits, none are kept, and nobody comes in between.
    #[inline]
    pub(super) fn leave_alone(&self, cost: u32) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        Occupancy::is_plain(word) && self.exchange(word, Occupancy::leave_plain(word, cost))
    }

    /// Gives places back. Returns how many of them are for those who wait: these are not given back yet.
    pub(super) fn leave(&self, limit: u32, cost: u32) -> Option<u32> {
        let lends = cost == 1 && self.counted().lends(limit);
        if !lends || !self.lane().keep(self.most_kept(limit)) {
            return self.give_back(cost);
        }
        if Occupancy::unpack(self.word.load(Ordering::Acquire)).kept == Kept::Some {
            return None;
        }
        self.give_back(self.lane().empty()) // they were called in meanwhile
    }

    fn give_back(&self, cost: u32) -> Option<u32> {
        let leave = |word| Some(Occupancy::unpack(word).leave(cost)?.pack());
        let left = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, leave);
        left.is_err().then_some(cost)
    }

    /// One step of the machine.
    pub(super) fn step(&self, params: &Params, input: Input) -> Effect {
        let mut effect = Effect::Done;
        let step = |word| {
            let mut at = Occupancy::unpack(word);
            effect = at.step(params, input);
            Some(at.pack())
        };
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, step);
        effect
    }

    #[inline]
    fn exchange(&self, before: u64, after: u64) -> bool {
        self.word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    // ----- lanes -----

    /// Whether there may be places in lanes.
    #[inline]
    pub(super) fn may_be_kept(&self) -> bool {
        self.counted().kept != Kept::None
    }

    /// Threads met at the word: from now on they keep places, if there is plenty of room and nobody calls
    /// them in just now.
    #[cold]
    pub(super) fn spread(&self, limit: u32) {
        if self.may_spread && !self.lanes().is_empty() && self.most_kept(limit) > 0 {
            let spread = |word| Some(Occupancy::unpack(word).spread(limit)?.pack());
            self.turn.try_with(|()| {
                let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, spread);
            });
        }
    }

    /// Nobody keeps any until threads meet again. Returns as `leave` does how many are for those who wait.
    #[cold]
    pub(super) fn call_in(&self) -> Option<u32> {
        self.turn.with(|()| self.gather())
    }

    fn gather(&self) -> Option<u32> {
        let call =
            |word| Some(Occupancy { kept: Kept::CalledIn, ..Occupancy::unpack(word) }.pack());
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, call);
        let kept = self.lanes().iter().map(Lane::empty).sum();
        let mut someone_waits = false;
        let give_back = |word| {
            let at = Occupancy::unpack(word);
            someone_waits = at.waiting > 0;
            Some(at.called_in(kept).pack())
        };
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, give_back);
        (kept > 0 && someone_waits).then_some(kept)
    }

    /// By one lane.
    #[cfg(not(all(test, seawall_loom)))]
    fn most_kept(&self, limit: u32) -> u32 {
        limit >> (HALVED + self.lanes().len().trailing_zeros())
    }

    #[cfg(all(test, seawall_loom))]
    const fn most_kept(&self, _: u32) -> u32 {
        1 // also of few, as the more there are the longer the test
    }

    fn lane(&self) -> &Lane {
        let lanes = self.lanes();
        &lanes[thread() & (lanes.len() - 1)]
    }

    fn lanes(&self) -> &[Lane] {
        self.lanes.get_or_init(|| (0..lanes()).map(|_| Lane::default()).collect())
    }
}

impl Lane {
    fn take(&self) -> bool {
        let take = |kept: u32| kept.checked_sub(1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_ok()
    }

    fn keep(&self, most: u32) -> bool {
        let keep = |kept| (kept < most).then(|| kept + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, keep).is_ok()
    }

    fn empty(&self) -> u32 {
        self.0.swap(0, Ordering::AcqRel)
    }
}

/// As many as there are cores.
#[cfg(not(all(test, seawall_loom)))]
fn lanes() -> usize {
    available_parallelism().map_or(1, usize::from).next_power_of_two().min(MOST_LANES)
}

#[cfg(all(test, seawall_loom))]
const fn lanes() -> usize {
    crate::shell::tests::loom::STRIPES
}
