//! Who gets a call.

use std::sync::atomic::Ordering::Relaxed;

use super::config::Balance;
use super::load::Load;
use super::roster::Roster;
use crate::core::time::Tick;
use crate::shell::set::Passed;

/// Draws until whoever is usable gets the call.
const TRIES: usize = 16;
/// A further attempt is kept from members that failed in this time, and where all did, it goes to the one that did
/// so the longest ago.
const RECENTLY: u64 = 1_000_000_000;
/// A call that was passed over by so many asks only those of whom it is not known that they are not ready.
const SWEPT: usize = 4;
/// While the last probe of somebody is not over, it is looked again after this.
const PROBE_AGAIN: u64 = 10_000_000;

impl<C, K> Roster<C, K> {
    /// Nothing is to be considered but load.
    #[inline]
    pub(super) fn pick(&self, lane: u8) -> usize {
        match (self.common.balance, self.loads.len()) {
            (_, 0 | 1) => 0,
            (Balance::PeakEwma, _) => {
                let (one, other) = self.near.pick_two(self.common.random_long(lane));
                self.better(lane, one, other)
            }
            (Balance::LeastLoad, _) => {
                let from = self.near.pick(self.common.random(lane));
                self.least(lane, from, |place| self.is_near(place)).unwrap_or(from)
            }
            (Balance::RoundRobin, _) => self.near.turn(self.common.turn(lane)),
        }
    }

    /// Some are ejected, new, full, or asked to be left alone; or the call failed before, and is kept from those that
    /// failed last.
    #[cold]
    #[inline(never)]
    pub(super) fn pick_carefully(
        &self,
        lane: u8,
        passed: &Passed,
        is_again: bool,
    ) -> Option<usize> {
        let (common, now) = (&self.common, self.common.now());
        let is_panic = common.panic.load(Relaxed);
        if !is_panic
            && passed.is_empty()
            && !is_again
            && common.probe_due.load(Relaxed) <= now.0
            && let Some(place) = self.probe(now)
        {
            return Some(place);
        }
        let is_up =
            |place: usize| !passed.contains(place) && (is_panic || !self.loads[place].is_ejected());
        let is_open = |place: usize| is_up(place) && !self.loads[place].is_shut(now);
        let is_free = |place: usize| is_open(place) && !self.loads[place].is_full(now);
        // Whoever failed the attempt before this one did so not long ago.
        let recently = now.0.saturating_sub(RECENTLY).max(1);
        let has_failed = |place: usize| self.loads[place].failed_at().0 >= recently;
        let is_usable = |place: usize| is_free(place) && !(is_again && has_failed(place));
        let is_wanted = |place: usize| {
            let share = self.loads[place].share(now, common.slow_start);
            is_usable(place) && (share >= 1_000 || u64::from(common.random(lane)) % 1_000 < share)
        };
        let goes_near = common.random(lane) / 4_295 < common.near_ppm.load(Relaxed);
        let side = if goes_near || self.far.is_empty() { &self.near_up } else { &self.far_up };
        let chosen = match common.balance {
            Balance::LeastLoad => {
                let is_here = |place| self.far.is_empty() || self.is_near(place) == goes_near;
                let from = side.pick(common.random(lane)).unwrap_or(0);
                self.least(lane, from, |place| is_here(place) && is_wanted(place))
            }
            Balance::RoundRobin => {
                let mut turns = (0..TRIES).map_while(|_| side.turn(common.turn(lane)));
                turns.find(|place| is_wanted(*place))
            }
            Balance::PeakEwma => {
                let draws = (0..TRIES).map_while(|_| side.pick(common.random(lane)));
                let mut wanted = draws.filter(|place| is_wanted(*place));
                wanted.next().map(|one| {
                    let other = wanted.find(|other| *other != one).unwrap_or(one);
                    self.better(lane, one, other)
                })
            }
        };
        let any = |is_one: &dyn Fn(usize) -> bool| {
            let (from, count) = (common.random(lane) as usize, self.loads.len());
            (0..count).map(|nth| (from + nth) % count).find(|place| is_one(*place))
        };
        let longest_ago = || {
            let free = (0..self.loads.len()).filter(|place| is_free(*place));
            free.min_by_key(|place| self.loads[*place].failed_at())
        };
        let chosen = chosen.or_else(|| any(&is_usable)).or_else(longest_ago);
        if chosen.is_some() || passed.count() >= SWEPT && !passed.is_waiting() {
            return chosen; // all others were found to be full just now
        }
        let chosen = any(&is_open);
        if chosen.is_some() || passed.is_waiting() && !passed.is_empty() {
            return chosen; // what waits has no use for those that reject calls
        }
        any(&is_up).or_else(|| any(&|place| !passed.contains(place)))
    }

    /// One of those that are ejected, if it is time to find out how it is.
    fn probe(&self, now: Tick) -> Option<usize> {
        let (mut chosen, mut due) = (None, u64::MAX);
        for (place, load) in self.loads.iter().enumerate().filter(|(_, load)| load.is_ejected()) {
            if chosen.is_none() && load.takes_probe(now) {
                chosen = Some(place);
            }
            due = due.min(load.probe_at().max(now.plus(PROBE_AGAIN)).0);
        }
        self.common.probe_due.store(due, Relaxed);
        chosen
    }

    /// Whether there is another one that would take a call.
    pub(super) fn has_another(&self, place: usize, now: Tick) -> bool {
        let is_panic = self.common.panic.load(Relaxed);
        let takes = |load: &Load| {
            (is_panic || !load.is_ejected()) && !load.is_shut(now) && !load.is_full(now)
        };
        self.loads.iter().enumerate().any(|(other, load)| other != place && takes(load))
    }

    /// The one of two with less load.
    #[inline]
    fn better(&self, lane: u8, one: usize, other: usize) -> usize {
        let (a, b) = (&self.loads[one], &self.loads[other]);
        let in_flight = |load: &Load| u64::from(load.about_in_flight(lane)) + 1;
        let weight = |place: usize| u64::from(self.members[place].get_weight());
        let (mut slow_a, mut slow_b) = (a.peak_micros(), b.peak_micros());
        if slow_a == 0 || slow_b == 0 {
            (slow_a, slow_b) = (1, 1); // of one that is not known only the calls in flight count
        }
        let load_a = in_flight(a).saturating_mul(slow_a).saturating_mul(weight(other));
        let load_b = in_flight(b).saturating_mul(slow_b).saturating_mul(weight(one));
        if load_b < load_a { other } else { one }
    }

    /// The one with the fewest calls in flight for its weight; of equals the first from `from` on.
    fn least(&self, lane: u8, from: usize, is_one: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.loads.len();
        let all = (0..count).map(|nth| (from + nth) % count).filter(|place| is_one(*place));
        let load = |place: usize| {
            let in_flight = u64::from(self.loads[place].about_in_flight(lane)) + 1;
            in_flight * u64::from(10_000 / self.members[place].get_weight())
        };
        all.min_by_key(|place| load(*place))
    }

    pub(super) fn is_near(&self, place: usize) -> bool {
        self.far.is_empty() || self.members[place].get_zone() == self.common.zone.as_deref()
    }
}
