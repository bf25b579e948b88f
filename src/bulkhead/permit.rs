//! What a call holds of its bulkhead.

use std::sync::Arc;

use super::keyed::Tenant;
use super::policy::Policy;
use crate::error::{Measured, Reason, Rejected};
use crate::finish::Ending;
use crate::machine::{Pass, PassKind};
use crate::outcome::Outcome;
use crate::shell::flight::Cell;
use crate::shell::gate::{Counted, Hold, Lane};
use crate::shell::meter::Ended;

/// What a call counts with: a lane of the gate of its bulkhead, or the cell of its key.
pub(crate) trait Berth: Counted + Ending + Send + Sync + 'static {
    fn policy(&self) -> &Policy;
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
}

/// A place, taken until it is over.
#[derive(Debug)]
pub(super) struct Permit<B: Berth> {
    pub(super) hold: Hold<B>,
    pending: bool,
}

impl<B: Berth> Permit<B> {
    #[inline]
    pub(super) fn new(hold: Hold<B>) -> Self {
        Self { hold, pending: false }
    }

    /// The inner service has not answered yet.
    pub(super) fn note_pending(&mut self) {
        if let Some(berth) = self.hold.get()
            && !std::mem::replace(&mut self.pending, true)
        {
            berth.policy().note_seen();
        }
    }

    /// The call does not begin: the policy was drained before that. Its place is free again.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        let berth = self.hold.lose()?;
        berth.policy().leave(self.pending);
        Some(berth.policy().reject(Reason::Draining, Measured::Nothing))
    }

    /// The call was answered; whoever takes this says when it is over.
    pub(super) fn take_ending(&mut self) -> (Option<Arc<B>>, Pass) {
        self.note_pending(); // it goes on, even if its head was there at once
        (self.hold.defer(), Pass::new(0, PassKind::Slot))
    }

    /// The call is over.
    #[inline]
    pub(super) fn end(&mut self, how: Ended) {
        if let Some(berth) = self.hold.end() {
            berth.policy().end(how, self.pending);
        }
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        if let Some(berth) = self.hold.lose() {
            berth.policy().end(Ended::Abandoned, self.pending);
        }
    }
}

impl<B: Berth> Drop for Permit<B> {
    #[inline]
    fn drop(&mut self) {
        if !self.hold.is_over() {
            self.be_lost();
        }
    }
}

/// Both kinds of berth end a call in the same way.
macro_rules! ends_calls {
    ($Berth:ty) => {
        impl Ending for $Berth {
            fn settle(&self, _: Pass, outcome: Outcome) {
                Berth::policy(self).end(outcome.health.into(), true);
            }

            fn abandon(&self, _: Pass) {
                Berth::policy(self).end(Ended::Abandoned, true);
            }

            fn no_longer_in_flight(&self) {
                self.count().leave();
            }
        }
    };
}

ends_calls!(Lane<Policy>);
ends_calls!(Cell<Tenant>);
