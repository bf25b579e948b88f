//! Calls whose request is still being sent when their time is up.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{Limits, Whose};
use crate::core::error::{Reason, Rejected};
use crate::core::request::Deadline;
use crate::core::upload::{Due, Upload};

/// The body of a request that was on its way when the call began.
#[derive(Debug)]
pub(super) struct Uploading {
    upload: Upload,
    /// Whether this timeout is the outermost, which ends a call whose body stalls.
    guards: bool,
    /// What the caller said, which holds whatever it sends.
    told: Option<Deadline>,
}

/// What to do when the time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Wait(Instant),
    End,
}

impl Uploading {
    /// `None` if the body is through, or was there from the start.
    #[inline]
    pub(super) fn of(upload: Option<Upload>, told: Option<Deadline>) -> Option<Self> {
        let upload = upload.filter(Upload::is_to_come)?;
        let guards = upload.guard();
        Some(Self { upload, guards, told })
    }

    /// The time is up: is it, although the body was on its way?
    pub(super) fn ask(&self, limits: &mut Limits, started: Option<Instant>) -> Word {
        let (None, Some(started)) = (limits.deadline, started) else { return Word::End };
        let at = match self.upload.due(started, Duration::from_nanos(limits.limit), self.guards) {
            Due::Now => return Word::End,
            Due::Stalled => {
                self.upload.stall();
                return Word::End;
            }
            Due::At(at) => at,
        };
        match self.told.and_then(|told| told.instant()) {
            Some(told) if told < at => {
                (limits.deadline, limits.whose) = (self.told, Whose::CALLERS);
                Word::Wait(told)
            }
            _ => Word::Wait(at),
        }
    }

    /// Whether the call is ended for want of its body.
    pub(super) fn has_stalled(&self) -> bool {
        self.upload.fault() == Some(Reason::RequestTimeout)
    }

    /// The call has a result: a body that stalled has none but that, and one that broke off is the
    /// reason for every failure.
    pub(super) fn blame(&self, failure: Result<(), Option<&Rejected>>) -> Option<Reason> {
        let reason = self.upload.fault()?;
        let is_blamed = match failure {
            Ok(()) => reason == Reason::RequestTimeout,
            Err(rejected) => rejected.is_none(),
        };
        is_blamed.then_some(reason)
    }

    /// Whether a call that is dropped now says nothing of the dependency.
    pub(super) fn excuses(&self) -> bool {
        self.upload.flows() || self.upload.fault().is_some()
    }
}
