//! The two sides as plans of sets: which replica a query goes to, and the primary.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ask::Asker;
use super::knowledge::{Knowledge, random};
use super::load::lane;
use super::meter::SplitMeter;
use super::seen::{Knows, Need, PRIMARY};
use super::session::Session;
use super::side::{Freshness, Side};
use super::spill::Spill;
use crate::core::epoch::Epoch;
use crate::core::error::{CallError, Measurement, Reason, Rejected};
use crate::core::outcome::{Outcome, Sent};
use crate::core::position::Position;
use crate::core::request::Propagate;
use crate::core::time::nanos;
use crate::shell::reporter::Reporter;
use crate::shell::set::{Choose, Named, Passed, Plan};
use crate::shell::task::Task;

/// A replica that does not say when to come again is left alone for so long.
const SHUT_FOR: Duration = Duration::from_millis(100);
/// And no longer than this, whatever it says.
const MOST_SHUT_FOR: Duration = Duration::from_secs(1);

type SideOf<Req> = Box<dyn Fn(&Req) -> Side + Send + Sync>;
type SessionOf<Req> = Box<dyn Fn(&Req) -> Option<&Session> + Send + Sync>;
type PositionOf<Res> = Box<dyn Fn(&Res) -> Option<Position> + Send + Sync>;

/// What the user's closures say of requests and answers.
pub(super) struct Rules<Req, Res> {
    pub(super) side: Option<SideOf<Req>>,
    pub(super) session: Option<SessionOf<Req>>,
    pub(super) position: Option<PositionOf<Res>>,
    pub(super) propagate: Option<Box<dyn Propagate<Req> + Send + Sync>>,
}

/// What both sides share.
pub(super) struct Common<Req, Res> {
    pub(super) rules: Rules<Req, Res>,
    pub(super) knowledge: Arc<Knowledge>,
    pub(super) reporter: Arc<Reporter<SplitMeter>>,
    pub(super) spill: Spill,
    /// How long a query waits for a replica, in nanoseconds; and how many may at a time.
    pub(super) patience: u64,
    pub(super) most_waiting: u32,
    pub(super) every: Duration,
    pub(super) task: Task,
    pub(super) asker: Box<dyn Fn() -> Option<Asker> + Send + Sync>,
}

/// The name of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(pub(super) Arc<str>);

impl Named for Name {
    fn name(&self) -> &Arc<str> {
        &self.0
    }
}

/// The primary, the only one of its side.
pub(super) struct Writer<Req, Res> {
    pub(super) member: [Name; 1],
    pub(super) common: Arc<Common<Req, Res>>,
}

/// The replicas.
pub(super) struct Readers<Req, Res> {
    pub(super) members: Box<[Name]>,
    pub(super) common: Arc<Common<Req, Res>>,
}

/// A call to a replica.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Going {
    place: u32,
    lane: u8,
}

impl<Req, Res> Rules<Req, Res> {
    #[inline]
    pub(super) fn side(&self, request: &Req) -> Side {
        self.side.as_ref().map_or_else(Side::default, |side| side(request))
    }

    #[inline]
    pub(super) fn session<'r>(&self, request: &'r Req) -> Option<&'r Session> {
        self.session.as_ref().and_then(|session| session(request))
    }

    pub(super) fn position(&self, answer: &Res) -> Option<Position> {
        self.position.as_ref().and_then(|position| position(answer))
    }
}

impl<Req, Res> Common<Req, Res> {
    /// What a replica must have for this query.
    #[inline]
    pub(super) fn need(&self, request: &Req, freshness: Freshness) -> Need {
        match freshness {
            Freshness::Any | Freshness::Within(_) => Need::Nothing,
            Freshness::AtLeast(position) => Need::Has { position: Some(position), seat: None },
            Freshness::Latest => Need::Primary,
            Freshness::Seen => match self.rules.session(request) {
                Some(session) => session.need(&*self.knowledge),
                None => Need::Nothing,
            },
        }
    }

    /// The time of which a replica must have everything; 0 if it need not.
    fn oldest(&self, freshness: Freshness) -> u64 {
        match freshness {
            // Before the first moment nobody knows anything.
            Freshness::Within(age) => self.knowledge.now().saturating_sub(nanos(age)),
            _ => 0,
        }
    }

    /// The less loaded of those replicas that may take the query.
    #[inline]
    fn pick(&self, request: &Req, passed: &Passed) -> Option<usize> {
        let Side::Query(freshness) = self.rules.side(request) else { return None };
        let need = self.need(request, freshness);
        if need == Need::Nothing
            && !matches!(freshness, Freshness::Within(_))
            && passed.is_empty()
            && !self.knowledge.is_careful()
        {
            let replicas = self.knowledge.replicas();
            let (one, other) = two(replicas.len());
            let lane = lane();
            let is_less = replicas[other].load.about(lane) < replicas[one].load.about(lane);
            return Some(if is_less { other } else { one });
        }
        self.pick_carefully(need, freshness, passed)
    }

    fn pick_carefully(&self, need: Need, freshness: Freshness, passed: &Passed) -> Option<usize> {
        let is_fresh: &dyn Fn(usize) -> bool = match (need, freshness) {
            (Need::Primary | Need::Lost(_), _) => return None,
            (_, Freshness::Within(_)) => {
                let oldest = self.oldest(freshness);
                &move |place| self.knowledge.is_as_of(place, oldest)
            }
            (Need::Has { position, seat }, _) => &move |place: usize| {
                seat.is_none_or(|seat| seat as usize == place + 1)
                    && position.is_none_or(|position| self.knowledge.has_all(place, position))
            },
            (Need::Nothing, _) => &|_| true,
        };
        let now = self.knowledge.is_careful().then(|| self.knowledge.now());
        let (replicas, lane) = (self.knowledge.replicas(), lane());
        let may = |place: &usize| {
            now.is_none_or(|now| !replicas[*place].is_shut(now))
                && is_fresh(*place)
                && !passed.contains(*place)
        };
        let (one, other) = two(replicas.len());
        let (has_one, has_other) = (may(&one), other != one && may(&other));
        if has_one && has_other {
            let is_less = replicas[other].load.about(lane) < replicas[one].load.about(lane);
            return Some(if is_less { other } else { one });
        }
        if let Some(now) = now {
            self.knowledge.look(now);
        }
        // From a place that is drawn, so that of equals each has its turn.
        let all = (one..replicas.len()).chain(0..one);
        all.filter(may).min_by_key(|place| replicas[*place].load.about(lane))
    }

    /// Whether a replica is up, fresh or not.
    pub(super) fn is_any_up(&self) -> bool {
        if !self.knowledge.is_careful() {
            return true;
        }
        let now = self.knowledge.now();
        self.knowledge.replicas().iter().any(|replica| !replica.is_shut(now))
    }

    /// Why no replica takes this query, and nobody else does.
    #[cold]
    pub(super) fn refuse(&self, need: Need, freshness: Freshness) -> Rejected {
        let (reason, measured) = match (need, freshness) {
            (Need::Lost(Position { era, at }), _) => {
                (Reason::Lost, Measurement::Branched { era, at })
            }
            _ if !self.is_any_up() => (Reason::NoReplica, Measurement::Nothing),
            (_, Freshness::Within(age)) => (Reason::Stale, Measurement::Age { limit: nanos(age) }),
            (Need::Has { position: Some(position), .. }, _) => {
                let by = self.knowledge.behind(position);
                (Reason::Stale, Measurement::Behind { by })
            }
            _ => (Reason::Stale, Measurement::Behind { by: u64::MAX }),
        };
        let levels = |handles: &crate::shell::meter::Handles<'_, SplitMeter>| {
            handles.own.set_levels(&self.knowledge);
        };
        let rejected = self.reporter.reject_with(levels, reason, measured);
        if reason == Reason::Lost { rejected } else { rejected.retry_in(Some(self.every)) }
    }

    /// Begins to ask, if nobody does. Outside a runtime nobody can.
    #[inline]
    pub(super) fn tend(&self) {
        if self.task.is_idle() {
            self.begin_asking();
        }
    }

    #[cold]
    fn begin_asking(&self) {
        let Some(seen) = self.task.running() else { return };
        let Some(asker) = (self.asker)() else { return };
        self.task.begin(seen, |_| asker.run());
    }

    /// A member's stack rejected a call that was not sent.
    fn shut(&self, place: usize, rejected: &Rejected) {
        let outcome = Outcome::of_rejection(rejected);
        let is_down = matches!(
            rejected.reason(),
            Reason::CircuitOpen | Reason::Unhealthy | Reason::Draining | Reason::NoReplica
        );
        if is_down && outcome.sent == Sent::Never {
            let wait = rejected.retry_after().unwrap_or(SHUT_FOR).min(MOST_SHUT_FOR);
            self.knowledge.shut(place, nanos(wait));
        }
    }
}

/// Two places that are drawn; of two or more, not the same.
#[inline]
fn two(count: usize) -> (usize, usize) {
    let (random, len) = (random(), count as u64);
    let one = ((random >> 32) * len) >> 32;
    let further = (((random & 0xffff_ffff) * len.saturating_sub(1)) >> 32) + 1;
    let other = if one + further < len { one + further } else { (one + further) - len };
    (one as usize, other as usize)
}

impl<Req, Res> Plan for Writer<Req, Res> {
    type Member = Name;
    type Call = ();
    type Meter = SplitMeter;

    fn members(&self) -> &[Name] {
        &self.member
    }

    fn version(&self) -> Epoch {
        Epoch::NOBODY
    }

    fn set_levels(&self, meter: &SplitMeter) {
        meter.set_levels(&self.common.knowledge);
    }
}

impl<Req, Res, Err> Choose<Req, Res, Err> for Writer<Req, Res> {
    fn choose(&self, _: &Req, passed: &Passed) -> Option<usize> {
        passed.is_empty().then_some(0)
    }

    fn begin(&self, _: usize) {}

    fn settle(&self, (): (), result: Result<&Res, &Err>) {
        if let Ok(answer) = result
            && let Some(position) = self.common.rules.position(answer)
        {
            // A new history is entered by who is asked, and says where it began.
            let known = self.common.knowledge.known(PRIMARY);
            let is_new = known.is_some_and(|known| known.position.era < position.era);
            if !(is_new && self.common.knowledge.asks()) {
                self.common.knowledge.learned(PRIMARY as usize, position);
            }
        }
    }
}

impl<Req, Res> Plan for Readers<Req, Res> {
    type Member = Name;
    type Call = Going;
    type Meter = SplitMeter;

    fn members(&self) -> &[Name] {
        &self.members
    }

    fn version(&self) -> Epoch {
        Epoch::NOBODY
    }

    fn set_levels(&self, meter: &SplitMeter) {
        meter.set_levels(&self.common.knowledge);
    }

    fn abandon(&self, call: Going) {
        self.common.knowledge.replicas()[call.place as usize].load.end(call.lane);
    }
}

impl<Req, Res, Err: CallError> Choose<Req, Res, Err> for Readers<Req, Res> {
    const ASK: usize = usize::MAX;
    const WAIT_FOR: usize = 4;

    #[inline]
    fn choose(&self, request: &Req, passed: &Passed) -> Option<usize> {
        self.common.pick(request, passed)
    }

    #[inline]
    fn begin(&self, place: usize) -> Going {
        let lane = lane();
        self.common.knowledge.replicas()[place].load.begin(lane);
        Going { place: place as u32, lane }
    }

    #[inline]
    fn settle(&self, call: Going, result: Result<&Res, &Err>) {
        let place = call.place as usize;
        self.common.knowledge.replicas()[place].load.end(call.lane);
        match result {
            Ok(answer) => {
                if let Some(position) = self.common.rules.position(answer) {
                    self.common.knowledge.learned(place + 1, position);
                }
            }
            Err(error) => {
                if let Some(rejected) = error.rejected() {
                    self.common.shut(place, rejected);
                }
            }
        }
    }

    fn nobody(&self, request: &Req) -> Option<Rejected> {
        let Side::Query(freshness) = self.common.rules.side(request) else {
            return Some(self.common.refuse(Need::Primary, Freshness::Latest));
        };
        Some(self.common.refuse(self.common.need(request, freshness), freshness))
    }

    /// Another replica, or the primary.
    fn elsewhere(&self, _: &Going, rejected: &Rejected) -> bool {
        Outcome::of_rejection(rejected).sent == Sent::Never
    }

    fn unready(&self, place: usize, error: &Err) -> bool {
        if let Some(rejected) = error.rejected() {
            self.common.shut(place, rejected);
        }
        true
    }
}

impl<Req, Res> fmt::Debug for Writer<Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("member", &self.member).finish_non_exhaustive()
    }
}

impl<Req, Res> fmt::Debug for Readers<Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("members", &self.members).finish_non_exhaustive()
    }
}
