//! What the services of one rate limit share.

use std::fmt;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::common::{Common, RateLimitMeter};
use super::config::Config;
use super::machine::{FINE, MOST_QUEUED, Pace, Params, Turn, fine};
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::request::Deadline;
use crate::core::sync::atomic::{AtomicU64, Ordering};
use crate::core::time::Tick;
use crate::shell::meter::{Handles, Recorder};
use crate::shell::reporter::EventContext;
use crate::shell::slots::{Look, Slots, Ticket, Times};

/// One rate limit; of one key, or of all calls.
pub struct Limiter {
    pub(super) common: Arc<Common>,
    pub(super) key: Option<Arc<str>>,
    /// When the bucket is full again. Those who wait are part of it already. Its last bit is the [turn] of
    /// the settings that it is counted by: a call that asks by others does so again.
    ///
    /// [turn]: Terms::parity
    pub(super) full: AtomicU64,
    /// When it began to warm up.
    warming_since: AtomicU64,
    /// And the same bit. Stored last.
    pub(super) step: AtomicU64,
    pub(super) room: AtomicU64,
    pub(super) warm_up: AtomicU64,
    pub(super) slots: Slots,
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
    deadline: Option<Measurement>,
}

/// The turn of one that was admitted: what comes back if the call does not begin.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub(super) span: u64,
    pub(super) full: u64,
}

/// The pace by the settings in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) pace: Pace,
    /// 0 or 1, by turns: the other after each reload. Times and steps are even.
    pub(super) parity: u64,
}

pub(super) const PARITY: u64 = 1;

/// Why one who asked has no turn.
#[derive(Debug, Clone, Copy)]
enum Early {
    /// It came this much too early, and may not wait so long, or too many wait already.
    By(u64),
    /// Its turn would come after a deadline, and whose that is.
    TooLate(Measurement),
}

impl Limiter {
    pub(super) fn new(common: Arc<Common>, key: Option<Arc<str>>) -> Self {
        let params = *common.settings.get().params(key.as_deref());
        let pace = params.pace();
        let limiter = Self {
            common,
            full: AtomicU64::new(0),
            warming_since: AtomicU64::new(0),
            step: AtomicU64::new(pace.step),
            room: AtomicU64::new(pace.room),
            warm_up: AtomicU64::new(params.warm_up),
            slots: Slots::default(),
            key,
        };
        if limiter.key.is_some() && params.warm_up != 0 {
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

    fn params(&self) -> Params {
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
        let pace = self.terms().pace.warmed(passed, warm_up);
        let debt = self.full().saturating_sub(now);
        u32::try_from(pace.room.saturating_sub(debt) / pace.step.max(1)).unwrap_or(u32::MAX)
    }

    #[inline]
    pub(super) fn terms(&self) -> Terms {
        let step = self.step.load(Ordering::Acquire);
        let room = self.room.load(Ordering::Acquire);
        Terms { pace: Pace { step: step & !PARITY, room }, parity: step & PARITY }
    }

    /// The pace of a call that comes now. The first after a long pause finds it cold.
    #[inline]
    fn pace_at(&self, pace: Pace, now: u64) -> Pace {
        let warm_up = self.warm_up.load(Ordering::Relaxed);
        if warm_up == 0 { pace } else { self.warmed(pace, now, warm_up) }
    }

    #[inline(never)]
    fn warmed(&self, pace: Pace, now: u64, warm_up: u64) -> Pace {
        if self.full().saturating_add(warm_up) <= now {
            self.warming_since.store(now, Ordering::Relaxed);
        }
        let passed = now.saturating_sub(self.warming_since.load(Ordering::Relaxed));
        pace.warmed(passed, warm_up)
    }

    /// Takes a turn that has come already. No lock.
    #[inline]
    pub(super) fn pass(&self, cost: u32, now: u64) -> Option<Used> {
        let Terms { pace, parity } = self.terms();
        if pace.step.saturating_mul(u64::from(cost)) > pace.room {
            return None; // never
        }
        let pace = self.pace_at(pace, now);
        let (mut used, mut is_stale) = (Used { span: 0, full: 0 }, false);
        let take = |full| {
            is_stale = full & PARITY != parity;
            let turn = pace.turn(full & !PARITY, now, cost);
            used = Used { span: turn.span, full: turn.full };
            (turn.at <= now && !is_stale).then_some(turn.full | parity)
        };
        match self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Some(used),
            Err(_) if is_stale => self.pass_anew(cost, now),
            Err(_) => None,
        }
    }

    /// The settings were replaced meanwhile: by the new ones, once they are in force.
    #[cold]
    #[inline(never)]
    fn pass_anew(&self, cost: u32, now: u64) -> Option<Used> {
        self.slots.advance(|| 0); // waits for the lock that they are replaced under
        self.pass(cost, now)
    }

    /// Takes the next turn, as long as `may` allows it, given the wait and how many wait already.
    fn reserve(
        &self,
        cost: u32,
        now: u64,
        may: impl Fn(u64, usize) -> Option<Early>,
    ) -> Result<(Ticket, u64), Early> {
        self.slots.join(|queued| {
            let Terms { pace, parity } = self.terms(); // under the lock they stay in force
            let pace = self.pace_at(pace, now);
            let (mut turn, mut early) = (Turn { at: 0, span: 0, full: 0 }, None);
            let take = |full| {
                turn = pace.turn(full & !PARITY, now, cost);
                early = may(turn.at.saturating_sub(now), queued);
                early.is_none().then_some(turn.full | parity)
            };
            let _ = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
            let Turn { at, span, full } = turn;
            // What comes back by itself before its turn is as long as the bucket is large.
            let lead = if at == 0 { pace.room.max(span) } else { full - at };
            early.map_or(Ok(Times { end: full, width: span, lead }), Err)
        })
    }

    #[inline(never)]
    pub(super) fn wait_or_reject(
        &self,
        cost: u32,
        now: u64,
        told: Option<(Deadline, Measurement)>,
    ) -> Result<Waiter, Rejected> {
        let params = self.params();
        if cost > params.burst {
            return Err(self.too_costly(cost, &params));
        }
        let until = told.and_then(|(deadline, _)| deadline.instant());
        let until = until.map_or(u64::MAX, |until| fine(self.common.reporter.clock.tick(until).0));
        let whose = told.map_or(Measurement::Nothing, |(_, whose)| whose);
        let ticket = self.reserve(cost, now, |wait, queued| {
            if params.queue == 0 || wait > params.max_wait || queued >= params.queue as usize {
                return Some(Early::By(wait));
            }
            (wait > until.saturating_sub(now)).then_some(Early::TooLate(whose))
        });
        match ticket {
            Ok((ticket, at)) => {
                self.common.joined();
                let patience = now.saturating_add(params.max_wait);
                let deadline = (until < patience).then_some(whose);
                Ok(Waiter { ticket, began: now, at, latest: patience.min(until), deadline })
            }
            Err(early) => Err(self.too_early(early)),
        }
    }

    /// Takes the next turn, whenever it is.
    pub(super) fn book(&self, cost: u32) -> Result<Ticket, Rejected> {
        let params = self.params();
        if cost > params.burst {
            return Err(self.too_costly(cost, &params));
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
        let less = |full: u64| Some((full & !PARITY).saturating_sub(unused) | (full & PARITY));
        let _ = self.full.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Whether a fresh one would decide the same: the bucket is full, and nothing is left of a warm-up.
    pub(super) fn is_at_rest(&self) -> bool {
        let warm_up = self.warm_up.load(Ordering::Relaxed);
        self.full().saturating_add(warm_up) <= self.now() && self.slots.len() == 0
    }

    /// When the bucket is full again: it changes with every call.
    pub(super) fn full(&self) -> u64 {
        self.full.load(Ordering::Acquire) & !PARITY
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
        let rejected = self.reject(Reason::RateLimited, Measurement::TooEarly { by: wait, queued });
        rejected.retry_in(Some(Duration::from_nanos(wait)))
    }

    fn too_costly(&self, cost: u32, params: &Params) -> Rejected {
        self.reject(Reason::CostTooHigh, Measurement::Cost { cost, most: params.burst })
    }

    pub(super) fn reject(&self, reason: Reason, measurement: Measurement) -> Rejected {
        let context = EventContext { key: self.key.as_ref(), seq: 0 };
        let levels = |fresh: &Handles<'_, _>| self.common.set_queued(fresh);
        self.common.reporter.reject_as(context, levels, reason, measurement)
    }

    /// Runs `record` with the metric handles, if anybody records.
    #[inline]
    pub(super) fn meter(&self, record: impl FnOnce(&Handles<'_, RateLimitMeter>)) {
        self.common.meter(record);
    }

    /// The same, with a recorder that was asked for already.
    #[inline]
    pub(super) fn meter_to(
        &self,
        recorder: Recorder,
        record: impl FnOnce(&Handles<'_, RateLimitMeter>),
    ) {
        self.common.meter_to(recorder, record);
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("origin", &self.common.reporter.origin)
            .field("key", &self.key)
            .field("config", &self.config())
            .finish_non_exhaustive()
    }
}
