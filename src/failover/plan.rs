//! Tiers as the plan of a set: which of them a call goes to.

use std::fmt;
use std::sync::Arc;

use super::machine::{FULL, Mode, Params, Probes, Tiers, choose, order, target};
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, Reason};
use crate::core::event::EventKind;
use crate::core::request::Propagate;
use crate::core::sync::atomic::{AtomicBool, Ordering};
use crate::core::time::Clock;
use crate::shell::locked::Locked;
use crate::shell::meter::{Ended, Gauge, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};
use crate::shell::set::{Choose, Named, Passed, Plan};

const FIRST_SHARE: &str = "seawall_failover_first_share";

/// The most tiers.
pub(super) const MOST: usize = Passed::MOST;

/// A tier: its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier(pub(super) Arc<str>);

impl Named for Tier {
    fn name(&self) -> &Arc<str> {
        &self.0
    }
}

/// Which tier a call goes to.
pub struct Spread<H, P> {
    pub(super) tiers: Box<[Tier]>,
    pub(super) health: H,
    pub(super) propagate: P,
    pub(super) state: Arc<State>,
}

/// What the machine knows.
pub(super) struct State {
    pub(super) params: Params,
    pub(super) clock: Clock,
    pub(super) tiers: Locked<(Tiers, Probes)>,
    /// The first tier takes all, as far as is known.
    pub(super) is_whole: AtomicBool,
    pub(super) reporter: Arc<Reporter<FailoverMeter>>,
}

#[derive(Debug)]
pub struct FailoverMeter {
    first_share: Gauge,
}

impl Instruments for FailoverMeter {
    // The stacks of the tiers count their calls.
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        let about = "The share of the load that the first tier takes.";
        Self { first_share: labels.gauge(FIRST_SHARE, about) }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.first_share)
    }
}

/// A share of what is healthy in parts per million; what is no number is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is between the two
fn ppm(health: f64) -> u32 {
    (health.clamp(0.0, 1.0) * f64::from(FULL)) as u32
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Spilling => "spilling",
            Self::Panic => "panic",
        }
    }
}

impl State {
    /// How the load is spread, by the health of the tiers now; and what `then` makes of that.
    fn spread<T>(&self, health: &[u32], then: impl FnOnce(Vec<u32>, &mut Probes, u64) -> T) -> T {
        let now = self.clock.now().0;
        let (before, after, made) = self.tiers.with(|(tiers, probes)| {
            let before = tiers.mode();
            tiers.step(&self.params, now, health);
            let after = tiers.mode();
            // In the order of the steps: one that was overtaken must not have the last word.
            self.is_whole.store(after == Mode::First, Ordering::Relaxed);
            (before, after, then(tiers.shares(), probes, now))
        });
        if before != after {
            let (from, to) = (before.as_str(), after.as_str());
            let changed =
                EventKind::Changed { from, to, cause: "health", measurement: Measurement::Nothing };
            self.reporter.tell_now(EventContext::default(), changed);
        }
        made
    }
}

impl<H: Fn(&str) -> f64, P> Spread<H, P> {
    fn health(&self, tier: &Tier) -> u32 {
        ppm((self.health)(&tier.0))
    }

    fn healths(&self) -> Vec<u32> {
        self.tiers.iter().map(|tier| self.health(tier)).collect()
    }

    /// The tier for a first attempt.
    #[inline]
    fn first_choice(&self) -> usize {
        let is_whole = self.state.is_whole.load(Ordering::Relaxed);
        if is_whole && self.tiers.first().is_none_or(|first| target(self.health(first)) == FULL) {
            return 0;
        }
        self.draw()
    }

    /// By the shares, or a tier that is down and is tried again.
    #[cold]
    fn draw(&self) -> usize {
        let (health, draw) = (self.healths(), fastrand::u32(..FULL));
        self.state.spread(&health, |shares, probes, now| {
            probes.next(now, &health, &shares).unwrap_or_else(|| choose(&shares, draw))
        })
    }

    /// Where a call goes that another tier had before.
    #[cold]
    fn further(&self, attempt: usize, passed: &Passed) -> Option<usize> {
        let health = self.healths();
        let shares = self.state.spread(&health, |shares, _, _| shares);
        let first = choose(&shares, fastrand::u32(..FULL));
        let order = order(&shares, &health, first, attempt);
        order.into_iter().find(|place| !passed.contains(*place))
    }

    #[cold]
    pub(super) fn shares(&self) -> Vec<u32> {
        self.state.spread(&self.healths(), |shares, _, _| shares)
    }
}

impl<H, P> Plan for Spread<H, P> {
    type Member = Tier;
    type Call = ();
    type Meter = FailoverMeter;

    fn members(&self) -> &[Tier] {
        &self.tiers
    }

    fn version(&self) -> Epoch {
        Epoch::NOBODY
    }

    fn set_levels(&self, meter: &FailoverMeter) {
        let first = self.state.tiers.with(|(tiers, _)| tiers.shares()[0]);
        meter.first_share.set(f64::from(first) / f64::from(FULL));
    }
}

impl<H, P, Req, Res, Err> Choose<Req, Res, Err> for Spread<H, P>
where
    H: Fn(&str) -> f64,
    P: Propagate<Req>,
{
    /// All of them: one that stays unready keeps no call from the others.
    const ASK: usize = MOST;
    const WAIT_FOR: usize = MOST;

    /// By health; a further attempt goes to the next tier, and a call whose tier is not ready too.
    #[inline]
    fn choose(&self, request: &Req, passed: &Passed) -> Option<usize> {
        let attempt = if self.propagate.propagates() {
            self.propagate.extract(request).attempt.saturating_sub(1) as usize
        } else {
            0
        };
        if attempt == 0 && passed.is_empty() {
            return Some(self.first_choice());
        }
        self.further(attempt, passed)
    }

    #[inline]
    fn begin(&self, _: usize) {}

    #[inline]
    fn settle(&self, (): (), _: Result<&Res, &Err>) {}

    /// The next tier may be ready.
    fn unready(&self, _: usize, _: &Err) -> bool {
        true
    }
}

impl<H, P> fmt::Debug for Spread<H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spread").field("tiers", &self.tiers).finish_non_exhaustive()
    }
}
