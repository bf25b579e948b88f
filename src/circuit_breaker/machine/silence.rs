//! Calls that end without an answer, and what that says.
//!
//! A caller who leaves says nothing by itself: it may be impatient. What speaks against a dependency
//! is that *nobody* is answered. So calls given up gather weight only while nothing at all is
//! answered, and the first answer takes it all away. What such a call weighs depends on how long it
//! waited: at least twice as long as an answer usually takes is a failure; less is a 32nd of one, for
//! where nine callers in ten leave too early, a run of as many as would open the circuit is as rare
//! as anybody may wish (0.9⁵⁴⁴), and a dependency that hangs is found out all the same. It is nothing
//! as long as the silence has not lasted for two answers, for nobody could have been answered yet.
//!
//! Calls that were in flight when the silence began may all have been given up for one reason, such
//! as one connection of theirs that broke: they count once a millisecond. A call that began in the
//! silence, and waited long, counts for itself: whatever ended the others does not explain why this
//! one was not answered.

use super::phase::Phase;
use super::{Breaker, Marks};
use crate::circuit_breaker::config::Abandonment;
use crate::circuit_breaker::engine::step::{Decision, Effect, Pass, PassKind, Wake};
use crate::circuit_breaker::params::Params;
use crate::circuit_breaker::transition::TransitionCause;
use crate::core::time::{Tick, nanos};

/// Calls given up within this time of each other count once: it is one event, seen many times.
const SAME_MOMENT: u64 = 1_000_000;

/// What speaks against a dependency while nothing is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Silence {
    /// In shares of a failure, of which a call that left early has one.
    weight: u32,
    /// When the first call was given up; never, if none was.
    since: Tick,
    /// When the latest was that counts for all of its moment.
    moment: Tick,
}

impl Silence {
    pub(super) const NONE: Self = Self { weight: 0, since: Tick::NEVER, moment: Tick::NEVER };

    pub(super) fn is_nothing(&self) -> bool {
        self.since == Tick::NEVER
    }

    /// Failures that the next answer of any kind takes away.
    pub(super) const fn failures(&self, params: &Params) -> u32 {
        self.weight / params.long_wait
    }

    /// One more call was given up.
    fn hear(&mut self, params: &Params, now: Tick, call: &GivenUp) {
        self.since = self.since.min(now);
        let since = self.since;
        // Who was let through while all was well has no clock: it waited at least since then.
        let silent_for = now.since(since);
        let weight = params.weight(call.waited.unwrap_or(silent_for), call.usual, silent_for);
        let began_in_it = call.waited.is_some_and(|waited| waited <= silent_for);
        if weight > 1 && began_in_it {
            self.weight = self.weight.saturating_add(weight);
        } else if weight > 0
            && (self.moment == Tick::NEVER || now.since(self.moment) >= SAME_MOMENT)
        {
            self.moment = now;
            self.weight = self.weight.saturating_add(weight);
        }
    }
}

/// A call that ended without an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenUp {
    pub(super) pass: Pass,
    /// Since its first `Pending`, if known.
    pub(super) waited: Option<u64>,
    /// What an answer of this dependency usually takes, if known.
    pub(super) usual: Option<u64>,
}

impl Breaker {
    pub(super) fn abandon(
        &mut self,
        params: &Params,
        now: Tick,
        draw: u64,
        call: GivenUp,
    ) -> Effect {
        let GivenUp { pass, waited, .. } = call;
        if pass.kind == PassKind::Shadow {
            return Effect::NONE;
        }
        if pass.epoch != self.epoch {
            return Effect::of(Decision::Late);
        }
        let free = self.give_back(pass);
        if !pass.pending {
            // It was never asked long enough to answer.
            return self.settle_down(params, now).with(free);
        }
        let slow = !pass.overdue && params.is_slow(waited);
        let failed = match params.abandonment {
            Abandonment::Ignore | Abandonment::Silence => false,
            Abandonment::Failure => true,
            Abandonment::After(least) => waited.is_some_and(|waited| waited >= nanos(least)),
        };
        if let Phase::HalfOpen(_) = self.phase {
            if failed || slow {
                return self.weigh(params, now, draw, false, None).with(free);
            }
            return self.abandon_probe(params, now, draw, call).with(free);
        }
        if params.abandonment == Abandonment::Silence {
            self.forget(params, now);
            self.silence.hear(params, now, &call);
        }
        if failed || slow {
            let marks = Marks { failed: failed.then_some(true), slow: slow.then_some(true) };
            return self.mark(params, now, draw, marks, None).with(free);
        }
        self.rule(params, now, draw, None).with(free)
    }

    /// A probe was given up. As long as nothing was answered this may be silence; afterwards it is
    /// the caller's affair.
    fn abandon_probe(&mut self, params: &Params, now: Tick, draw: u64, call: GivenUp) -> Effect {
        let Phase::HalfOpen(probing) = &mut self.phase else { return Effect::NONE };
        let counts = params.abandonment == Abandonment::Silence && !call.pass.overdue;
        if probing.answered || !counts {
            return self.settle_down(params, now);
        }
        self.silence.since = self.silence.since.min(now); // until one is answered, or it closes
        let silent_for = now.since(self.silence.since);
        let weight = params.weight_of_probe(call.waited, call.usual, silent_for);
        probing.unanswered = probing.unanswered.saturating_add(weight);
        if weight <= 1 {
            // Nothing was learnt from it, so twice as many may try at the same time: the answer that
            // decides must not wait for callers of more patience to come one after the other.
            probing.allowed = probing.allowed.saturating_mul(2).min(params.probes);
        }
        if probing.unanswered >= params.reopen_after.saturating_mul(params.long_wait) {
            return self.reopen(params, now, draw, TransitionCause::ProbesAbandoned, None);
        }
        Effect { wake: Wake::Some(2), ..Effect::NONE }
    }
}
