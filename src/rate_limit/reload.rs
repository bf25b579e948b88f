//! Replacing the settings of a rate limit while calls are in flight.

use super::common::Common;
use super::config::Config;
use super::limiter::{Limiter, PARITY, Terms};
use super::machine::{Params, even};
use crate::core::config::ConfigErrors;
use crate::core::sync::atomic::Ordering;

impl Limiter {
    /// Replaces the settings. What was used up stays used up, and those who wait keep their order.
    pub(super) fn reload(&self, config: &Config) -> Result<(), ConfigErrors> {
        let Common { settings, reporter, .. } = &*self.common;
        settings.reload_one(&reporter.origin, self.key.as_deref(), config)?;
        self.keep_up();
        Ok(())
    }

    /// Goes by the settings in force.
    pub(super) fn keep_up(&self) {
        let key = self.key.as_deref();
        self.common.settings.bring(|in_force| {
            let params = in_force.params(key);
            if params.pace() != self.terms().pace
                || params.warm_up != self.warm_up.load(Ordering::Relaxed)
            {
                self.put_in_force(params);
            }
        });
    }

    fn put_in_force(&self, params: &Params) {
        let (now, pace) = (self.now(), params.pace());
        self.slots.retime(now, |times| {
            let Terms { pace: before, parity } = self.terms();
            let parity = parity ^ PARITY;
            let cost = |span: u64| span / before.step.max(1);
            let promised = times.iter().fold(0u64, |sum, time| sum.saturating_add(time.width));
            let mut next = 0;
            let _ = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full| {
                // What those who wait are promised comes on top of what was used before them.
                let used = (full & !PARITY).saturating_sub(promised);
                next = pace.taken_over(before, used, now);
                let spans = times.iter().map(|time| cost(time.width).saturating_mul(pace.step));
                Some(even(spans.fold(next, u64::saturating_add)) | parity)
            });
            for time in times {
                time.width = cost(time.width).saturating_mul(pace.step);
                next = next.saturating_add(time.width);
                (time.end, time.lead) = (next, pace.room.max(time.width));
            }
            // Under the lock: whoever reserves next does so at the new pace.
            self.room.store(pace.room, Ordering::Release);
            self.warm_up.store(params.warm_up, Ordering::Release);
            self.step.store(pace.step | parity, Ordering::Release);
        });
    }
}
