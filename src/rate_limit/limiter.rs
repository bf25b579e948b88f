//! What the services of one rate limit share.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::machine::{FINE, Law, MOST_QUEUED, Pace, Turn, fine};
use crate::error::{Measured, Reason, Rejected};
use crate::request::Deadline;
use crate::shell::live::Live;
use crate::shell::meter::{Ended, Gauge, Handles, Histogram, Instruments, Labels};
use crate::shell::reporter::Reporter;
use crate::shell::slots::{Slots, Ticket, Times};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Tick;

/// Calls that wait for their turn.
const QUEUED: &str = "seawall_rate_limit_queued";
/// How long calls waited for their turn.
const WAIT: &str = "seawall_rate_limit_wait_seconds";

/// One rate limit.
pub struct Limiter {
    pub(super) reporter: Reporter<RateLimitMeter>,
    /// When the bucket is full again. Those who wait are part of it already.
    full: AtomicU64,
    /// When it began to warm up.
    warming_since: AtomicU64,
    step: AtomicU64,
    room: AtomicU64,
    warm_up: AtomicU64,
    config: Live<(Law, Config)>,
    slots: Slots,
}

pub(super) struct RateLimitMeter {
    queued: Gauge,
    pub(super) wait: Histogram,
}

impl Instruments for RateLimitMeter {
    const OUTCOMES: &'static [Ended] = &Ended::UNJUDGED;
    const REASONS: &'static [Reason] =
        &[Reason::RateLimited, Reason::CostTooHigh, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            queued: labels.gauge(QUEUED, "Calls that wait for their turn."),
            wait: labels.seconds(WAIT, "How long calls waited for their turn."),
        }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.queued)
    }
}

/// A place in the queue of a rate limit.
#[derive(Debug)]
pub struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) began: u64,
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
    pub(super) fn new(reporter: Reporter<RateLimitMeter>, law: Law, config: Config) -> Self {
        let pace = law.pace();
        let limiter = Self {
            reporter,
            full: AtomicU64::new(0),
            warming_since: AtomicU64::new(0),
            step: AtomicU64::new(pace.step),
            room: AtomicU64::new(pace.room),
            warm_up: AtomicU64::new(law.warm_up),
            config: Live::new((law, config)),
            slots: Slots::default(),
        };
        limiter.note_queued();
        limiter
    }

    pub(super) fn now(&self) -> u64 {
        fine(self.reporter.clock.now().0)
    }

    fn instant(&self, at: u64) -> Option<Instant> {
        self.reporter.clock.instant(Tick(at.div_ceil(1 << FINE)))
    }

    pub(super) fn law(&self) -> Law {
        self.config.get().0
    }

    pub(super) fn config(&self) -> Config {
        self.config.get().1.clone()
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
    ) -> Result<Ticket, Early> {
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
        let until = until.map_or(u64::MAX, |until| fine(self.reporter.clock.tick(until).0));
        let whose = told.map_or(Measured::Nothing, |(_, whose)| whose);
        let ticket = self.reserve(cost, now, |wait, queued| {
            if law.queue == 0 || wait > law.max_wait || queued >= law.queue as usize {
                return Some(Early::By(wait));
            }
            (wait > until.saturating_sub(now)).then_some(Early::TooLate(whose))
        });
        match ticket {
            Ok(ticket) => {
                self.note_queued();
                let patience = now.saturating_add(law.max_wait);
                let deadline = (until < patience).then_some(whose);
                Ok(Waiter { ticket, began: now, latest: patience.min(until), deadline })
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
        self.note_queued();
        ticket.map_err(|early| self.too_early(early))
    }

    /// When the turn of a ticket is. It may come earlier still, if somebody before it gives up.
    pub(super) fn turn_of(&self, ticket: &Ticket) -> Option<Instant> {
        self.instant(self.slots.at(ticket))
    }

    /// Whether the turn of a ticket has come; if so, the ticket is spent.
    pub(super) fn has_come(&self, ticket: &Ticket, cx: &Context<'_>) -> bool {
        let has_come = self.slots.poll(ticket, self.now(), cx.waker());
        if has_come {
            self.note_queued();
        }
        has_come
    }

    /// When one who waits wants to look again.
    pub(super) fn until(&self, waiter: &Waiter) -> Option<Instant> {
        self.instant(self.slots.at(&waiter.ticket).min(waiter.latest))
    }

    /// Whether one who waits would wait too long: since it came the settings were replaced.
    pub(super) fn would_be_too_late(&self, waiter: &Waiter) -> bool {
        self.slots.at(&waiter.ticket) > waiter.latest
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
        self.slots.leave(ticket, |times| {
            let unused = Turn::unused(times.width, times.end, now);
            self.give(unused);
            unused
        });
        self.note_queued();
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

    /// The settings count from now on. What was used up stays used up, and those who wait keep their
    /// order.
    pub(super) fn reload(&self, law: Law, config: Config) {
        self.config.set((law, config));
        // Of two who reload at once the last one to write wins everything: whoever finds, when done,
        // that somebody wrote in the meantime puts that into force.
        loop {
            let latest = self.config.get();
            self.put_in_force(&latest.0);
            if Arc::ptr_eq(&latest, &self.config.get()) {
                return;
            }
        }
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
        self.reporter.reject_with(|fresh| self.set_queued(fresh), reason, measured)
    }

    fn note_queued(&self) {
        self.meter(|handles| self.set_queued(handles));
    }

    fn set_queued(&self, handles: &Handles<RateLimitMeter>) {
        handles.own.queued.set(self.slots.len() as f64);
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(super) fn meter(&self, record: impl FnOnce(&Handles<RateLimitMeter>)) {
        self.reporter.meter.with(|fresh| self.set_queued(fresh), record);
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("source", &self.reporter.source)
            .field("config", &self.config.get().1)
            .finish_non_exhaustive()
    }
}
