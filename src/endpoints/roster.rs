//! A list of endpoints in force, as the plan of a set: who is chosen, and what is learnt from answers.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::common::Common;
use super::draw::Draw;
use super::endpoint::Endpoint;
use super::error::AdoptError;
use super::in_use::InUse;
use super::load::{Load, lane};
use super::meter::EndpointsMeter;
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::epoch::Epoch;
use crate::core::error::{CallError, Reason, Rejected};
use crate::core::outcome::{Outcome, Retryable, Sent, Signal};
use crate::core::request::Propagate;
use crate::core::time::Tick;
use crate::shell::set::{Choose, Passed, Plan};

/// The endpoints in force.
pub struct Roster<C, K> {
    pub(super) version: Epoch,
    /// The whole list, in the order of names. The members are all of them, or a subset.
    pub(super) all: Box<[Endpoint]>,
    pub(super) members: Box<[Endpoint]>,
    pub(super) loads: Box<[Arc<Load>]>,
    /// Those in the zone of the client, or all.
    pub(super) near: Draw,
    /// The others.
    pub(super) far: Draw,
    /// Those of both that are in use.
    pub(super) near_up: InUse,
    pub(super) far_up: InUse,
    /// Of each member, by number.
    pub(super) zones: Box<[u32]>,
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

/// Calls between looks at the clock, where none is pending. A power of two.
const LOOK_EVERY: u64 = 64;

impl<C, K> Roster<C, K> {
    /// The list after `before`: endpoints of both keep what is known of them.
    pub(super) fn new(
        common: Arc<Common<C, K>>,
        all: Box<[Endpoint]>,
        before: Option<&Self>,
    ) -> Self {
        let members = match &common.subset {
            Some(subset) => subset.of(common.zone.as_deref(), &all),
            None => all.clone(),
        };
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
        let (near, far) = divide(common.zone.as_deref(), &members);
        let (near_up, far_up) = (InUse::new(&near), InUse::new(&far));
        let mut known: Vec<_> = members.iter().map(Endpoint::get_zone).collect();
        known.sort_unstable();
        known.dedup();
        let zone = |one: &Endpoint| known.partition_point(|zone| *zone < one.get_zone()) as u32;
        let zones = members.iter().map(zone).collect();
        Self { version, all, members, loads, near, far, near_up, far_up, zones, common }
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
    Err: CallError,
{
    const ASK: usize = usize::MAX;
    const WAIT_FOR: usize = 16;

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
            match result {
                Err(error) if is_full(error) => self.full(place),
                _ => self.not_good(place, outcome, took),
            }
        }
    }

    fn busy(&self, place: usize) {
        self.full(place);
    }

    fn elsewhere(&self, call: &Going, rejected: &Rejected) -> bool {
        Outcome::of_rejection(rejected).retryable != Retryable::Never
            && Outcome::of_rejection(rejected).sent == Sent::Never
            && self.has_another(call.place as usize, self.common.now())
    }

    fn unready(&self, place: usize, error: &Err) -> bool {
        if is_full(error) {
            self.full(place);
            return true;
        }
        let classification = self.common.classify.classify(Err(error));
        self.not_good(place, classification.of_error(), 0);
        true
    }
}

/// Whether a list lacks more than half of the endpoints of the one before, as a fault of the discovery would look.
pub(super) fn shrinks(before: &[Endpoint], after: &[Endpoint]) -> Result<(), AdoptError> {
    let is_there =
        |one: &&Endpoint| after.binary_search_by(|other| other.name().cmp(one.name())).is_ok();
    let stay = before.iter().filter(is_there).count();
    if stay * 2 < before.len() {
        return Err(AdoptError::Shrunk { before: before.len(), stay, after: after.len() });
    }
    Ok(())
}

/// Into those that are near and those that are not.
fn divide(zone: Option<&str>, members: &[Endpoint]) -> (Draw, Draw) {
    let is_near = |member: &Endpoint| zone.is_none() || member.get_zone() == zone;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for (place, member) in (0_u32..).zip(members) {
        let side = if is_near(member) { &mut near } else { &mut far };
        side.push((place, member.get_weight()));
    }
    if near.is_empty() {
        std::mem::swap(&mut near, &mut far);
    }
    (Draw::new(&near), Draw::new(&far))
}

/// Whether a limit of the member's stack is reached, which ends with a call, not with time.
fn is_full(error: &impl CallError) -> bool {
    let why = error.rejected().map(Rejected::reason);
    matches!(why, Some(Reason::Full | Reason::QueueTimeout | Reason::Recovering))
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
        let now = roster.common.now();
        load.failed(now, if call.since > 0 { now.since(since) } else { 0 });
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
