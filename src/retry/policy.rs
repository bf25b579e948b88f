//! What the services of one retry share: how it decides, and tells of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::config::Config;
use super::machine::{Attempts, Failed, Next, Params};
use super::purse::{OneBudget, Purse};
use crate::core::config::ConfigErrors;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::EventKind;
use crate::core::outcome::{Retryable, Sent, Signal};
use crate::core::time::nanos;
use crate::retry::reasons::{RetryReason as Kind, StopReason};
use crate::shell::budget::{Budget, Withdrawal};
use crate::shell::gate::Judged;
use crate::shell::live::Live;
use crate::shell::meter::{Counter, Ended, Gauge, Handles, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};
use crate::shell::retry::{self, Begin, BrokenOff, Failure, Repeat, Retried, Time};

/// Attempts, the first of each call included.
const ATTEMPTS: &str = "seawall_retry_attempts_total";
/// Retries, by what the attempt before failed of.
const RETRIES: &str = "seawall_retry_retries_total";
/// Failed calls that were not tried again, by reason.
const STOPPED: &str = "seawall_retry_stopped_total";
/// What is left of the budget.
const BUDGET: &str = "seawall_retry_budget_tokens";

/// The service that a retry makes of another: calls it again where that may help.
pub type Retry<S, C, R, K, B = OneBudget> = Retried<S, Retries, (), (), C, R, K, B>;

/// The future of a call through a retry.
///
/// Dropping it drops the attempt in flight, or ends the wait for the next; nothing goes on.
pub type ResponseFuture<S, Req, C, R, K, P = OneBudget> =
    retry::ResponseFuture<S, Req, Retries, (), (), C, R, K, P>;

/// One retry.
pub struct Retries {
    pub(super) reporter: Reporter<RetryMeter>,
    pub(super) budget: Option<Budget>,
    /// Whether each key has a budget.
    by_key: bool,
    pub(super) backoff_by: Option<BackoffBy>,
    config: Live<(Params, Config)>,
    /// Whether a first attempt may be followed by a second, so that a copy is needed.
    copies: AtomicBool,
}

/// The user's own backoff: the wait before the `n`-th retry, counted from 1.
pub(super) type BackoffBy = Arc<dyn Fn(u32) -> Duration + Send + Sync>;

pub(crate) struct RetryMeter {
    pub(super) attempts: Counter,
    retries: [Counter; Kind::ALL.len()],
    stopped: [Counter; StopReason::ALL.len()],
    budget: Gauge,
}

impl Instruments for RetryMeter {
    const REASONS: &'static [Reason] = &[Reason::Draining];

    fn new(labels: &Labels<'_>) -> Self {
        let stops = StopReason::ALL.map(StopReason::as_str);
        Self {
            attempts: labels.counter(ATTEMPTS, "Attempts, the first of each call included."),
            retries: labels.counters(
                RETRIES,
                "Retries, by what the attempt before failed of.",
                "reason",
                Kind::ALL.map(Kind::as_str),
            ),
            stopped: labels.counters(
                STOPPED,
                "Failed calls that were not tried again, by reason.",
                "reason",
                stops,
            ),
            budget: labels.gauge(BUDGET, "Tokens left in the retry budget."),
        }
    }

    fn prime(&self) {
        self.attempts.touch();
        self.retries.iter().chain(&self.stopped).for_each(Counter::touch);
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.budget)
    }
}

impl Retries {
    pub(super) fn new(
        reporter: Reporter<RetryMeter>,
        budget: Option<Budget>,
        backoff_by: Option<BackoffBy>,
        params: Params,
        config: Config,
    ) -> Self {
        let copies = AtomicBool::new(!Attempts::FIRST.is_last(&params));
        let config = Live::new((params, config));
        Self { reporter, budget, by_key: false, backoff_by, config, copies }
    }

    pub(super) fn paid_by_key(self, by_key: bool) -> Self {
        Self { by_key, ..self }
    }

    /// Whether something ends the attempts of these settings: their number, time, or what they cost.
    pub(super) fn check_bounds(&self, config: &Config) -> Result<(), ConfigErrors> {
        let has_budget = self.budget.as_ref().is_some_and(|budget| !budget.is_endless());
        config
            .check_bounds(has_budget || self.by_key)
            .map_err(|wrong| wrong.of_policy(&self.reporter.origin))
    }

    pub(super) fn params(&self) -> Params {
        self.config.get().0
    }

    pub(super) fn config(&self) -> Config {
        self.config.get().1.clone()
    }

    pub(super) fn reload(&self, params: Params, config: Config) {
        // Together, so that of two who turn at once the same one wins both.
        self.config.update(|_| {
            self.copies.store(!Attempts::FIRST.is_last(&params), Ordering::Relaxed);
            (params, config)
        });
    }

    /// An attempt failed: whether there is another one, and what it took out of the budget.
    fn next(
        &self,
        params: &Params,
        attempts: &mut Attempts,
        failed: Failed,
        kind: Kind,
        time: &mut impl Time,
        purse: &impl Purse,
    ) -> (Next, Option<Withdrawal>) {
        if let Some(stop) = attempts.last(params, failed) {
            return (Next::Stop(stop), None); // before the clock and the user's own backoff are asked
        }
        let left = time.left(params.max_elapsed);
        let before = *attempts;
        let own = match &self.backoff_by {
            _ if failed.elsewhere => Some(0), // nobody is to be waited for
            own => own.as_ref().map(|own| nanos(own(before.number()))),
        };
        let next = attempts.fail(params, failed, left, own, fastrand::u64(..));
        let Next::Wait(wait) = next else { return (next, None) };
        let withdrawal = match purse.budget(self.budget.as_ref()) {
            None => None,
            // The budget is one of failures, and of calls that were made.
            Some(_) if matches!(kind, Kind::NotReady | Kind::Rejected) => None,
            Some(budget) => {
                let price = match kind {
                    Kind::Timeout => budget.withdraw_after_timeout(),
                    _ => budget.withdraw(),
                };
                if price.is_none() {
                    *attempts = before;
                    return (Next::Stop(StopReason::Budget), None);
                }
                price
            }
        };
        self.meter(|handles| {
            handles.increment(&handles.own.retries[kind as usize]);
            self.set_budget(handles);
        });
        let (attempt, wait) = (attempts.number(), Duration::from_nanos(wait));
        let retry_after = failed.retry_after.map(Duration::from_nanos);
        let retrying = EventKind::Retrying { attempt, wait, why: kind.as_str(), retry_after };
        self.reporter.tell_now(EventContext { key: purse.key(), seq: 0 }, retrying);
        (next, withdrawal)
    }

    /// A call failed, and that is that.
    fn note_stop(&self, attempts: u32, stop: StopReason, purse: &impl Purse) {
        self.meter(|handles| {
            handles.increment(&handles.own.stopped[stop as usize]);
            self.set_budget(handles);
        });
        if self.reporter.has_observers() {
            let context = EventContext { key: purse.key(), seq: 0 };
            self.reporter.tell_now(context, EventKind::Stopped { attempts, why: stop.as_str() });
        }
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    fn meter(&self, record: impl FnOnce(&Handles<'_, RetryMeter>)) {
        self.reporter.meter.with(|fresh| self.set_budget(fresh), record);
    }

    fn set_budget(&self, handles: &Handles<'_, RetryMeter>) {
        if let Some(budget) = self.budget.as_ref().filter(|budget| !budget.is_endless()) {
            handles.set(&handles.own.budget, budget.balance());
        }
    }
}

impl<U: Purse> Repeat<U> for Retries {
    type Attempts = Attempts;
    type Price = Withdrawal;

    #[inline]
    fn copies(&self) -> bool {
        self.copies.load(Ordering::Relaxed)
    }

    #[inline]
    fn answered(&self, purse: &U, end: &Judged, took: impl FnOnce() -> Option<u64>) {
        if let Some(budget) = purse.budget(self.budget.as_ref()) {
            budget.deposit();
        }
        let fresh = |fresh: &Handles<'_, _>| self.set_budget(fresh);
        self.reporter.meter.with_recorder(end.recorder, fresh, |handles| {
            handles.increment(&handles.own.attempts);
            handles.ended(Ended::Success, took());
        });
    }

    fn failed(
        &self,
        attempts: &mut Attempts,
        failure: Failure<'_>,
        mut time: impl Time,
        purse: &U,
    ) -> retry::Next<Withdrawal> {
        self.meter(|handles| handles.increment(&handles.own.attempts));
        let (failed, kind) = Failed::of(&failure);
        let params = self.params();
        match self.next(&params, attempts, failed, kind, &mut time, purse) {
            (Next::Wait(wait), price) => retry::Next::Again(wait, price),
            (Next::Stop(stop), _) => {
                self.note_stop(attempts.number(), stop, purse);
                self.meter(|handles| handles.ended(failure.outcome.into(), time.took()));
                retry::Next::Stop
            }
        }
    }

    fn begins(&self, attempts: &Attempts, mut time: impl Time) -> Option<Begin> {
        let params = self.params();
        // It waits for readiness no longer than an attempt can still begin.
        let patience = match time.left(params.max_elapsed) {
            Some(left) => Some(left.checked_sub(params.min_attempt_time)?),
            None => None,
        };
        Some(Begin { patience, is_last: attempts.is_last(&params) })
    }

    fn give_back(&self, price: Option<Withdrawal>, purse: &U) {
        if let (Some(budget), Some(price)) = (purse.budget(self.budget.as_ref()), price) {
            price.give_back(budget);
            self.meter(|handles| self.set_budget(handles));
        }
    }

    fn gave_up(&self, attempts: &Attempts, why: BrokenOff, purse: &U) {
        let stop = match why {
            BrokenOff::Deadline => StopReason::Deadline,
            BrokenOff::Draining => StopReason::Draining,
        };
        let begun = attempts.number().saturating_sub(1);
        if begun > 0 {
            self.note_stop(begun, stop, purse);
        }
    }

    fn ended_badly(&self, took: Option<u64>) {
        self.meter(|handles| handles.ended(Ended::Failure, took));
    }

    fn lost(&self) {
        self.meter(|handles| handles.ended(Ended::Abandoned, None));
    }

    fn max_elapsed(&self) -> u64 {
        self.params().max_elapsed
    }

    fn reject(&self, reason: Reason, measurement: Measurement) -> Rejected {
        self.reporter.reject_with(|fresh| self.set_budget(fresh), reason, measurement)
    }
}

impl retry::Attempts for Attempts {
    const FIRST: Self = Self::FIRST;

    fn number(&self) -> u32 {
        self.number()
    }

    fn unsent(&self) -> u32 {
        self.unsent()
    }
}

impl Failed {
    fn of(failure: &Failure<'_>) -> (Self, Kind) {
        let Failure { outcome, rejection, copied, repeated, draining } = *failure;
        let timed_out = rejection.is_some_and(|rejected| rejected.reason() == Reason::TimedOut);
        // One member of a set did not take the call, and another one may.
        let elsewhere = rejection.is_some_and(Rejected::is_elsewhere);
        let failed = Self {
            again: outcome.retryable != Retryable::Never,
            retry_after: outcome.retry_after().map(nanos).filter(|_| !elsewhere),
            unsent: outcome.sent == Sent::Never || elsewhere,
            rejected: !elsewhere && (outcome.rejected || (rejection.is_some() && !timed_out)),
            elsewhere,
            for_good: rejection.is_some_and(|rejected| rejected.reason() == Reason::Draining),
            copied,
            repeated,
            draining,
        };
        let kind = match outcome.signal {
            _ if failed.rejected => Kind::Rejected,
            _ if timed_out => Kind::Timeout,
            _ if failed.unsent => Kind::Unsent,
            Signal::Pushback => Kind::Pushback,
            Signal::Success => Kind::NotReady,
            _ => Kind::Failure,
        };
        (failed, kind)
    }
}

impl fmt::Debug for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("config", &self.config.get().1).finish_non_exhaustive()
    }
}
