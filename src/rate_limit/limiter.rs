//! What the services of one rate limit share.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::common::{Common, RateLimitMeter};
use super::config::Config;
use super::machine::{FINE, Law, MOST_QUEUED, Pace, Turn, fine};
use crate::config::ConfigErrors;
use crate::error::{Measured, Reason, Rejected};
use crate::request::Deadline;
use crate::shell::meter::Handles;
use crate::shell::reporter::Speaker;
use crate::shell::slots::{Look, Slots, Ticket, Times};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Tick;

/// One rate limit; of one key, or of all calls.
pub struct Limiter {
    pub(super) common: Arc<Common>,
    pub(super) key: Option<Arc<str>>,
    /// When the bucket is full again. Those who wait are part of it already.
    full: AtomicU64,
    /// When it began to warm up.
    warming_since: AtomicU64,
    step: AtomicU64,
    room: AtomicU64,
    warm_up: AtomicU64,
    slots: Slots,
}

/// A place in the queue of a rate limit.
#[derive(Debug)]
pub struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) began: u64,
    /// When its turn is, as it was when it last looked: it is woken if that comes nearer.
    at: u64,
    /// It does not wait longer, whatever becomes of its turn.
    latest: u64,
    /// Whether that is a deadline, and whose.
    deadline: Option<Measured>,
}

/// The turn of one that was admitted: what comes back if the call does not begin.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub(super) span: u64,
    pub(super) full: u64,
}

/// Why one who asked has no turn.
#[derive(Debug, Clone, Copy)]
enum Early {
    /// It came this much too early, and may not wait so long, or too many wait already.
    By(u64),
    /// Its turn would come after a deadline, and whose that is.
    TooLate(Measured),
}

impl Limiter {
    pub(super) fn new(common: Arc<Common>, key: Option<Arc<str>>) -> Self {
        let law = *common.settings.get().params(key.as_deref());
        let pace = law.pace();
        let limiter = Self {
            common,
            full: AtomicU64::new(0),
            warming_since: AtomicU64::new(0),
            step: AtomicU64::new(pace.step),
            room: AtomicU64::new(pace.room),
            warm_up: AtomicU64::new(law.warm_up),
            slots: Slots::default(),
            key,
        };
        if limiter.key.is_some() && law.warm_up != 0 {
            limiter.warming_since.store(limiter.now(), Ordering::Relaxed); // the others began with the layer
        }
        limiter
    }

    pub(super) fn now(&self) -> u64 {
        fine(self.common.reporter.clock.now().0)
    }

    pub(super) fn instant(&self, at: u64) -> Option<Instant> {
        self.common.reporter.clock.instant(Tick(at.div_ceil(1 << FINE)))
    }

    fn law(&self) -> Law {
        *self.common.settings.get().params(self.key.as_deref())
    }

    pub(super) fn config(&self) -> Config {
        self.common.settings.get().config(self.key.as_deref())
    }

    pub(super) fn queued(&self) -> usize {
        self.slots.len()
    }

    /// Calls that may come at this moment.
    pub(super) fn available(&self) -> u32 {
        let (now, warm_up) = (self.now(), self.warm_up.load(Ordering::Relaxed));
        let passed = now.saturating_sub(self.warming_since.load(Ordering::Relaxed));
        let pace = self.pace().warmed(passed, warm_up);
        let debt = self.full.load(Ordering::Relaxed).saturating_sub(now);
        u32::try_from(pace.room.saturating_sub(debt) / pace.step.max(1)).unwrap_or(u32::MAX)
    }

    fn pace(&self) -> Pace {
        let step = self.step.load(Ordering::Relaxed);
        Pace { step, room: self.room.load(Ordering::Relaxed) }
    }

    /// The pace of a call that comes now. The first after a long pause finds it cold.
    #[inline]
    fn pace_at(&self, now: u64) -> Pace {
        let pace = self.pace();
        let warm_up = self.warm_up.load(Ordering::Relaxed);
        if warm_up == 0 { pace } else { self.warmed(pace, now, warm_up) }
    }

    #[inline(never)]
    fn warmed(&self, pace: Pace, now: u64, warm_up: u64) -> Pace {
        let idle_until = self.full.load(Ordering::Relaxed).saturating_add(warm_up);
        if idle_until <= now {
            self.warming_since.store(now, Ordering::Relaxed);
        }
        let passed = now.saturating_sub(self.warming_since.load(Ordering::Relaxed));
        pace.warmed(passed, warm_up)
    }

    /// Takes a turn that has come already. No lock.
    #[inline]
    pub(super) fn pass(&self, cost: u32, now: u64) -> Option<Used> {
        let nominal = self.pace();
        if nominal.step.saturating_mul(u64::from(cost)) > nominal.room {
            return None; // never
        }
        let pace = self.pace_at(now);
        let mut used = Used { span: 0, full: 0 };
        let take = |full| {
            let turn = pace.turn(full, now, cost);
            used = Used { span: turn.span, full: turn.full };
            (turn.at <= now).then_some(turn.full)
        };
        let taken = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.ok()?;
        if self.step.load(Ordering::Relaxed) != nominal.step {
            self.correct(cost, used); // the settings were replaced meanwhile
        }
        Some(used)
    }

    /// A turn was charged by settings that are gone: charges it by those in force.
    #[cold]
    #[inline(never)]
    fn correct(&self, cost: u32, used: Used) {
        let span = self.pace().step.saturating_mul(u64::from(cost));
        let charge = |full: u64| Some(full.saturating_sub(used.span).saturating_add(span));
        let _ = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, charge);
    }

    /// Takes the next turn, as long as `may` allows it, given the wait and how many wait already.
    fn reserve(
        &self,
        cost: u32,
        now: u64,
        may: impl Fn(u64, usize) -> Option<Early>,
    ) -> Result<(Ticket, u64), Early> {
        self.slots.join(|queued| {
            let pace = self.pace_at(now);
            let (mut turn, mut early) = (Turn { at: 0, span: 0, full: 0 }, None);
            let take = |full| {
                turn = pace.turn(full, now, cost);
                early = may(turn.at.saturating_sub(now), queued);
                early.is_none().then_some(turn.full)
            };
            let _ = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
            let Turn { at, span, full } = turn;
            // What comes back by itself before its turn is as long as the bucket is large.
            let lead = if at == 0 { pace.room.max(span) } else { full - at };
            early.map_or(Ok(Times { end: full, width: span, lead }), Err)
        })
    }

    #[inline(never)]
    pub(super) fn wait_or_refuse(
        &self,
        cost: u32,
        now: u64,
        told: Option<(Deadline, Measured)>,
    ) -> Result<Waiter, Rejected> {
        let law = self.law();
        if cost > law.burst {
            return Err(self.too_costly(cost, &law));
        }
        let until = told.and_then(|(deadline, _)| deadline.instant());
        let until = until.map_or(u64::MAX, |until| fine(self.common.reporter.clock.tick(until).0));
        let whose = told.map_or(Measured::Nothing, |(_, whose)| whose);
        let ticket = self.reserve(cost, now, |wait, queued| {
            if law.queue == 0 || wait > law.max_wait || queued >= law.queue as usize {
                return Some(Early::By(wait));
            }
            (wait > until.saturating_sub(now)).then_some(Early::TooLate(whose))
        });
        match ticket {
            Ok((ticket, at)) => {
                self.common.joined();
                let patience = now.saturating_add(law.max_wait);
                let deadline = (until < patience).then_some(whose);
                Ok(Waiter { ticket, began: now, at, latest: patience.min(until), deadline })
            }
            Err(early) => Err(self.too_early(early)),
        }
    }

    /// Takes the next turn, whenever it is.
    pub(super) fn book(&self, cost: u32) -> Result<Ticket, Rejected> {
        let law = self.law();
        if cost > law.burst {
            return Err(self.too_costly(cost, &law));
        }
        let ticket = self.reserve(cost, self.now(), |wait, queued| {
            (queued >= MOST_QUEUED as usize).then_some(Early::By(wait))
        });
        let (ticket, _) = ticket.map_err(|early| self.too_early(early))?;
        self.common.joined();
        Ok(ticket)
    }

    /// When the turn of a ticket is. It may come earlier still, if somebody before it gives up.
    pub(super) fn turn_of(&self, ticket: &Ticket) -> Option<Instant> {
        self.instant(self.slots.at(ticket))
    }

    /// Whether the turn of a ticket has come; if so, the ticket is spent. If not, when it is.
    pub(super) fn look(&self, ticket: &Ticket, now: u64, cx: &Context<'_>) -> Look {
        let look = self.slots.poll(ticket, now, cx.waker());
        if look == Look::Come {
            self.common.left();
        }
        look
    }

    /// The same for a call that waits. An error if it would wait too long by now: since it came the
    /// settings were replaced.
    pub(super) fn wait(
        &self,
        mut waiter: Waiter,
        now: u64,
        cx: &Context<'_>,
    ) -> Result<Option<Waiter>, Rejected> {
        match self.look(&waiter.ticket, now, cx) {
            Look::Come => Ok(None),
            Look::At(at) if at > waiter.latest => Err(self.give_up(&waiter)),
            Look::At(at) => {
                waiter.at = at;
                Ok(Some(waiter))
            }
        }
    }

    /// When one who waits wants to look again.
    pub(super) fn until(&self, waiter: &Waiter) -> Option<Instant> {
        self.instant(waiter.at.min(waiter.latest))
    }

    /// One who waits gives up, and is told why.
    pub(super) fn give_up(&self, waiter: &Waiter) -> Rejected {
        let wait = self.slots.at(&waiter.ticket).saturating_sub(self.now());
        self.cancel(&waiter.ticket);
        self.too_early(waiter.deadline.map_or(Early::By(wait), Early::TooLate))
    }

    /// A turn is not taken.
    pub(super) fn cancel(&self, ticket: &Ticket) {
        let now = self.now();
        let was_there = self.slots.leave(ticket, |times| {
            let unused = Turn::unused(times.width, times.end, now);
            self.give(unused);
            unused
        });
        if was_there {
            self.common.left();
        }
    }

    /// Lets everyone who waits look again.
    pub(super) fn wake_waiting(&self) {
        self.slots.wake_all();
    }

    /// An admitted call did not begin.
    pub(super) fn put_back(&self, used: Used) {
        let unused = Turn::unused(used.span, used.full, self.now());
        if unused != 0 {
            self.slots.advance(|| {
                self.give(unused);
                unused
            });
        }
    }

    fn give(&self, unused: u64) {
        let less = |full: u64| Some(full.saturating_sub(unused));
        let _ = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Replaces the settings. What was used up stays used up, and those who wait keep their order.
    pub(super) fn reload(&self, config: &Config) -> Result<(), ConfigErrors> {
        let Common { settings, reporter, .. } = &*self.common;
        settings.reload_one(&reporter.source, self.key.as_deref(), config)?;
        self.keep_up();
        Ok(())
    }

    /// Goes by the settings in force.
    pub(super) fn keep_up(&self) {
        let key = self.key.as_deref();
        self.common.settings.bring(|in_force| {
            let law = in_force.params(key);
            if law.pace() != self.pace() || law.warm_up != self.warm_up.load(Ordering::Relaxed) {
                self.put_in_force(law);
            }
        });
    }

    /// Whether a fresh one would decide the same: the bucket is full, and nothing is left of a warm-up.
    pub(super) fn is_at_rest(&self) -> bool {
        let warm_up = self.warm_up.load(Ordering::Relaxed);
        self.full().saturating_add(warm_up) <= self.now() && self.slots.len() == 0
    }

    /// Changes with every call.
    pub(super) fn full(&self) -> u64 {
        self.full.load(Ordering::Acquire)
    }

    fn put_in_force(&self, law: &Law) {
        let (now, pace) = (self.now(), law.pace());
        self.slots.retime(now, |times| {
            let before = self.pace();
            let cost = |span: u64| span / before.step.max(1);
            let promised = times.iter().fold(0u64, |sum, time| sum.saturating_add(time.width));
            let mut next = 0;
            let _ = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full| {
                // What those who wait are promised comes on top of what was used before them.
                next = pace.taken_over(before, full.saturating_sub(promised), now);
                let spans = times.iter().map(|time| cost(time.width).saturating_mul(pace.step));
                Some(spans.fold(next, u64::saturating_add))
            });
            for time in times {
                time.width = cost(time.width).saturating_mul(pace.step);
                next = next.saturating_add(time.width);
                (time.end, time.lead) = (next, pace.room.max(time.width));
            }
            // Under the lock: whoever reserves next does so at the new pace.
            self.step.store(pace.step, Ordering::Release);
            self.room.store(pace.room, Ordering::Release);
            self.warm_up.store(law.warm_up, Ordering::Release);
        });
    }

    // ----- telling -----

    #[inline(never)]
    fn too_early(&self, early: Early) -> Rejected {
        let wait = match early {
            Early::By(wait) => wait,
            Early::TooLate(whose) => return self.reject(Reason::DeadlineExceeded, whose),
        };
        let wait = wait.div_ceil(1 << FINE);
        let queued = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let rejected = self.reject(Reason::RateLimited, Measured::TooEarly { by: wait, queued });
        rejected.retry_in(Some(Duration::from_nanos(wait)))
    }

    fn too_costly(&self, cost: u32, law: &Law) -> Rejected {
        self.reject(Reason::CostTooHigh, Measured::Cost { cost, most: law.burst })
    }

    pub(super) fn reject(&self, reason: Reason, measured: Measured) -> Rejected {
        let speaker = Speaker { key: self.key.as_ref(), seq: 0 };
        let levels = |fresh: &_| self.common.set_queued(fresh);
        self.common.reporter.reject_as(speaker, levels, reason, measured)
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(super) fn meter(&self, record: impl FnOnce(&Handles<RateLimitMeter>)) {
        self.common.meter(record);
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("source", &self.common.reporter.source)
            .field("key", &self.key)
            .field("config", &self.config())
            .finish_non_exhaustive()
    }
}
