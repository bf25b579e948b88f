//! A number of calls that are sent one after the other, and how they fare.

use crate::core::time::Tick;

/// The first so many calls sent from a moment on. They are told by when they were sent, not by when they
/// are answered: of calls that are under way together, the fast ones are answered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cohort {
    from: Tick,
    /// When the last of them was sent.
    last: Tick,
    /// How many are to be sent yet.
    left: u32,
    ended: u32,
    answered: u32,
    /// Nanoseconds.
    latencies: u64,
}

impl Cohort {
    pub(super) const fn new(from: Tick, calls: u32) -> Self {
        Self { from, last: from, left: calls, ended: 0, answered: 0, latencies: 0 }
    }

    pub(super) fn start(&mut self, now: Tick) {
        if now >= self.from && self.left > 0 {
            (self.last, self.left) = (now, self.left - 1);
        }
    }

    /// One ended, with this latency if it was answered well.
    pub(super) fn end(&mut self, sent: Tick, latency: Option<u64>) {
        if sent < self.from || sent > self.last {
            return;
        }
        self.ended += 1;
        if let Some(latency) = latency {
            self.answered += 1;
            self.latencies = self.latencies.saturating_add(latency);
        }
    }

    /// As [`end`](Self::end), but another call is to take the place of one that was not answered well.
    pub(super) fn end_or_replace(&mut self, sent: Tick, latency: Option<u64>) {
        if latency.is_some() || sent < self.from || sent > self.last {
            return self.end(sent, latency);
        }
        self.left += 1;
    }

    pub(super) const fn ended(&self) -> u32 {
        self.ended
    }

    pub(super) const fn answered(&self) -> u32 {
        self.answered
    }

    /// The mean latency of those answered, if there are any.
    pub(super) fn mean(&self) -> Option<u64> {
        self.latencies.checked_div(self.answered.into())
    }
}
