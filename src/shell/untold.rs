//! Changes that the observers have not been told of yet.

use std::collections::VecDeque;

use crate::event::Change;
use crate::time::Tick;

/// Changes that wait for a slow observer. Beyond these the newest are left out; their numbers show
/// as a gap.
const MOST: usize = 1024;

/// Changes in the order in which they happened, each with its number and its time.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    changes: VecDeque<(u64, Tick, Change)>,
    /// Somebody is telling them: leave it to them, so that the order is kept.
    telling: bool,
}

impl Untold {
    /// One more change. Returns whether it falls to the caller to tell it, and all others.
    #[must_use]
    pub(crate) fn add(&mut self, seq: u64, at: Tick, change: Change) -> bool {
        if self.changes.len() < MOST {
            self.changes.push_back((seq, at, change));
        }
        !std::mem::replace(&mut self.telling, true)
    }

    /// The next to be told. `None`: all are told, and the duty is over.
    pub(crate) fn next(&mut self) -> Option<(u64, Tick, Change)> {
        let next = self.changes.pop_front();
        self.telling = next.is_some();
        next
    }
}
