//! Outlier detection: which members are worse than their peers, and for how long they are left out.
//!
//! Time and the random draw are arguments. How members are compared is in [`statistics`].

use crate::core::time::Tick;
use crate::endpoints::machine::member::Member;
use crate::endpoints::machine::statistics::{Known, Middle, middle, middle_without};

mod member;
mod statistics;

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
    /// Members of one zone are compared by latency, and no others: a remote zone is slower by nature.
    pub(super) zone: u32,
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
    /// Its time is over.
    Returned(usize),
    /// It returns before that.
    Recalled(usize, Recall),
}

/// Why a member returns before its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recall {
    /// All that are in use fail, and this one answers.
    PeersFail,
    /// Members left, and fewer may be ejected.
    MaxEjected,
}

/// Why all are used, ejected or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Panic {
    /// Too few are left.
    FewLeft,
    /// All that are left fail.
    AllFail,
}

/// The members, and who of them is ejected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outliers {
    members: Vec<Member>,
    effects: Vec<Effect>,
    /// Until when what was counted has faded.
    faded: Tick,
    /// Whether all that are in use fail, and nobody who is ejected is known to be better.
    all_fail: bool,
    // What a step needs room for.
    found: Vec<Found>,
    sorted: Vec<Known>,
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
const MILLION: u64 = 1_000_000;

impl Params {
    /// How long the ejection lasts that is the so manieth.
    pub(super) fn lasts(&self, times: u32) -> u64 {
        self.ejection.saturating_mul(u64::from(times)).min(self.max_ejection)
    }
}

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
        let fades = now.since(self.faded) / FADE;
        self.faded = self.faded.plus(fades * FADE);
        self.members.iter_mut().for_each(|member| member.fade(fades));
        self.return_some(params, now, draw);
        self.find(params);
        self.relieve(params, now);
        self.eject(params, now, draw);
        &self.effects
    }

    pub(super) fn ejected(&self) -> usize {
        self.members.iter().filter(|member| member.is_ejected()).count()
    }

    /// Whether all are used, ejected or not, and why.
    pub(super) fn panic(&self, params: &Params) -> Option<Panic> {
        let ejected = self.ejected();
        let (all, up) = (self.members.len() as u64, (self.members.len() - ejected) as u64);
        if up * MILLION < all * u64::from(params.panic_ppm) {
            return Some(Panic::FewLeft);
        }
        (self.all_fail && ejected > 0 && params.panic_ppm > 0).then_some(Panic::AllFail)
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

    fn return_some(&mut self, params: &Params, now: Tick, draw: u64) {
        self.latencies(1);
        for nth in 0..self.members.len() {
            let member = &mut self.members[nth];
            if !member.is_ejected() {
                member.make_up(params, now);
                continue;
            }
            if member.stays_out(params, now) {
                continue;
            }
            let typical = middle(of_zone(&self.sorted, member.seen.zone)).map(Middle::ratio);
            let is_slow = typical
                .is_some_and(|typical| member.is_slower(typical.value, params.latency_factor));
            if member.seen.consecutive > 0 || is_slow {
                let (observed, threshold) = match u64::from(member.seen.consecutive) {
                    0 => (member.seen.latency, typical.map_or(0, |typical| typical.value)),
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
                .filter(|(_, member)| member.is_ejected())
                .min_by_key(|(_, member)| member.until())
        {
            member.give_back(now);
            self.effects.retain(
                |effect| !matches!(effect, Effect::Ejected { nth: one, .. } if *one == nth),
            );
            self.effects.push(Effect::Recalled(nth, Recall::MaxEjected));
        }
    }

    /// Sorts the latencies of those that are up and known by as many answers, by zones.
    fn latencies(&mut self, enough: u32) {
        self.sorted.clear();
        let up = self.members.iter().filter(|one| !one.is_ejected());
        self.sorted.extend(up.filter(|one| one.has_latency(enough)).map(Member::latency));
        self.sorted.sort_unstable();
    }

    /// Who is worse than the others.
    fn find(&mut self, params: &Params) {
        self.found.clear();
        if params.latency_factor > 0 {
            self.find_slow(params);
        }
        self.sorted.clear();
        let counted = self.members.iter().filter(|one| !one.is_ejected() && one.counts(params));
        self.sorted
            .extend(counted.map(|one| Known { value: one.failed_ppm(), ..Known::default() }));
        self.sorted.sort_unstable();
        for (nth, member) in self.members.iter().enumerate().filter(|(_, one)| !one.is_ejected()) {
            let share = member.failed_ppm();
            let peers = if member.counts(params) {
                middle_without(&self.sorted, Known { value: share, ..Known::default() })
            } else {
                middle(&self.sorted)
            };
            let peers = peers.map(Middle::mean);
            if let Some((cause, observed, threshold)) = member.fails(params, share, peers) {
                self.found.push(Found { nth, cause, observed, threshold });
            }
        }
    }

    fn find_slow(&mut self, params: &Params) {
        let enough = (params.min_requests / 2).max(1);
        self.latencies(enough);
        for (nth, member) in self.members.iter().enumerate() {
            if member.is_ejected() || !member.has_latency(enough) {
                continue;
            }
            let own = member.latency();
            let Some(two) = middle_without(of_zone(&self.sorted, own.zone), own) else { continue };
            let typical = two.ratio();
            let factor =
                params.latency_factor.max(statistics::chance(own.samples, typical.samples));
            if member.is_slower(typical.value, factor) {
                let (observed, threshold) =
                    (own.value, typical.value.saturating_mul(factor) / 1_000);
                self.found.push(Found { nth, cause: Cause::Latency, observed, threshold });
            }
        }
    }

    /// Where all that are in use fail, whoever is ejected and answers is better than they are.
    fn relieve(&mut self, params: &Params, now: Tick) {
        let mut up = self.members.iter().filter(|one| !one.is_ejected());
        self.all_fail = up.all(|one| one.is_failing(params)) && !self.members.is_empty();
        if !self.all_fail {
            return;
        }
        for (nth, member) in self.members.iter_mut().enumerate() {
            if member.is_ejected() && member.answers() {
                member.give_back(now);
                self.effects.push(Effect::Recalled(nth, Recall::PeersFail));
                self.all_fail = false;
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
            if left > 0 && !member.is_ejected() {
                left -= 1;
                let effect = member.eject(params, now, draw, *one);
                self.effects.push(effect);
            }
        }
        self.found = found;
    }
}

/// Those of one zone, of what is sorted.
fn of_zone(sorted: &[Known], zone: u32) -> &[Known] {
    let from = sorted.partition_point(|one| one.zone < zone);
    let to = sorted.partition_point(|one| one.zone <= zone);
    &sorted[from..to]
}
