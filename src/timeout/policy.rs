//! What the services of one timeout share, and how calls ask it.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::limits::{Limits, Whose};
use super::uploading::{Uploading, Word};
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::request::{CallContext, Deadline};
use crate::core::time::{self, nanos};
use crate::core::upload::Upload;
use crate::shell::gate::{
    Admission, Admit, CallEnd, Due, Judged, Keyless, Lost, Now, OverAtHead, Policy, Stage,
};
use crate::shell::meter::{Ended, Instruments, Labels};
use crate::shell::reporter::Reporter;

/// What a timeout measures: calls, rejections and durations.
#[derive(Debug)]
pub(super) struct TimeoutMeter;

impl Instruments for TimeoutMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNCLASSIFIED;
    const REASONS: &'static [Reason] = &[Reason::TimedOut, Reason::Draining];

    fn new(_: &Labels<'_>) -> Self {
        Self
    }
}

/// One timeout.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(super) reporter: Reporter<TimeoutMeter>,
    limit: AtomicU64,
    cover_readiness: AtomicBool,
}

impl Timeouts {
    pub(super) fn new(reporter: Reporter<TimeoutMeter>, config: &Config) -> Self {
        let policy =
            Self { reporter, limit: AtomicU64::new(0), cover_readiness: AtomicBool::new(false) };
        policy.reload(config);
        policy
    }

    pub(super) fn reload(&self, config: &Config) {
        self.limit.store(nanos(config.limit), Ordering::Relaxed);
        self.cover_readiness.store(config.cover_readiness, Ordering::Relaxed);
    }

    pub(super) fn config(&self) -> Config {
        let limit = match self.limit() {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        };
        Config { limit, cover_readiness: self.covers_readiness() }
    }

    /// Nanoseconds; `u64::MAX` is no limit.
    #[inline]
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn covers_readiness(&self) -> bool {
        self.cover_readiness.load(Ordering::Relaxed)
    }
}

// ===== how calls ask =====

/// A time limit, and whose time it limits.
pub struct Limited<L> {
    pub(super) timeout: Timeouts,
    pub(super) by: L,
    pub(super) of: LimitOn,
}

/// What a limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum LimitOn {
    /// Of the attempt where the request says that it is one, otherwise of the call.
    #[default]
    Request,
    /// Of an attempt, whatever the request says.
    Attempt,
    /// Of the whole call, until its answer was read.
    Whole,
}

/// A call whose time is measured.
#[derive(Debug)]
pub struct Timed {
    limits: Limits,
    /// The body of the request, if it is still on its way.
    uploading: Option<Box<Uploading>>,
    /// When the inner service was first found pending, if anyone needs to know.
    started: Option<Instant>,
}

/// How long a request may take.
pub trait LimitOf<Req>: Send + Sync + 'static {
    #[doc(hidden)] // whether every request has the layer's own
    const IS_FIXED: bool = false;

    /// Its limit; `None` for the layer's own.
    fn limit_of(&self, request: &Req) -> Option<Duration>;
}

/// Every request has the layer's own limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed;

impl<Req> LimitOf<Req> for Fixed {
    const IS_FIXED: bool = true;

    #[inline]
    fn limit_of(&self, _: &Req) -> Option<Duration> {
        None
    }
}

/// A closure says how long a request may take.
#[derive(Clone, Copy)]
pub struct ByRequest<F>(pub(super) F);

impl<Req, F> LimitOf<Req> for ByRequest<F>
where
    F: Fn(&Req) -> Option<Duration> + Send + Sync + 'static,
{
    fn limit_of(&self, request: &Req) -> Option<Duration> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ByRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByRequest(closure)")
    }
}

impl Timed {
    fn of(limits: Limits, uploading: Option<Box<Uploading>>) -> Self {
        Self { limits, uploading, started: None }
    }

    fn took(&self) -> Option<u64> {
        took(self.started)
    }
}

fn took(started: Option<Instant>) -> Option<u64> {
    started.map(|at| nanos(time::now().saturating_duration_since(at)))
}

impl<L> Limited<L> {
    /// Reads the deadline that came with a request, and leaves in it what is left for those further in.
    ///
    /// The limit of a whole call goes in as its deadline. That of an attempt does not: it ends with the
    /// head of the answer, and whoever is told a deadline ends the body by it too.
    #[allow(clippy::inline_always, reason = "so that nothing is left of the tuple")]
    #[inline(always)]
    fn limits(
        &self,
        call: &mut CallContext,
        own: u64,
        uploading: impl FnOnce(&CallContext) -> Option<Box<Uploading>>,
    ) -> (Limits, Option<Box<Uploading>>) {
        let mut limits = Limits::of(own);
        if self.of == LimitOn::Whole {
            call.unsigned = false; // nobody of ours was there before
        }
        limits.deadline = call.deadline;
        limits.whose = Whose::of(call);
        let uploading = uploading(call);
        if uploading.is_some() {
            // Whoever set a limit of ours further out waits for the body too, and sees to it.
            (limits.deadline, limits.whose) = (call.caller_deadline(), Whose::CALLERS);
        } else if let (Some(ours), 0 | 1) = (call.own_deadline(), call.attempt) {
            // The limit of a layer further out: a first attempt that hangs until then has hung, if it
            // had most of that time and not what somebody else had left of it.
            limits.hangs = !ours.is_past_at(|| call.now()) && call.has_most_of_its_time();
        }
        let of_call = match self.of {
            LimitOn::Request => call.attempt == 0,
            LimitOn::Attempt => false,
            LimitOn::Whole => true,
        };
        if own != u64::MAX && of_call {
            call.cut_to(own, self.of == LimitOn::Whole);
        }
        (limits, uploading)
    }

    fn reject(&self, (reason, measurement): (Reason, Measurement)) -> Rejected {
        self.timeout.reporter.reject(reason, measurement)
    }
}

impl<L: Send + Sync + 'static> Keyless for Limited<L> {}

impl<L: Send + Sync + 'static> Policy for Limited<L> {
    type Permit = Timed;
    type Wait = Infallible;
    type WakerSlot = ();
    const WRITES: bool = true;
    const OVERRULES: bool = true;

    /// Where readiness counts, the call waits for it, on a clone and on the clock.
    #[inline]
    fn is_open(&self) -> bool {
        !self.timeout.covers_readiness()
    }

    #[inline]
    fn admit_plain(&self) -> Admission<Self> {
        Admission::Pass(Timed::of(Limits::of(self.timeout.limit()), None))
    }

    #[inline]
    fn watches(timed: &Timed) -> bool {
        timed.uploading.is_some()
    }

    fn overrule(&self, timed: &mut Timed, told: &CallEnd<'_>) -> Option<Rejected> {
        let failure = told.failure;
        if let Some(reason) = timed.uploading.as_ref().and_then(|body| body.blame(failure)) {
            return Some(self.reject((reason, Measurement::Nothing)));
        }
        let is_over = timed.limits.overrule(failure.err()?, timed.started);
        is_over.then(|| self.reject(timed.limits.word()))
    }

    fn excuses(&self, timed: &Timed) -> bool {
        timed.uploading.as_ref().is_some_and(|body| body.excuses())
    }

    #[inline]
    fn settle(&self, timed: &mut Timed, end: &Judged) {
        let Judged { outcome, recorder } = *end;
        let started = timed.started;
        self.timeout.reporter.meter_to(recorder, move |handles| {
            let took = took(started);
            let how = match Ended::from(outcome) {
                Ended::Ignored if took.is_none() => Ended::Rejected, // too late on arrival, further in
                how => how,
            };
            handles.ended(how, took);
        });
    }

    fn lose(&self, timed: Timed, _: Lost) {
        self.timeout.reporter.meter(|handles| handles.ended(Ended::Abandoned, timed.took()));
    }

    fn give_back(&self, _: Timed) {}

    fn expire(&self, timed: Timed, _: u8, _: Option<&CallEnd<'_>>) -> Rejected {
        let has_stalled = timed.uploading.as_ref().is_some_and(|body| body.has_stalled());
        let stalled = (Reason::RequestTimeout, Measurement::Nothing);
        self.reject(if has_stalled { stalled } else { timed.limits.word() })
    }

    fn draining(&self) -> Rejected {
        self.reject((Reason::Draining, Measurement::Nothing))
    }

    fn pending(&self, timed: &mut Timed, _: Stage, now: &Now) -> Option<Instant> {
        if timed.started.is_some() {
            return timed.limits.until(timed.started);
        }
        if timed.limits.are_endless() && !now.recorder().is_live() {
            return None;
        }
        timed.started = Some(now.get());
        timed.limits.start(now.get())
    }

    fn due(&self, timed: &mut Timed, _: Stage, now: &Now) -> Due {
        // The timer is that of all parts.
        let Some(until) = timed.limits.until(timed.started) else { return Due::Later(None) };
        if timed.limits.is_later(until, now.get()) {
            return Due::Later(Some(until));
        }
        if let Some(body) = &timed.uploading
            && let Word::Wait(until) = body.ask(&mut timed.limits, timed.started)
        {
            return Due::Later(Some(until));
        }
        Due::End(0)
    }

    fn poll_wait(&self, wait: Infallible, _: &mut Context<'_>, _: &Now) -> Admission<Self> {
        match wait {}
    }

    fn leave(&self, wait: Infallible, _: bool) {
        match wait {}
    }

    fn wake_waiting(&self) {}
}

impl<L: Send + Sync + 'static> OverAtHead for Limited<L> {}

impl<Req, L: LimitOf<Req>> Admit<Req> for Limited<L> {
    const PASSES: bool = L::IS_FIXED;

    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn pass(&self, _: &Req) -> Option<Timed> {
        L::IS_FIXED.then(|| Timed::of(Limits::of(self.timeout.limit()), None))
    }

    #[inline]
    fn pass_with(&self, _: &Req, call: &mut CallContext) -> Option<Timed> {
        if !L::IS_FIXED || call.upload.is_some() {
            return None;
        }
        let (limits, none) = self.limits(call, self.timeout.limit(), |_| None);
        let is_past = limits.deadline.is_some_and(|deadline| deadline.is_past_at(|| call.now()));
        (!is_past).then(|| Timed::of(limits, none))
    }

    fn admit(&self, request: &Req, call: Option<&mut CallContext>) -> Admission<Self> {
        let own = self.by.limit_of(request).map_or(self.timeout.limit(), nanos);
        match call {
            None => Admission::Pass(Timed::of(Limits::of(own), None)),
            Some(call) => self.admit_carried(call, own),
        }
    }
}

impl<L: Send + Sync + 'static> Limited<L> {
    #[inline(never)]
    fn admit_carried(&self, call: &mut CallContext, own: u64) -> Admission<Self> {
        let (limits, uploading) = self.limits(call, own, |call| {
            let upload = call.upload.clone().filter(|_| own != u64::MAX); // without a limit it ends nothing
            Uploading::of(upload, call.caller_deadline()).map(Box::new)
        });
        if call.upload.as_ref().is_some_and(Upload::is_unwatched) {
            call.deadline.get_or_insert(Deadline::NEVER); // for the request to be written, and the body watched
        }
        if limits.deadline.is_some_and(|deadline| deadline.is_past_at(|| call.now())) {
            let word = (Reason::DeadlineExceeded, limits.whose.into());
            return Admission::Reject(self.reject(word));
        }
        Admission::Pass(Timed::of(limits, uploading))
    }
}

impl<L> Borrow<Timeouts> for Limited<L> {
    fn borrow(&self) -> &Timeouts {
        &self.timeout
    }
}

impl<L> fmt::Debug for Limited<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("config", &self.timeout.config()).finish_non_exhaustive()
    }
}
