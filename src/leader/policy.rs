//! How calls ask whether this process leads.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::Context;

use tokio::time::Instant;

use super::standing::{Found, Standing};
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::request::CallContext;
use crate::core::time::Tick;
use crate::shell::gate::{
    Admission, Admit, CallEnd, Due, Judged, Keyless, Lost, Now, OverAtHead, Policy, Stage,
};
use crate::shell::meter::{Ended, Instruments, Labels};
use crate::shell::reporter::Reporter;

/// What the layer measures: calls and rejections.
pub(super) struct LedMeter;

impl Instruments for LedMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNCLASSIFIED;
    const REASONS: &'static [Reason] = &[Reason::NotLeader, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(_: &Labels<'_>) -> Self {
        Self
    }
}

/// Lets calls pass while this process leads.
pub struct Led {
    pub(super) reporter: Reporter<LedMeter>,
    pub(super) standing: Arc<Standing>,
    /// Calls go on when the term is over.
    pub(super) finish: bool,
}

/// A call of the leader.
#[derive(Debug)]
pub struct Turn(Found);

impl Led {
    fn now(&self) -> Tick {
        self.standing.reporter.clock.now()
    }

    fn next_look(&self, end: Tick) -> Option<Instant> {
        let tick = self.standing.next_look(end, self.now());
        self.standing.reporter.clock.instant(tick)
    }

    fn reject(&self, reason: Reason) -> Rejected {
        self.reporter.reject(reason, Measurement::Nothing)
    }

    fn not_leader(&self) -> Rejected {
        self.reject(Reason::NotLeader).retry_in(self.standing.retry_after(self.now()))
    }

    fn ended(&self, how: Ended) {
        self.standing.leave();
        self.reporter.meter(|handles| handles.counted(how));
    }
}

impl Keyless for Led {}
impl OverAtHead for Led {}

impl Policy for Led {
    type Permit = Turn;
    type Wait = Infallible;
    type WakerSlot = ();
    const WRITES: bool = true;
    const ENDS_BY_CLOCK: bool = true;

    #[inline]
    fn is_open(&self) -> bool {
        self.standing.may_lead()
    }

    #[inline]
    fn admit_plain(&self) -> Admission<Self> {
        match self.standing.enter(self.now()) {
            Some(found) => Admission::Pass(Turn(found)),
            None => Admission::Reject(self.not_leader()),
        }
    }

    #[inline]
    fn is_ended_by(&self, turn: &Turn) -> Option<u8> {
        let goes_on = self.finish || self.standing.end_of(turn.0.number, self.now()).is_some();
        (!goes_on).then_some(0)
    }

    #[inline]
    fn settle(&self, _: &mut Turn, end: &Judged) {
        self.standing.leave();
        self.reporter.meter_to(end.recorder, |handles| handles.counted(end.outcome.into()));
    }

    fn lose(&self, _: Turn, _: Lost) {
        self.ended(Ended::Abandoned);
    }

    fn give_back(&self, _: Turn) {
        self.standing.leave();
    }

    fn expire(&self, _: Turn, _: u8, told: Option<&CallEnd<'_>>) -> Rejected {
        self.standing.leave();
        let rejected = self.not_leader();
        if told.is_some() { rejected.after_it_began() } else { rejected }
    }

    fn draining(&self) -> Rejected {
        self.reject(Reason::Draining)
    }

    fn pending(&self, turn: &mut Turn, _: Stage, _: &Now) -> Option<Instant> {
        if self.finish { None } else { self.next_look(turn.0.until) }
    }

    fn due(&self, turn: &mut Turn, _: Stage, _: &Now) -> Due {
        // The timer is that of all parts, and the term may have been renewed.
        let end = self.standing.end_of(turn.0.number, self.now());
        match end {
            _ if self.finish => Due::Later(None),
            Some(end) => Due::Later(self.next_look(end)),
            None => Due::End(0),
        }
    }

    fn poll_wait(&self, wait: Infallible, _: &mut Context<'_>, _: &Now) -> Admission<Self> {
        match wait {}
    }

    fn leave(&self, wait: Infallible, _: bool) {
        match wait {}
    }

    fn wake_waiting(&self) {}
}

impl<Req> Admit<Req> for Led {
    #[inline]
    fn admit(&self, _: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        let admission = self.admit_plain();
        if let (Admission::Pass(turn), Some(call)) = (&admission, call) {
            call.epoch = Epoch::new(turn.0.number);
        }
        admission
    }
}

impl fmt::Debug for Led {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.standing.state(self.now());
        f.debug_struct("Led").field("state", &state).finish_non_exhaustive()
    }
}
