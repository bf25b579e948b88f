//! What a set of endpoints learns from answers, and what follows: who is ejected, returns, or is left alone.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::common::Detector;
use super::load::Load;
use super::machine::{Cause, Effect, Panic};
use super::roster::Roster;
use crate::core::error::Measurement;
use crate::core::event::EventKind;
use crate::core::outcome::{Outcome, Signal};
use crate::core::time::{Tick, nanos};
use crate::shell::reporter::EventContext;
use crate::shell::set::{Named, Plan};

/// What a step decided, with the number of each change of a member, or of the set.
#[derive(Default)]
struct Told {
    changes: Vec<(Effect, u64)>,
    panic: Option<(Option<Panic>, u64)>,
}

/// How many are near enough, in percent of those there would have to be if all were up: the others get what is
/// beyond (Envoy's over-provisioning factor).
const OVERPROVISION: u64 = 140;
/// What has no calls of this set in flight, and is full all the same, is left alone as long.
const BRIEFLY: u64 = 10_000_000;
/// Members that reject calls are left alone as long, if they do not say how long.
const SHUT: u64 = 250_000_000;
/// They are asked again after this, whatever they say.
const LONGEST_SHUT: u64 = 5_000_000_000;
/// The states of an endpoint, in events.
const ACTIVE: &str = "active";
const EJECTED: &str = "ejected";
/// One call in so many is a probe of an ejected member, where calls are few for their interval.
const PROBE_ONE_IN: u64 = 250;
/// The interval of probes is doubled with each ejection, so often at most.
const MOST_DOUBLED: u32 = 6;

impl<C, K> Roster<C, K> {
    /// Compares the members, if it is time.
    #[inline]
    pub(super) fn look(&self, now: Tick) {
        if self.common.is_due(now) {
            self.compare(now, true);
        }
    }

    /// Compares the members, and ejects or returns whoever it is time for.
    #[cold]
    pub(super) fn compare(&self, now: Tick, is_due: bool) {
        let step = |detector: &mut Detector| self.step(detector, now, is_due);
        match self.common.detector.try_with(step) {
            Some(told) => self.tell_all(told, now),
            None => self.common.is_due_next(),
        }
    }

    /// The same for a list that has just come into force: it waits for whoever is at it.
    pub(super) fn compare_first(&self, now: Tick) {
        let told = self.common.detector.with(|detector| self.step(detector, now, false));
        self.tell_all(told, now);
    }

    /// Under the lock of the detector: one step after the other, and none of a list after one of a later list.
    fn step(&self, detector: &mut Detector, now: Tick, is_due: bool) -> Told {
        let (common, version) = (&self.common, self.version.get());
        if detector.version > version {
            return Told::default(); // another list is in force
        }
        let is_new = detector.version != version;
        detector.version = version;
        detector.count(now, self.loads.iter().map(|load| load.answered()).sum());
        let seen = self.loads.iter().zip(&self.zones).map(|(load, zone)| load.seen(*zone));
        let effects = detector.machine.step(&common.params, now, common.random(0).into(), seen);
        let pace = detector.pace;
        let follow = |effect: &Effect| self.follow(*effect, now, pace);
        let changes = effects.iter().map(follow).collect::<Vec<_>>();
        for load in &self.loads {
            if is_due {
                load.ease();
                load.look_around();
            }
            if load.is_ramping() && load.share(now, common.slow_start) >= 1_000 {
                load.end_ramp();
            }
        }
        let panic = detector.machine.panic(&common.params);
        let was = common.panic.swap(panic.is_some(), Relaxed);
        let panic =
            (was != panic.is_some()).then(|| (panic, common.panics.fetch_add(1, Relaxed) + 1));
        if !changes.is_empty() || panic.is_some() || is_new {
            self.put_in_use();
        }
        self.be_careful(now);
        common.near_ppm.store(self.near_ppm(now), Relaxed);
        Told { changes, panic }
    }

    /// Who is drawn from, and when the ejected are looked at next.
    fn put_in_use(&self) {
        let is_panic = self.common.panic.load(Relaxed);
        let is_up = |place: usize| is_panic || !self.loads[place].is_ejected();
        self.near_up.keep(&self.near, is_up);
        self.far_up.keep(&self.far, is_up);
        let ejected = self.loads.iter().filter(|load| load.is_ejected());
        let due = ejected.map(|load| load.probe_at().0).min();
        self.common.probe_due.store(due.unwrap_or(u64::MAX), Relaxed);
        self.common.changes.fetch_add(1, Release);
    }

    /// Whether there is anything to consider, as of now. What is shut meanwhile is seen, or says so itself after this.
    fn be_careful(&self, now: Tick) {
        let needs_care = || {
            self.loads.iter().any(|load| {
                load.is_ejected() || load.is_ramping() || load.is_shut(now) || load.is_full(now)
            })
        };
        if needs_care() || (self.common.careful.swap(false, AcqRel) && needs_care()) {
            self.common.careful.store(true, Release);
        }
    }

    fn tell_all(&self, told: Told, now: Tick) {
        if told.changes.is_empty() && told.panic.is_none() {
            return;
        }
        for (effect, seq) in told.changes {
            self.tell(effect, seq, now);
        }
        if let Some((panic, seq)) = told.panic {
            let (from, to, cause) = match panic {
                Some(why) => ("normal", "panic", why.as_str()),
                None => ("panic", "normal", "enough_left"),
            };
            let kind = EventKind::Changed { from, to, cause, measurement: Measurement::Nothing };
            self.common.reporter.tell(EventContext { key: None, seq }, now, kind);
        }
        // Whoever sets them last has seen the last change.
        self.common.reporter.meter(|handles| {
            loop {
                let before = self.common.changes.load(Acquire);
                self.set_levels(handles.own);
                if self.common.changes.load(Acquire) == before {
                    return;
                }
            }
        });
    }

    /// Whether this one, of this list, does not get its full share yet.
    pub(super) fn is_ramping(&self, load: &Load) -> bool {
        load.share(self.common.now(), self.common.slow_start) < 1_000
    }

    /// Does what was decided. Returns the number of this change of the member.
    fn follow(&self, effect: Effect, now: Tick, pace: u64) -> (Effect, u64) {
        let common = &self.common;
        let seq = match effect {
            Effect::Joined(nth) => {
                self.loads[nth].ramp(now, common.slow_start);
                0
            }
            Effect::Returned(nth) | Effect::Recalled(nth, _) => {
                self.loads[nth].ramp(now, common.slow_start);
                self.loads[nth].change()
            }
            Effect::Ejected { nth, times, .. } => {
                let doubled = 1 << times.saturating_sub(1).min(MOST_DOUBLED);
                let every = common.probe_interval.saturating_mul(doubled);
                // Each of them is a slow or failed call: not so many that the slowest of a hundred calls is one.
                let every = every.max(pace.saturating_mul(PROBE_ONE_IN));
                // Before its time is over, however often it was.
                let every = every.min(common.params.lasts(times) * 2 / 5).max(1);
                self.loads[nth].eject(now, every);
                self.loads[nth].change()
            }
        };
        (effect, seq)
    }

    fn tell(&self, effect: Effect, seq: u64, now: Tick) {
        let reporter = &self.common.reporter;
        let returns = |cause| {
            let (from, to, measurement) = (EJECTED, ACTIVE, Measurement::Nothing);
            EventKind::Changed { from, to, cause, measurement }
        };
        let (nth, kind) = match effect {
            Effect::Joined(_) => return,
            Effect::Returned(nth) => (nth, returns("ejection_time")),
            Effect::Recalled(nth, why) => (nth, returns(why.as_str())),
            Effect::Ejected { nth, cause, observed, threshold, .. } => {
                reporter.meter(|handles| handles.own.ejections[cause as usize].increment(1));
                let from = if cause == Cause::StillBad { EJECTED } else { ACTIVE };
                let measurement = cause.measurement(observed, threshold);
                (nth, EventKind::Changed { from, to: EJECTED, cause: cause.as_str(), measurement })
            }
        };
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

    /// It takes no call now, beyond those in flight: until one of them ends, or others had the time to end theirs.
    #[cold]
    pub(super) fn full(&self, place: usize) {
        let (load, now) = (&self.loads[place], self.common.now());
        let most = if load.in_flight() > 0 { SHUT } else { BRIEFLY };
        load.fill(now.plus(most));
        self.common.careful.store(true, Release);
    }

    /// A call was not answered well.
    #[cold]
    #[inline(never)]
    pub(super) fn not_good(&self, place: usize, outcome: Outcome, took: u64) {
        let (load, now) = (&self.loads[place], self.common.now());
        if outcome.rejected || outcome.signal == Signal::Pushback {
            let asked = outcome.retry_after().map(nanos);
            if !outcome.rejected {
                load.penalise(took);
            }
            if outcome.rejected || asked.is_some() {
                load.shut(now.plus(asked.unwrap_or(SHUT).min(LONGEST_SHUT)));
                self.common.careful.store(true, Release);
            }
        } else if outcome.signal == Signal::Failure {
            let (in_a_row, most) = (load.failed(now, took), self.common.params.consecutive);
            if most > 0 && in_a_row.is_multiple_of(most) {
                self.compare(now, false);
            }
        }
        self.look(now);
    }
}
