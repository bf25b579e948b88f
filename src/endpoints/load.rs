//! What is known of one endpoint: calls in flight, how they end, and how it stands.
//!
//! The counts that each call changes are spread over a few lanes, by thread, so that threads do not fight over one
//! cache line. A lane remembers what the others counted when it last looked.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use crate::core::time::Tick;
use crate::endpoints::ewma;
use crate::endpoints::machine::Seen;
use crate::shell::in_flight::thread;

/// A power of two.
pub(super) const LANES: usize = 8;
/// Of a lane's word the lower part counts calls in flight, the upper one successes.
const SUCCESS: u64 = 1 << 24;
/// A lane looks at the others at every so many successes. A power of two.
const LOOK_EVERY: u64 = 16;

/// The lane of this thread.
#[inline]
pub(super) fn lane() -> u8 {
    (thread() % LANES) as u8
}

/// Aligned so that no two share a cache line, nor a pair of lines that is fetched together.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Lane {
    word: AtomicU64,
    /// In flight in the other lanes, as of late.
    others: AtomicU32,
}

/// Times are ticks, and zero is none.
#[derive(Debug)]
pub(super) struct Load {
    id: u64,
    lanes: [Lane; LANES],
    failures: AtomicU64,
    failed_at: AtomicU64,
    consecutive: AtomicU32,
    /// In nanoseconds: see [`ewma`].
    peak: AtomicU64,
    mean: AtomicU64,
    /// The longest call that was given up, while none was answered.
    hung: AtomicU64,
    samples: AtomicU32,
    /// Samples when the peak was last let down.
    eased: AtomicU32,
    ejected: AtomicBool,
    /// When it may be probed next, and how long after that.
    probe_at: AtomicU64,
    probe_every: AtomicU64,
    /// Since when it gets more and more calls.
    ramp_from: AtomicU64,
    /// Until when it asked to be left alone.
    shut_until: AtomicU64,
    /// Until when it is full at the latest, and with how many calls in flight it was.
    full_until: AtomicU64,
    full_at: AtomicU32,
    /// Changes of its state.
    changes: AtomicU64,
}

impl Load {
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            lanes: Default::default(),
            failures: AtomicU64::new(0),
            failed_at: AtomicU64::new(0),
            consecutive: AtomicU32::new(0),
            peak: AtomicU64::new(0),
            mean: AtomicU64::new(0),
            hung: AtomicU64::new(0),
            samples: AtomicU32::new(0),
            eased: AtomicU32::new(0),
            ejected: AtomicBool::new(false),
            probe_at: AtomicU64::new(0),
            probe_every: AtomicU64::new(0),
            ramp_from: AtomicU64::new(0),
            shut_until: AtomicU64::new(0),
            full_until: AtomicU64::new(0),
            full_at: AtomicU32::new(0),
            changes: AtomicU64::new(0),
        }
    }

    // ----- calls -----

    /// A call to it begins.
    #[inline]
    pub(super) fn begin(&self, lane: u8) {
        let own = &self.lanes[usize::from(lane) % LANES];
        let before = own.word.fetch_add(1, Relaxed);
        if (before / SUCCESS).is_multiple_of(LOOK_EVERY) {
            self.look_at_others(own);
        }
    }

    fn look_at_others(&self, own: &Lane) {
        let others = self.in_flight().saturating_sub(in_flight(own));
        own.others.store(others, Relaxed);
    }

    /// Each lane looks at the others: also one that would not by itself, for it chooses this endpoint no more.
    pub(super) fn look_around(&self) {
        let all = self.in_flight();
        for lane in &self.lanes {
            let others = all.saturating_sub(in_flight(lane));
            if lane.others.load(Relaxed) != others {
                lane.others.store(others, Relaxed);
            }
        }
    }

    /// A call was answered well. Returns the successes of its lane.
    #[inline]
    pub(super) fn succeeded(&self, lane: u8, took: u64) -> u64 {
        let own = &self.lanes[usize::from(lane) % LANES];
        let before = own.word.fetch_add(SUCCESS - 1, Relaxed);
        if self.consecutive.load(Relaxed) != 0 {
            self.consecutive.store(0, Relaxed);
        }
        // At once, and it was never known to take longer: nothing to learn.
        if took > 0 || self.peak.load(Relaxed) > 0 {
            self.took(took);
        }
        before / SUCCESS + 1
    }

    fn took(&self, took: u64) {
        // Of two that come at the same time one may be lost: these are averages.
        self.peak.store(ewma::peak(self.peak.load(Relaxed), took), Relaxed);
        let samples = self.samples.fetch_add(1, Relaxed);
        self.mean.store(ewma::mean(self.mean.load(Relaxed), samples, took), Relaxed);
    }

    /// A call failed. Returns how many in a row have.
    pub(super) fn failed(&self, now: Tick, took: u64) -> u32 {
        self.failed_at.fetch_max(now.0.max(1), Relaxed);
        self.failures.fetch_add(1, Relaxed);
        self.penalise(took);
        self.consecutive.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// A call was turned away, which counts as slow and not as failed.
    pub(super) fn penalise(&self, took: u64) {
        self.peak.store(ewma::penalised(self.peak.load(Relaxed), took), Relaxed);
    }

    /// A call was given up after it had taken as long: its answer would have taken longer.
    pub(super) fn given_up(&self, took: u64) {
        let mean = self.mean.load(Relaxed);
        if mean > 0 && took > mean {
            return self.took(took);
        }
        self.peak.fetch_max(took, Relaxed);
        if mean == 0 {
            // Nobody answered yet: how soon a caller gave up is no latency, but it is more than the longest of these.
            self.hung.fetch_max(took, Relaxed);
            self.samples.fetch_add(1, Relaxed);
        }
    }

    /// A call is over about which nothing is counted.
    pub(super) fn left(&self, lane: u8) {
        self.lanes[usize::from(lane) % LANES].word.fetch_sub(1, Relaxed);
    }

    // ----- choosing -----

    /// Calls in flight, of other threads as of late.
    #[inline]
    pub(super) fn about_in_flight(&self, lane: u8) -> u32 {
        let own = &self.lanes[usize::from(lane) % LANES];
        in_flight(own).saturating_add(own.others.load(Relaxed))
    }

    /// Latency to choose by, in microseconds or so; zero if it is not known, or too short to matter.
    #[inline]
    pub(super) fn peak_micros(&self) -> u64 {
        self.peak.load(Relaxed) >> 10
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.lanes.iter().map(in_flight).fold(0, u32::saturating_add)
    }

    /// When it last failed; zero if it never did.
    pub(super) fn failed_at(&self) -> Tick {
        Tick(self.failed_at.load(Relaxed))
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    /// Whether it asked to be left alone.
    pub(super) fn is_shut(&self, now: Tick) -> bool {
        self.shut_until.load(Relaxed) > now.0
    }

    /// Whether it is full: until a call to it ends, or for as long as was said then.
    pub(super) fn is_full(&self, now: Tick) -> bool {
        self.full_until.load(Relaxed) > now.0 && self.in_flight() >= self.full_at.load(Relaxed)
    }

    /// It takes no more than what is in flight now.
    pub(super) fn fill(&self, until: Tick) {
        self.full_at.store(self.in_flight(), Relaxed);
        self.full_until.store(until.0, Relaxed);
    }

    pub(super) fn shut(&self, until: Tick) {
        self.shut_until.fetch_max(until.0, Relaxed);
    }

    /// When it may be probed next.
    pub(super) fn probe_at(&self) -> Tick {
        Tick(self.probe_at.load(Relaxed))
    }

    /// Whether an ejected one is to be probed, by this call and no other: not before the last probe is over.
    pub(super) fn takes_probe(&self, now: Tick) -> bool {
        let at = self.probe_at.load(Relaxed);
        let next = now.plus(self.probe_every.load(Relaxed)).0;
        at <= now.0
            && self.in_flight() == 0
            && self.probe_at.compare_exchange(at, next, Relaxed, Relaxed).is_ok()
    }

    /// The thousandths of its share that it gets; all of it after so long.
    pub(super) fn share(&self, now: Tick, slow_start: u64) -> u64 {
        match self.ramp_from.load(Relaxed) {
            0 => 1_000,
            from => {
                let passed = u128::from(now.since(Tick(from)));
                let share = passed * 1_000 / u128::from(slow_start.max(1));
                u64::try_from(share).unwrap_or(u64::MAX).clamp(100, 1_000)
            }
        }
    }

    // ----- standing -----

    /// Calls that were answered, well or badly, all of its life.
    pub(super) fn answered(&self) -> u64 {
        let successes: u64 = self.lanes.iter().map(|lane| lane.word.load(Relaxed) / SUCCESS).sum();
        successes.saturating_add(self.failures.load(Relaxed))
    }

    pub(super) fn seen(&self, zone: u32) -> Seen {
        let successes = self.lanes.iter().map(|lane| lane.word.load(Relaxed) / SUCCESS).sum();
        Seen {
            id: self.id,
            zone,
            successes,
            failures: self.failures.load(Relaxed),
            consecutive: self.consecutive.load(Relaxed),
            latency: self.latency().unwrap_or(0),
            samples: self.samples.load(Relaxed),
            in_flight: self.in_flight(),
        }
    }

    /// Some time has passed. A peak that no answer brings down, because nobody is sent there for its sake, falls by
    /// itself.
    pub(super) fn ease(&self) {
        let samples = self.samples.load(Relaxed);
        if self.eased.swap(samples, Relaxed) == samples {
            let (peak, mean) = (self.peak.load(Relaxed), self.mean.load(Relaxed));
            self.peak.store((peak - peak / 4).max(mean.min(peak)), Relaxed);
        }
    }

    /// It is left out but for a probe from time to time.
    pub(super) fn eject(&self, now: Tick, probe_every: u64) {
        self.start_anew();
        self.ramp_from.store(0, Relaxed);
        self.probe_every.store(probe_every, Relaxed);
        self.probe_at.store(now.plus(probe_every).0, Relaxed);
        self.ejected.store(true, Relaxed);
    }

    /// Its state changed; returns how often it has.
    pub(super) fn change(&self) -> u64 {
        self.changes.fetch_add(1, Relaxed) + 1
    }

    /// It gets calls again, more and more of them.
    pub(super) fn ramp(&self, now: Tick, slow_start: u64) {
        self.start_anew();
        self.peak.store(0, Relaxed);
        self.ramp_from.store(if slow_start > 0 { now.0.max(1) } else { 0 }, Relaxed);
        self.ejected.store(false, Relaxed);
    }

    /// Whether it is new or has returned, and does not get its full share yet.
    pub(super) fn is_ramping(&self) -> bool {
        self.ramp_from.load(Relaxed) != 0
    }

    pub(super) fn end_ramp(&self) {
        self.ramp_from.store(0, Relaxed);
    }

    /// Latency, if it is known.
    pub(super) fn latency(&self) -> Option<u64> {
        let known = |latency: &AtomicU64| Some(latency.load(Relaxed)).filter(|nanos| *nanos > 0);
        known(&self.mean).or_else(|| known(&self.hung))
    }

    fn start_anew(&self) {
        self.consecutive.store(0, Relaxed);
        self.mean.store(0, Relaxed);
        self.hung.store(0, Relaxed);
        self.samples.store(0, Relaxed);
    }
}

#[inline]
fn in_flight(lane: &Lane) -> u32 {
    (lane.word.load(Relaxed) % SUCCESS) as u32
}
