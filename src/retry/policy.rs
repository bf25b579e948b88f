//! What the services of one retry share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use super::budget::{Budget, Withdrawal};
use super::config::Config;
use super::machine::{Attempts, Failed, Law, Next};
use super::purse::Purse;
use crate::error::{Measured, Reason, Rejected};
use crate::event::{EventKind, RetryReason as Kind, Stop};
use crate::shell::gate::{Hold, Lane, Over, Parked};
use crate::shell::live::Live;
use crate::shell::meter::{Counter, Ended, Gauge, Handles, Instruments, Labels};
use crate::shell::reporter::{Reporter, Speaker};

/// Attempts, the first of each call included.
const ATTEMPTS: &str = "seawall_retry_attempts_total";
/// Repetitions, by what the attempt before failed of.
const RETRIES: &str = "seawall_retry_retries_total";
/// Failed calls that were not tried again, by reason.
const STOPPED: &str = "seawall_retry_stopped_total";
/// What is left of the budget.
const BUDGET: &str = "seawall_retry_budget_tokens";

/// One retry.
pub(super) struct Policy<C> {
    pub(super) classify: C,
    pub(super) reporter: Reporter<RetryMeter>,
    pub(super) budget: Option<Budget>,
    pub(super) backoff_by: Option<BackoffBy>,
    config: Live<(Law, Config)>,
    /// Whether a first attempt may be followed by a second, so that a copy is needed.
    copies: AtomicBool,
}

/// The user's own backoff: the wait before the `n`-th repetition, counted from 1.
pub(super) type BackoffBy = Arc<dyn Fn(u32) -> Duration + Send + Sync>;

pub(crate) struct RetryMeter {
    pub(super) attempts: Counter,
    retries: [Counter; Kind::ALL.len()],
    stopped: [Counter; Stop::ALL.len()],
    budget: Gauge,
}

impl Instruments for RetryMeter {
    const REASONS: &'static [Reason] = &[Reason::Draining];

    fn new(labels: &Labels<'_>) -> Self {
        let stops = Stop::ALL.map(Stop::as_str);
        Self {
            attempts: labels.counter(ATTEMPTS, "Attempts, the first of each call included."),
            retries: labels.counters(
                RETRIES,
                "Repetitions, by what the attempt before failed of.",
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

impl<C> Policy<C> {
    pub(super) fn new(
        classify: C,
        reporter: Reporter<RetryMeter>,
        budget: Option<Budget>,
        backoff_by: Option<BackoffBy>,
        law: Law,
        config: Config,
    ) -> Self {
        let copies = AtomicBool::new(!Attempts::FIRST.is_last(&law));
        Self { classify, reporter, budget, backoff_by, config: Live::new((law, config)), copies }
    }

    pub(super) fn law(&self) -> Law {
        self.config.get().0
    }

    pub(super) fn config(&self) -> Config {
        self.config.get().1.clone()
    }

    pub(super) fn reload(&self, law: Law, config: Config) {
        // Together, so that of two who turn at once the same one wins both.
        self.config.update(|_| {
            self.copies.store(!Attempts::FIRST.is_last(&law), Ordering::Relaxed);
            (law, config)
        });
    }

    #[inline]
    pub(super) fn copies(&self) -> bool {
        self.copies.load(Ordering::Relaxed)
    }

    /// An attempt failed: whether there is another one, and what it took out of the budget.
    pub(super) fn next(
        &self,
        law: &Law,
        attempts: &mut Attempts,
        failed: Failed,
        kind: Kind,
        left: Option<u64>,
        purse: &impl Purse,
    ) -> (Next, Option<Withdrawal>) {
        if let Some(stop) = attempts.last(law, failed) {
            return (Next::Stop(stop), None); // before the user's own backoff is asked
        }
        let before = *attempts;
        let own = self.backoff_by.as_ref().map(|own| crate::time::nanos(own(before.number())));
        let next = attempts.fail(law, failed, left, own, fastrand::u64(..));
        let Next::Wait(wait) = next else { return (next, None) };
        let withdrawal = match purse.budget(self.budget.as_ref()) {
            None => None,
            // The budget is one of failures, and of calls that were made.
            Some(_) if matches!(kind, Kind::NotReady | Kind::Refused) => None,
            Some(budget) => {
                let price = match kind {
                    Kind::Timeout => budget.withdraw_after_timeout(),
                    _ => budget.withdraw(),
                };
                if price.is_none() {
                    *attempts = before;
                    return (Next::Stop(Stop::Budget), None);
                }
                price
            }
        };
        self.meter(|handles| {
            handles.own.retries[kind as usize].increment(1);
            self.set_budget(handles);
        });
        let (attempt, wait) = (attempts.number(), Duration::from_nanos(wait));
        let retry_after = failed.hint.map(Duration::from_nanos);
        let retrying = EventKind::Retrying { attempt, wait, why: kind, retry_after };
        self.reporter.tell_now(Speaker { key: purse.key(), seq: 0 }, retrying);
        (next, withdrawal)
    }

    /// A call failed, and that is that.
    pub(super) fn note_stop(&self, attempts: u32, stop: Stop, purse: &impl Purse) {
        self.meter(|handles| {
            handles.own.stopped[stop as usize].increment(1);
            self.set_budget(handles);
        });
        let speaker = Speaker { key: purse.key(), seq: 0 };
        self.reporter.tell_now(speaker, EventKind::Stopped { attempts, stop });
    }

    /// An attempt was answered.
    pub(super) fn note_attempt(&self) {
        self.meter(|handles| handles.own.attempts.increment(1));
    }

    /// An attempt was answered well, which ends the call.
    #[inline]
    pub(super) fn note_good_end(&self, took: impl FnOnce() -> Option<u64>) {
        self.meter(|handles| {
            handles.own.attempts.increment(1);
            handles.ended(Ended::Good, took());
        });
    }

    /// A call is over.
    #[inline(never)]
    pub(super) fn note_end(&self, how: Ended, took: Option<u64>) {
        self.meter(|handles| handles.ended(how, took));
    }

    /// A call succeeded.
    #[inline]
    pub(super) fn note_success(&self, purse: &impl Purse) {
        if let Some(budget) = purse.budget(self.budget.as_ref()) {
            budget.deposit();
        }
    }

    /// An attempt that was paid for succeeded, or did not begin.
    pub(super) fn give_back(&self, withdrawal: Option<Withdrawal>, purse: &impl Purse) {
        if let (Some(budget), Some(withdrawal)) = (purse.budget(self.budget.as_ref()), withdrawal) {
            withdrawal.give_back(budget);
            self.meter(|handles| self.set_budget(handles));
        }
    }

    pub(super) fn reject(&self, reason: Reason, measured: Measured) -> Rejected {
        self.reporter.reject_with(|fresh| self.set_budget(fresh), reason, measured)
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(super) fn meter(&self, record: impl FnOnce(&Handles<RetryMeter>)) {
        self.reporter.meter.with(|fresh| self.set_budget(fresh), record);
    }

    fn set_budget(&self, handles: &Handles<RetryMeter>) {
        if let Some(budget) = self.budget.as_ref().filter(|budget| !budget.is_endless()) {
            handles.own.budget.set(budget.balance());
        }
    }
}

impl<C> fmt::Debug for Policy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("config", &self.config.get().1).finish_non_exhaustive()
    }
}

// ===== flights =====

/// A call under way: counted once, as abandoned if it is dropped.
pub(super) struct Flight<C, P: Purse> {
    hold: Hold<Lane<Policy<C>>>,
    /// What pays for its repetitions.
    pub(super) purse: P,
    /// The price of the attempt to come or under way; it comes back if that succeeds, or never begins.
    price: Option<Withdrawal>,
    has_begun: bool,
}

impl<C, P: Purse> Flight<C, P> {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Policy<C>>>, purse: P) -> Self {
        Self { hold: Hold::new(lane), purse, price: None, has_begun: false }
    }

    /// No call.
    pub(super) const fn over(purse: P) -> Self {
        Self { hold: Hold::over(), purse, price: None, has_begun: false }
    }

    #[inline]
    pub(super) fn policy(&self) -> Option<&Policy<C>> {
        self.hold.get().map(|lane| &**lane)
    }

    /// The call is over, and was counted.
    #[inline]
    pub(super) fn end(&mut self) -> Option<Over<Lane<Policy<C>>>> {
        self.hold.end()
    }

    /// The call ends before it was answered.
    pub(super) fn lose(&mut self) -> Option<Over<Lane<Policy<C>>>> {
        self.hold.lose()
    }

    /// The future is polled. `false` if the retry was drained before it ever was.
    #[inline]
    pub(super) fn poll(&mut self, waits: impl FnOnce() -> bool) -> bool {
        self.hold.begin(waits)
    }

    /// Whether a call that waits without an attempt under way is to be sent away.
    #[inline]
    pub(super) fn is_stopped(&self) -> bool {
        self.hold.is_stopped()
    }

    /// Leaves the waker of such a call. Returns `false` if it is to be sent away.
    pub(super) fn park(&self, parked: &mut Parked, waker: &Waker) -> bool {
        self.hold.park(parked, waker)
    }

    /// What holds the call.
    pub(super) const fn hold(&self) -> &Hold<Lane<Policy<C>>> {
        &self.hold
    }

    /// The call succeeded, and was counted.
    #[inline]
    pub(super) fn succeed(&mut self) {
        let over = self.hold.end();
        if self.price.is_some() {
            self.settle_price(over);
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_price(&mut self, over: Option<Over<Lane<Policy<C>>>>) {
        let price = self.price.take();
        if let Some(lane) = over {
            lane.give_back(price, &self.purse);
        }
    }

    /// The attempt under way was answered well, though the call goes on: its price comes back.
    pub(super) fn refund(&mut self) {
        let price = self.price.take();
        if let Some(lane) = self.hold.get() {
            lane.give_back(price, &self.purse);
        }
    }

    /// The attempt under way failed, and another one is paid for, or none.
    pub(super) fn pay(&mut self, price: Option<Withdrawal>) {
        (self.price, self.has_begun) = (price, false);
    }

    /// The attempt is under way.
    pub(super) const fn begin(&mut self) {
        self.has_begun = true;
    }

    /// The price of an attempt that never began.
    pub(super) fn take_unspent(&mut self) -> Option<Withdrawal> {
        self.price.take().filter(|_| !self.has_begun)
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        let unspent = self.take_unspent();
        if let Some(lane) = self.lose() {
            lane.give_back(unspent, &self.purse);
            lane.note_end(Ended::Abandoned, None);
        }
    }
}

impl<C, P: Purse> Drop for Flight<C, P> {
    #[inline]
    fn drop(&mut self) {
        if !self.hold.is_over() {
            self.be_lost();
        }
    }
}
