//! A list of endpoints in force, as the plan of a set: who is chosen, and what is learnt from answers.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::common::Common;
use super::draw::Draw;
use super::endpoint::Endpoint;
use super::load::{Load, lane};
use super::machine::{Cause, Effect};
use super::meter::EndpointsMeter;
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::epoch::Epoch;
use crate::core::error::Measurement;
use crate::core::event::EventKind;
use crate::core::outcome::{Outcome, Signal};
use crate::core::request::Propagate;
use crate::core::time::{Tick, nanos};
use crate::shell::reporter::EventContext;
use crate::shell::set::{Choose, Named, Passed, Plan};

/// The endpoints in force.
pub struct Roster<C, K> {
    pub(super) version: Epoch,
    pub(super) members: Box<[Endpoint]>,
    pub(super) loads: Box<[Arc<Load>]>,
    /// Those in the zone of the client, or all.
    pub(super) near: Draw,
    /// The others.
    pub(super) far: Draw,
    pub(super) common: Arc<Common<C, K>>,
}

/// A call to an endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Going {
    place: u32,
    /// When it was pending for the first time; zero if it was not yet.
    since: u64,
    lane: u8,
}

/// How many are near enough, in percent of those there would have to be if all were up: the others get what is
/// beyond (Envoy's over-provisioning factor).
const OVERPROVISION: u64 = 140;
/// Members that reject calls are left alone as long, if they do not say how long.
const SHUT: u64 = 250_000_000;
/// They are asked again after this, whatever they say.
const LONGEST_SHUT: u64 = 5_000_000_000;
/// The states of an endpoint, in events.
const ACTIVE: &str = "active";
const EJECTED: &str = "ejected";
/// The interval of probes is doubled with each ejection, so often at most.
const MOST_DOUBLED: u32 = 6;
/// Calls between looks at the clock, where none is pending. A power of two.
const LOOK_EVERY: u64 = 64;

impl<C, K> Roster<C, K> {
    /// The list after `before`: endpoints of both keep what is known of them.
    pub(super) fn new(
        common: Arc<Common<C, K>>,
        members: Box<[Endpoint]>,
        before: Option<&Self>,
    ) -> Self {
        let known: HashMap<&str, _> = before
            .map(|before| {
                let all = before.members.iter().zip(&before.loads);
                all.map(|(member, load)| (member.name(), (member, load))).collect()
            })
            .unwrap_or_default();
        let load = |member: &Endpoint| match known.get(member.name()) {
            Some((one, load)) if one.address() == member.address() => Arc::clone(load),
            _ => Arc::new(Load::new(common.id())),
        };
        let loads: Box<[_]> = members.iter().map(load).collect();
        let version = before.map_or(Epoch::new(1), |before| before.version.next());
        let mut roster =
            Self { version, members, loads, near: Draw::default(), far: Draw::default(), common };
        roster.divide();
        roster
    }

    /// Into those that are near and those that are not.
    fn divide(&mut self) {
        let zone = self.common.zone.as_deref();
        let is_near = |member: &Endpoint| zone.is_none() || member.get_zone() == zone;
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for (place, member) in (0_u32..).zip(&self.members) {
            let side = if is_near(member) { &mut near } else { &mut far };
            side.push((place, member.get_weight()));
        }
        if near.is_empty() {
            std::mem::swap(&mut near, &mut far);
        }
        (self.near, self.far) = (Draw::new(&near), Draw::new(&far));
    }

    // ----- learning -----

    /// Compares the members, if it is time.
    #[inline]
    fn look(&self, now: Tick) {
        if self.common.is_due(now) {
            self.compare(now, true);
        }
    }

    /// Compares the members, and ejects or returns whoever it is time for.
    #[cold]
    pub(super) fn compare(&self, now: Tick, is_due: bool) {
        let common = &self.common;
        let told = common.detector.try_with(|detector| {
            if detector.version > self.version.get() {
                return Vec::new(); // another list is in force
            }
            detector.version = self.version.get();
            let (draw, seen) = (common.random(0), self.loads.iter().map(|load| load.seen()));
            let effects = detector.machine.step(&common.params, now, draw.into(), seen);
            let told: Vec<_> = effects.iter().map(|effect| self.follow(*effect, now)).collect();
            let mut is_careful = false;
            for load in &self.loads {
                if is_due {
                    load.ease();
                    load.look_around();
                }
                if load.is_ramping() && load.share(now, common.slow_start) >= 1_000 {
                    load.end_ramp();
                }
                is_careful |= load.is_ejected() || load.is_ramping() || load.is_shut(now);
            }
            common.careful.store(is_careful, Relaxed);
            common.panic.store(detector.machine.is_panic(&common.params), Relaxed);
            common.near_ppm.store(self.near_ppm(now), Relaxed);
            told
        });
        for (effect, seq) in told.unwrap_or_default() {
            self.tell(effect, seq, now);
        }
    }

    /// Whether this one, of this list, does not get its full share yet.
    pub(super) fn is_ramping(&self, load: &Load) -> bool {
        load.share(self.common.now(), self.common.slow_start) < 1_000
    }

    /// Does what was decided. Returns the number of this change of the member.
    fn follow(&self, effect: Effect, now: Tick) -> (Effect, u64) {
        let common = &self.common;
        let seq = match effect {
            Effect::Joined(nth) => {
                self.loads[nth].ramp(now, common.slow_start);
                0
            }
            Effect::Returned(nth) => {
                self.loads[nth].ramp(now, common.slow_start);
                self.loads[nth].change()
            }
            Effect::Ejected { nth, times, .. } => {
                let doubled = 1 << times.saturating_sub(1).min(MOST_DOUBLED);
                let every = common.probe_interval.saturating_mul(doubled);
                // More than once before its time is over, however often it was.
                let every = every.min(common.params.lasts(times) / 3).max(1);
                self.loads[nth].eject(now, every);
                self.loads[nth].change()
            }
        };
        (effect, seq)
    }

    fn tell(&self, effect: Effect, seq: u64, now: Tick) {
        let reporter = &self.common.reporter;
        let (nth, kind) = match effect {
            Effect::Joined(_) => return,
            Effect::Returned(nth) => {
                let measurement = Measurement::Nothing;
                let (from, to, cause) = (EJECTED, ACTIVE, "ejection_time");
                (nth, EventKind::Changed { from, to, cause, measurement })
            }
            Effect::Ejected { nth, cause, observed, threshold, .. } => {
                reporter.meter(|handles| handles.own.ejections[cause as usize].increment(1));
                let from = if cause == Cause::StillBad { EJECTED } else { ACTIVE };
                let measurement = cause.measurement(observed, threshold);
                (nth, EventKind::Changed { from, to: EJECTED, cause: cause.as_str(), measurement })
            }
        };
        reporter.meter(|handles| self.set_levels(handles.own));
        let key = Named::name(&self.members[nth]);
        reporter.tell(EventContext { key: Some(key), seq }, now, kind);
    }

    /// How many calls in a million stay near: all, as long as enough is up there.
    fn near_ppm(&self, now: Tick) -> u32 {
        let is_up =
            |place: usize| !self.loads[place].is_ejected() && !self.loads[place].is_shut(now);
        let near = || (0..self.loads.len()).filter(|place| self.is_near(*place));
        let weigh = |places: &mut dyn Iterator<Item = usize>| -> u64 {
            places.map(|place| u64::from(self.members[place].get_weight())).sum()
        };
        let (up, all) = (weigh(&mut near().filter(|place| is_up(*place))), weigh(&mut near()));
        u32::try_from(up * OVERPROVISION * 10_000 / all.max(1)).unwrap_or(u32::MAX)
    }

    /// A call was not answered well.
    #[cold]
    #[inline(never)]
    fn not_good(&self, place: usize, outcome: Outcome, took: u64) {
        let (load, now) = (&self.loads[place], self.common.now());
        if outcome.rejected || outcome.signal == Signal::Pushback {
            let asked = outcome.retry_after().map_or(SHUT, nanos).min(LONGEST_SHUT);
            if !outcome.rejected {
                load.penalise(took);
            }
            if outcome.rejected || outcome.retry_after().is_some() {
                load.shut(now.plus(asked));
                self.common.careful.store(true, Relaxed);
            }
        } else if outcome.signal == Signal::Failure {
            let (in_a_row, most) = (load.failed(took), self.common.params.consecutive);
            if most > 0 && in_a_row.is_multiple_of(most) {
                self.compare(now, false);
            }
        }
        self.look(now);
    }
}

impl<C, K> Plan for Roster<C, K> {
    type Member = Endpoint;
    type Call = Going;
    type Meter = EndpointsMeter;

    fn members(&self) -> &[Endpoint] {
        &self.members
    }

    fn version(&self) -> Epoch {
        self.version
    }

    fn set_levels(&self, meter: &EndpointsMeter) {
        let ejected = self.loads.iter().filter(|load| load.is_ejected()).count();
        meter.members.set(self.members.len() as f64);
        meter.ejected.set(ejected as f64);
        meter.panic.set(f64::from(u8::from(self.common.panic.load(Relaxed))));
    }

    fn abandon(&self, call: Going) {
        let load = &self.loads[call.place as usize];
        load.left(call.lane);
        if call.since > 0 {
            let now = self.common.now();
            load.given_up(now.since(Tick(call.since)));
            self.look(now);
        }
    }
}

impl<C, K, Req, Res, Err> Choose<Req, Res, Err> for Roster<C, K>
where
    C: Classify<Res, Err>,
    K: Propagate<Req>,
{
    const WAIT_FOR: usize = 3;

    #[inline]
    fn choose(&self, request: &Req, passed: &Passed) -> Option<usize> {
        let common = &self.common;
        let is_again =
            common.propagate.propagates() && common.propagate.extract(request).attempt > 1;
        if passed.is_empty() && !is_again && !common.careful.load(Relaxed) {
            return Some(self.pick(lane()));
        }
        self.pick_carefully(lane(), passed, is_again)
    }

    #[inline]
    fn begin(&self, place: usize) -> Going {
        let lane = lane();
        self.loads[place].begin(lane);
        Going { place: place as u32, since: 0, lane }
    }

    #[inline]
    fn waits(&self, call: &mut Going) {
        if call.since == 0 {
            call.since = self.common.now().0.max(1);
        }
    }

    #[inline]
    fn settle(&self, call: Going, result: Result<&Res, &Err>) {
        let unclassified = Unclassified { roster: self, call };
        let classification =
            self.common.classify.classify_call(result, &ClassifyContext::default());
        mem::forget(unclassified);
        let outcome = match result {
            Ok(_) => classification.of_head(),
            Err(_) => classification.of_error(),
        };
        let (place, load) = (call.place as usize, &self.loads[call.place as usize]);
        let now = (call.since > 0).then(|| self.common.now());
        let took = now.map_or(0, |now| now.since(Tick(call.since)));
        if outcome.signal == Signal::Success {
            let successes = load.succeeded(call.lane, took);
            if let Some(now) = now {
                self.look(now);
            } else if successes.is_multiple_of(LOOK_EVERY) {
                self.look(self.common.now());
            }
        } else {
            load.left(call.lane);
            self.not_good(place, outcome, took);
        }
    }

    fn unready(&self, place: usize, error: &Err) -> bool {
        let classification = self.common.classify.classify(Err(error));
        self.not_good(place, classification.of_error(), 0);
        true
    }
}

/// The answer to a call, while the classifier looks at it. Dropped, if that panics: it is a failure.
struct Unclassified<'a, C, K> {
    roster: &'a Roster<C, K>,
    call: Going,
}

impl<C, K> Drop for Unclassified<'_, C, K> {
    #[cold]
    fn drop(&mut self) {
        let (call, roster) = (self.call, self.roster);
        let load = &roster.loads[call.place as usize];
        load.left(call.lane);
        let since = Tick(call.since);
        // Whether it is ejected for that is seen when members are compared next.
        load.failed(if call.since > 0 { roster.common.now().since(since) } else { 0 });
    }
}

impl<C, K> fmt::Debug for Roster<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster")
            .field("version", &self.version)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
