//! The algorithm of an adaptive limit.

use super::ages::Ages;
use super::baseline::Baseline;
use super::cohort::Cohort;
use super::config::Bounds;
use super::pace::Pace;
use super::trend::Trend;
use crate::core::outcome::{Outcome, Signal};
use crate::core::time::Tick;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// A place, in the unit in which the limit is kept.
const PLACE: u64 = 1_000;
/// What a cut leaves, in thousandths.
const CUT: u64 = 850;
/// By what a good answer raises a limit that is known to be too low.
const FAST: u64 = PLACE / 2;
/// The same of one that may be right: this, and twice as much with each [`PATIENCE`] without a cut.
const SLOW: u64 = PLACE / 20;
/// Mean latencies.
const PATIENCE: u64 = 16;
/// Of this share of the limit, in thousandths, calls must be under way for an answer to raise it.
const BUSY: u64 = 700;
/// What is left of the limit that was right before, with each second of cuts below it.
const FADE: u64 = 950;
/// How often what is usual is asked anew at most, while the limit is always taken.
const PROBE_EVERY: u64 = 10 * SECOND;
/// Times the length of a probe: so much later is the next.
const PROBE_SHARE: u64 = 40;
/// Probes in a row, while each finds answers much faster than the one before.
const PROBES: u32 = 8;
/// Calls of a probe: half of the limit, and no more or fewer than these.
const PROBE_CALLS: (u64, u64) = (8, 64);
/// Calls at the bottom that say what is usual now.
const BOTTOM_CALLS: u32 = 8;
/// How much longer that may be at a time.
const SHIFT: u64 = SECOND / 2;
/// How long a cut takes to show, while nothing is known.
const UNKNOWN_DELAY: u64 = 100 * MILLISECOND;

/// Follows what a dependency can do.
///
/// ```text
///             most calls late                 at the minimum
///   steady ───────────────────▶ limit × 0.85 ────────────────▶ bottom: 8 calls say what is usual now
///     │ ▲                                                        │ longer than before: distance, not a queue;
///     │ └───────────────────────◀────────────────────────────────┘ the limit comes back
///     │ always taken, for 10 s                   │
///     └──▶ probe: half of the limit, until so many calls have said what is usual without a queue
/// ```
///
/// It says nothing of failures: an error that comes fast says nothing about load.
#[derive(Debug)]
pub(crate) struct AdaptiveLimit {
    bounds: Bounds,
    /// Thousandths of a place.
    limit: u64,
    /// Below this the limit was right before: it grows fast. `u64::MAX`: nothing is known.
    threshold: u64,
    /// What it was before it fell.
    before: u64,
    last_cut: Tick,
    /// When the threshold last faded.
    faded: Tick,
    mode: Mode,
    /// Probes that may yet follow at once, and how long the last one took.
    probes: u32,
    probe_took: u64,
    baseline: Baseline,
    trend: Trend,
    ages: Ages,
    calls: Pace,
    answers: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Steady,
    Probe { cohort: Cohort, calls: u32, began: Tick, until: Tick },
    Bottom(Cohort),
}

/// What is known of a call since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallStart {
    pub(crate) sent: Tick,
    /// Calls under way, with this one.
    pub(crate) in_flight: u32,
}

impl CallStart {
    /// Of a call that was not found to be under way.
    pub(crate) const NONE: Self = Self { sent: Tick::NEVER, in_flight: 0 };

    /// Takes it out: a call ends once.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let start = std::mem::replace(self, Self::NONE);
        (start.sent != Tick::NEVER).then_some(start)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HowEnded {
    /// With a good answer.
    Answered,
    /// It asks for less load.
    Pushback,
    /// With an error.
    Failed,
    /// Nobody waited any longer.
    Dropped,
    /// It says nothing of the dependency.
    Ignored,
}

impl From<Outcome> for HowEnded {
    fn from(outcome: Outcome) -> Self {
        match outcome.signal {
            Signal::Success => Self::Answered,
            Signal::Pushback => Self::Pushback,
            Signal::Failure => Self::Failed,
            Signal::Ignored => Self::Ignored,
        }
    }
}

impl AdaptiveLimit {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        let limit = bounds.initial as u64 * PLACE;
        Self {
            bounds,
            limit,
            threshold: u64::MAX,
            before: limit,
            last_cut: Tick::ZERO,
            faded: Tick::ZERO,
            mode: Mode::Steady,
            probes: PROBES,
            probe_took: 0,
            baseline: Baseline::new(),
            trend: Trend::new(),
            ages: Ages::new(),
            calls: Pace::new(),
            answers: Pace::new(),
        }
    }

    /// Goes by other bounds from now on.
    pub(crate) fn rebound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        let (min, max) = (u64::from(bounds.min) * PLACE, u64::from(bounds.max) * PLACE);
        self.limit = self.limit.clamp(min, max);
        self.before = self.before.clamp(min, max);
    }

    /// The calls that may be under way.
    pub(crate) fn limit(&self) -> u32 {
        let limit = (self.limit / PLACE) as u32;
        let limit = if matches!(self.mode, Mode::Probe { .. }) { limit / 2 } else { limit };
        limit.max(self.bounds.min)
    }

    /// A call is under way, as one of `in_flight`.
    pub(crate) fn start(&mut self, now: Tick, in_flight: u32) -> CallStart {
        self.calls.count(now);
        let late_after = self.late_after();
        if let Some(late) = late_after
            && self.ages.mostly_older_than(late, now)
            && self.answers.lately(now) * 2 < self.calls.lately(now)
        {
            self.note(true, now, in_flight);
        }
        let sent = self.ages.start(now, late_after.unwrap_or(UNKNOWN_DELAY));
        match &mut self.mode {
            Mode::Probe { cohort, .. } | Mode::Bottom(cohort) => cohort.start(now),
            Mode::Steady => {}
        }
        CallStart { sent, in_flight }
    }

    /// A call is over; `in_flight` counts it still.
    pub(crate) fn end(&mut self, now: Tick, call: CallStart, how: HowEnded, in_flight: u32) {
        self.ages.end(call.sent);
        let latency = now.since(call.sent);
        let is_late = self.late_after().is_some_and(|late| latency > late);
        self.study(now, call, (how == HowEnded::Answered).then_some(latency));
        match how {
            HowEnded::Answered => {
                self.answers.count(now);
                self.learn(now, latency, call);
                self.note(is_late, now, in_flight);
                if !is_late {
                    self.grow(now, in_flight);
                }
            }
            HowEnded::Pushback => self.note(true, now, in_flight),
            HowEnded::Failed => self.fail(now, latency, in_flight),
            HowEnded::Dropped if self.was_due(latency) => self.note(true, now, in_flight),
            HowEnded::Dropped | HowEnded::Ignored => {}
        }
    }

    /// An error that comes fast says nothing about load. One that took as long as an answer says what an answer would,
    /// and one that took longer may be a timeout.
    fn fail(&mut self, now: Tick, latency: u64, in_flight: u32) {
        let Some(usual) = self.baseline.usual() else { return };
        if latency > usual.quartile {
            self.note(true, now, in_flight);
        } else if latency > usual.mean / 2 {
            self.note(false, now, in_flight);
        }
    }

    fn late_after(&self) -> Option<u64> {
        self.baseline.late_after(self.bounds.tolerance)
    }

    /// Whether most answers would have come by then. While that is unknown, none did.
    fn was_due(&self, latency: u64) -> bool {
        self.baseline.usual().is_none_or(|usual| latency > usual.quartile)
    }

    const fn is_busy(&self, in_flight: u32) -> bool {
        in_flight as u64 * PLACE >= self.limit / 1_000 * BUSY
    }

    fn learn(&mut self, now: Tick, latency: u64, call: CallStart) {
        if self.mode != Mode::Steady {
            return;
        }
        self.baseline.learn(now, latency, self.is_busy(call.in_flight));
        let every = PROBE_EVERY.max(self.probe_took.saturating_mul(PROBE_SHARE));
        if let Some(usual) = self.baseline.usual()
            && self.baseline.wants_probe(now, every)
        {
            if self.limit / 2 < u64::from(self.bounds.min) * PLACE {
                return self.baseline.confirm(Some(now)); // so few make no queue worth the name
            }
            let calls = (self.limit / PLACE / 2).clamp(PROBE_CALLS.0, PROBE_CALLS.1) as u32;
            // Those that are under way go first.
            let cohort = Cohort::new(now.plus(usual.mean), calls);
            let until = now.plus(usual.mean.saturating_mul(10).saturating_add(SECOND));
            self.mode = Mode::Probe { cohort, calls, began: now, until };
        }
    }

    /// What a probe, or the calls at the bottom, say of what is usual.
    fn study(&mut self, now: Tick, call: CallStart, latency: Option<u64>) {
        match &mut self.mode {
            Mode::Steady => {}
            Mode::Probe { cohort, calls, began, until } => {
                cohort.end(call.sent, latency);
                if cohort.ended() >= *calls || now >= *until {
                    let (cohort, calls, began) = (*cohort, *calls, *began);
                    self.end_probe(now, cohort, calls, began);
                }
            }
            Mode::Bottom(cohort) => {
                cohort.end_or_replace(call.sent, latency);
                if cohort.answered() >= BOTTOM_CALLS
                    && let Some(mean) = cohort.mean()
                {
                    if self.baseline.shift(mean, SHIFT) {
                        self.limit = self.before;
                        self.trend.forget();
                    }
                    self.begin_steady(Some(now));
                }
            }
        }
    }

    fn end_probe(&mut self, now: Tick, cohort: Cohort, calls: u32, began: Tick) {
        let is_enough = cohort.answered() >= calls / 4 && cohort.answered() * 2 > cohort.ended();
        let mean = if is_enough { cohort.mean() } else { None };
        let again = mean.is_some_and(|mean| self.baseline.probed(mean)) && self.probes > 0;
        self.probes = if again { self.probes - 1 } else { PROBES };
        self.probe_took = now.since(began);
        self.begin_steady((!again).then_some(now));
    }

    fn begin_steady(&mut self, confirmed: Option<Tick>) {
        self.mode = Mode::Steady;
        self.baseline.begin_window();
        self.baseline.confirm(confirmed);
    }

    /// A good answer came in time.
    fn grow(&mut self, now: Tick, in_flight: u32) {
        // Until it is known what is usual without a queue, growing might only make one.
        if !self.baseline.is_confirmed() || self.mode != Mode::Steady || !self.is_busy(in_flight) {
            return;
        }
        let by = if self.limit < self.threshold {
            FAST
        } else {
            let mean = self.baseline.usual().map_or(UNKNOWN_DELAY, |usual| usual.mean);
            let doublings = now.since(self.last_cut) / mean.saturating_mul(PATIENCE);
            (SLOW << doublings.min(4)).min(FAST)
        };
        self.limit = (self.limit + by).min(u64::from(self.bounds.max) * PLACE);
    }

    fn note(&mut self, is_late: bool, now: Tick, in_flight: u32) {
        self.trend.note(is_late);
        let shows_after = self.baseline.usual().map_or(UNKNOWN_DELAY, |usual| {
            usual.mean.saturating_mul(2).clamp(10 * MILLISECOND, SECOND)
        });
        if self.trend.is_evident() && now.since(self.last_cut) >= shows_after {
            self.cut(now, in_flight);
        }
    }

    fn cut(&mut self, now: Tick, in_flight: u32) {
        self.trend.act();
        self.last_cut = now;
        // From what is under way: of many small clients none comes near its limit.
        let from = self.limit.min((u64::from(in_flight) + 1) * PLACE);
        let to = (from / 1_000 * CUT).max(self.needed(now)).max(u64::from(self.bounds.min) * PLACE);
        if to < self.limit {
            if self.threshold == u64::MAX || self.limit > self.threshold {
                self.before = self.limit;
                self.threshold = self.limit / 1_000 * CUT;
            } else if now.since(self.faded) >= SECOND {
                self.faded = now;
                self.threshold = self.threshold / 1_000 * FADE;
            }
            self.limit = to;
        }
        if self.limit() <= self.bounds.min && self.mode == Mode::Steady {
            self.mode = Mode::Bottom(Cohort::new(now, BOTTOM_CALLS));
        }
    }

    /// Little's law: calls under way are answers a second times what they take without a queue.
    fn needed(&mut self, now: Tick) -> u64 {
        let mean = self.baseline.usual().map_or(0, |usual| usual.mean);
        let answers = self.answers.lately(now);
        let needed = u128::from(answers) * u128::from(mean) * u128::from(PLACE);
        u64::try_from(needed / u128::from(super::pace::HALF_SECOND)).unwrap_or(u64::MAX)
    }
}
