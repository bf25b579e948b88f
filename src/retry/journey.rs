//! What a call through a retry has been through, and the time that it has left.

use std::time::Duration;

use tokio::time::Instant;

use super::machine::{Attempts, Law};
use super::travels::Travels;
use crate::error::{Measured, Reason};
use crate::time::{self, nanos};

/// What a call has been through.
pub(super) struct Journey<E> {
    pub(super) attempts: Attempts,
    /// When the first attempt was first found pending, or failed.
    pub(super) started: Option<Instant>,
    pub(super) last_error: Option<E>,
    /// Until when a further attempt may wait for readiness.
    pub(super) patience: Option<Instant>,
}

impl<E> Default for Journey<E> {
    fn default() -> Self {
        Self { attempts: Attempts::FIRST, started: None, last_error: None, patience: None }
    }
}

impl<E> Journey<E> {
    /// The clock starts at the first `Pending` or failure.
    pub(super) fn begin(&mut self) {
        self.started.get_or_insert_with(time::now);
    }

    /// Nanoseconds left for further attempts, if there is a limit.
    pub(super) fn left(&mut self, law: &Law, travels: Option<&Travels>) -> Option<u64> {
        let now = time::now();
        let started = *self.started.get_or_insert(now);
        let elapsed = nanos(now.saturating_duration_since(started));
        let total = (law.total != u64::MAX).then(|| law.total.saturating_sub(elapsed));
        let deadline = travels.and_then(|travels| travels.call.deadline);
        let told = deadline.map(|deadline| nanos(deadline.remaining()));
        match (total, told) {
            (Some(total), Some(told)) => Some(total.min(told)),
            (total, told) => total.or(told),
        }
    }

    /// Which of its limits left it too little time: the one that comes first.
    pub(super) fn ran_out_of(&self, law: &Law, travels: Option<&Travels>) -> (Reason, Measured) {
        let call = travels.map(|travels| &travels.call);
        let told = call.and_then(|call| Some((call.deadline?.instant()?, call.whose_deadline())));
        let total = Duration::from_nanos(law.total);
        let own = self.started.filter(|_| law.total != u64::MAX);
        let own = own.and_then(|started| started.checked_add(total));
        match told {
            Some((told, whose)) if own.is_none_or(|own| told < own) => {
                (Reason::DeadlineExceeded, whose)
            }
            _ => (Reason::TimedOut, Measured::Elapsed { limit: law.total }),
        }
    }

    /// Nanoseconds since the first attempt was found pending, waits included.
    pub(super) fn took(&self) -> Option<u64> {
        self.started.map(|started| nanos(time::now().saturating_duration_since(started)))
    }
}
