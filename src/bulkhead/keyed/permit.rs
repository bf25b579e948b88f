//! What a call holds of the bulkhead of its key.

use std::sync::Arc;

use super::KeyedPart;
use crate::core::completion::{Ending, Tail};
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::outcome::Outcome;
use crate::shell::cell::Cell;
use crate::shell::in_flight::{Counted, Hold};
use crate::shell::meter::Ended;

/// A place, taken until it is over.
#[derive(Debug)]
pub(super) struct Permit {
    pub(super) hold: Hold<Cell<KeyedPart>>,
    permits: u32,
    pending: bool,
}

impl Permit {
    #[inline]
    pub(super) fn new(hold: Hold<Cell<KeyedPart>>, permits: u32) -> Self {
        Self { hold, permits, pending: false }
    }

    /// The inner service has not answered yet.
    pub(super) fn note_pending(&mut self) {
        if let Some(berth) = self.hold.get()
            && !std::mem::replace(&mut self.pending, true)
        {
            berth.policy.bulkhead().count_seen(self.permits.into());
            berth.policy.bulkhead().note_levels();
        }
    }

    /// The call does not begin: the policy was drained before that. Its place is free again.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        let berth = self.hold.lose()?;
        self.unsee(&berth);
        berth.policy.bulkhead().leave(self.permits);
        Some(berth.policy.bulkhead().reject(Reason::Draining, Measurement::Nothing))
    }

    /// The call was answered; whoever takes this says when it is over.
    pub(super) fn take_ending(&mut self) -> (Option<Arc<Cell<KeyedPart>>>, Tail) {
        self.note_pending(); // it goes on, even if its head was there at once
        (self.hold.defer(), Tail { word: self.permits.into(), ..Tail::default() })
    }

    /// The call is over.
    #[inline]
    pub(super) fn end(&mut self, how: Ended) {
        if let Some(berth) = self.hold.end() {
            self.unsee(&berth);
            berth.policy.bulkhead().end(how, self.permits);
        }
    }

    #[inline]
    fn unsee(&self, berth: &Cell<KeyedPart>) {
        if self.pending {
            berth.policy.bulkhead().count_seen(-i64::from(self.permits));
        }
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        if let Some(berth) = self.hold.lose() {
            self.unsee(&berth);
            berth.policy.bulkhead().end(Ended::Abandoned, self.permits);
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.hold.is_over() {
            self.be_lost();
        }
    }
}

/// What a call took.
const fn permits(tail: Tail) -> u32 {
    tail.word as u32
}

impl Ending for Cell<KeyedPart> {
    fn settle(&self, _: u8, tail: Tail, outcome: &Outcome) {
        let limiter = self.policy.bulkhead();
        limiter.count_seen(-i64::from(permits(tail)));
        limiter.end(outcome.signal.into(), permits(tail));
    }

    fn abandon(&self, _: u8, tail: Tail) {
        let limiter = self.policy.bulkhead();
        limiter.count_seen(-i64::from(permits(tail)));
        limiter.end(Ended::Abandoned, permits(tail));
    }

    fn no_longer_in_flight(&self, _: bool) {
        self.count().leave();
    }
}
