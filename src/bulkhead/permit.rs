//! What a call holds of its bulkhead.

use std::sync::Arc;

use super::cost::Places;
use super::keyed::Tenant;
use super::policy::Policy;
use crate::error::{Measured, Reason, Rejected};
use crate::finish::{Ending, Tail};
use crate::outcome::Outcome;
use crate::shell::cell::Cell;
use crate::shell::gate::{Counted, Hold, Lane};
use crate::shell::meter::Ended;

/// What a call counts with: a lane of the gate of its bulkhead, or the cell of its key.
pub(crate) trait Berth: Counted + Ending + Send + Sync + 'static {
    fn policy(&self) -> &Policy;

    /// So many more places are known to be taken, for the totals of many bulkheads.
    fn count_seen(&self, _: i64) {}
}

impl Berth for Lane<Policy> {
    #[inline]
    fn policy(&self) -> &Policy {
        self
    }
}

impl Berth for Cell<Tenant> {
    #[inline]
    fn policy(&self) -> &Policy {
        self.policy.bulkhead()
    }

    fn count_seen(&self, more: i64) {
        self.policy.bulkhead().count_seen(more);
    }
}

/// A place, taken until it is over.
#[derive(Debug)]
pub(super) struct Permit<B: Berth, A: Places> {
    pub(super) hold: Hold<B>,
    places: A,
    pending: bool,
}

impl<B: Berth, A: Places> Permit<B, A> {
    #[inline]
    pub(super) fn new(hold: Hold<B>, places: A) -> Self {
        Self { hold, places, pending: false }
    }

    /// The inner service has not answered yet.
    pub(super) fn note_pending(&mut self) {
        if let Some(berth) = self.hold.get()
            && !std::mem::replace(&mut self.pending, true)
        {
            berth.count_seen(self.places.number().into());
            berth.policy().note_levels();
        }
    }

    /// The call does not begin: the policy was drained before that. Its place is free again.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        let berth = self.hold.lose()?;
        self.unsee(&*berth);
        berth.policy().leave(self.places.number());
        Some(berth.policy().reject(Reason::Draining, Measured::Nothing))
    }

    /// The call was answered; whoever takes this says when it is over.
    pub(super) fn take_ending(&mut self) -> (Option<Arc<B>>, Tail) {
        self.note_pending(); // it goes on, even if its head was there at once
        (self.hold.defer(), Tail { word: self.places.number().into(), ..Tail::default() })
    }

    /// The call is over.
    #[inline]
    pub(super) fn end(&mut self, how: Ended) {
        if let Some(berth) = self.hold.end() {
            self.unsee(&*berth);
            berth.policy().end(how, self.places.number());
        }
    }

    #[inline]
    fn unsee(&self, berth: &B) {
        if self.pending {
            berth.count_seen(-i64::from(self.places.number()));
        }
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        if let Some(berth) = self.hold.lose() {
            self.unsee(&*berth);
            berth.policy().end(Ended::Abandoned, self.places.number());
        }
    }
}

impl<B: Berth, A: Places> Drop for Permit<B, A> {
    #[inline]
    fn drop(&mut self) {
        if !self.hold.is_over() {
            self.be_lost();
        }
    }
}

/// What a call took.
const fn places(tail: Tail) -> u32 {
    tail.word as u32
}

/// Both kinds of berth end a call in the same way.
macro_rules! ends_calls {
    ($Berth:ty) => {
        impl Ending for $Berth {
            fn settle(&self, _: u8, tail: Tail, outcome: &Outcome) {
                self.count_seen(-i64::from(places(tail)));
                Berth::policy(self).end(outcome.health.into(), places(tail));
            }

            fn abandon(&self, _: u8, tail: Tail) {
                self.count_seen(-i64::from(places(tail)));
                Berth::policy(self).end(Ended::Abandoned, places(tail));
            }

            fn no_longer_in_flight(&self, _: bool) {
                self.count().leave();
            }
        }
    };
}

ends_calls!(Lane<Policy>);
ends_calls!(Cell<Tenant>);
