//! How calls ask a rate limit.

use std::borrow::Borrow;
use std::fmt;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::limiter::{Limiter, Used, Waiter};
use super::machine::FINE;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::request::{CallContext, Deadline};
use crate::shell::cost::CostOf;
use crate::shell::gate::{Admission, Admit, Judged, Keyless, Lost, Now, OverAtHead, Policy};
use crate::shell::meter::Ended;

/// A rate limit, and what its calls cost.
pub struct Costed<W> {
    limiter: Limiter,
    cost: W,
}

impl<W> Costed<W> {
    pub(super) const fn new(limiter: Limiter, cost: W) -> Self {
        Self { limiter, cost }
    }
}

impl<W: Send + Sync + 'static> Costed<W> {
    #[inline]
    fn ask(&self, cost: u32, told: Option<(Deadline, Measurement)>) -> Admission<Self> {
        let limiter = &self.limiter;
        let now = limiter.now();
        if let Some(used) = limiter.pass(cost, now) {
            return Admission::Pass(used);
        }
        match limiter.wait_or_reject(cost, now, told) {
            Ok(waiter) => Admission::Wait(waiter),
            Err(rejected) => Admission::Reject(rejected),
        }
    }
}

impl<W> Borrow<Limiter> for Costed<W> {
    fn borrow(&self) -> &Limiter {
        &self.limiter
    }
}

impl<W> fmt::Debug for Costed<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limiter.fmt(f)
    }
}

impl<W: Send + Sync + 'static> Keyless for Costed<W> {}

impl<W: Send + Sync + 'static> Policy for Costed<W> {
    type Permit = Used;
    type Wait = Waiter;
    type WakerSlot = ();

    fn admit_plain(&self) -> Admission<Self> {
        self.ask(1, None)
    }

    #[inline]
    fn settle(&self, _: &mut Used, end: &Judged) {
        self.limiter.meter_to(end.recorder, |handles| handles.counted(end.outcome.into()));
    }

    fn lose(&self, _: Used, why: Lost) {
        let how = if why == Lost::Panicked { Ended::Failure } else { Ended::Abandoned };
        self.limiter.meter(|handles| handles.counted(how));
    }

    fn give_back(&self, used: Used) {
        self.limiter.put_back(used);
    }

    fn draining(&self) -> Rejected {
        self.limiter.reject(Reason::Draining, Measurement::Nothing)
    }

    fn poll_wait(&self, wait: Waiter, cx: &mut Context<'_>, _: &Now) -> Admission<Self> {
        let (now, began) = (self.limiter.now(), wait.began);
        match self.limiter.wait(wait, now, cx) {
            Ok(Some(wait)) => return Admission::Wait(wait),
            Err(rejected) => return Admission::Reject(rejected),
            Ok(None) => {}
        }
        let waited = Duration::from_nanos(now.saturating_sub(began) >> FINE);
        self.limiter.meter(|handles| handles.record(&handles.own.wait, waited));
        Admission::Pass(Used { span: 0, full: 0 }) // its time has come: nothing of it comes back
    }

    fn until(&self, wait: &Waiter) -> Option<Instant> {
        self.limiter.until(wait)
    }

    fn expire_wait(&self, wait: Waiter) -> Rejected {
        self.limiter.give_up(&wait)
    }

    fn leave(&self, wait: Waiter, dropped: bool) {
        self.limiter.cancel(&wait.ticket);
        if dropped {
            self.limiter.meter(|handles| handles.counted(Ended::Abandoned));
        }
    }

    fn wake_waiting(&self) {
        self.limiter.wake_waiting();
    }
}

impl<W: Send + Sync + 'static> OverAtHead for Costed<W> {}

impl<Req, W: CostOf<Req>> Admit<Req> for Costed<W> {
    #[inline]
    fn admit(&self, request: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        let told = call.and_then(|call| Some((call.deadline?, call.whose_deadline())));
        self.ask(self.cost.cost_of(request), told)
    }
}
