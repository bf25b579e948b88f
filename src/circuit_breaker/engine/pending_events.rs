//! Changes that the observers have not been told of yet.

use std::collections::VecDeque;

use crate::circuit_breaker::outage::Turn;
use crate::circuit_breaker::transition::Transition;
use crate::core::time::Tick;

/// Changes that wait for a slow observer. Beyond these the newest are left out; their numbers show
/// as a gap.
const MOST: usize = 1024;

/// A change, its number, its time, and what it means to those who are told of outages.
pub(crate) type News = (u64, Tick, Transition, Option<Turn>);

/// Changes in the order in which they happened, each with its number and its time.
#[derive(Debug, Default)]
pub(crate) struct PendingEvents {
    changes: VecDeque<News>,
    /// Somebody is telling them: leave it to them, so that the order is kept.
    telling: bool,
}

impl PendingEvents {
    /// One more change. Returns whether it falls to the caller to tell it, and all others.
    #[must_use]
    pub(crate) fn add(&mut self, news: News) -> bool {
        if self.changes.len() < MOST {
            self.changes.push_back(news);
        }
        !std::mem::replace(&mut self.telling, true)
    }

    /// The next to be told. `None`: all are told, and the duty is over.
    pub(crate) fn next(&mut self) -> Option<News> {
        let next = self.changes.pop_front();
        self.telling = next.is_some();
        next
    }
}
