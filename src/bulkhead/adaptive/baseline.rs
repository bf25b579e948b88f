//! How long answers take without a queue.

use crate::core::time::Tick;

/// Answers that make a window.
const WINDOW: usize = 256;
/// Answers that are enough for a first idea.
const FIRST: usize = 32;
/// How much longer what is usual may become with a window, in percent, and how often.
const RISE: u64 = 2;
const RISE_EVERY: u64 = 500_000_000;

/// What answers take that wait in no queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usual {
    /// Three in four take no longer. Nanoseconds.
    pub(super) quartile: u64,
    /// Nanoseconds.
    pub(super) mean: u64,
}

/// Learns what is usual from windows of answers: falls at once, rises slowly, and only by windows that came
/// without pressure, for under pressure answers contain the time in the queue of the dependency.
#[derive(Debug)]
pub(super) struct Baseline {
    usual: Option<Usual>,
    /// Whether a whole window, or a probe, has said so.
    is_settled: bool,
    /// Latencies in microseconds.
    window: [u32; WINDOW],
    len: usize,
    sum: u64,
    /// How many of the window were sent when most of the limit was taken.
    pressed: usize,
    /// Whether the window before was under pressure.
    was_pressed: bool,
    /// When it last rose.
    risen: Tick,
    /// When it was last seen that this is what answers take without pressure.
    confirmed: Option<Tick>,
}

impl Baseline {
    pub(super) const fn new() -> Self {
        Self {
            usual: None,
            is_settled: false,
            window: [0; WINDOW],
            len: 0,
            sum: 0,
            pressed: 0,
            was_pressed: false,
            risen: Tick::ZERO,
            confirmed: None,
        }
    }

    pub(super) const fn usual(&self) -> Option<Usual> {
        self.usual
    }

    /// From which latency on an answer is late.
    pub(super) fn late_after(&self, tolerance: u32) -> Option<u64> {
        let Usual { quartile, mean } = self.usual?;
        Some(quartile.saturating_add(quartile.max(mean) / 100 * u64::from(tolerance)))
    }

    /// Whether it was ever confirmed that this is not the time of a queue.
    pub(super) const fn is_confirmed(&self) -> bool {
        self.confirmed.is_some()
    }

    /// Whether answers come under pressure, so that it should be asked anew what is usual.
    pub(super) fn wants_probe(&self, now: Tick, every: u64) -> bool {
        let is_pressed = match self.len {
            0 => self.was_pressed,
            len => len >= FIRST && self.pressed * 2 >= len,
        };
        is_pressed && self.confirmed.is_none_or(|confirmed| now.since(confirmed) >= every)
    }

    /// An answer.
    pub(super) fn learn(&mut self, now: Tick, latency: u64, is_pressed: bool) {
        self.window[self.len] = u32::try_from(latency / 1_000).unwrap_or(u32::MAX);
        self.len += 1;
        self.sum = self.sum.saturating_add(latency);
        self.pressed += usize::from(is_pressed);
        if self.len == WINDOW || (!self.is_settled && self.len == FIRST) {
            self.take(now);
        }
    }

    fn take(&mut self, now: Tick) {
        let mut sorted = self.window;
        let (_, quartile, _) = sorted[..self.len].select_nth_unstable(self.len * 3 / 4);
        let seen =
            Usual { quartile: u64::from(*quartile) * 1_000, mean: self.sum / self.len as u64 };
        let is_free = self.pressed * 16 < self.len;
        let may_rise = is_free && now.since(self.risen) >= RISE_EVERY;
        if may_rise && self.is_settled {
            self.risen = now;
        }
        let usual = self.usual.filter(|_| self.is_settled).map_or(seen, |usual| {
            let most = 100 + if may_rise { RISE } else { 0 };
            let rise = |usual: u64| usual.saturating_mul(most) / 100;
            Usual {
                quartile: seen.quartile.min(rise(usual.quartile)),
                mean: seen.mean.min(rise(usual.mean)),
            }
        });
        self.usual = Some(usual.at_least());
        self.was_pressed = !is_free;
        if self.len == WINDOW {
            if is_free {
                self.confirmed = Some(now);
            }
            self.is_settled = true;
            self.begin_window();
        }
    }

    /// What answers to a probe take, on the mean. Returns whether that is so much less that there was a queue, and
    /// there may be one still.
    pub(super) fn probed(&mut self, mean: u64) -> bool {
        let Some(usual) = &mut self.usual else { return false };
        self.is_settled = true;
        let is_less = mean < usual.mean / 100 * 85;
        let mean = if is_less { mean } else { usual.mean / 4 * 3 + mean / 4 };
        let scaled = u128::from(usual.quartile) * u128::from(mean) / u128::from(usual.mean.max(1));
        let quartile = u64::try_from(scaled).unwrap_or(u64::MAX);
        *usual = Usual { quartile, mean }.at_least();
        is_less
    }

    /// Answers take so long now even without a queue. Returns whether that is longer than was usual.
    pub(super) fn shift(&mut self, mean: u64, most: u64) -> bool {
        let Some(usual) = &mut self.usual else { return false };
        let longer = mean.saturating_sub(usual.mean).min(most);
        usual.mean += longer;
        usual.quartile += longer;
        longer > 0
    }

    /// What comes is not to be mixed with what came.
    pub(super) fn begin_window(&mut self) {
        (self.len, self.sum, self.pressed) = (0, 0, 0);
    }

    pub(super) fn confirm(&mut self, at: Option<Tick>) {
        self.confirmed = at;
    }
}

impl Usual {
    /// Nothing takes no time at all.
    fn at_least(self) -> Self {
        Self { quartile: self.quartile.max(1_000), mean: self.mean.max(1_000) }
    }
}
