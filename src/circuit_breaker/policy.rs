//! How calls ask a breaker, and what it learns of them.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::engine::common::Common;
use super::engine::shared::{Admission as Asked, Shared};
use super::engine::step::{Pass, PassKind};
use super::handle::CircuitBreakerHandle;
use crate::core::classify::Classification;
use crate::core::completion::{Completion, Tail};
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::outcome::{Outcome, Signal};
use crate::core::request::CallContext;
use crate::core::time::{Tick, nanos};
use crate::core::upload::Upload;
use crate::shell::gate::{
    Admission, Admit, CallEnd, Complete, Due, End, Judged, Keyless, Lost, Now, Policy, Stage,
    finish_with,
};
use crate::shell::waiters::WakerSlot;

/// One breaker, and when its calls are over.
pub struct BreakerPolicy<F> {
    pub(super) shared: Arc<Shared>,
    pub(super) completion: F,
}

/// What an admitted call holds of its breaker: a [`Pass`], made as small as it can be, for it is moved
/// with the call.
#[derive(Debug)]
pub struct BreakerPermit {
    epoch: u64,
    /// Since when it is pending; never, if nobody asks. Until it is, when it has waited too long for the
    /// inner service to be ready.
    time: Tick,
    /// The body of the request, if it was still on its way.
    upload: Option<Upload>,
    kind: PassKind,
    round: u8,
    overdue: bool,
    pending: bool,
}

impl BreakerPermit {
    #[inline]
    pub(super) const fn new(pass: Pass) -> Self {
        let Pass { epoch, kind, round, .. } = pass;
        Self { epoch, time: Tick::NEVER, upload: None, kind, round, overdue: false, pending: false }
    }

    #[inline]
    pub(super) fn with_upload(self, call: Option<&mut CallContext>) -> Self {
        let Some(call) = call else { return self };
        let upload = call.upload.clone().filter(Upload::is_to_come);
        Self { upload, ..self }
    }

    #[inline]
    fn started(&self) -> Option<Tick> {
        (self.pending && self.time != Tick::NEVER).then_some(self.time)
    }

    #[inline]
    fn pass(&self) -> Pass {
        let Self { epoch, kind, round, overdue, pending, .. } = *self;
        Pass { epoch, kind, overdue, pending, started: self.started(), round }
    }
}

impl<F> BreakerPolicy<F> {
    pub(crate) fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.shared))
    }

    pub(super) fn new(common: Arc<Common>, completion: F, key: Option<Arc<str>>) -> Self {
        Self { shared: Arc::new(Shared::new(common, key)), completion }
    }

    /// The time in which the caller was still sending its request is not the dependency's.
    fn was_sent(&self, permit: &mut BreakerPermit) {
        if let (Some(upload), true) = (permit.upload.take(), permit.started().is_some()) {
            let at = self.shared.common.reporter.clock.tick(upload.since());
            permit.time = permit.time.max(at);
        }
    }

    /// The inner service was called and has not answered at once: the time runs, if anyone wants it.
    fn begin(&self, permit: &mut BreakerPermit, now: &Now) {
        permit.pending = true;
        permit.time = if self.shared.times_calls(now.recorder()) {
            self.shared.common.reporter.clock.tick(now.get())
        } else {
            Tick::NEVER
        };
    }

    /// When the call will be slow. While the caller is sending, the time is not the dependency's.
    fn overdue_at(&self, permit: &BreakerPermit, now: Tick) -> Option<Tick> {
        let clock = &self.shared.common.reporter.clock;
        let since = match &permit.upload {
            Some(upload) => upload.turn().map_or(now, |turn| clock.tick(turn)),
            None => Tick::ZERO,
        };
        self.shared.overdue_at(permit.started()?.max(since))
    }

    /// An answer of which there is more to tell than that.
    #[inline(never)]
    fn settle_by_params(&self, permit: &mut BreakerPermit, outcome: Outcome) {
        self.was_sent(permit);
        self.learn(permit, &outcome);
        self.shared.settle(&permit.pass(), &outcome);
    }

    fn learn(&self, permit: &BreakerPermit, outcome: &Outcome) {
        if let (Some(started), Signal::Success) = (permit.started(), outcome.signal) {
            self.shared.learn(started);
        }
    }

    fn probe_deadline(&self) -> u64 {
        nanos(self.shared.inspect(|_, params, _| params.probe_deadline))
    }

    fn reject(&self, reason: Reason, measurement: Measurement) -> Rejected {
        self.shared.common.reporter.reject(reason, measurement)
    }

    #[inline(never)]
    fn admit_by_params(&self, call: Option<&mut CallContext>) -> Admission<Self>
    where
        F: Send + Sync + 'static,
    {
        match self.shared.admit_by_params() {
            Asked::Pass(pass) => Admission::Pass(BreakerPermit::new(pass).with_upload(call)),
            Asked::Rejected(rejection) => Admission::Reject(self.shared.reject(rejection)),
        }
    }

    fn ask(&self, call: Option<&mut CallContext>) -> Admission<Self>
    where
        F: Send + Sync + 'static,
    {
        match (self.pass_quietly(), call) {
            (Some(permit), None) => Admission::Pass(permit),
            (Some(permit), call) => Admission::Pass(permit.with_upload(call)),
            (None, call) => self.admit_by_params(call),
        }
    }

    #[inline]
    fn pass_quietly(&self) -> Option<BreakerPermit> {
        let epoch = self.shared.quiet_epoch()?;
        Some(BreakerPermit::new(Pass::new(epoch, PassKind::Free)))
    }
}

impl<F: Send + Sync + 'static> Policy for BreakerPolicy<F> {
    type Permit = BreakerPermit;
    type Wait = Infallible;
    type WakerSlot = WakerSlot;

    /// A rejection needs nobody, and a probe drives a clone to readiness by itself.
    #[inline]
    fn is_open(&self) -> bool {
        self.shared.passing_epoch().is_some()
    }

    /// A trip must wake those who wait for a service that may never become ready.
    fn park(&self, slot: &mut WakerSlot, waker: &Waker) -> bool {
        let epoch = self.shared.passing_epoch();
        epoch.is_some_and(|epoch| self.shared.wait(slot, epoch, waker))
    }

    #[inline]
    fn unpark(&self, slot: &mut WakerSlot) {
        self.shared.leave(slot);
    }

    fn unready(&self, outcome: &Outcome) {
        // If it has tripped meanwhile, the failure is none of the new epoch.
        let epoch =
            self.shared.passing_epoch().unwrap_or_else(|| self.shared.epoch().saturating_sub(1));
        self.shared.settle(&Pass::new(epoch, PassKind::Free), outcome);
    }

    #[inline]
    fn admit_plain(&self) -> Admission<Self> {
        self.ask(None)
    }

    #[inline]
    fn settle(&self, permit: &mut BreakerPermit, end: &Judged) {
        let is_untimed = permit.time == Tick::NEVER && permit.upload.is_none();
        if !(is_untimed && self.shared.settle_quietly(permit.epoch, permit.kind, end)) {
            self.settle_by_params(permit, end.outcome);
        }
    }

    fn lose(&self, mut permit: BreakerPermit, why: Lost) {
        match why {
            Lost::Panicked => return self.shared.settle(&permit.pass(), &Outcome::FAILURE),
            Lost::Excused => permit.pending = false, // it was never asked
            Lost::Dropped => self.was_sent(&mut permit),
        }
        self.shared.abandon(permit.pass());
    }

    fn give_back(&self, permit: BreakerPermit) {
        self.shared.give_back(permit.pass());
    }

    /// A probe whose service never became ready: nobody answered it.
    fn expire(&self, permit: BreakerPermit, _: u8, told: Option<&CallEnd<'_>>) -> Rejected {
        // What opened the circuit keeps it open.
        let measurement = self.shared.inspect(|breaker, _, _| {
            breaker.last_trip().map_or(Measurement::Nothing, |trip| trip.measurement)
        });
        let rejected = self.reject(Reason::CircuitOpen, measurement);
        if told.is_some() {
            let pass = Pass { pending: true, ..permit.pass() };
            self.shared.give_up(pass, Some(self.probe_deadline()));
        } else {
            self.shared.give_back(permit.pass());
        }
        rejected
    }

    fn draining(&self) -> Rejected {
        self.reject(Reason::Draining, Measurement::Nothing)
    }

    // ----- calls that are over later than their answers -----

    fn tail(&self, mut permit: BreakerPermit, head: Classification) -> Tail {
        self.was_sent(&mut permit);
        self.learn(&permit, &head.of_head()); // what comes after the head takes as it takes
        if head == Classification::AtEnd && !permit.pending {
            // The call goes on, even if its head was there at once.
            self.begin(&mut permit, &Now::default());
        }
        permit.pass().into()
    }

    fn settle_tail(&self, _: u8, tail: Tail, outcome: &Outcome) {
        self.shared.settle(&tail.into(), outcome);
    }

    fn lose_tail(&self, _: u8, tail: Tail) {
        self.shared.abandon(tail.into());
    }

    fn delivered(&self, _: u8, tail: &mut Tail) {
        let mut pass = Pass::from(*tail);
        let Some(started) = pass.started.filter(|_| !pass.overdue) else { return };
        let waited = self.shared.common.reporter.clock.now().since(started);
        if self.shared.is_overdue(waited) {
            pass.overdue = true;
            self.shared.overdue(pass);
            *tail = pass.into();
        }
    }

    // ----- time -----

    fn pending(&self, permit: &mut BreakerPermit, stage: Stage, now: &Now) -> Option<Instant> {
        let clock = &self.shared.common.reporter.clock;
        if stage == Stage::Called {
            self.begin(permit, now);
            return self.shared.overdue_at(permit.started()?).and_then(|at| clock.instant(at));
        }
        if permit.kind != PassKind::Slot {
            return None; // nobody else is kept from calling meanwhile
        }
        permit.time = clock.tick(now.get()).plus(self.probe_deadline());
        clock.instant(permit.time)
    }

    fn due(&self, permit: &mut BreakerPermit, stage: Stage, now: &Now) -> Due {
        let clock = &self.shared.common.reporter.clock;
        let now = clock.tick(now.get());
        if stage != Stage::Called {
            let is_over = permit.time <= now;
            return if is_over { Due::End(0) } else { Due::Later(clock.instant(permit.time)) };
        }
        if permit.overdue {
            return Due::Later(None); // that is known
        }
        match self.overdue_at(permit, now) {
            Some(at) if at <= now => {
                permit.overdue = true;
                self.shared.overdue(permit.pass());
                Due::Later(None)
            }
            later => Due::Later(later.and_then(|at| clock.instant(at))),
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

impl<Req, F: Send + Sync + 'static> Admit<Req> for BreakerPolicy<F> {
    const PASSES: bool = true;

    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn pass(&self, _: &Req) -> Option<BreakerPermit> {
        self.pass_quietly()
    }

    #[inline]
    fn pass_with(&self, _: &Req, call: &mut CallContext) -> Option<BreakerPermit> {
        if call.upload.is_some() { None } else { self.pass_quietly() }
    }

    fn admit(&self, _: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        self.ask(call)
    }
}

impl<Res, F: Completion<Res> + Send + Sync + 'static> Complete<Res> for BreakerPolicy<F> {
    type Response = F::Response;

    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn complete(
        &self,
        permit: &mut Option<BreakerPermit>,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> F::Response {
        finish_with(self, &self.completion, permit, response, head, end)
    }
}

impl<F: Send + Sync + 'static> Keyless for BreakerPolicy<F> {}

impl<F> fmt::Debug for BreakerPolicy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}
