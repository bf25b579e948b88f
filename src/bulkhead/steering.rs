//! The lock and the clock of an adaptive limit.

use tokio::time::Instant;

use super::adaptive::{AdaptiveLimit, Bounds, CallStart, HowEnded};
use super::limiter::Limiter;
use crate::core::sync::atomic::{AtomicBool, Ordering};
use crate::core::time::Clock;
use crate::shell::locked::Locked;

/// What moves the limit, if anything does. Stepped by calls that were found pending, twice each: one that is
/// answered at once says nothing about load.
pub(super) struct Steering {
    clock: Clock,
    is_on: AtomicBool,
    limit: Locked<Option<Box<AdaptiveLimit>>>,
}

impl Steering {
    pub(super) fn new(bounds: Option<Bounds>) -> Self {
        Self {
            clock: Clock::start(),
            is_on: AtomicBool::new(bounds.is_some()),
            limit: Locked::new(bounds.map(AdaptiveLimit::new).map(Box::new)),
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Other settings are in force. What was learnt stays, if it may.
    pub(super) fn reload(&self, bounds: Option<Bounds>, follow: impl FnOnce(Option<u32>)) {
        let fresh = bounds.map(AdaptiveLimit::new).map(Box::new); // not under the lock
        let old = self.limit.with(|limit| {
            let old = match (limit.as_mut(), bounds) {
                (Some(limit), Some(bounds)) => {
                    limit.rebound(bounds);
                    fresh
                }
                _ => std::mem::replace(limit, fresh),
            };
            self.is_on.store(bounds.is_some(), Ordering::Relaxed);
            follow(limit.as_ref().map(|limit| limit.limit()));
            old
        });
        drop(old);
    }

    /// A call is under way. `follow` is told the limit.
    pub(super) fn started<R>(
        &self,
        now: Instant,
        in_flight: u32,
        follow: impl FnOnce(u32) -> Option<R>,
    ) -> (CallStart, Option<R>) {
        let now = self.clock.tick(now);
        self.limit.with(|limit| match limit {
            Some(limit) => {
                let start = limit.start(now, in_flight);
                (start, follow(limit.limit()))
            }
            None => (CallStart::NONE, None),
        })
    }

    /// Such a call is over.
    pub(super) fn ended<R>(
        &self,
        start: CallStart,
        how: HowEnded,
        in_flight: u32,
        follow: impl FnOnce(u32) -> Option<R>,
    ) -> Option<R> {
        let now = self.clock.now();
        self.limit.with(|limit| {
            let limit = limit.as_mut()?;
            limit.end(now, start, how, in_flight);
            follow(limit.limit())
        })
    }
}

impl Limiter {
    /// A call was found pending: it is under way.
    pub(super) fn started(&self, now: Instant) -> CallStart {
        let in_flight = self.occupancy().inside;
        let (start, limit) = self.steering.started(now, in_flight, |limit| self.follow(limit));
        self.followed(limit);
        start
    }

    /// Such a call is over. It counts as in flight still.
    pub(super) fn ended(&self, start: CallStart, how: HowEnded) {
        let in_flight = self.occupancy().inside.max(1); // itself
        let limit = self.steering.ended(start, how, in_flight, |limit| self.follow(limit));
        self.followed(limit);
    }

    /// Told under the lock of the steering, so that the last to say so is right. Returns whether that is new.
    fn follow(&self, limit: u32) -> Option<u32> {
        let before = self.limit.swap(limit, Ordering::AcqRel);
        (before != limit).then_some(before)
    }

    fn followed(&self, before: Option<u32>) {
        let Some(before) = before else { return };
        if self.limit.load(Ordering::Relaxed) > before {
            self.step_and_call(None);
        }
        self.note_levels();
    }
}
