//! What all lists of a set of endpoints have in common, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use super::config::{Balance, Config};
use super::load::LANES;
use super::machine::{Outliers, Params};
use super::meter::EndpointsMeter;
use super::subset::Subset;
use crate::core::time::{Tick, nanos};
use crate::shell::reporter::Reporter;
use crate::shell::turn::Turn;

pub(super) struct Common<C, K> {
    pub(super) reporter: Arc<Reporter<EndpointsMeter>>,
    pub(super) classify: C,
    pub(super) propagate: K,
    pub(super) balance: Balance,
    pub(super) params: Params,
    pub(super) slow_start: u64,
    pub(super) probe_interval: u64,
    pub(super) zone: Option<Arc<str>>,
    pub(super) subset: Option<Subset>,
    pub(super) detector: Turn<Detector>,
    /// Whether there is anything to consider: somebody is ejected, ramping or shut. If not, a choice reads no clock.
    pub(super) careful: AtomicBool,
    /// Whether all are used, for too few are left, or those that are left all fail.
    pub(super) panic: AtomicBool,
    /// How often anything of this changed, and how often it was a panic that began or ended.
    pub(super) changes: AtomicU64,
    pub(super) panics: AtomicU64,
    /// How many calls in a million stay in the zone of the client.
    pub(super) near_ppm: AtomicU32,
    /// When members are compared next.
    due: AtomicU64,
    /// When one of those that are ejected is to be probed next.
    pub(super) probe_due: AtomicU64,
    ids: AtomicU64,
    /// By thread, as the counts of [`Load`](super::load::Load).
    dice: [Dice; LANES],
}

/// The machine, and which list it was told of last.
#[derive(Debug, Default)]
pub(super) struct Detector {
    pub(super) machine: Outliers,
    pub(super) version: u64,
    /// Nanoseconds from answer to answer of late; zero if that is not known.
    pub(super) pace: u64,
    answered: u64,
    counted: Tick,
}

impl Detector {
    /// So many calls were answered until now. Some of them may have left with their members.
    pub(super) fn count(&mut self, now: Tick, answered: u64) {
        let (calls, passed) = (answered.saturating_sub(self.answered), now.since(self.counted));
        if passed < INTERVAL / 2 && answered >= self.answered {
            return;
        }
        let pace = passed.checked_div(calls).unwrap_or(0);
        self.pace = if self.pace == 0 { pace } else { self.pace.midpoint(pace) };
        (self.answered, self.counted) = (answered, now);
    }
}

/// Aligned so that no two share a cache line, nor a pair of lines that is fetched together.
#[repr(align(128))]
#[derive(Debug)]
struct Dice {
    state: AtomicU64,
    turn: AtomicU64,
}

/// Members are compared at most this often, unless one fails again and again.
const INTERVAL: u64 = 250_000_000;
/// Seeds of the dice and steps between throws (Steele, Lea, Flood: `SplitMix`).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl<C, K> Common<C, K> {
    pub(super) fn new(
        reporter: Arc<Reporter<EndpointsMeter>>,
        (classify, propagate): (C, K),
        config: &Config,
        (zone, subset): (Option<Arc<str>>, Option<Subset>),
        seed: u64,
    ) -> Self {
        let dice = |nth: usize| Dice {
            state: AtomicU64::new(seed.wrapping_add(GOLDEN.rotate_left(nth as u32 * 7 + 1))),
            turn: AtomicU64::new(0),
        };
        Self {
            reporter,
            classify,
            propagate,
            balance: config.balance,
            params: config.params(),
            slow_start: nanos(config.slow_start),
            probe_interval: nanos(config.probe_interval),
            zone,
            subset,
            detector: Turn::new(Detector::default()),
            careful: AtomicBool::new(false),
            panic: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            near_ppm: AtomicU32::new(1_000_000),
            due: AtomicU64::new(INTERVAL),
            probe_due: AtomicU64::new(u64::MAX),
            ids: AtomicU64::new(0),
            dice: std::array::from_fn(dice),
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.reporter.clock.now()
    }

    /// An id that no other member has had.
    pub(super) fn id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// Whether members are to be compared now, by this call and no other.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        let due = self.due.load(Relaxed);
        due <= now.0
            && self.due.compare_exchange(due, now.plus(INTERVAL).0, Relaxed, Relaxed).is_ok()
    }

    /// Somebody else is at it: they are to be compared with the next call.
    pub(super) fn is_due_next(&self) {
        self.due.store(0, Relaxed);
    }

    /// A random number.
    #[inline]
    pub(super) fn random(&self, lane: u8) -> u32 {
        (self.random_long(lane) >> 32) as u32
    }

    #[inline]
    pub(super) fn random_long(&self, lane: u8) -> u64 {
        let state = &self.dice[usize::from(lane) % LANES].state;
        let next = state.load(Relaxed).wrapping_add(GOLDEN);
        state.store(next, Relaxed); // another thread of this lane may draw the same
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number of the round.
    #[inline]
    pub(super) fn turn(&self, lane: u8) -> u64 {
        self.dice[usize::from(lane) % LANES].turn.fetch_add(1, Relaxed)
    }
}
