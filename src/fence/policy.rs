//! How calls ask a fence.

use std::fmt;
use std::sync::Arc;
use std::task::Context;

use tokio::time::Instant;

use super::cell::{Cell, Then, Waiting};
use crate::core::epoch::Epoch;
use crate::core::error::Rejected;
use crate::core::request::CallContext;
use crate::shell::gate::{Admission, Admit, Judged, Keyless, Lost, Now, OverAtHead, Policy};
use crate::shell::meter::Ended;

/// By which epoch a call is made.
pub trait EpochOf<Req>: Send + Sync + 'static {
    #[doc(hidden)]
    fn epoch_of(&self, request: &Req, call: Option<&CallContext>) -> Epoch;
}

/// It is propagated with the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Propagated;

/// A closure finds it in the request.
#[derive(Clone, Copy)]
pub struct InRequest<F>(pub(super) F);

impl<Req> EpochOf<Req> for Propagated {
    #[inline]
    fn epoch_of(&self, _: &Req, call: Option<&CallContext>) -> Epoch {
        call.map_or(Epoch::NOBODY, |call| call.epoch)
    }
}

impl<Req, F> EpochOf<Req> for InRequest<F>
where
    F: Fn(&Req) -> Option<Epoch> + Send + Sync + 'static,
{
    #[inline]
    fn epoch_of(&self, request: &Req, _: Option<&CallContext>) -> Epoch {
        (self.0)(request).unwrap_or_default()
    }
}

impl<F> fmt::Debug for InRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InRequest(closure)")
    }
}

/// Lets calls pass that are made by the present epoch.
pub struct Fenced<E> {
    pub(super) cell: Arc<Cell>,
    pub(super) epoch: Arc<E>,
}

impl<E: Send + Sync + 'static> Fenced<E> {
    fn counted(&self, how: Ended) {
        self.cell.common.reporter.meter(|handles| handles.counted(how));
    }
}

impl<E: Send + Sync + 'static> Keyless for Fenced<E> {}
impl<E: Send + Sync + 'static> OverAtHead for Fenced<E> {}

impl<E: Send + Sync + 'static> Policy for Fenced<E> {
    type Permit = ();
    type Wait = Waiting;
    type WakerSlot = ();

    // A call without a request has no epoch.
    fn admit_plain(&self) -> Admission<Self> {
        match self.cell.admit(0, None) {
            Ok(None) => Admission::Pass(()),
            Ok(Some(wait)) => Admission::Wait(wait),
            Err(rejected) => Admission::Reject(rejected),
        }
    }

    #[inline]
    fn settle(&self, (): &mut (), end: &Judged) {
        let reporter = &self.cell.common.reporter;
        reporter.meter_to(end.recorder, |handles| handles.counted(end.outcome.into()));
    }

    fn lose(&self, (): (), why: Lost) {
        self.counted(if why == Lost::Panicked { Ended::Failure } else { Ended::Abandoned });
    }

    fn give_back(&self, (): ()) {}

    fn draining(&self) -> Rejected {
        self.cell.draining()
    }

    fn poll_wait(&self, wait: Waiting, cx: &mut Context<'_>, now: &Now) -> Admission<Self> {
        then(wait, cx, now)
    }

    fn until(&self, wait: &Waiting) -> Option<Instant> {
        Some(wait.until)
    }

    fn expire_wait(&self, wait: Waiting) -> Rejected {
        wait.is_late()
    }

    fn leave(&self, wait: Waiting, dropped: bool) {
        drop(wait);
        if dropped {
            self.counted(Ended::Abandoned);
        }
    }

    fn wake_waiting(&self) {
        self.cell.wake_waiting();
    }
}

impl<E: EpochOf<Req>, Req> Admit<Req> for Fenced<E> {
    const PASSES: bool = true;

    #[inline]
    fn pass(&self, request: &Req) -> Option<()> {
        self.cell.is_present(self.epoch.epoch_of(request, None).get()).then_some(())
    }

    #[inline]
    fn pass_with(&self, request: &Req, call: &mut CallContext) -> Option<()> {
        self.cell.is_present(self.epoch.epoch_of(request, Some(call)).get()).then_some(())
    }

    fn admit(&self, request: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        let epoch = self.epoch.epoch_of(request, call.as_deref());
        let deadline = call.and_then(|call| {
            let at = call.deadline?.instant()?;
            Some((at, call.whose_deadline()))
        });
        match self.cell.admit(epoch.get(), deadline) {
            Ok(None) => Admission::Pass(()),
            Ok(Some(wait)) => Admission::Wait(wait),
            Err(rejected) => Admission::Reject(rejected),
        }
    }
}

fn then<E: Send + Sync + 'static>(
    wait: Waiting,
    cx: &mut Context<'_>,
    now: &Now,
) -> Admission<Fenced<E>> {
    match wait.look(now.get(), cx) {
        Then::Passes => Admission::Pass(()),
        Then::Rejected(rejected) => Admission::Reject(rejected),
        Then::Waits(wait) => Admission::Wait(wait),
    }
}

impl<E> fmt::Debug for Fenced<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fenced")
            .field("origin", &self.cell.common.reporter.origin)
            .field("highest", &self.cell.highest())
            .finish_non_exhaustive()
    }
}
