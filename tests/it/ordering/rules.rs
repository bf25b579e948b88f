//! What should be seen, said by rule. Nothing here is copied from a run.

use seawall::Reason;

use super::world::{ATTEMPTS, Act, Answer, Counts, Kind, Order, Seen, TRIP};

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Failure,
    /// The layer ended it.
    By(Kind, Reason),
}

/// What should be seen, said by rule.
pub(super) struct Expected {
    order: Order,
    seen: Seen,
}

impl Expected {
    pub(super) fn of(order: Order, act: Act) -> Seen {
        let counts = Kind::ALL.map(|kind| (kind, Counts::default())).into();
        let seen = Seen { counts, ..Seen::default() };
        let mut expected = Self { order, seen };
        expected.act(act);
        expected.seen
    }

    fn act(&mut self, act: Act) {
        let outside = |outer, inner| self.order.outside(outer, inner);
        let timed_out = End::By(Kind::Timeout, Reason::TimedOut);
        // A retry tries again what it sees fail. It does not see what something further out ends.
        let retry_sees_timeouts = outside(Kind::Retry, Kind::Timeout);
        let waiting_is_timed = outside(Kind::Timeout, Kind::Bulkhead);
        let one_opinion_per_attempt = outside(Kind::Retry, Kind::Breaker);
        match act {
            Act::Flaky => {
                self.seen.place_held = outside(Kind::Bulkhead, Kind::Retry);
                self.seen.inner_calls = 4 * ATTEMPTS;
                for _ in 0..4 {
                    self.request(&[End::Failure, End::Success]);
                }
            }
            Act::Hang if retry_sees_timeouts => {
                self.seen.inner_calls = 2;
                self.request(&[timed_out, End::Success]);
            }
            Act::Hang => {
                self.seen.inner_calls = 1;
                self.request(&[timed_out]);
            }
            Act::Queue => {
                self.request(&[End::Success]);
                // The second waits 80 ms for its place, then 80 ms for its answer.
                match (waiting_is_timed, retry_sees_timeouts) {
                    (false, _) => self.request(&[End::Success]),
                    (true, true) => self.request(&[timed_out, End::Success]),
                    (true, false) => self.request(&[timed_out]),
                }
                self.seen.inner_calls = 2 + u32::from(waiting_is_timed && retry_sees_timeouts);
            }
            Act::Down => self.request(&[End::By(Kind::Health, Reason::Unhealthy)]),
            Act::Outage => {
                let requests = if one_opinion_per_attempt { TRIP / ATTEMPTS } else { TRIP };
                self.seen.inner_calls = requests * ATTEMPTS;
                for _ in 0..requests {
                    self.request(&[End::Failure; ATTEMPTS as usize]);
                }
                self.request(&[End::By(Kind::Breaker, Reason::CircuitOpen)]);
            }
        }
    }

    /// A request with these attempts. What is inside the retry sees each attempt, what is outside,
    /// and the retry itself, the last one.
    fn request(&mut self, attempts: &[End]) {
        let last = attempts[attempts.len() - 1];
        self.seen.answers.push(match last {
            End::Success => Answer::Success,
            End::Failure => Answer::Failure,
            End::By(_, reason) => Answer::Ended(reason),
        });
        for kind in Kind::ALL {
            if self.order.outside(Kind::Retry, kind) {
                for end in attempts {
                    self.count(kind, *end);
                }
            } else {
                self.count(kind, last);
            }
        }
    }

    /// What a layer makes of an attempt that it was part of.
    fn count(&mut self, kind: Kind, end: End) {
        let further_out = |than| self.order.outside(kind, than);
        let counts = self.seen.counts.entry(kind).or_default();
        match end {
            End::Success => counts.good += 1,
            End::Failure => counts.bad += 1,
            End::By(by, _) if by == kind => counts.rejected += 1,
            // No answer in time is a failure of the dependency; its call is dropped.
            End::By(by, Reason::TimedOut) if further_out(by) => counts.bad += 1,
            End::By(_, Reason::TimedOut) => counts.abandoned += 1,
            // A rejection is none, and nobody further in hears of it.
            End::By(by, _) if further_out(by) => counts.silent += 1,
            End::By(..) => {}
        }
    }
}
