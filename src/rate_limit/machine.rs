//! The algorithm of a rate limit: GCRA, the generic cell rate algorithm (ITU-T I.371), on one number.
//!
//! That number is the time at which the bucket will be full again: the *theoretical arrival time* of
//! the next call of an even flow. A call that costs `n` moves it `n` steps on, and may pass if it is
//! then at most a whole burst away.

use super::config::Config;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::time::nanos;

/// Sixteenths of a nanosecond, so that a rate which does not divide a second is still met closely. A
/// `u64` of them lasts 36 years.
pub(crate) const FINE: u32 = 4;

const MOST: u32 = 1_000_000_000;
pub(crate) const MOST_QUEUED: u32 = 10_000;
const DAY: u64 = 24 * 3600 * 1_000_000_000;
/// The longest that a burst may take to come back: it has to fit the clock many times.
const LONGEST_BURST: u64 = 30 * DAY;

/// The settings made ready. Times are in [`FINE`] units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    /// The time from one call to the next of an even flow. Rounded up, to an even number: the limit is
    /// never exceeded.
    pub(crate) step: u64,
    pub(crate) burst: u32,
    pub(crate) queue: u32,
    pub(crate) max_wait: u64,
    pub(crate) warm_up: u64,
}

/// How fast calls may come at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    pub(crate) step: u64,
    /// The time that a whole burst takes to come back.
    pub(crate) room: u64,
}

/// The turn of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    /// When it may pass.
    pub(crate) at: u64,
    /// What it uses up.
    pub(crate) span: u64,
    /// When the bucket is full again after it.
    pub(crate) full: u64,
}

impl Params {
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigErrors> {
        let Config { limit, period, burst, queue, max_wait, warm_up } = config;
        let mut problems = Vec::new();
        let mut must = |holds: bool, field, value: &dyn std::fmt::Debug, accepted: &'static str| {
            if !holds {
                problems.push(ConfigError::new(field, value, accepted));
            }
        };
        let period_nanos = nanos(*period);
        let limit_holds = (1..=MOST).contains(limit);
        let period_holds = (1_000..=DAY).contains(&period_nanos);
        must(limit_holds, "limit", limit, "1 to 1000000000");
        must(period_holds, "period", period, "1µs to 1 day");
        let step = even((period_nanos.min(DAY) << FINE).div_ceil(u64::from((*limit).max(1))));
        let units = burst.unwrap_or(*limit);
        let room = step.checked_mul(u64::from(units));
        let lasts = room.is_some_and(|room| room >> FINE <= LONGEST_BURST);
        let burst_holds = (1..=MOST).contains(&units) && (lasts || !limit_holds || !period_holds);
        let accepted = "1 to 1000000000, and no more than come in 30 days";
        must(burst_holds || burst.is_none(), "burst", &units, accepted);
        must(*queue <= MOST_QUEUED, "queue", queue, "at most 10000");
        let waits = *queue == 0 || !max_wait.is_zero();
        must(waits, "max_wait", max_wait, "longer than zero, if calls may wait");
        let warms = nanos(*warm_up) <= DAY;
        must(warms, "warm_up", warm_up, "at most 1 day");
        ConfigErrors::none_of(problems)?;
        Ok(Self {
            step,
            burst: units,
            queue: *queue,
            max_wait: fine(nanos(*max_wait)),
            warm_up: fine(nanos(*warm_up)),
        })
    }

    pub(crate) const fn pace(&self) -> Pace {
        Pace { step: self.step, room: self.step.saturating_mul(self.burst as u64) }
    }
}

impl Pace {
    /// The bucket as it is after the settings were replaced: what may come at once stays, as far as the
    /// new burst allows.
    pub(crate) fn taken_over(self, from: Self, full: u64, now: u64) -> u64 {
        let debt = full.saturating_sub(now);
        if debt > from.room {
            // More than a burst was promised away: so many calls are still to be made up for.
            let owed = scaled(debt - from.room, from.step, self.step);
            return even(now.saturating_add(self.room).saturating_add(owed));
        }
        let free = scaled(from.room - debt, from.step, self.step).min(self.room);
        even(now.saturating_add(self.room - free))
    }

    /// While it warms up: `passed` of `warm_up` is over. The rate grows evenly from a third to all.
    pub(crate) fn warmed(self, passed: u64, warm_up: u64) -> Self {
        if passed >= warm_up {
            return self;
        }
        let (whole, part) = (3 * u128::from(warm_up), u128::from(warm_up) + 2 * u128::from(passed));
        let slower = |time: u64| u64::try_from(u128::from(time) * whole / part).unwrap_or(u64::MAX);
        // The same share of the burst: it lasts as long at a slower pace.
        Self { step: slower(self.step), room: self.room }
    }

    /// The turn of a call that costs so much, if the bucket is full again at `full`.
    #[inline]
    pub(crate) fn turn(self, full: u64, now: u64, cost: u32) -> Turn {
        let span = even(self.step.saturating_mul(u64::from(cost)));
        let after = full.max(now).saturating_add(span);
        // While it warms up a call may cost more than fits. What costs nothing waits for nothing.
        let room = if cost == 0 { u64::MAX } else { self.room.max(span) };
        Turn { at: after.saturating_sub(room), span, full: after }
    }
}

impl Turn {
    /// What comes back if it is not used by `now`. The time that has passed since would have filled the
    /// bucket anyway: whoever got that back too could call twice.
    pub(crate) fn unused(span: u64, full: u64, now: u64) -> u64 {
        full.saturating_sub(now).min(span)
    }
}

/// Times are even: their last bit is put to another use.
pub(crate) const fn even(time: u64) -> u64 {
    time.saturating_add(1) & !1
}

pub(crate) const fn fine(nanos: u64) -> u64 {
    if nanos > u64::MAX >> FINE { u64::MAX } else { nanos << FINE }
}

fn scaled(time: u64, from: u64, to: u64) -> u64 {
    let scaled = u128::from(time) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
