//! Until when the answer of a call is of use, and whose word that is.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::error::{Measurement, Reason, Rejected, SetBy};
use crate::core::request::{CallContext, Deadline, is_no_later};
use crate::core::time;

/// Until when an answer is of use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Nanoseconds from the first `Pending`; `u64::MAX` is no limit.
    pub(super) limit: u64,
    /// What came with the request, until it is known that the limit comes first.
    pub(super) deadline: Option<Deadline>,
    /// Who set that.
    pub(super) whose: Whose,
    /// Whether a call that is not over by the deadline has hung: an outer layer had set it, and
    /// gave all of its time to this attempt.
    pub(super) hangs: bool,
}

/// Who set a deadline: [`Measurement::Deadline`], as small as it can be, for it is moved with every call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose {
    set_by: SetBy,
    limit: u64,
}

impl Whose {
    pub(super) const CALLERS: Self = Self { set_by: SetBy::Caller, limit: u64::MAX };

    /// Who set the deadline that came with a call.
    #[inline]
    pub(super) fn of(call: &CallContext) -> Self {
        let (set_by, limit) = call.deadline_set_by();
        Self { set_by, limit }
    }
}

impl From<Whose> for Measurement {
    fn from(Whose { set_by, limit }: Whose) -> Self {
        Self::Deadline { set_by, limit }
    }
}

impl Limits {
    /// The limit of this layer, and no deadline.
    pub(super) const fn of(limit: u64) -> Self {
        Self { limit, deadline: None, whose: Whose::CALLERS, hangs: false }
    }

    pub(super) const fn are_endless(&self) -> bool {
        self.limit == u64::MAX && self.deadline.is_none()
    }

    /// The inner service is pending, for the first time: the clock starts `now`. When the time is up.
    #[inline]
    pub(super) fn start(&mut self, now: Instant) -> Option<Instant> {
        if self.deadline.is_none() {
            return self.until(Some(now));
        }
        self.start_by(now)
    }

    fn start_by(&mut self, now: Instant) -> Option<Instant> {
        let own = now.checked_add(Duration::from_nanos(self.limit));
        let own = own.filter(|_| self.limit != u64::MAX);
        match (own, self.deadline.and_then(|deadline| deadline.instant())) {
            (Some(own), Some(told)) if is_no_later(own, told, self.limit) => {
                self.deadline = None; // ours comes first
                Some(own.min(told))
            }
            (own, None) => {
                self.deadline = None;
                own
            }
            (_, told) => told,
        }
    }

    /// The same, of a clock that has `started`.
    pub(super) fn until(&self, started: Option<Instant>) -> Option<Instant> {
        match self.deadline {
            Some(deadline) => deadline.instant(),
            None if self.limit == u64::MAX => None,
            None => started?.checked_add(Duration::from_nanos(self.limit)),
        }
    }

    /// Whether the time that is up at `until` is not up `now`.
    pub(super) fn is_later(&self, until: Instant, now: Instant) -> bool {
        let is_tie = || self.deadline.is_none() && is_no_later(until, now, self.limit);
        until > now && !is_tie()
    }

    /// The inner service failed; `rejected` if one of our layers did. When the deadline of the caller
    /// has passed, it is that which the caller is told of, not the word of whoever else knew the
    /// deadline and saw it first. And when our own limit has passed, which went further in as the
    /// deadline, it is that.
    pub(super) fn overrule(&self, rejected: Option<&Rejected>, started: Option<Instant>) -> bool {
        match (rejected, self.deadline) {
            (None, Some(deadline)) => !self.hangs && deadline.is_past(),
            (Some(rejected), deadline) if rejected.is_of_own_deadline() => {
                deadline.is_some_and(|deadline| deadline.is_past())
                    || self.are_over(started, rejected.measurement())
            }
            _ => false,
        }
    }

    /// Whether the limit has passed, or was the deadline that has passed further in.
    fn are_over(&self, started: Option<Instant>, measurement: Measurement) -> bool {
        let limit = Duration::from_nanos(self.limit);
        let passed = |at| time::now().saturating_duration_since(at) >= limit;
        self.deadline.is_none()
            && (measurement == Measurement::Deadline { set_by: SetBy::Layer, limit: self.limit }
                || started.is_some_and(passed))
    }

    /// What there is to say when the time is up.
    pub(super) fn word(&self) -> (Reason, Measurement) {
        match self.deadline {
            Some(_) if self.hangs => (Reason::TimedOut, self.whose.into()),
            Some(_) => (Reason::DeadlineExceeded, self.whose.into()),
            None => (Reason::TimedOut, Measurement::Elapsed { limit: self.limit }),
        }
    }
}
