//! What probes bring, and when that is enough.

use super::Breaker;
use super::phase::Phase;
use crate::circuit_breaker::engine::step::{Effect, Wake};
use crate::circuit_breaker::params::Params;
use crate::circuit_breaker::transition::TransitionCause;
use crate::core::time::Tick;

impl Breaker {
    /// An answer to a probe.
    pub(super) fn weigh(
        &mut self,
        params: &Params,
        now: Tick,
        draw: u64,
        good: bool,
        retry_after: Option<u64>,
    ) -> Effect {
        let Phase::HalfOpen(probing) = &mut self.phase else {
            return Effect::NONE;
        };
        probing.answered = true;
        let (score, steady) = match (probing.score, good) {
            (None, true) => (0, false), // the first to count towards closing; see below
            (None, false) => (-params.reopen_threshold, false), // it decides alone
            (Some(score), true) => (score + 1, true),
            (Some(score), false) => (score - 1, false),
        };
        if !steady {
            (probing.steady_since, probing.awaited) = (now, None);
        }
        probing.score = Some(score);
        probing.allowed = if good {
            probing.allowed.saturating_mul(2).min(params.probes)
        } else {
            (probing.allowed / 2).max(1)
        };
        let allowed = probing.allowed;
        if score <= -params.reopen_threshold {
            return self.reopen(params, now, draw, TransitionCause::ProbesFailed, retry_after);
        }
        // The first good answer is one of those that close.
        if good && score + 1 >= params.close_threshold {
            return Effect::NONE.and(self.close(params, now, now, allowed));
        }
        self.settle_down(params, now).with(Effect { wake: Wake::Some(allowed), ..Effect::NONE })
    }

    /// Recovery is bounded by time too: where few call, the answers that would close may be long in
    /// coming. No failed response for so long after a good one closes, once every probe is back that was
    /// out by then: an answer that is overdue is no good sign.
    pub(super) fn settle_down(&mut self, params: &Params, now: Tick) -> Effect {
        let Phase::HalfOpen(probing) = &mut self.phase else { return Effect::NONE };
        if !probing.is_steady(params.steady, now) {
            return Effect::NONE;
        }
        if probing.awaited.is_none() {
            probing.rounds = probing.rounds.saturating_add(1);
        }
        let in_flight = probing.in_flight;
        if *probing.awaited.get_or_insert(in_flight) > 0 {
            return Effect::NONE;
        }
        self.close_in_time(params, now)
    }

    /// The same for a call that asks: if it is the only one, there is nobody to wait for.
    pub(super) fn settle_down_alone(&mut self, params: &Params, now: Tick) -> Effect {
        match &self.phase {
            Phase::HalfOpen(probing) if probing.in_flight == 0 => {
                if probing.is_steady(params.steady, now) {
                    return self.close_in_time(params, now);
                }
                Effect::NONE
            }
            _ => Effect::NONE,
        }
    }

    fn close_in_time(&mut self, params: &Params, now: Tick) -> Effect {
        let Phase::HalfOpen(probing) = self.phase else { return Effect::NONE };
        // The load may have come back since then, if there was any.
        Effect::NONE.and(self.close(params, now, probing.steady_since, probing.allowed))
    }
}
