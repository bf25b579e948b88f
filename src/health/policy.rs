//! How calls ask a health check.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::checker::tend;
use super::monitor::Monitor;
use crate::core::error::{Reason, Rejected};
use crate::core::outcome::{Outcome, Signal};
use crate::core::request::CallContext;
use crate::health::status::Status;
use crate::shell::gate::{Admission, Admit, Judged, Keyless, Lost, Now, OverAtHead, Policy};
use crate::shell::meter::{Ended, Recorder};
use crate::shell::waiters::WakerSlot;

/// Lets calls pass while the dependency is up.
pub struct Monitored(pub(super) Arc<Monitor>);

impl Keyless for Monitored {}

impl Policy for Monitored {
    type Permit = ();
    type Wait = Infallible;
    type WakerSlot = WakerSlot;
    /// The end of a body is not seen here.
    const AT_END: Outcome = Outcome::IGNORE;

    fn applied(&self) {
        tend(&self.0);
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.0.status() != Status::Down
    }

    fn park(&self, slot: &mut WakerSlot, waker: &Waker) -> bool {
        let parked = self.0.wait(slot, waker);
        if parked {
            tend(&self.0);
        }
        parked
    }

    #[inline]
    fn unpark(&self, slot: &mut WakerSlot) {
        if slot.is_taken() {
            self.0.leave(slot);
        }
    }

    // It speaks of the dependency as much as an answer would, and may be all that is ever heard of it.
    fn unready(&self, outcome: &Outcome) {
        self.0.note_end(outcome.signal, Recorder::in_force());
    }

    #[inline]
    fn admit_plain(&self) -> Admission<Self> {
        if self.0.checker.is_idle() {
            tend(&self.0); // the runtime that it was built on is gone, or was none
        }
        if self.0.lets_through() {
            return Admission::Pass(());
        }
        tend(&self.0);
        Admission::Reject(self.0.reject(Reason::Unhealthy))
    }

    #[inline]
    fn settle(&self, (): &mut (), end: &Judged) {
        self.0.note_end(end.outcome.signal, end.recorder);
    }

    fn lose(&self, (): (), why: Lost) {
        if why == Lost::Panicked {
            self.0.note_end(Signal::Failure, Recorder::in_force()); // as a circuit breaker counts it
        } else {
            self.0.meter(|handles| handles.counted(Ended::Abandoned));
        }
    }

    fn give_back(&self, (): ()) {}

    fn draining(&self) -> Rejected {
        self.0.reject(Reason::Draining)
    }

    fn poll_wait(&self, wait: Infallible, _: &mut Context<'_>, _: &Now) -> Admission<Self> {
        match wait {}
    }

    fn leave(&self, wait: Infallible, _: bool) {
        match wait {}
    }

    fn wake_waiting(&self) {}
}

impl OverAtHead for Monitored {}

impl<Req> Admit<Req> for Monitored {
    const PASSES: bool = true;

    #[inline]
    fn pass(&self, _: &Req) -> Option<()> {
        let is_up = self.0.status() == Status::Up && !self.0.checker.is_idle();
        is_up.then_some(())
    }

    fn admit(&self, _: &Req, _: Option<&mut CallContext>) -> Admission<Self> {
        self.admit_plain()
    }
}

impl fmt::Debug for Monitored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
