//! Outlier detection: which members are worse than their peers, and for how long they are left out.
//!
//! Each member is compared with the lower median of the others, not with a mean and a standard deviation: with two
//! to five members one bad one moves those as far as it is away itself (Envoy's `success_rate` needs five hosts for
//! that reason). Time and the random draw are arguments.

use crate::core::time::Tick;

/// What the algorithm is governed by. Shares are in parts per million, factors in thousandths, times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Params {
    /// Failures in a row; 0: never.
    pub(super) consecutive: u32,
    /// A share of failures that ejects by itself.
    pub(super) failure_ppm: u32,
    /// The least share of failures that ejects if it is `factor` times that of the peers.
    pub(super) outlier_ppm: u32,
    pub(super) factor: u64,
    /// How many times the latency of the peers; 0: never.
    pub(super) latency_factor: u64,
    /// Calls without which a member's shares say nothing.
    pub(super) min_requests: u32,
    pub(super) ejection: u64,
    pub(super) max_ejection: u64,
    pub(super) max_ejected_ppm: u32,
    pub(super) panic_ppm: u32,
}

/// What was seen of a member until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// It keeps this as long as it is a member.
    pub(super) id: u64,
    /// All of its life.
    pub(super) successes: u64,
    pub(super) failures: u64,
    /// Failures since its last success, or since it was ejected or returned.
    pub(super) consecutive: u32,
    /// Average of the latency in nanoseconds, and of how many answers; since it was ejected or returned.
    pub(super) latency: u64,
    pub(super) samples: u32,
    pub(super) in_flight: u32,
}

/// Why a member is ejected, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Consecutive,
    /// By itself.
    FailureRate,
    /// Beside its peers.
    Outlier,
    Latency,
    /// It had its time, and the calls that were let through to it say that nothing is better.
    StillBad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// A member that was not there before.
    Joined(usize),
    Ejected {
        nth: usize,
        cause: Cause,
        /// What was seen, against what: a count, a share or nanoseconds.
        observed: u64,
        threshold: u64,
        /// Times that it was, for which it is left out longer and asked less often.
        times: u32,
    },
    Returned(usize),
}

/// The members, and who of them is ejected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outliers {
    members: Vec<Member>,
    effects: Vec<Effect>,
    /// Until when what was counted has faded.
    faded: Tick,
    // What a step needs room for.
    found: Vec<Found>,
    sorted: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    seen: Seen,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    nth: usize,
    cause: Cause,
    observed: u64,
    threshold: u64,
}

/// Of what was counted an eighth fades in this time: it is halved in about 1.3 s.
const FADE: u64 = 250_000_000;
/// After so many, nothing that counts is left.
const MOST_FADES: u64 = 200;
/// One call.
const ONE: u64 = 256;
/// So much slower than its peers has a member to be at least: less is noise, whatever the factor.
const LEAST_DELAY: u64 = 1_000_000;
/// Beside peers that fail as often as this, nobody is an outlier: it is the dependency as a whole.
const ALL_BAD_PPM: u64 = 500_000;
/// A share that is worth mentioning is this many standard deviations away from that of the peers, squared.
const SIGMAS_SQUARED: u128 = 9;
const MILLION: u64 = 1_000_000;

impl Params {
    /// How long the ejection lasts that is the so manieth.
    pub(super) fn lasts(&self, times: u32) -> u64 {
        self.ejection.saturating_mul(u64::from(times)).min(self.max_ejection)
    }
}

// ===== impl Outliers =====

impl Outliers {
    /// Steps to `now`. `seen` are the members, in their order; those that are new join, those that are not there are
    /// forgotten.
    pub(super) fn step(
        &mut self,
        params: &Params,
        now: Tick,
        draw: u64,
        seen: impl ExactSizeIterator<Item = Seen>,
    ) -> &[Effect] {
        self.effects.clear();
        self.take_in(now, seen);
        self.fade(now);
        self.return_some(params, now, draw);
        self.find(params);
        self.eject(params, now, draw);
        &self.effects
    }

    pub(super) fn ejected(&self) -> usize {
        self.members.iter().filter(|member| member.ejected.is_some()).count()
    }

    /// Whether so few are left that all are used, ejected or not.
    pub(super) fn is_panic(&self, params: &Params) -> bool {
        let (all, up) = (self.members.len() as u64, (self.members.len() - self.ejected()) as u64);
        up * MILLION < all * u64::from(params.panic_ppm)
    }

    /// How many may be ejected at once: the share of all, rounded down.
    fn most(&self, params: &Params) -> usize {
        let most = self.members.len() as u64 * u64::from(params.max_ejected_ppm) / MILLION;
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn take_in(&mut self, now: Tick, seen: impl ExactSizeIterator<Item = Seen>) {
        let (is_first, count) = (self.members.is_empty(), seen.len());
        for (nth, seen) in seen.enumerate() {
            if self.members.get(nth).is_none_or(|member| member.seen.id != seen.id) {
                let known = self.members.iter().skip(nth).position(|one| one.seen.id == seen.id);
                if let Some(further) = known {
                    self.members.swap(nth, nth + further);
                } else {
                    self.members.insert(nth.min(self.members.len()), Member::new(seen, now));
                    if !is_first {
                        self.effects.push(Effect::Joined(nth));
                    }
                }
            }
            if let Some(member) = self.members.get_mut(nth) {
                member.learn(seen);
            }
        }
        self.members.truncate(count);
    }

    fn fade(&mut self, now: Tick) {
        let passed = now.since(self.faded) / FADE;
        self.faded = self.faded.plus(passed * FADE);
        for member in &mut self.members {
            for _ in 0..passed.min(MOST_FADES) {
                member.calls -= member.calls / 8;
                member.failed -= member.failed / 8;
            }
        }
    }

    fn return_some(&mut self, params: &Params, now: Tick, draw: u64) {
        let latency = self.latencies(1);
        for nth in 0..self.members.len() {
            let member = &mut self.members[nth];
            let Some(until) = member.ejected else {
                member.make_up(params, now);
                continue;
            };
            // A call that is in flight at the end may be a probe that hangs: its answer is waited for, as long again.
            let is_waited_for = member.seen.in_flight > 0 && member.has_said_nothing();
            if now < until || is_waited_for && now < until.plus(params.lasts(member.times)) {
                continue;
            }
            let (typical, factor) = (median(&self.sorted[..latency]), params.latency_factor);
            let is_slow =
                typical.is_some_and(|typical| factor > 0 && member.is_slower(typical, factor));
            if member.seen.consecutive > 0 || is_slow {
                let (observed, threshold) = match u64::from(member.seen.consecutive) {
                    0 => (member.seen.latency, typical.unwrap_or_default()),
                    failures => (failures, 1),
                };
                let found = Found { nth, cause: Cause::StillBad, observed, threshold };
                self.effects.push(member.eject(params, now, draw, found));
            } else {
                member.give_back(now);
                self.effects.push(Effect::Returned(nth));
            }
        }
        // A member less may mean that fewer may be ejected.
        while self.ejected() > self.most(params)
            && let Some((nth, member)) = (self.members.iter_mut().enumerate())
                .filter(|(_, member)| member.ejected.is_some())
                .min_by_key(|(_, member)| member.ejected)
        {
            member.give_back(now);
            self.effects.retain(
                |effect| !matches!(effect, Effect::Ejected { nth: one, .. } if *one == nth),
            );
            self.effects.push(Effect::Returned(nth));
        }
    }

    /// Sorts the latencies of those that are up and known by as many answers, and returns how many they are.
    fn latencies(&mut self, enough: u32) -> usize {
        self.sorted.clear();
        let is_known = |seen: &Seen| seen.latency > 0 && seen.samples >= enough;
        let known = self.members.iter().filter(|one| one.ejected.is_none() && is_known(&one.seen));
        self.sorted.extend(known.map(|member| member.seen.latency));
        self.sorted.sort_unstable();
        self.sorted.len()
    }

    /// Who is worse than the others.
    fn find(&mut self, params: &Params) {
        self.found.clear();
        let up = |member: &Member| member.ejected.is_none();
        if params.latency_factor > 0 {
            let enough = (params.min_requests / 2).max(1);
            self.latencies(enough);
            for (nth, member) in self.members.iter().enumerate().filter(|(_, one)| up(one)) {
                let observed = member.seen.latency;
                if observed > 0
                    && member.seen.samples >= enough
                    && let Some(typical) = median_without(&self.sorted, observed)
                    && member.is_slower(typical, params.latency_factor)
                {
                    let threshold = typical.saturating_mul(params.latency_factor) / 1_000;
                    self.found.push(Found { nth, cause: Cause::Latency, observed, threshold });
                }
            }
        }
        let counts =
            |member: &Member| up(member) && member.calls >= u64::from(params.min_requests) * ONE;
        self.sorted.clear();
        self.sorted.extend(self.members.iter().filter(|one| counts(one)).map(Member::failed_ppm));
        self.sorted.sort_unstable();
        for (nth, member) in self.members.iter().enumerate().filter(|(_, one)| up(one)) {
            let share = member.failed_ppm();
            let peers = if counts(member) {
                median_without(&self.sorted, share)
            } else {
                median(&self.sorted)
            };
            if let Some((cause, observed, threshold)) =
                member.fails(params, share, peers, counts(member))
            {
                self.found.push(Found { nth, cause, observed, threshold });
            }
        }
    }

    /// Ejects the worst, as many as may be.
    fn eject(&mut self, params: &Params, now: Tick, draw: u64) {
        self.found.sort_unstable_by_key(|one| (one.cause, u64::MAX - one.observed, one.nth));
        let (mut left, mut found) = (self.most(params).saturating_sub(self.ejected()), Vec::new());
        std::mem::swap(&mut found, &mut self.found);
        for one in &found {
            let member = &mut self.members[one.nth];
            if left > 0 && member.ejected.is_none() {
                left -= 1;
                let effect = member.eject(params, now, draw, *one);
                self.effects.push(effect);
            }
        }
        self.found = found;
    }
}

// ===== impl Member =====

impl Member {
    const fn new(seen: Seen, now: Tick) -> Self {
        Self { seen, ejected: None, times: 0, since: now, calls: 0, failed: 0 }
    }

    fn learn(&mut self, seen: Seen) {
        let failed = seen.failures.saturating_sub(self.seen.failures);
        let calls = seen.successes.saturating_sub(self.seen.successes).saturating_add(failed);
        self.calls = self.calls.saturating_add(calls.saturating_mul(ONE));
        self.failed = self.failed.saturating_add(failed.saturating_mul(ONE)).min(self.calls);
        self.seen = seen;
    }

    /// Neither an answer nor a failure since it was ejected or returned.
    const fn has_said_nothing(&self) -> bool {
        self.calls == 0 && self.seen.consecutive == 0 && self.seen.samples == 0
    }

    fn failed_ppm(&self) -> u64 {
        let ppm = u128::from(self.failed) * u128::from(MILLION) / u128::from(self.calls.max(1));
        u64::try_from(ppm).unwrap_or(MILLION)
    }

    const fn is_slower(&self, typical: u64, factor: u64) -> bool {
        self.seen.latency >= typical.saturating_mul(factor) / 1_000
            && self.seen.latency >= typical.saturating_add(LEAST_DELAY)
    }

    /// Whether it fails too often: by itself, or beside the share of its peers, if that is known.
    fn fails(
        &self,
        params: &Params,
        share: u64,
        peers: Option<u64>,
        counts: bool,
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
        if !counts || beside >= ALL_BAD_PPM {
            return None;
        }
        if share >= u64::from(params.failure_ppm) {
            return Some((Cause::FailureRate, share, u64::from(params.failure_ppm)));
        }
        let threshold =
            u64::from(params.outlier_ppm).max(beside.saturating_mul(params.factor) / 1_000);
        peers?;
        let is_outlier = share >= threshold && self.is_significant(params, beside);
        is_outlier.then_some((Cause::Outlier, share, threshold))
    }

    /// Whether so many failures are no chance if it were like its peers: three standard deviations of a
    /// binomial count.
    fn is_significant(&self, params: &Params, peers: u64) -> bool {
        let ppm = u128::from(peers.max(u64::from(params.outlier_ppm) / 4).min(MILLION));
        let (million, calls) = (u128::from(MILLION), u128::from(self.calls / ONE));
        // In millionths of a call.
        let expected = calls * ppm;
        let above = (u128::from(self.failed) * million / u128::from(ONE)).saturating_sub(expected);
        above * above >= SIGMAS_SQUARED * calls * ppm * (million - ppm)
    }

    fn eject(&mut self, params: &Params, now: Tick, draw: u64, found: Found) -> Effect {
        self.times = self.times.saturating_add(1);
        let lasts = params.lasts(self.times);
        // Not all at once again: up to a tenth longer.
        let lasts = lasts.saturating_add(draw % (lasts / 10).max(1)).min(params.max_ejection);
        self.ejected = Some(now.plus(lasts));
        self.start_anew();
        let Found { nth, cause, observed, threshold } = found;
        Effect::Ejected { nth, cause, observed, threshold, times: self.times }
    }

    fn give_back(&mut self, now: Tick) {
        (self.ejected, self.since) = (None, now);
        self.start_anew();
    }

    /// What was before says nothing of what comes.
    fn start_anew(&mut self) {
        (self.calls, self.failed) = (0, 0);
        (self.seen.consecutive, self.seen.latency, self.seen.samples) = (0, 0, 0);
    }

    /// A good time makes up for an ejection.
    fn make_up(&mut self, params: &Params, now: Tick) {
        let passed = now.since(self.since) / params.ejection.max(1);
        if self.times > 0 && passed > 0 {
            self.times = self.times.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            self.since = self.since.plus(passed.saturating_mul(params.ejection));
        }
    }
}

/// The lower median.
fn median(sorted: &[u64]) -> Option<u64> {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// The lower median of the others, of which one has this value.
fn median_without(sorted: &[u64], value: u64) -> Option<u64> {
    let others = sorted.len().checked_sub(1).filter(|others| *others > 0)?;
    let middle = (others - 1) / 2;
    let rank = sorted.partition_point(|one| *one < value);
    sorted.get(if rank <= middle { middle + 1 } else { middle }).copied()
}
