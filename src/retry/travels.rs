//! What travels with the attempts of a call.

use tokio::time::Instant;

use super::machine::Attempts;
use crate::context::CallContext;
use crate::outcome::Sent;
use crate::request::{Call, Carry, CloneRequest};
use crate::time;

/// How a call copies, numbers and reads its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Kit<R, K> {
    pub(super) copy: R,
    pub(super) carry: K,
}

/// What is sent if the attempt before it fails.
pub(super) struct Spare<Req> {
    pub(super) request: Req,
    /// Only if nothing of the original was sent.
    only_unsent: bool,
}

/// What travels with a request.
pub(super) struct Travels {
    pub(super) call: Call,
    /// When the attempt under way began, if someone measures.
    began: Option<Instant>,
    /// What the answer to it is judged by.
    context: CallContext,
}

impl<R, K> Kit<R, K> {
    /// A copy of a request, if there may be one.
    #[inline]
    pub(super) fn copy<Req>(&self, request: &Req) -> Option<Spare<Req>>
    where
        R: CloneRequest<Req>,
    {
        let spare = |only_unsent| move |request| Spare { request, only_unsent };
        let repeated = self.copy.clone_request(request).map(spare(false));
        repeated.or_else(|| self.copy.clone_unsent(request).map(spare(true)))
    }

    /// Whether a copy may be sent in the place of its original, and still can be.
    pub(super) fn take_over<Req>(&self, copy: &mut Spare<Req>, original: Sent) -> bool
    where
        R: CloneRequest<Req>,
    {
        (original == Sent::Never || !copy.only_unsent) && self.copy.take_over(&mut copy.request)
    }

    /// What came with a request.
    #[inline]
    pub(super) fn read<Req>(&self, request: &Req) -> Option<Travels>
    where
        K: Carry<Req>,
    {
        let call = self.carry.carries().then(|| self.carry.read(request))?;
        Some(Travels { call, began: None, context: CallContext::default() })
    }

    /// Writes the number of the attempt that begins into its request.
    #[inline]
    pub(super) fn write<Req>(&self, request: &mut Req, attempts: Attempts, travels: &mut Travels)
    where
        K: Carry<Req>,
    {
        (travels.call.attempt, travels.call.unsent) = (attempts.number(), attempts.unsent());
        self.carry.write(request, &travels.call);
        travels.began = travels.call.measure.is_some().then(time::now);
        travels.context = CallContext::of(&travels.call);
    }
}

impl Travels {
    /// Whether the request is a repetition by its caller.
    #[inline]
    pub(super) const fn is_repetition(&self) -> bool {
        self.call.prior > 0
    }

    #[inline]
    pub(super) const fn context(&self) -> CallContext {
        self.context
    }

    pub(super) fn note_attempt(&self) {
        if let (Some(measure), Some(began)) = (&self.call.measure, self.began) {
            measure.record(time::now().saturating_duration_since(began));
        }
    }
}
