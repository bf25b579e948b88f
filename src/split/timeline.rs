//! How old is what a replica has: a pure machine. Times are nanoseconds since any moment, and are arguments.
//!
//! Seconds of lag lie: on an idle primary they grow though nothing is missing. So age is found by positions. The primary
//! was asked at `s` and said `p`: who has `p` has all that was committed before `s`, and is at most as old as `s`.

use crate::core::position::Position;
use std::collections::VecDeque;

/// Where the primary was last known to be, and when it was asked.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    /// Grows in both parts; all of one era.
    known: VecDeque<(u64, Position)>,
    most: usize,
}

impl Timeline {
    /// Keeps the newest `most` of them, at least 2.
    pub(super) fn new(most: usize) -> Self {
        Self { known: VecDeque::new(), most: most.max(2) }
    }

    /// The primary said `position`; it was asked at `asked`. An answer of an earlier era, or to an earlier question, is nothing new.
    pub(super) fn primary_is_at(&mut self, position: Position, asked: u64) {
        if let Some((last, newest)) = self.known.back().copied() {
            if position.era < newest.era || (position.era == newest.era && asked < last) {
                return;
            }
            if position.era > newest.era {
                self.known.clear();
            } else if position.at <= newest.at {
                // Nothing was written since: who has the newest is as young as this question.
                if let Some(back) = self.known.back_mut() {
                    back.0 = asked;
                }
                return;
            }
        }
        if self.known.len() >= self.most {
            // The oldest go: a replica behind all of them is of unknown age, which is never fresh.
            self.known.pop_front();
        }
        self.known.push_back((asked, position));
    }

    /// What a replica at `position` has is all that was there at this time, and perhaps more. `None` if nobody knows, which
    /// is never fresh.
    pub(super) fn as_of(&self, position: Position) -> Option<u64> {
        let has = |(_, known): &&(u64, Position)| *known <= position;
        self.known.iter().rev().find(has).map(|(asked, _)| *asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(era: u32, at: u64) -> Position {
        Position { era, at }
    }

    impl Timeline {
        /// How old what a replica at `position` has may be at `now`.
        fn age(&self, position: Position, now: u64) -> Option<u64> {
            self.as_of(position).map(|asked| now.saturating_sub(asked))
        }

        fn newest(&self) -> Option<Position> {
            self.known.back().map(|(_, position)| *position)
        }
    }

    /// All histories of `STEPS` steps (a write, or a question to the primary, answered at once or a step later): the age
    /// of a replica at any position is never less than it is in truth.
    fn explore(age: fn(&Timeline, Position, u64) -> Option<u64>) -> Result<u32, String> {
        const STEPS: u32 = 9;
        let mut seen = 0;
        for history in 0..3_u32.pow(STEPS) {
            let mut timeline = Timeline::new(3);
            let mut written = Vec::new(); // when the write that makes `at` its index + 1 was committed
            let mut late = None;
            for step in 0..STEPS {
                let now = u64::from(step) * 10;
                if let Some(asked) = late.take() {
                    timeline.primary_is_at(at(1, written.len() as u64), asked);
                }
                match history / 3_u32.pow(step) % 3 {
                    0 => written.push(now),
                    1 => timeline.primary_is_at(at(1, written.len() as u64), now),
                    _ => late = Some(now),
                }
                for replica in 0..=written.len() {
                    // The first write that it lacks says how old it is.
                    let truth = written.get(replica).map_or(0, |missing| now - missing);
                    if let Some(told) = age(&timeline, at(1, replica as u64), now) {
                        seen += 1;
                        if told < truth {
                            return Err(format!(
                                "{history}: at {replica} it is {truth} old, not {told}"
                            ));
                        }
                    }
                }
            }
        }
        Ok(seen)
    }

    // pitfalls B60, B62
    #[test]
    fn nothing_is_younger_than_in_truth() {
        assert!(explore(Timeline::age).unwrap() > 10_000);
    }

    #[test]
    fn weaker_laws_are_caught() {
        let heard_is_fresh = |timeline: &Timeline, position: Position, now: u64| {
            timeline.age(position, now).or(timeline.newest().map(|_| 0))
        };
        assert!(explore(heard_is_fresh).is_err());
        let newest_question = |timeline: &Timeline, _: Position, now: u64| {
            timeline.known.back().map(|(asked, _)| now - asked)
        };
        assert!(explore(newest_question).is_err());
    }

    // pitfall B60
    #[test]
    fn on_an_idle_primary_a_replica_that_has_all_stays_young() {
        let mut timeline = Timeline::new(4);
        for asked in [0, 100, 200, 300] {
            timeline.primary_is_at(at(1, 7), asked);
        }
        assert_eq!(timeline.age(at(1, 7), 310), Some(10));
        assert_eq!(timeline.age(at(1, 6), 310), None);
    }

    // pitfalls B61, B62
    #[test]
    fn an_earlier_history_is_of_no_known_age() {
        let mut timeline = Timeline::new(4);
        assert_eq!(timeline.age(at(1, u64::MAX), 0), None);
        timeline.primary_is_at(at(1, 7), 0);
        timeline.primary_is_at(at(2, 3), 10);
        timeline.primary_is_at(at(1, 99), 20); // late, of the primary that was
        assert_eq!(timeline.age(at(1, 99), 20), None);
        assert_eq!(timeline.age(at(2, 3), 20), Some(10));
    }

    #[test]
    fn a_late_answer_to_an_earlier_question_makes_nothing_older() {
        let mut timeline = Timeline::new(4);
        timeline.primary_is_at(at(1, 7), 100);
        timeline.primary_is_at(at(1, 7), 50);
        assert_eq!(timeline.age(at(1, 7), 110), Some(10));
    }
}
