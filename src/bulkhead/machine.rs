//! The law of a bulkhead: who may enter, who waits, who is next.

use super::config::{Config, Order};
use crate::config::{ConfigError, ConfigErrors};
use crate::time::nanos;

/// The most calls at a time, and the most that wait: what fits a word together.
const MOST: u32 = 1_000_000;

/// Config made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Law {
    pub(crate) limit: u32,
    pub(crate) queue: u32,
    /// Nanoseconds.
    pub(crate) max_wait: u64,
    pub(crate) newest_first: bool,
}

/// Who is inside and who waits: small enough to be one atomic word.
///
/// ```text
///            room, and nobody waits
///   Ask ──────────────────────────────▶ inside ──Leave──▶ gone; the next who waits takes the place
///     │ no room, or others wait            ▲
///     ├──▶ waiting ────────────────────────┘
///     │      └──GiveUp──▶ gone
///     └──▶ refused: the queue is full
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Occupancy {
    pub(crate) inside: u32,
    pub(crate) waiting: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// A call asks to enter, and would wait.
    Ask,
    /// The same, and waits whatever the length of the queue: it is bounded by other means.
    Stand,
    /// A call is over.
    Leave,
    /// A call does not wait any longer.
    GiveUp,
    /// The limit may have grown: lets one of those who wait in, if there is room.
    Settle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// It is inside.
    Enter,
    /// It waits.
    Wait,
    /// There is no room, not even to wait.
    Full,
    /// Nothing more to do.
    Done,
    /// The next of those who wait is inside now.
    Next,
}

impl Occupancy {
    /// The one door.
    #[inline]
    pub(crate) fn step(&mut self, law: &Law, input: Input) -> Effect {
        match input {
            Input::Ask | Input::Stand if self.inside < law.limit && self.waiting == 0 => {
                self.inside += 1;
                Effect::Enter
            }
            Input::Ask if self.waiting >= law.queue => Effect::Full,
            Input::Ask | Input::Stand if self.waiting >= MOST => Effect::Full,
            Input::Ask | Input::Stand => {
                self.waiting += 1;
                Effect::Wait
            }
            Input::Leave => {
                self.inside = self.inside.saturating_sub(1);
                self.let_in(law)
            }
            Input::GiveUp => {
                self.waiting = self.waiting.saturating_sub(1);
                Effect::Done
            }
            Input::Settle => self.let_in(law),
        }
    }

    fn let_in(&mut self, law: &Law) -> Effect {
        if self.inside < law.limit && self.waiting > 0 {
            self.inside += 1;
            self.waiting -= 1;
            return Effect::Next;
        }
        Effect::Done
    }

    pub(crate) const fn pack(self) -> u64 {
        (self.inside as u64) << 32 | self.waiting as u64
    }

    pub(crate) const fn unpack(word: u64) -> Self {
        Self { inside: (word >> 32) as u32, waiting: word as u32 }
    }
}

impl Law {
    #[expect(clippy::expect_used, reason = "a test builds from the defaults")]
    pub(crate) fn of_defaults() -> Self {
        Self::from_config(&Config::default()).expect("the defaults are valid")
    }

    /// Everything that is wrong with the settings, or the law they make.
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigErrors> {
        let Config { limit, queue, max_wait, order } = config;
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
        ConfigErrors::none_of(problems)?;
        Ok(Self {
            limit: *limit,
            queue: *queue,
            max_wait: nanos(*max_wait),
            newest_first: *order == Order::NewestFirst,
        })
    }
}
