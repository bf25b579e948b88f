//! What the services of one bulkhead share: the places, and those who wait for one.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

use super::common::Common;
use super::config::Config;
use super::machine::{Effect, Input, Occupancy, Params};
use super::places::Places;
use super::steering::Steering;
use crate::core::config::ConfigErrors;
use crate::core::error::Measurement;
use crate::core::sync::atomic::{AtomicU32, Ordering};
use crate::shell::live::Live;
use crate::shell::meter::{Ended, Handles, Recorder};
use crate::shell::queue::{Before, Standing, Ticket, WaitQueue};

/// One bulkhead; of one key, or of all calls.
pub struct Limiter {
    pub(super) common: Arc<Common>,
    pub(super) key: Option<Arc<str>>,
    pub(super) places: Places,
    pub(super) limit: AtomicU32,
    /// What the limit may ever be.
    most: AtomicU32,
    /// How many may wait.
    queue: AtomicU32,
    params: Live<InForce>,
    line: WaitQueue,
    pub(super) steering: Steering,
}

/// The parameters in force, and the version of the settings that it is from.
struct InForce {
    version: u64,
    params: Params,
}

/// The answer to one who asks to enter.
pub(super) enum Entry {
    /// It is inside.
    Inside,
    /// It waits under this number.
    Queued(Ticket),
    /// There is no room, not even to wait.
    Full(Measurement),
    /// It costs more than the limit.
    TooDear(Measurement),
}

impl Limiter {
    pub(super) fn new(common: Arc<Common>, key: Option<Arc<str>>) -> Self {
        let settings = common.settings.get();
        let params = *settings.params(key.as_deref());
        let limiter = Self {
            common,
            places: Places::new(key.is_none()),
            key,
            limit: AtomicU32::new(params.limit),
            most: AtomicU32::new(params.most),
            queue: AtomicU32::new(params.queue),
            params: Live::new(InForce { version: settings.version(), params }),
            line: WaitQueue::default(),
            steering: Steering::new(params.adaptive),
        };
        if limiter.key.is_none() {
            limiter.note_levels();
        }
        limiter
    }

    /// Lets everyone in line look again.
    pub(super) fn wake_line(&self) {
        self.line.wake_all();
    }

    pub(super) fn params(&self) -> Params {
        self.params.get().params
    }

    pub(super) fn config(&self) -> Config {
        self.common.settings.get().config(self.key.as_deref())
    }

    /// Replaces the settings. Those inside stay inside; if there is more room now, the next come in.
    pub(super) fn reload(&self, config: &Config) -> Result<(), ConfigErrors> {
        let Common { settings, reporter, .. } = &*self.common;
        settings.reload_one(&reporter.origin, self.key.as_deref(), config)?;
        self.keep_up();
        Ok(())
    }

    /// Goes by the settings in force.
    pub(super) fn keep_up(&self) {
        let settings = self.common.settings.get();
        let (version, params) = (settings.version(), *settings.params(self.key.as_deref()));
        self.params.update(|held| {
            if held.version > version {
                return InForce { ..*held }; // somebody brought newer ones meanwhile
            }
            // Together, so that all of them are of the same settings.
            self.most.store(params.most, Ordering::Release);
            self.steering.reload(params.adaptive, |limit| {
                self.limit.store(limit.unwrap_or(params.limit), Ordering::Release);
            });
            self.queue.store(params.queue, Ordering::Relaxed);
            InForce { version, params }
        });
        // Whoever joins later asks under the limit of now.
        let params = self.params();
        self.line.bar(
            || self.most.load(Ordering::Acquire),
            || {
                self.step(&params, Input::GiveUp);
            },
        );
        self.step_and_call(None);
        self.note_levels();
    }

    /// Who is inside and who waits.
    #[inline]
    pub(super) fn occupancy(&self) -> Occupancy {
        self.places.occupancy()
    }

    /// Whether a call would find a place at once.
    #[inline]
    pub(super) fn looks_free(&self) -> bool {
        self.places.looks_free(self.limit())
    }

    /// Whether there is a line at all.
    #[inline]
    pub(super) fn may_wait(&self) -> bool {
        self.queue.load(Ordering::Relaxed) != 0
    }

    // ----- entering -----

    /// Enters if there is room and nobody waits. No lock. The levels are told when the call is found
    /// pending: one that is answered at once is never seen in flight.
    #[inline]
    pub(super) fn enter(&self, cost: u32) -> bool {
        let limit = self.limit();
        match self.places.enter_alone(limit, cost) {
            Some(is_inside) => is_inside,
            None => self.enter_beside_others(limit, cost),
        }
    }

    /// Calls in what threads keep, if nothing else is left.
    #[inline(never)]
    fn enter_beside_others(&self, limit: u32, cost: u32) -> bool {
        if self.places.enter(limit, cost) {
            return true;
        }
        if !self.places.may_be_kept() {
            return false;
        }
        let (is_inside, for_those_who_wait) = self.places.enter_last(limit, cost);
        self.call_if(for_those_who_wait);
        is_inside
    }

    /// Places are for those who wait, if any are.
    fn call_if(&self, places: Option<u32>) {
        if places.is_some() {
            self.step_and_call(places);
        }
    }

    /// Enters, or waits as long as the settings allow.
    pub(super) fn ask(&self, deadline: Option<Instant>, cost: u32) -> Entry {
        self.ask_as(deadline, cost, Input::Ask(cost))
    }

    /// The same of a call of one place that waits whatever the length of the queue.
    pub(super) fn stand(&self) -> Entry {
        self.ask_as(None, 1, Input::Stand)
    }

    fn ask_as(&self, deadline: Option<Instant>, cost: u32, input: Input) -> Entry {
        if self.enter(cost) {
            self.note_levels();
            return Entry::Inside;
        }
        let params = self.params();
        let mut effect = Effect::Done;
        let number = self.line.join(deadline, cost, || {
            effect = self.step(&params, input);
            matches!(effect, Effect::Wait | Effect::WaitAndCallIn)
        });
        if effect == Effect::WaitAndCallIn {
            self.call_if(self.places.call_in());
        }
        let entry = match number {
            Some(number) => {
                self.count_queued(1);
                Entry::Queued(number)
            }
            None if effect == Effect::Full => Entry::Full(self.fullness()),
            None if effect == Effect::TooDear => Entry::TooDear(self.dearness(cost)),
            None => Entry::Inside, // somebody left meanwhile
        };
        self.note_levels();
        entry
    }

    /// The numbers that a rejection tells.
    #[inline]
    pub(super) fn fullness(&self) -> Measurement {
        let (at, limit) = (self.occupancy(), self.limit());
        Measurement::Occupied { in_flight: at.inside, limit, queued: at.waiting }
    }

    /// Whether a call costs more than the limit is now.
    #[inline]
    pub(super) fn is_too_dear(&self, cost: u32) -> bool {
        cost > self.limit()
    }

    /// The limit of now.
    #[inline]
    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// The numbers of one who costs more than there ever is.
    pub(super) fn dearness(&self, cost: u32) -> Measurement {
        Measurement::Cost { cost, most: self.most.load(Ordering::Relaxed) }
    }

    // ----- leaving -----

    /// A call is over: the next who waits takes its place.
    #[inline]
    pub(super) fn leave(&self, cost: u32) {
        self.vacate(cost);
        self.note_levels();
    }

    /// The same, of a call that was let through.
    #[inline]
    pub(super) fn end(&self, how: Ended, cost: u32, recorder: Recorder) {
        self.vacate(cost);
        let fresh = |fresh: &Handles<'_, _>| self.set_levels(fresh);
        self.common.reporter.meter.with_recorder(recorder, fresh, |handles| {
            self.set_occupancy(handles);
            handles.counted(how);
        });
    }

    #[inline]
    fn vacate(&self, cost: u32) {
        if !self.places.leave_alone(cost) {
            self.vacate_beside_others(cost);
        }
    }

    #[inline(never)]
    fn vacate_beside_others(&self, cost: u32) {
        self.call_if(self.places.leave(self.limit(), cost));
    }

    /// One who waits, or was just given a place, goes away.
    pub(super) fn give_up(&self, number: &Ticket, cost: u32) {
        match self.end_wait(number) {
            Standing::Placed => self.leave(cost), // it was given a place and does not take it
            Standing::Waiting => {}
            Standing::Expired | Standing::Barred => self.note_levels(),
        }
    }

    /// Nobody waits under this number any longer. What comes is how it fared: it may have been given a
    /// place just now.
    pub(super) fn end_wait(&self, number: &Ticket) -> Standing {
        let params = self.params();
        let give_up = || {
            self.step(&params, Input::GiveUp);
        };
        let standing = self.line.leave(number, give_up);
        self.count_queued(-1);
        if standing == Standing::Waiting {
            self.step_and_call(None); // there may be room for the one behind it
            self.note_levels();
        }
        standing
    }

    /// How one who waits fares. Unless it goes on waiting, its number is given back.
    pub(super) fn look(&self, number: &Ticket, waker: &Waker) -> Standing {
        let standing = self.line.look(number, waker);
        if standing != Standing::Waiting {
            self.count_queued(-1);
        }
        standing
    }

    // ----- the door of the machine -----

    /// Gives back what a call took, if one is over, and calls those in the queue for whom there is room.
    pub(super) fn step_and_call(&self, leaves: Option<u32>) {
        if leaves.is_none() && !self.may_call() {
            return;
        }
        let params = self.params();
        self.line.call(params.newest_first, |before, next| {
            let input = match before {
                Before::Nobody => {
                    leaves.map_or(Input::CallGuard { next }, |cost| Input::Leave { cost, next })
                }
                Before::InTime if !self.may_call() => return false,
                Before::InTime => Input::CallGuard { next },
                // It came too late for the place: the one after it may have it.
                Before::TooLate(cost) => Input::Leave { cost, next },
            };
            self.step(&params, input) == Effect::Next
        });
    }

    /// Whether somebody waits, and any place is free.
    fn may_call(&self) -> bool {
        let at = self.places.counted();
        at.waiting > 0 && at.inside < self.limit.load(Ordering::Acquire)
    }

    /// Taken in the line only. The limit is read there, so that nobody is left in line by one who
    /// knows an older limit than whoever raised it and let the others in.
    fn step(&self, params: &Params, input: Input) -> Effect {
        let (limit, most) = (self.limit.load(Ordering::Acquire), self.most.load(Ordering::Acquire));
        let params = Params { limit, most, ..*params };
        self.places.step(&params, input)
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("config", &self.config())
            .field("occupancy", &self.occupancy())
            .finish_non_exhaustive()
    }
}
