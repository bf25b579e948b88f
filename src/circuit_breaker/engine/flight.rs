//! A call in the air: settled once, or abandoned.

use std::sync::Arc;

use tokio::time::Instant;

use super::shared::Shared;
use super::step::{Pass, PassKind};
use crate::classify::Verdict;
use crate::error::{Measured, Reason, Rejected};
use crate::finish::{Ending, Settle, Tail};
use crate::outcome::{Health, Outcome};
use crate::shell::cell::Cell;
use crate::shell::gate::{Counted, Hold, Lane};
use crate::time::Tick;

/// A policy with a breaker.
pub(crate) trait Site: Send + Sync + 'static {
    fn shared(&self) -> &Shared;
}

/// What a flight holds of a policy: a lane of its gate, or a key's cell.
pub(crate) trait Berth: Counted + Send + Sync + 'static {
    /// The policy.
    type Policy: Site;

    fn policy(&self) -> &Self::Policy;
}

impl<P: Site> Berth for Lane<P> {
    type Policy = P;

    #[inline]
    fn policy(&self) -> &P {
        self
    }
}

impl<P: Site> Berth for Cell<P> {
    type Policy = P;

    #[inline]
    fn policy(&self) -> &P {
        &self.policy
    }
}

impl<B: Berth> Ending for B {
    #[inline]
    fn settle(&self, _: u8, tail: Tail, outcome: &Outcome) {
        self.policy().shared().settle(&Pass::from(tail), outcome);
    }

    fn delivered(&self, _: u8, tail: &mut Tail) {
        let shared = self.policy().shared();
        let mut pass = Pass::from(*tail);
        let Some(started) = pass.started.filter(|_| !pass.overdue) else { return };
        let waited = shared.common.reporter.clock.now().since(started);
        if shared.is_overdue(waited) {
            pass.overdue = true;
            shared.overdue(pass);
            *tail = pass.into();
        }
    }

    fn abandon(&self, _: u8, tail: Tail) {
        self.policy().shared().abandon(tail.into());
    }

    fn no_longer_in_flight(&self, _: bool) {
        self.count().leave();
    }
}

/// The guard of one admitted call. Born before the inner service is called, so that a future
/// dropped before its first poll counts too.
pub(crate) struct Flight<B: Berth> {
    berth: Hold<B>,
    pass: Pass,
    /// User code is running: if this guard is dropped now, that code panicked.
    risky: bool,
}

impl<B: Berth> Flight<B> {
    #[inline]
    pub(crate) fn new(berth: Arc<B>, pass: Pass) -> Self {
        Self { berth: Hold::new(berth), pass, risky: false }
    }

    /// Where this call is counted, until it is over.
    #[inline]
    pub(crate) fn policy(&self) -> Option<&B::Policy> {
        self.berth.get().map(Berth::policy)
    }

    /// The future is polled. `false` if the policy was drained before it ever was, or while it waited
    /// for the inner service: then the call must not begin.
    #[inline]
    pub(crate) fn begin(&mut self, waits: impl FnOnce() -> bool) -> bool {
        self.berth.begin(waits)
    }

    /// What holds the call.
    pub(crate) const fn hold(&self) -> &Hold<B> {
        &self.berth
    }

    /// The call does not begin, and there is nothing to tell of it but that.
    pub(crate) fn turn_away(&mut self) -> Option<Rejected> {
        let over = self.berth.lose()?;
        let shared = over.policy().shared();
        shared.give_back(self.pass);
        Some(shared.common.reporter.reject(Reason::Draining, Measured::Nothing))
    }

    /// User code begins. If it panics, the call has failed.
    #[inline]
    pub(crate) fn enter(&mut self) {
        self.risky = true;
    }

    /// User code came back.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.risky = false;
    }

    /// Whether it holds one of a limited number of slots.
    pub(crate) fn has_slot(&self) -> bool {
        self.pass.kind == PassKind::Slot
    }

    /// Whether the inner service was seen pending.
    pub(crate) const fn was_pending(&self) -> bool {
        self.pass.pending
    }

    /// The inner service was called and has not answered at once. Returns when the call will be
    /// overdue, the first time.
    pub(crate) fn pending(&mut self) -> Option<Tick> {
        if self.pass.pending {
            return None;
        }
        self.pass.pending = true;
        let shared = self.berth.get()?.policy().shared();
        if shared.times_calls() {
            let common = &shared.common;
            let now = common.reporter.clock.now();
            self.pass.started = Some(now);
            return shared.overdue_at(now);
        }
        None
    }

    /// The dependency was never asked: its caller was still sending the request when it left.
    pub(crate) const fn excuse(&mut self) {
        self.pass.pending = false;
    }

    /// The last of the request was sent at this instant: the time before it was the caller's.
    #[cold]
    pub(crate) fn was_sent(&mut self, at: Instant) {
        if let (Some(started), Some(berth)) = (self.pass.started, self.berth.get()) {
            let at = berth.policy().shared().common.reporter.clock.tick(at);
            self.pass.started = Some(started.max(at));
        }
    }

    /// The call would be slow by now, but for a request that took its time: when it will be, if not yet.
    /// `turn` is since when the dependency has had all that the caller sent; none, if it has that now.
    pub(crate) fn overdue_later(&self, turn: Option<Instant>) -> Option<Instant> {
        let shared = self.berth.get()?.policy().shared();
        let clock = &shared.common.reporter.clock;
        let now = clock.now();
        let since = turn.map_or(now, |turn| clock.tick(turn));
        let at = shared.overdue_at(since).filter(|at| *at > now)?;
        clock.instant(at)
    }

    /// The call grew slow in flight.
    pub(crate) fn overdue(&mut self) {
        if let Some(berth) = self.berth.get() {
            self.pass.overdue = true;
            berth.policy().shared().overdue(self.pass);
        }
    }

    /// The call was given up for want of an answer after `waited`, and its caller was told.
    pub(crate) fn give_up(&mut self, waited: u64) {
        if let Some(berth) = self.berth.lose() {
            self.pass.pending = true;
            berth.policy().shared().give_up(self.pass, Some(waited));
        }
    }

    /// The call is over.
    #[inline]
    pub(crate) fn settle(&mut self, outcome: &Outcome) {
        if let Some(berth) = self.berth.end() {
            if let (Some(started), Health::Good) = (self.pass.started, outcome.health) {
                berth.policy().shared().learn(started);
            }
            berth.policy().shared().settle(&self.pass, outcome);
        }
    }

    /// The inner service answered; whoever holds the result says when the call is over.
    #[inline]
    pub(crate) fn take_settle(&mut self, head: Verdict) -> Option<Settle> {
        if let (Some(berth), Some(started)) = (self.berth.get(), self.pass.started)
            && head.of_head().health == Health::Good
        {
            berth.policy().shared().learn(started); // what comes after the head takes as it takes
        }
        if head == Verdict::AtEnd {
            self.pending(); // the call goes on, even if its head was there at once
        }
        let berth = self.berth.defer()?;
        Some(Settle::of(Some(berth), head, self.pass.into()))
    }
}

impl<B: Berth> Flight<B> {
    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        if let Some(berth) = self.berth.lose() {
            let shared = berth.policy().shared();
            if self.risky {
                shared.settle(&self.pass, &Outcome::FAILURE);
            } else {
                shared.abandon(self.pass);
            }
        }
    }
}

impl<B: Berth> Drop for Flight<B> {
    #[inline]
    fn drop(&mut self) {
        if !self.berth.is_over() {
            self.be_lost();
        }
    }
}
