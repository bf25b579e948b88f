//! What travels with the attempts of a call.

use tokio::time::Instant;

use crate::request::{Call, Carry};
use crate::time;

/// How a call copies, numbers and reads its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Kit<R, K> {
    pub(super) copy: R,
    pub(super) carry: K,
}

/// What travels with a request.
pub(super) struct Travels {
    pub(super) call: Call,
    /// When the attempt under way began, if someone measures.
    began: Option<Instant>,
}

impl<R, K> Kit<R, K> {
    /// What came with a request.
    #[inline]
    pub(super) fn read<Req>(&self, request: &Req) -> Option<Travels>
    where
        K: Carry<Req>,
    {
        let call = self.carry.carries().then(|| self.carry.read(request))?;
        Some(Travels { call, began: None })
    }

    /// Writes the number of the attempt that begins into its request.
    #[inline]
    pub(super) fn write<Req>(&self, request: &mut Req, attempt: u32, travels: &mut Travels)
    where
        K: Carry<Req>,
    {
        travels.call.attempt = attempt;
        self.carry.write(request, &travels.call);
        travels.began = travels.call.measure.is_some().then(time::now);
    }
}

impl Travels {
    /// Whether the request is a repetition by its caller.
    #[inline]
    pub(super) const fn is_repetition(&self) -> bool {
        self.call.prior > 0
    }

    pub(super) fn note_attempt(&self) {
        if let (Some(measure), Some(began)) = (&self.call.measure, self.began) {
            measure.record(time::now().saturating_duration_since(began));
        }
    }
}
