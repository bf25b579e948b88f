//! The algorithm of a bulkhead: who may enter, who waits, who is next.

use super::adaptive::Bounds;
use super::config::{Config, Order};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::time::nanos;

/// The most calls at a time, and the most that wait: what fits a word together.
pub(super) const MOST: u32 = 1_000_000;

/// In a word, what threads keep stands above the count of those who wait.
const KEPT: u32 = 30;

/// Config made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    pub(crate) limit: u32,
    /// What the limit may ever be.
    pub(crate) most: u32,
    pub(crate) queue: u32,
    /// Nanoseconds.
    pub(crate) max_wait: u64,
    pub(crate) newest_first: bool,
    /// If the limit follows the dependency.
    pub(crate) adaptive: Option<Bounds>,
}

/// Who is inside and who waits: small enough to be one atomic word.
///
/// ```text
///            room, and nobody waits
///   Ask ──────────────────────────────▶ inside ──Leave──▶ gone; the next who waits takes the permit
///     │ no room, or others wait            ▲
///     ├──▶ waiting ────────────────────────┘
///     │      └──GiveUp──▶ gone
///     └──▶ rejected: the queue is full, or it costs more than there ever is
/// ```
///
/// The next who waits comes in when there is room for all that it costs, and nobody before it: one who
/// costs much is not overtaken by many who cost little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Occupancy {
    /// Places that are taken.
    pub(crate) inside: u32,
    /// Calls that wait.
    pub(crate) waiting: u32,
    /// Whether some of the places that are taken may be kept by threads, for the calls to come.
    pub(crate) kept: Kept,
}

/// What threads do with the places of calls that are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Kept {
    /// They give them back.
    #[default]
    None,
    /// They keep some. Never while anybody waits.
    Some,
    /// They give them back, and somebody gives back for them what they had kept.
    CalledIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// A call that costs so many places asks to enter, and would wait.
    Ask(u32),
    /// The same of one place, and waits whatever the length of the queue: it is bounded by other means.
    Stand,
    /// A call is over that took so many places. The next in the queue costs so many, if anybody waits.
    Leave { cost: u32, next: u32 },
    /// A call does not wait any longer.
    GiveUp,
    /// There may be room: lets the next in the queue in, if there is enough for all that it costs.
    CallGuard { next: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// It is inside.
    Enter,
    /// It waits.
    Wait,
    /// There is no room, not even to wait.
    Full,
    /// It costs more than the limit.
    TooDear,
    /// It waits, and what threads keep is called in.
    WaitAndCallIn,
    /// Nothing more to do.
    Done,
    /// The next of those who wait is inside now.
    Next,
}

impl Occupancy {
    /// The one door.
    #[inline]
    pub(crate) fn step(&mut self, params: &Params, input: Input) -> Effect {
        match input {
            Input::Ask(cost) => self.ask(params, cost, params.queue),
            Input::Stand => self.ask(params, 1, MOST),
            Input::Leave { cost, next } => {
                self.inside = self.inside.saturating_sub(cost);
                self.let_in(params, next)
            }
            Input::GiveUp => {
                self.waiting = self.waiting.saturating_sub(1);
                Effect::Done
            }
            Input::CallGuard { next } => self.let_in(params, next),
        }
    }

    fn ask(&mut self, params: &Params, cost: u32, queue: u32) -> Effect {
        if cost > params.most {
            return Effect::TooDear;
        }
        // The newest is the next: there may be others before it for whom there is no room.
        let is_next = self.waiting == 0 || params.newest_first || cost == 0;
        if is_next && self.may_enter(params, cost) {
            self.inside += cost;
            return Effect::Enter;
        }
        if self.waiting >= queue.min(MOST) {
            return Effect::Full;
        }
        self.waiting += 1;
        if self.kept == Kept::Some {
            self.kept = Kept::CalledIn;
            return Effect::WaitAndCallIn;
        }
        Effect::Wait
    }

    fn let_in(&mut self, params: &Params, next: u32) -> Effect {
        if self.waiting > 0 && self.may_enter(params, next) {
            self.inside += next;
            self.waiting -= 1;
            return Effect::Next;
        }
        Effect::Done
    }

    /// Whether there is room for all that a call costs; for nothing there always is.
    #[inline]
    pub(crate) const fn has_room(self, limit: u32, cost: u32) -> bool {
        cost == 0 || cost <= limit.saturating_sub(self.inside)
    }

    /// A call also enters alone: under a limit that follows the dependency, it may cost more than that is now.
    const fn may_enter(self, params: &Params, cost: u32) -> bool {
        self.has_room(params.limit, cost) || (self.inside == 0 && cost <= params.most)
    }

    // ----- without a queue: what needs no lock -----

    /// Comes in, if there is room and nobody waits.
    #[inline]
    pub(crate) fn enter(self, limit: u32, cost: u32) -> Option<Self> {
        let free = cost == 0 || (self.waiting == 0 && self.has_room(limit, cost));
        free.then(|| Self { inside: self.inside + cost, ..self })
    }

    /// Leaves, if nobody waits.
    #[inline]
    pub(crate) fn leave(self, cost: u32) -> Option<Self> {
        let inside = self.inside.saturating_sub(cost);
        (self.waiting == 0).then_some(Self { inside, ..self })
    }

    /// Lets threads keep places, if there is plenty of room.
    pub(crate) fn spread(self, limit: u32) -> Option<Self> {
        let plenty = self.waiting == 0 && self.inside <= limit / 2;
        (plenty && self.kept == Kept::None).then_some(Self { kept: Kept::Some, ..self })
    }

    /// Whether threads may keep places, and take those that they keep: not while more are taken than a new
    /// limit allows.
    #[inline]
    pub(crate) fn lends(self, limit: u32) -> bool {
        self.kept == Kept::Some && self.inside <= limit
    }

    /// What threads kept has been called in, and is given back: at once if nobody waits.
    pub(crate) fn called_in(self, kept: u32) -> Self {
        Self { kept: Kept::None, ..self.leave(kept).unwrap_or(self) }
    }

    /// Whether a word says that nobody waits and that no places are kept.
    #[inline]
    pub(crate) const fn is_plain(word: u64) -> bool {
        word as u32 == 0
    }

    /// The same as [`enter`](Self::enter), of a word that is plain.
    #[inline]
    pub(crate) const fn enter_plain(word: u64, limit: u32, cost: u32) -> Option<u64> {
        let has_room = cost == 0 || (word >> 32) + cost as u64 <= limit as u64;
        if has_room { Some(word + ((cost as u64) << 32)) } else { None }
    }

    /// The same as [`leave`](Self::leave), of a word that is plain.
    #[inline]
    pub(crate) const fn leave_plain(word: u64, cost: u32) -> u64 {
        word.saturating_sub((cost as u64) << 32)
    }

    #[inline]
    pub(crate) const fn pack(self) -> u64 {
        (self.inside as u64) << 32 | (self.kept as u64) << KEPT | self.waiting as u64
    }

    #[inline]
    pub(crate) const fn unpack(word: u64) -> Self {
        let (inside, low) = ((word >> 32) as u32, word as u32);
        let kept = match low >> KEPT {
            0 => Kept::None,
            1 => Kept::Some,
            _ => Kept::CalledIn,
        };
        Self { inside, waiting: low & ((1 << KEPT) - 1), kept }
    }
}

impl Params {
    #[expect(clippy::expect_used, reason = "a test builds from the defaults")]
    pub(crate) fn of_defaults() -> Self {
        Self::from_config(&Config::default()).expect("the defaults are valid")
    }

    /// Everything that is wrong with the settings, or the algorithm they make.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigErrors> {
        let Config { limit, queue, max_wait, order, adaptive } = config;
        let mut problems = Vec::new();
        if !(1..=MOST).contains(limit) {
            problems.push(ConfigError::new("limit", limit, format!("1 to {MOST}")));
        }
        if *queue > MOST {
            problems.push(ConfigError::new("queue", queue, format!("0 to {MOST}")));
        }
        if *queue > 0 && max_wait.is_zero() {
            let accepted = format!("longer than zero, for queue = {queue}");
            problems.push(ConfigError::new("max_wait", max_wait, accepted));
        }
        let adaptive = adaptive.as_ref().map(|adaptive| adaptive.check(&mut problems));
        ConfigErrors::none_of(problems)?;
        Ok(Self {
            limit: adaptive.map_or(*limit, |bounds| bounds.initial),
            most: adaptive.map_or(*limit, |bounds| bounds.max),
            queue: *queue,
            max_wait: nanos(*max_wait),
            newest_first: *order == Order::NewestFirst,
            adaptive,
        })
    }
}
