//! What a call does with the permit of the attempt in flight.

use std::task::Waker;

use tokio::time::Instant;

use super::{Ahead, RetryGuard, told};
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::outcome::Outcome;
use crate::shell::gate::{
    CallEnd, Due, Judged, Lost, Now, Policy, Stage, classify_rejection, classify_result, settle,
};
use crate::shell::retry::repeat::Repeat;

impl<T: Repeat<U>, W: Policy, A: Policy, C, U> RetryGuard<T, W, A, C, U> {
    /// The attempt in flight was answered with something that is not the answer to the call.
    pub(in crate::shell::retry) fn settle_attempt(&mut self, outcome: &Outcome) {
        if let Some(core) = self.hold.get() {
            settle(&core.each, &mut self.permit, &Judged::now(*outcome));
        }
    }

    /// Whether the policy of the attempts may have a say in this result.
    #[inline]
    pub(in crate::shell::retry) fn may_overrule_attempt<Res, E>(
        &self,
        result: &Result<Res, E>,
    ) -> bool {
        let may = |permit: &A::Permit| result.is_err() || A::watches(permit);
        A::OVERRULES && self.permit.as_ref().is_some_and(may)
    }

    /// What the attempt ends with instead of its result, if its policy has a say in it.
    pub(in crate::shell::retry) fn overrule_attempt<Res, E: CallError>(
        &mut self,
        result: &Result<Res, E>,
        context: &ClassifyContext,
    ) -> Option<Rejected>
    where
        C: Classify<Res, E>,
    {
        let (core, permit) = (self.hold.get()?, self.permit.as_mut()?);
        let rejected =
            told(result, context, &core.classify, |told| core.each.overrule(permit, told))?;
        self.permit = None;
        Some(rejected)
    }

    /// The attempt ends because [`due`](Policy::due) said so of this part. The inner future is gone.
    pub(in crate::shell::retry) fn expire_attempt<Res, E: CallError>(
        &mut self,
        by: u8,
        context: &ClassifyContext,
    ) -> Option<Rejected>
    where
        C: Classify<Res, E>,
    {
        let core = self.hold.get()?;
        let permit = self.permit.take()?;
        let classify = |rejected: Option<&Rejected>| match rejected {
            Some(rejected) => classify_rejection::<Res, E, C>(&core.classify, rejected, context),
            None => Outcome::IGNORE,
        };
        Some(core.each.expire(permit, by, Some(&CallEnd::new(Err(None), &classify))))
    }

    /// The inner service failed before the attempt could ask for a permit.
    pub(in crate::shell::retry) fn fail_unready<Res, E: CallError>(
        &mut self,
        error: &E,
        context: &ClassifyContext,
    ) where
        C: Classify<Res, E>,
    {
        self.let_go();
        if A::PARTS > 0 {
            self.enter();
            if let Some(core) = self.core() {
                core.each.unready(&classify_result::<Res, E, C>(
                    &core.classify,
                    Err(error),
                    context,
                ));
            }
            self.leave();
        }
    }

    /// Leaves the waker of an attempt that waits for the inner service, until its policy closes. Returns
    /// `false` if it has.
    pub(in crate::shell::retry) fn park(&mut self, waker: &Waker) -> bool {
        match (self.hold.get(), &mut self.ahead) {
            (Some(core), Ahead::Readying(slot)) => core.each.park(slot, waker),
            _ => true,
        }
    }

    /// The attempt that was to come does not begin: what it has comes back.
    pub(in crate::shell::retry) fn let_go(&mut self) {
        let Some(core) = self.hold.get() else { return };
        if let Some(permit) = self.permit.take() {
            core.each.give_back(permit);
        }
        self.wait_no_longer(false);
    }

    /// The attempt that was to come waits for nothing any more, for its future was `dropped`, or otherwise.
    fn wait_no_longer(&mut self, dropped: bool) {
        let Some(core) = self.hold.get() else { return };
        match std::mem::replace(&mut self.ahead, Ahead::Nothing) {
            Ahead::Nothing => {}
            Ahead::Readying(mut slot) => core.each.unpark(&mut slot),
            Ahead::Permit(mut waiting) => {
                if let Some(wait) = waiting.wait.take() {
                    core.each.leave(wait, dropped);
                }
            }
        }
    }

    /// The attempt is pending in this stage: when its policy wants to look again.
    pub(in crate::shell::retry) fn attempt_pending(
        &mut self,
        stage: Stage,
        now: &Now,
    ) -> Option<Instant> {
        let core = self.hold.get()?;
        match (&mut self.permit, &self.ahead) {
            (Some(permit), _) => core.each.pending(permit, stage, now),
            (None, Ahead::Permit(waiting)) => core.each.until(waiting.wait.as_ref()?),
            _ => None,
        }
    }

    /// That time has come, or never will, for there are no timers here.
    pub(in crate::shell::retry) fn attempt_due(
        &mut self,
        stage: Stage,
        now: &Now,
        no_timers: bool,
    ) -> Result<Due, Rejected> {
        let Some(core) = self.hold.get() else { return Ok(Due::Later(None)) };
        match (&mut self.permit, &mut self.ahead) {
            (Some(permit), _) => Ok(core.each.due(permit, stage, now)),
            (None, Ahead::Permit(waiting)) if no_timers => {
                let wait = waiting.wait.take();
                self.ahead = Ahead::Nothing; // it waits no longer, and may be made again
                wait.map_or(Ok(Due::Later(None)), |wait| Err(core.each.expire_wait(wait)))
            }
            _ => Ok(Due::Later(None)),
        }
    }

    /// Nobody will hear how the attempt in flight ended.
    pub(in crate::shell::retry) fn lose_attempt(&mut self, why: Lost) {
        let Some(core) = self.hold.get() else { return };
        let why = if self.risky { Lost::Panicked } else { why };
        if let Some(permit) = self.permit.take() {
            core.each.lose(permit, why);
        }
        self.wait_no_longer(true);
    }
}
