//! How much of the load each tier takes: down at once, back slowly. Pure.
//!
//! Spill as in Envoy (priorities with an overprovisioning factor of 1.4); the way back is ours. What a tier takes is at most
//! its *cap*:
//!
//! ```text
//!            health falls below the cap
//!   Up ───────────────────────────────────▶ Down       the cap falls with it, at once
//!    ▲                                       │ better than the cap for `up_for`
//!    │ the cap is full                       ▼
//!    └──────────────────────────────────  Returning    the cap doubles each `step`, from 5 %
//! ```
//!
//! Each loss doubles `up_for` for the next one, and each quiet `max_up_for` halves it again. The cap guards a tier against one
//! that serves, never against nobody: where all caps are zero, health alone counts.

/// All of the load, in parts per million.
pub(super) const FULL: u32 = 1_000_000;
/// A tier of which so much is healthy takes all of its load, in parts per thousand: 1 / 1.4 (Envoy).
const OVERPROVISIONING: u64 = 1_400;
/// What a tier that returns takes first: 5 %.
const FIRST: u32 = FULL / 20;

/// A tier that is down is sent one call each time that so much has passed, in nanoseconds: a circuit breaker closes by calls.
pub(super) const PROBE_INTERVAL: u64 = 1_000_000_000;
/// And no more than one call in so many.
const PROBE_CALLS: u32 = 10;

/// The settings, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Params {
    pub(super) up_for: u64,
    pub(super) max_up_for: u64,
    pub(super) step: u64,
}

/// The tiers, the first one first. There is one at least.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tiers(Vec<Tier>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tier {
    /// What it takes at most of what comes to it.
    pub(super) cap: u32,
    /// What it could take by its health alone.
    pub(super) target: u32,
    pub(super) phase: Phase,
    /// `up_for` is doubled so often at the next loss.
    pub(super) losses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Quiet since then.
    Up { since: u64 },
    /// Better than its cap since then; it has to stay so for that long.
    Down { since: u64, wait: u64 },
    /// The cap doubles then.
    Returning { next: u64 },
}

/// How the load is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// The first tier takes all.
    First,
    /// Other tiers take some or all of it.
    Spilling,
    /// All are down, so the first takes all: a health check that is wrong is no outage.
    Panic,
}

impl Params {
    /// How long a tier has to be better after so many losses.
    pub(super) fn wait(&self, losses: u32) -> u64 {
        let factor = 1_u64.checked_shl(losses).unwrap_or(u64::MAX);
        self.up_for.saturating_mul(factor).min(self.max_up_for)
    }
}

/// What a tier could take by its health alone.
pub(super) fn target(health: u32) -> u32 {
    let most = u64::from(health) * OVERPROVISIONING / 1_000;
    u32::try_from(most).unwrap_or(FULL).min(FULL)
}

impl Tier {
    fn step(&mut self, params: &Params, now: u64, health: u32) {
        let target = target(health);
        self.target = target;
        self.forgets(params, now);
        if target < self.cap {
            self.cap = target;
            self.phase = match self.phase {
                Phase::Down { wait, .. } => Phase::Down { since: now, wait },
                Phase::Up { .. } | Phase::Returning { .. } => {
                    let wait = params.wait(self.losses);
                    // As often as it makes a difference.
                    self.losses += u32::from(wait < params.max_up_for);
                    Phase::Down { since: now, wait }
                }
            };
            return;
        }
        match self.phase {
            Phase::Down { wait, .. } if target == self.cap => {
                self.phase = Phase::Down { since: now, wait };
            }
            Phase::Down { since, wait } if now.saturating_sub(since) >= wait => {
                self.cap = self.cap.max(FIRST).min(target);
                self.returns(now.saturating_add(params.step), now);
            }
            Phase::Returning { next } if now >= next => {
                let steps = 1 + now.saturating_sub(next) / params.step.max(1);
                let doubled =
                    (0..steps.min(5)).fold(self.cap.max(FIRST), |cap, _| cap.saturating_mul(2));
                self.cap = doubled.min(target);
                self.returns(now.saturating_add(params.step), now);
            }
            Phase::Up { .. } | Phase::Down { .. } | Phase::Returning { .. } => {}
        }
    }

    /// Quiet for as long as the longest wait: one loss less.
    fn forgets(&mut self, params: &Params, now: u64) {
        while let Phase::Up { since } = self.phase
            && self.losses > 0
            && now.saturating_sub(since) >= params.max_up_for
        {
            self.phase = Phase::Up { since: since.saturating_add(params.max_up_for) };
            self.losses -= 1;
        }
    }

    fn returns(&mut self, next: u64, now: u64) {
        let is_back = self.cap == FULL;
        self.phase = if is_back { Phase::Up { since: now } } else { Phase::Returning { next } };
    }
}

impl Tiers {
    pub(super) fn new(count: usize, now: u64) -> Self {
        let phase = Phase::Up { since: now };
        Self(vec![Tier { cap: FULL, target: FULL, phase, losses: 0 }; count])
    }

    /// The health of each tier is this now, in parts per million.
    pub(super) fn step(&mut self, params: &Params, now: u64, health: &[u32]) {
        for (tier, health) in self.0.iter_mut().zip(health) {
            tier.step(params, now, (*health).min(FULL));
        }
    }

    #[cfg(test)]
    pub(super) fn tiers(&self) -> &[Tier] {
        &self.0
    }

    /// So much time has passed, and is taken off all instants; none is earlier than `least`.
    #[cfg(test)]
    pub(super) fn shift(&mut self, by: u64, least: u64) {
        for tier in &mut self.0 {
            match &mut tier.phase {
                Phase::Up { since } | Phase::Down { since, .. } => {
                    *since = (*since - by).max(least);
                }
                Phase::Returning { next } => *next = (*next - by).max(least),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn forget_losses(&mut self) {
        self.0.iter_mut().for_each(|tier| tier.losses = 0);
    }

    /// What each tier takes of the load. Together they take all of it.
    pub(super) fn shares(&self) -> Vec<u32> {
        let is_served = self.0.iter().any(|tier| tier.cap > 0);
        let mut left = FULL;
        let mut shares: Vec<u32> = Vec::with_capacity(self.0.len());
        for tier in &self.0 {
            let takes = part(left, if is_served { tier.cap } else { tier.target });
            left -= takes;
            shares.push(takes);
        }
        let taken = FULL - left;
        if taken == 0 {
            shares[0] = FULL;
            return shares;
        }
        // What nobody would take is spread as the rest is; the last one has what rounding leaves.
        let mut rest = FULL;
        let last = shares.iter().rposition(|share| *share > 0).unwrap_or_default();
        for share in &mut shares[..last] {
            *share = u32::try_from(u64::from(*share) * u64::from(FULL) / u64::from(taken))
                .unwrap_or(FULL);
            rest -= *share;
        }
        shares[last] = rest;
        shares
    }

    pub(super) fn mode(&self) -> Mode {
        match self.0.iter().position(|tier| tier.cap > 0) {
            None if self.0.iter().any(|tier| tier.target > 0) => Mode::Spilling,
            None => Mode::Panic,
            Some(0) if self.0[0].cap == FULL => Mode::First,
            Some(_) => Mode::Spilling,
        }
    }
}

/// Which tiers that are down are sent a call, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probes {
    /// When each was last sent one, or went down.
    last: Vec<Option<u64>>,
    /// Calls since the last probe.
    calls: u32,
}

impl Probes {
    pub(super) fn new(count: usize) -> Self {
        Self { last: vec![None; count], calls: 0 }
    }

    /// A call comes: the tier that it is a probe of, if it is one.
    pub(super) fn next(&mut self, now: u64, health: &[u32], shares: &[u32]) -> Option<usize> {
        self.calls = self.calls.saturating_add(1);
        for (last, (health, share)) in self.last.iter_mut().zip(health.iter().zip(shares)) {
            let is_down = target(*health) == 0 && *share == 0;
            *last = last.or(Some(now)).filter(|_| is_down);
        }
        if self.calls < PROBE_CALLS {
            return None;
        }
        let downs = self.last.iter().enumerate().filter_map(|(nth, last)| Some(((*last)?, nth)));
        let (last, nth) = downs.min()?;
        if now.saturating_sub(last) < PROBE_INTERVAL {
            return None;
        }
        (self.last[nth], self.calls) = (Some(now), 0);
        Some(nth)
    }
}

/// The order in which a further attempt asks tiers: those that take load or could, from one after the `first` on, and then
/// those that are down.
pub(super) fn order(shares: &[u32], health: &[u32], first: usize, attempt: usize) -> Vec<usize> {
    let is_well =
        |nth: &usize| shares[*nth] > 0 || health.get(*nth).is_some_and(|is| target(*is) > 0);
    let (mut well, down): (Vec<_>, Vec<_>) = (0..shares.len()).partition(is_well);
    let (at, count) = (well.iter().position(|nth| *nth == first).unwrap_or(0), well.len().max(1));
    well.rotate_left((at + attempt % count) % count);
    well.extend(down);
    well
}

/// The tier for a draw from 0 to 999,999.
pub(super) fn choose(shares: &[u32], mut draw: u32) -> usize {
    for (nth, share) in shares.iter().enumerate() {
        if draw < *share {
            return nth;
        }
        draw -= share;
    }
    0
}

#[allow(clippy::cast_possible_truncation)] // less than all
fn part(of: u32, cap: u32) -> u32 {
    (u64::from(of) * u64::from(cap) / u64::from(FULL)) as u32
}
