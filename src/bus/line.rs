//! Publishers that wait for a slow subscriber, in order of arrival.
//!
//! It knows which of them come to look, for the future of a publisher may be kept by somebody who does not poll it any more.

use std::collections::BTreeMap;

use crate::core::time::Tick;

/// Who is first, and for whom there is room, has so long to come. Then others go past it.
pub(super) const TURN: u64 = 100_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Line {
    waits: BTreeMap<u64, Waits>,
    /// How many there were.
    tickets: u64,
    /// Since when there is room for the first.
    called: Option<Tick>,
    /// Who was passed just now, and is to be woken.
    passed: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Waits {
    /// When it came last.
    seen: Tick,
    /// It had its turn and did not come: it holds nobody up.
    is_passed: bool,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// The first of those who hold others up.
    pub(super) fn first(&self) -> Option<u64> {
        self.waits.iter().find(|(_, waits)| !waits.is_passed).map(|(ticket, _)| *ticket)
    }

    /// The first of all, whether it holds others up or was passed.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waits.keys().next().copied()
    }

    /// Who was passed since this was asked last: it may not know that it had a turn.
    pub(super) fn take_passed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.passed)
    }

    /// Stands in the line, or comes to look again.
    pub(super) fn join(&mut self, ticket: Option<u64>, now: Tick) -> u64 {
        let ticket = ticket.unwrap_or_else(|| {
            self.tickets += 1;
            self.tickets
        });
        self.waits.insert(ticket, Waits { seen: now, is_passed: false });
        ticket
    }

    /// There is no room.
    pub(super) fn hold(&mut self) {
        self.called = None;
    }

    /// There is room: the turn of the first begins.
    pub(super) fn call(&mut self, now: Tick) -> Option<u64> {
        self.called.get_or_insert(now);
        self.first()
    }

    /// There is room, and somebody comes, from the line or from outside. Until when it is the turn of somebody else, if it is, and
    /// whether it was not before.
    pub(super) fn turn(&mut self, ticket: Option<u64>, now: Tick) -> (Option<Tick>, bool) {
        let called = *self.called.get_or_insert(now);
        let first = self.first();
        if first.is_none() || first == ticket {
            return (None, false);
        }
        if called.plus(TURN) > now {
            return (Some(called.plus(TURN)), false);
        }
        // Its time is up, and that of those behind it who have not come either.
        for (other, waits) in &mut self.waits {
            if Some(*other) == ticket {
                break;
            }
            if !waits.is_passed && (Some(*other) == first || waits.seen < called) {
                waits.is_passed = true;
                self.passed.push(*other);
            }
        }
        self.called = Some(now);
        let next = self.first();
        ((next.is_some() && next != ticket).then(|| now.plus(TURN)), true)
    }

    /// It has published.
    pub(super) fn go(&mut self, ticket: Option<u64>) {
        self.called = None;
        ticket.map(|ticket| self.waits.remove(&ticket));
    }

    /// It waits no longer.
    pub(super) fn leave(&mut self, ticket: u64) {
        if self.first() == Some(ticket) {
            self.called = None;
        }
        self.waits.remove(&ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Tick = Tick(TURN);

    #[test]
    fn who_comes_in_its_turn_is_passed_by_nobody() {
        let mut line = Line::default();
        let [one, two] = [(); 2].map(|()| line.join(None, Tick::ZERO));
        assert_eq!(line.turn(Some(two), Tick::ZERO), (Some(LATE), false));
        assert_eq!(line.turn(None, Tick(TURN - 1)), (Some(LATE), false));
        assert_eq!(line.turn(Some(one), Tick(TURN - 1)), (None, false));
        line.go(Some(one));
        assert_eq!(line.call(Tick(TURN - 1)), Some(two)); // its turn has only begun
        assert_eq!(line.turn(None, LATE).0, Some(Tick(2 * TURN - 1)));
    }

    #[test]
    fn who_does_not_come_is_passed_once_with_all_that_have_not_come_either() {
        let mut line = Line::default();
        let [one, two, three, four] = [(); 4].map(|()| line.join(None, Tick::ZERO));
        assert_eq!(line.call(Tick(1)), Some(one));
        line.join(Some(three), Tick(2)); // it is polled
        line.join(Some(four), LATE);
        assert_eq!(line.turn(Some(four), Tick(TURN + 1)), (Some(Tick(2 * TURN + 1)), true));
        assert_eq!(line.first(), Some(three)); // before the fourth, and past the first two
        assert_eq!((line.take_passed(), line.oldest()), (vec![one, two], Some(one))); // each is told once
        assert!(line.take_passed().is_empty());
        assert_eq!(line.turn(Some(three), Tick(TURN + 2)), (None, false));
        line.go(Some(three));
        // One that was passed and comes is in its place again.
        line.join(Some(two), Tick(TURN + 3));
        assert_eq!(line.first(), Some(two));
        line.leave(two);
        assert_eq!(line.first(), Some(four));
        assert_eq!(line.turn(Some(four), Tick(TURN + 4)), (None, false));
    }

    #[test]
    fn without_room_nobody_s_time_runs() {
        let mut line = Line::default();
        let one = line.join(None, Tick::ZERO);
        line.call(Tick::ZERO);
        line.hold();
        assert_eq!(line.turn(None, Tick(5 * TURN)), (Some(Tick(6 * TURN)), false));
        assert_eq!(line.first(), Some(one));
    }
}
