//! What is known of the members, for all threads: how far they are, how busy, and whether they are up.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};

use super::ask::Progress;
use super::load::Load;
use super::seen::{Known, Knows, PRIMARY};
use super::timeline::Timeline;
use crate::core::position::Position;
use crate::core::time::Clock;
use crate::shell::locked::Locked;

/// So many places of the primary are remembered, to tell the age of replicas.
const MOMENTS: usize = 256;
/// So many changes of history.
const MOST_ERAS: usize = 64;

/// The primary, and the replicas after it.
pub(super) struct Knowledge {
    pub(super) seats: Box<[Seat]>,
    timeline: Locked<Timeline>,
    /// Eras, and where each left an earlier one.
    began: Box<[OnceLock<(u32, Position)>]>,
    pub(super) clock: Clock,
    /// For how long something unknown counts, in nanoseconds.
    uncertain_for: u64,
    pub(super) asks: bool,
    /// A replica is shut: times are to be looked at.
    careful: AtomicBool,
    news: watch::Sender<()>,
    /// Calls that wait for news.
    pub(super) waiting: AtomicU32,
    /// Somebody cannot wait for the next question.
    pub(super) hurry: Notify,
}

/// One member.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) name: Arc<str>,
    /// How far it is. Only one at a time writes, under the lock: see [`publish`](Self::publish).
    is_known: AtomicBool,
    era: AtomicU32,
    at: AtomicU64,
    /// The last question, and the last one that was answered.
    asked: AtomicU64,
    answered: AtomicU64,
    /// It has all that was there at this time and one nanosecond; 0 if nobody knows.
    as_of: AtomicU64,
    pub(super) load: Load,
    /// Its stack lets nothing through until then.
    shut_until: AtomicU64,
}

impl Seat {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            is_known: AtomicBool::new(false),
            era: AtomicU32::new(0),
            at: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            as_of: AtomicU64::new(0),
            load: Load::default(),
            shut_until: AtomicU64::new(0),
        }
    }

    /// How far it is.
    #[inline]
    pub(super) fn position(&self) -> Option<Position> {
        if !self.is_known.load(Acquire) {
            return None;
        }
        loop {
            let era = self.era.load(Acquire);
            let at = self.at.load(Acquire);
            if self.era.load(Acquire) == era {
                return Some(Position { era, at });
            }
        }
    }

    /// A place of a later era is never seen with an earlier one.
    fn publish(&self, position: Position) {
        if self.era.load(Relaxed) != position.era {
            self.at.store(0, Release);
            self.era.store(position.era, Release);
        }
        self.at.store(position.at, Release);
        self.is_known.store(true, Release);
    }

    /// The number of a question that is about to be asked.
    pub(super) fn next_question(&self) -> u64 {
        self.asked.fetch_add(1, Relaxed) + 1
    }

    /// The stack of this member lets nothing through for a while.
    pub(super) fn is_shut(&self, now: u64) -> bool {
        self.shut_until.load(Relaxed) > now
    }
}

impl Knowledge {
    pub(super) fn new(names: Vec<Arc<str>>, clock: Clock, uncertain_for: u64, asks: bool) -> Self {
        Self {
            seats: names.into_iter().map(Seat::new).collect(),
            timeline: Locked::new(Timeline::new(MOMENTS)),
            began: (0..MOST_ERAS).map(|_| OnceLock::new()).collect(),
            clock,
            uncertain_for,
            asks,
            careful: AtomicBool::new(false),
            news: watch::Sender::new(()),
            waiting: AtomicU32::new(0),
            hurry: Notify::new(),
        }
    }

    /// The seats of the replicas.
    pub(super) fn replicas(&self) -> &[Seat] {
        &self.seats[1..]
    }

    /// A member answered the question of this number, asked at this time.
    pub(super) fn heard(&self, seat: usize, progress: Progress, question: u64, asked: u64) {
        let Progress { position, began } = progress;
        if let Some(left) = began {
            self.began(position.era, left);
        }
        self.timeline.with(|timeline| {
            self.seats[seat].publish(position);
            self.seats[seat].answered.store(question, Release); // after the place
            if seat == PRIMARY as usize {
                timeline.primary_is_at(position, asked);
            }
            self.date(timeline);
        });
        self.news.send_replace(());
    }

    /// Somebody says that a member is at least here.
    pub(super) fn told(&self, seat: usize, progress: Progress) {
        if let Some(left) = progress.began {
            self.began(progress.position.era, left);
        }
        self.learned(seat, progress.position);
    }

    /// An answer of a member says that it is at least here.
    pub(super) fn learned(&self, seat: usize, position: Position) {
        let known = self.seats[seat].position();
        if known.is_some_and(|known| position.era < known.era || position <= known) {
            return;
        }
        self.timeline.with(|timeline| {
            let known = self.seats[seat].position(); // another may have been faster
            if known.is_none_or(|known| known.era < position.era || known < position) {
                self.seats[seat].publish(position);
                self.date(timeline);
            }
        });
        self.news.send_replace(());
    }

    /// Finds the age of the replicas.
    fn date(&self, timeline: &Timeline) {
        for replica in self.replicas() {
            let as_of = replica.position().and_then(|at| timeline.as_of(at));
            replica.as_of.store(as_of.map_or(0, |time| time.saturating_add(1)), Relaxed);
        }
    }

    /// An era left an earlier one here.
    fn began(&self, era: u32, left: Position) {
        if left.era >= era {
            return;
        }
        for place in &self.began {
            if place.get_or_init(|| (era, left)).0 == era {
                return;
            }
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    // ----- whether replicas are up -----

    /// Whether times are to be looked at.
    #[inline]
    pub(super) fn is_careful(&self) -> bool {
        self.careful.load(Relaxed)
    }

    /// The stack of a replica lets nothing through for so long.
    pub(super) fn shut(&self, place: usize, nanos: u64) {
        let until = self.clock.now().0.saturating_add(nanos);
        self.replicas()[place].shut_until.store(until, Relaxed);
        self.careful.store(true, Relaxed);
    }

    /// Whether nobody is shut any more is seen here.
    pub(super) fn look(&self, now: u64) {
        if !self.replicas().iter().any(|seat| seat.is_shut(now)) {
            self.careful.store(false, Relaxed);
        }
    }

    // ----- whether they are fresh -----

    /// Whether a replica has all that was there at this time.
    #[inline]
    pub(super) fn is_as_of(&self, place: usize, oldest: u64) -> bool {
        self.replicas()[place].as_of.load(Relaxed) > oldest
    }

    /// Whether a replica has all up to there.
    #[inline]
    pub(super) fn has_all(&self, place: usize, needed: Position) -> bool {
        self.replicas()[place].position().is_some_and(|position| self.has(position, needed))
    }

    /// By how much the best of them is behind.
    pub(super) fn behind(&self, needed: Position) -> u64 {
        let of_era = |seat: &Seat| seat.position().filter(|at| at.era == needed.era);
        let best = self.replicas().iter().filter_map(of_era).map(|at| at.at).max();
        best.map_or(u64::MAX, |best| needed.at.saturating_sub(best))
    }
}

impl Knows for Knowledge {
    fn known(&self, seat: u32) -> Option<Known> {
        let seat = self.seats.get(seat as usize)?;
        let question = seat.answered.load(Acquire); // before the place
        Some(Known { position: seat.position()?, question })
    }

    fn asked(&self, seat: u32) -> u64 {
        self.seats.get(seat as usize).map_or(0, |seat| seat.asked.load(Relaxed))
    }

    fn branched(&self, from: u32, to: u32) -> Option<u64> {
        let began = || self.began.iter().map_while(OnceLock::get);
        let (mut era, mut at) = (to, u64::MAX);
        while era > from {
            // What an era has of an earlier one ends where it left that.
            let (_, left) = began().find(|(known, _)| *known == era)?;
            (era, at) = (left.era, left.at);
        }
        (era == from).then_some(at)
    }

    fn now(&self) -> u64 {
        self.clock.now().0
    }

    fn patience(&self) -> u64 {
        self.uncertain_for
    }

    fn asks(&self) -> bool {
        self.asks
    }
}

thread_local!(static DICE: Cell<u64> = Cell::new(fastrand::u64(..)));

/// A random number. Each thread has its own.
#[inline]
pub(super) fn random() -> u64 {
    DICE.with(|dice| {
        let next = dice.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        dice.set(next);
        let mixed = (next ^ (next >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(era: u32, at: u64) -> Position {
        Position { era, at }
    }

    fn knowledge() -> Knowledge {
        let names = ["primary", "a", "b"].map(Arc::from).into();
        Knowledge::new(names, Clock::start(), 1, true)
    }

    // pitfall B62
    #[test]
    fn what_is_unknown_is_not_fresh() {
        let known = knowledge();
        assert!(!known.has_all(0, at(0, 0)) && !known.is_as_of(0, 0));
        assert_eq!(known.behind(at(1, 1)), u64::MAX);
        known.heard(1, at(1, 5).into(), 1, 0);
        assert!(known.has_all(0, at(1, 5)) && !known.has_all(0, at(1, 6)));
        assert!(!known.has_all(0, at(2, 1)));
        assert!(!known.is_as_of(0, 0), "the primary was never asked");
        known.heard(0, at(1, 5).into(), 1, 70);
        assert!(known.is_as_of(0, 70) && !known.is_as_of(0, 71));
        assert_eq!(known.behind(at(1, 9)), 4);
    }

    // pitfall B61
    #[test]
    fn an_era_has_of_an_earlier_one_what_was_before_it_left() {
        let known = knowledge();
        known.heard(1, at(3, 900).into(), 1, 0);
        assert!(!known.has_all(0, at(1, 5)), "nobody knows");
        known.heard(0, Progress::new(at(2, 70)).began(at(1, 50)), 1, 0);
        known.heard(0, Progress::new(at(3, 90)).began(at(2, 60)), 2, 0);
        assert!(known.has_all(0, at(1, 50)) && !known.has_all(0, at(1, 51)));
        assert!(known.has_all(0, at(2, 60)) && !known.has_all(0, at(2, 61)));
    }

    #[test]
    fn an_answer_raises_and_a_question_corrects() {
        let known = knowledge();
        known.learned(1, at(1, 7));
        known.learned(1, at(1, 3));
        known.learned(1, at(0, 99));
        assert_eq!(known.seats[1].position(), Some(at(1, 7)));
        known.heard(1, at(1, 2).into(), 1, 0); // restored from a backup
        assert_eq!(known.seats[1].position(), Some(at(1, 2)));
        known.learned(1, at(2, 0));
        assert_eq!(known.seats[1].position(), Some(at(2, 0)));
    }
}
