//! One member: what was counted of it of late, whether it is ejected, and what it is ejected for.

use crate::core::time::Tick;
use crate::endpoints::machine::statistics::{Known, is_significant};
use crate::endpoints::machine::{Cause, Effect, Found, MILLION, Params, Seen};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) seen: Seen,
    /// Until when it is ejected.
    ejected: Option<Tick>,
    /// How often it was, less what a good time since has made up for.
    times: u32,
    /// Since when it has been up, or from when on `times` falls.
    since: Tick,
    /// Calls of late, and those of them that failed, in 256ths of a call.
    calls: u64,
    failed: u64,
}

/// After so many, nothing that counts is left.
const MOST_FADES: u64 = 200;
/// One call.
const ONE: u64 = 256;
/// So much slower than its peers has a member to be at least: less is noise, whatever the factor.
const LEAST_DELAY: u64 = 1_000_000;
/// Beside peers that fail as often as this, nobody is an outlier: it is the dependency as a whole.
const ALL_BAD_PPM: u64 = 500_000;
/// A share of failures says nothing before it is made of more than so many.
const FEW_FAILURES: u64 = 4;
/// So many failures in a row are an outage, where none are to eject.
const OUTAGE: u32 = 5;

impl Member {
    pub(super) const fn new(seen: Seen, now: Tick) -> Self {
        Self { seen, ejected: None, times: 0, since: now, calls: 0, failed: 0 }
    }

    // ----- what is known of it -----

    pub(super) fn learn(&mut self, seen: Seen) {
        let failed = seen.failures.saturating_sub(self.seen.failures);
        let calls = seen.successes.saturating_sub(self.seen.successes).saturating_add(failed);
        self.calls = self.calls.saturating_add(calls.saturating_mul(ONE));
        self.failed = self.failed.saturating_add(failed.saturating_mul(ONE)).min(self.calls);
        self.seen = seen;
    }

    /// An eighth of what was counted is forgotten, so many times.
    pub(super) fn fade(&mut self, times: u64) {
        for _ in 0..times.min(MOST_FADES) {
            self.calls -= self.calls / 8;
            self.failed -= self.failed / 8;
        }
    }

    /// Whether it had enough calls for its share of failures to say something.
    pub(super) fn counts(&self, params: &Params) -> bool {
        self.calls >= u64::from(params.min_requests) * ONE
    }

    pub(super) const fn has_latency(&self, enough: u32) -> bool {
        self.seen.latency > 0 && self.seen.samples >= enough
    }

    pub(super) const fn latency(&self) -> Known {
        Known { zone: self.seen.zone, value: self.seen.latency, samples: self.seen.samples }
    }

    pub(super) fn failed_ppm(&self) -> u64 {
        let ppm = u128::from(self.failed) * u128::from(MILLION) / u128::from(self.calls.max(1));
        u64::try_from(ppm).unwrap_or(MILLION)
    }

    /// Neither an answer nor a failure since it was ejected or returned.
    const fn has_said_nothing(&self) -> bool {
        self.calls == 0 && self.seen.consecutive == 0 && self.seen.samples == 0
    }

    /// Whether it answers: its last answer was good.
    pub(super) const fn answers(&self) -> bool {
        self.calls > self.failed && self.seen.consecutive == 0
    }

    /// Whether it fails now, whatever its peers do.
    pub(super) fn is_failing(&self, params: &Params) -> bool {
        let outage = if params.consecutive > 0 { params.consecutive } else { OUTAGE };
        let is_share = self.counts(params) && self.failed_ppm() >= ALL_BAD_PPM;
        self.seen.consecutive >= outage || is_share
    }

    pub(super) const fn is_slower(&self, typical: u64, factor: u64) -> bool {
        factor > 0
            && self.seen.latency >= typical.saturating_mul(factor) / 1_000
            && self.seen.latency >= typical.saturating_add(LEAST_DELAY)
    }

    /// Whether it fails too often: by itself, or beside the share of its peers, if that is known.
    pub(super) fn fails(
        &self,
        params: &Params,
        share: u64,
        peers: Option<u64>,
    ) -> Option<(Cause, u64, u64)> {
        let beside = peers.unwrap_or(0);
        let in_a_row = u64::from(self.seen.consecutive);
        if params.consecutive > 0
            && in_a_row >= u64::from(params.consecutive)
            // Where calls fail anyway, some fail in a row.
            && beside < u64::from(params.outlier_ppm)
        {
            return Some((Cause::Consecutive, in_a_row, u64::from(params.consecutive)));
        }
        let failed = self.failed / ONE;
        if !self.counts(params) || beside >= ALL_BAD_PPM || failed < FEW_FAILURES {
            return None;
        }
        // Not known to fail at all, peers are taken to fail a little.
        let chance = beside.max(u64::from(params.outlier_ppm) / 4);
        if !is_significant(self.calls / ONE, failed, chance) {
            return None;
        }
        if share >= u64::from(params.failure_ppm) {
            return Some((Cause::FailureRate, share, u64::from(params.failure_ppm)));
        }
        let factor = beside.saturating_mul(params.factor) / 1_000;
        let threshold = u64::from(params.outlier_ppm).max(factor);
        peers?;
        (share >= threshold).then_some((Cause::Outlier, share, threshold))
    }

    // ----- its ejections -----

    pub(super) const fn is_ejected(&self) -> bool {
        self.ejected.is_some()
    }

    pub(super) const fn until(&self) -> Option<Tick> {
        self.ejected
    }

    /// Whether its ejection goes on.
    pub(super) fn stays_out(&self, params: &Params, now: Tick) -> bool {
        let Some(until) = self.ejected else { return false };
        // A call that is in flight at the end may be a probe that hangs: its answer is waited for, as long again.
        let is_waited_for = self.seen.in_flight > 0 && self.has_said_nothing();
        now < until || is_waited_for && now < until.plus(params.lasts(self.times))
    }

    pub(super) fn eject(&mut self, params: &Params, now: Tick, draw: u64, found: Found) -> Effect {
        self.times = self.times.saturating_add(1);
        let lasts = params.lasts(self.times);
        // Not all at once again: up to a tenth longer.
        let lasts = lasts.saturating_add(draw % (lasts / 10).max(1)).min(params.max_ejection);
        self.ejected = Some(now.plus(lasts));
        self.start_anew();
        let Found { nth, cause, observed, threshold } = found;
        Effect::Ejected { nth, cause, observed, threshold, times: self.times }
    }

    pub(super) fn give_back(&mut self, now: Tick) {
        (self.ejected, self.since) = (None, now);
        self.start_anew();
    }

    /// What was before says nothing of what comes.
    fn start_anew(&mut self) {
        (self.calls, self.failed) = (0, 0);
        (self.seen.consecutive, self.seen.latency, self.seen.samples) = (0, 0, 0);
    }

    /// A good time makes up for an ejection.
    pub(super) fn make_up(&mut self, params: &Params, now: Tick) {
        let passed = now.since(self.since) / params.ejection.max(1);
        if self.times > 0 && passed > 0 {
            self.times = self.times.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            self.since = self.since.plus(passed.saturating_mul(params.ejection));
        }
    }
}
