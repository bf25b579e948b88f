//! What a call holds: of the policy that admitted it, or while it waits for that.

use std::sync::Arc;
use std::task::Waker;

use super::policy::{Admission, Due, Lost, Now, Policy, Stage};
use super::service::Core;
use crate::error::{CallError, Rejected};
use crate::outcome::Outcome;
use crate::shell::gate::{Hold, Lane, Parked};

/// An admitted call: its one reference to what is shared, and its permit. Ended once.
pub(crate) struct CallGuard<P: Policy, C> {
    hold: Hold<Lane<Core<P, C>>>,
    /// `None` once the call is over.
    permit: Option<P::Permit>,
    /// User code is running: if this is dropped now, that code panicked.
    risky: bool,
    seen: Stage,
}

/// A call that waits for a permit. Leaves when dropped.
pub(crate) struct WaitGuard<P: Policy, C> {
    hold: Hold<Lane<Core<P, C>>>,
    /// `None` once it waits no longer.
    wait: Option<P::Wait>,
    parked: Parked,
}

// ===== impl CallGuard =====

impl<P: Policy, C> CallGuard<P, C> {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Core<P, C>>>, permit: P::Permit) -> Self {
        Self::of(Hold::new(lane), permit)
    }

    #[inline]
    fn of(hold: Hold<Lane<Core<P, C>>>, permit: P::Permit) -> Self {
        Self { hold, permit: Some(permit), risky: false, seen: Stage::Fresh }
    }

    /// No call, or one that is over.
    pub(super) const fn over() -> Self {
        Self { hold: Hold::over(), permit: None, risky: false, seen: Stage::Fresh }
    }

    #[inline]
    pub(super) const fn is_over(&self) -> bool {
        self.permit.is_none()
    }

    #[inline]
    pub(super) fn core(&self) -> Option<&Core<P, C>> {
        self.hold.get().map(|lane| &**lane)
    }

    /// The future is polled. `false` if the layer was drained before the call began, or while it
    /// `waits` for the inner service: then it must not go on.
    #[inline]
    pub(super) fn begin(&mut self, waits: impl FnOnce() -> bool) -> bool {
        self.hold.begin(waits)
    }

    /// What holds the call.
    pub(super) const fn hold(&self) -> &Hold<Lane<Core<P, C>>> {
        &self.hold
    }

    /// User code begins. If it panics, the call has failed.
    #[inline]
    pub(super) const fn enter(&mut self) {
        self.risky = true;
    }

    /// User code came back.
    #[inline]
    pub(super) const fn leave(&mut self) {
        self.risky = false;
    }

    /// The call was answered.
    #[inline]
    pub(super) fn settle(&mut self, outcome: &Outcome) {
        if let Some(permit) = &mut self.permit
            && let Some(lane) = self.hold.end()
        {
            lane.policy.settle(permit, outcome);
            self.permit = None;
        }
    }

    /// What the caller is told instead of the result, if the policy has a say in it.
    #[inline(never)]
    pub(super) fn overrule<T, E: CallError>(&mut self, result: &Result<T, E>) -> Option<Rejected> {
        let (lane, permit) = (self.hold.get()?, self.permit.as_mut()?);
        let failure = result.as_ref().map(|_| ()).map_err(CallError::rejected);
        let rejected = lane.policy.overrule(permit, failure)?;
        self.permit = None;
        drop(self.hold.lose());
        Some(rejected)
    }

    /// Whether the policy may have a say in this result.
    #[inline]
    pub(super) fn may_overrule<T, E>(&self, result: &Result<T, E>) -> bool {
        P::OVERRULES && (result.is_err() || self.permit.as_ref().is_some_and(P::watches))
    }

    /// Whether the caller was still sending its request.
    pub(super) fn excuses(&self) -> bool {
        match (self.hold.get(), &self.permit) {
            (Some(lane), Some(permit)) => lane.policy.excuses(permit),
            _ => false,
        }
    }

    /// The call does not begin: the layer is drained.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        let (permit, lane) = (self.permit.take()?, self.hold.lose()?);
        lane.policy.give_back(permit);
        Some(lane.policy.draining())
    }

    /// The call is pending. `None` if that is no news; else when to look again.
    #[allow(clippy::option_option, reason = "two questions")]
    pub(super) fn pending(
        &mut self,
        stage: Stage,
        now: &Now,
    ) -> Option<Option<tokio::time::Instant>> {
        if std::mem::replace(&mut self.seen, stage) == stage {
            return None;
        }
        let (lane, permit) = (self.hold.get()?, self.permit.as_mut()?);
        Some(lane.policy.pending(permit, stage, now))
    }

    pub(super) fn due(&mut self, stage: Stage, now: &Now) -> Due {
        match (self.hold.get(), &mut self.permit) {
            (Some(lane), Some(permit)) => lane.policy.due(permit, stage, now),
            _ => Due::Later(None),
        }
    }

    /// The call ends with what [`due`](Self::due) said. The inner future is gone.
    pub(super) fn expire(&mut self) -> Option<Rejected> {
        let (permit, lane) = (self.permit.take()?, self.hold.lose()?);
        Some(lane.policy.expire(permit))
    }

    /// Whether the inner service was called and found pending.
    pub(super) fn was_pending(&self) -> bool {
        self.seen == Stage::Called
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    pub(super) fn lose(&mut self, why: Lost) {
        if let (Some(permit), Some(lane)) = (self.permit.take(), self.hold.lose()) {
            lane.policy.lose(permit, if self.risky { Lost::Panicked } else { why });
        }
    }
}

impl<P: Policy, C> Drop for CallGuard<P, C> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_over() {
            self.lose(Lost::Dropped);
        }
    }
}

// ===== impl WaitGuard =====

impl<P: Policy, C> WaitGuard<P, C> {
    pub(super) fn new(lane: Arc<Lane<Core<P, C>>>, wait: P::Wait) -> Self {
        Self { hold: Hold::new(lane), wait: Some(wait), parked: Parked::new() }
    }

    /// Looks whether it may pass now.
    pub(super) fn poll(
        &mut self,
        cx: &mut std::task::Context<'_>,
        now: &Now,
    ) -> Option<Result<CallGuard<P, C>, Rejected>> {
        // A drain wakes it too, and ends its wait.
        let goes_on = self.hold.begin(|| true) && self.stays(cx.waker());
        let (lane, wait) = (self.hold.get()?, self.wait.take()?);
        if !goes_on {
            lane.policy.leave(wait, false);
            let rejected = lane.policy.draining();
            drop(self.hold.lose());
            return Some(Err(rejected));
        }
        match lane.policy.poll_wait(wait, cx, now) {
            Admission::Pass(permit) => {
                let hold = std::mem::replace(&mut self.hold, Hold::over());
                Some(Ok(CallGuard::of(hold, permit)))
            }
            Admission::Wait(wait) => {
                self.wait = Some(wait);
                None
            }
            Admission::Refuse(rejected) => {
                drop(self.hold.lose());
                Some(Err(rejected))
            }
        }
    }

    /// Waits no longer, for want of timers.
    pub(super) fn expire(&mut self) -> Option<Rejected> {
        let (wait, lane) = (self.wait.take()?, self.hold.lose()?);
        Some(lane.policy.expire_wait(wait))
    }

    /// Leaves the waker for a drain. Returns `false` if it is drained.
    fn stays(&mut self, waker: &Waker) -> bool {
        self.hold.park(&mut self.parked, waker)
    }

    /// When it wants to be polled, if nobody wakes it before.
    pub(super) fn until(&self) -> Option<tokio::time::Instant> {
        self.hold.get()?.policy.until(self.wait.as_ref()?)
    }
}

impl<P: Policy, C> Drop for WaitGuard<P, C> {
    fn drop(&mut self) {
        if let Some(wait) = self.wait.take()
            && let Some(lane) = self.hold.lose()
        {
            lane.policy.leave(wait, true);
        }
    }
}
