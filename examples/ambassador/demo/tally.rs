//! What became of the calls.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::script::{Stage, Tempo};

/// A caller who is told no within this time has most of its own patience left, and can do something
/// else. One who hears of it later has been kept waiting for nothing.
const FAST: Duration = Duration::from_millis(100);
/// Back is who answers so many percent of the calls.
const BACK: f64 = 95.0;
/// Looked at in slices of this length, each of which has to be good until the next fault.
const SLICE: Duration = Duration::from_millis(200);

/// What became of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When it was made, since the start of the show.
    pub(crate) at: Duration,
    /// How long it took, whatever came of it.
    pub(crate) took: Duration,
    /// Whether a good answer came in time.
    pub(crate) good: bool,
}

/// All calls of one caller, in the order in which they ended.
#[derive(Debug)]
pub(crate) struct Tally {
    fast: Duration,
    slice: Duration,
    sent: AtomicUsize,
    ended: Mutex<Vec<Sample>>,
}

impl Tally {
    pub(crate) fn at(tempo: Tempo) -> Self {
        let (fast, slice) = (tempo.time(FAST), tempo.time(SLICE));
        Self { fast, slice, sent: AtomicUsize::default(), ended: Mutex::default() }
    }

    /// What a fast no is.
    pub(crate) fn fast(&self) -> Duration {
        self.fast
    }

    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, sample: Sample) {
        self.with(|ended| ended.push(sample));
    }

    /// Calls that are still waiting.
    pub(crate) fn waiting(&self) -> usize {
        let ended = self.with(|ended| ended.len());
        self.sent.load(Ordering::Relaxed).saturating_sub(ended)
    }

    /// The calls that ended since then, a time since the start of the show.
    pub(crate) fn ended_since(&self, then: Duration) -> Digest {
        self.with(|ended| {
            let recent = ended.iter().rev().take_while(|sample| sample.at + sample.took >= then);
            Digest::of(recent, self.fast)
        })
    }

    /// The calls that were made in this stage.
    pub(crate) fn made_in(&self, stage: &Stage) -> Digest {
        let falls_in = |sample: &&Sample| (stage.from..stage.to).contains(&sample.at);
        self.with(|ended| Digest::of(ended.iter().filter(falls_in), self.fast))
    }

    pub(crate) fn whole(&self) -> Digest {
        self.with(|ended| Digest::of(ended.iter(), self.fast))
    }

    /// How long after the beginning of this stage all was well again for the rest of it.
    pub(crate) fn back_in(&self, stage: &Stage) -> Option<Duration> {
        let (mut from, mut back) = (stage.from, stage.from);
        // The last slice is not looked at: the next fault catches calls that were made in it.
        let end = stage.to.saturating_sub(self.slice);
        while from < end {
            let slice = Stage { from, to: from + self.slice, ..*stage };
            let calls = self.made_in(&slice);
            from = slice.to;
            if calls.percent(calls.good) < BACK {
                back = from;
            }
        }
        (back < end).then(|| back.saturating_sub(stage.from))
    }

    fn with<T>(&self, see: impl FnOnce(&mut Vec<Sample>) -> T) -> T {
        see(&mut self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// ===== impl Digest =====

/// Some calls in a few numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digest {
    pub(crate) calls: u32,
    pub(crate) good: u32,
    /// No good answer, and the caller knew it soon.
    pub(crate) fast: u32,
    /// No good answer, and the caller waited for it.
    pub(crate) slow: u32,
    /// How long calls took, whatever came of them, in order.
    times: Vec<Duration>,
    /// The same of those without a good answer.
    failures: Vec<Duration>,
}

impl Digest {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>, fast: Duration) -> Self {
        let mut digest = Self::default();
        for sample in samples {
            digest.calls += 1;
            match sample {
                Sample { good: true, .. } => digest.good += 1,
                Sample { took, .. } if *took <= fast => digest.fast += 1,
                _ => digest.slow += 1,
            }
            digest.times.push(sample.took);
            if !sample.good {
                digest.failures.push(sample.took);
            }
        }
        digest.times.sort_unstable();
        digest.failures.sort_unstable();
        digest
    }

    /// `part` of the calls, in percent.
    pub(crate) fn percent(&self, part: u32) -> f64 {
        share(part, self.calls)
    }

    /// When half of those without a good answer knew it, in milliseconds; 0 if there is none.
    pub(crate) fn median_of_failures(&self) -> f64 {
        let middle = self.failures.get(self.failures.len() / 2);
        middle.map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }

    /// The time that so many of a hundred calls did not exceed, in milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100);
        self.times.get(rank.saturating_sub(1)).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }
}

/// `part` of `whole`, in percent; 0 of nothing.
pub(crate) fn share(part: u32, whole: u32) -> f64 {
    100.0 * ratio(part, whole)
}

/// `part` for each of `whole`; 0 for none.
pub(crate) fn ratio(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
}
