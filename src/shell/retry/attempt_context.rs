//! What is propagated with the attempts of a call.

use tokio::time::Instant;

use super::repeat::Attempts;
use crate::core::context::ClassifyContext;
use crate::core::outcome::Sent;
use crate::core::request::{CallContext, CloneRequest, Propagate};
use crate::core::time;

/// How a call copies, numbers and reads its requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestTools<R, K> {
    pub(crate) copy: R,
    pub(crate) propagate: K,
}

/// What is sent if the attempt before it fails.
pub(super) struct RetryCopy<Req> {
    pub(super) request: Req,
    /// Only if nothing of the original was sent.
    only_unsent: bool,
}

/// What is propagated with a request.
pub(super) struct AttemptContext {
    /// What came with it, and what the policy of the whole call made of that.
    pub(super) call: CallContext,
    /// When the attempt in flight began, if someone measures or classifies by it.
    began: Option<Instant>,
}

impl<R, K> RequestTools<R, K> {
    /// A copy of a request, if there may be one.
    #[inline]
    pub(super) fn copy<Req>(&self, request: &Req) -> Option<RetryCopy<Req>>
    where
        R: CloneRequest<Req>,
    {
        let copied = |only_unsent| move |request| RetryCopy { request, only_unsent };
        let repeated = self.copy.clone_request(request).map(copied(false));
        repeated.or_else(|| self.copy.clone_unsent(request).map(copied(true)))
    }

    /// Whether a copy may be sent in the place of its original, and still can be.
    pub(super) fn take_over<Req>(&self, copy: &mut RetryCopy<Req>, original: Sent) -> bool
    where
        R: CloneRequest<Req>,
    {
        (original == Sent::Never || !copy.only_unsent) && self.copy.take_over(&mut copy.request)
    }

    /// What came with a request.
    #[inline]
    pub(super) fn read<Req>(&self, request: &Req) -> Option<AttemptContext>
    where
        K: Propagate<Req>,
    {
        let call = self.propagate.propagates().then(|| self.propagate.extract(request))?;
        Some(AttemptContext { call, began: None })
    }
}

impl AttemptContext {
    /// Whether the request is a retry by its caller.
    #[inline]
    pub(super) const fn is_retry(&self) -> bool {
        self.call.prior > 0
    }

    /// An attempt begins.
    #[inline]
    pub(super) fn begin(&mut self, attempts: &impl Attempts) {
        (self.call.attempt, self.call.unsent) = (attempts.number(), attempts.unsent());
        if attempts.number() > 1 {
            self.call.forget_now(); // it is later now
        }
        let is_timed = self.call.measure.is_some() || self.call.caller_deadline().is_some();
        self.began = is_timed.then(|| self.call.now());
    }

    /// What the answer to the attempt in flight is classified by.
    #[inline]
    pub(super) fn context(&self) -> ClassifyContext {
        ClassifyContext::begun(self.call.caller_deadline(), self.began)
    }

    pub(super) fn note_attempt(&self) {
        if let (Some(measure), Some(began)) = (&self.call.measure, self.began) {
            measure.record(time::now().saturating_duration_since(began));
        }
    }
}
