//! The move of keys from one owner to another: who may accept writes, and when. Pure.
//!
//! Owners decide, never routers, for there are many routers. What a directory says of the move is the one
//! truth, and changes by compare-and-set alone:
//!
//! ```text
//!              coordinator                        old owner          new owner
//!   None ── recorded ──▶ Moving                    accepts            refuses
//!                          │  hold, settle, copy   holds              refuses
//!                          ├── committed ──▶ Committed   refuses, hints   accepts
//!                          └── aborted ────▶ Aborted     accepts          refuses
//! ```
//!
//! Whoever holds opens again by writing *aborted*, never by looking: the coordinator may commit just then.

use std::fmt;
use std::str::FromStr;

use crate::core::config::{ConfigError, ConfigErrors};

/// What the directory says of a move of keys between two owners. It changes by compare-and-set alone.
///
/// ```
/// use seawall::shards::MoveRecord;
///
/// // As a column of a table: `update moves set state = $2 where id = $1 and state = $3`
/// let stored: MoveRecord = "moving".parse()?;
/// assert_eq!(stored, MoveRecord::Moving);
/// assert_eq!(MoveRecord::Committed.as_str(), "committed");
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MoveRecord {
    /// Nothing: the old owner has the keys.
    #[default]
    None,
    /// It is under way: the old owner has the keys, and holds writes.
    Moving,
    /// It is over: the new owner has the keys. Final.
    Committed,
    /// It was given up: the old owner has the keys. Final.
    Aborted,
}

impl MoveRecord {
    /// Each of them.
    const ALL: [Self; 4] = [Self::None, Self::Moving, Self::Committed, Self::Aborted];

    /// The word for it, as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Moving => "moving",
            Self::Committed => "committed",
            Self::Aborted => "aborted",
        }
    }
}

impl fmt::Display for MoveRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MoveRecord {
    type Err = ConfigErrors;

    fn from_str(text: &str) -> Result<Self, ConfigErrors> {
        Self::ALL.into_iter().find(|record| record.as_str() == text).ok_or_else(|| {
            let accepted = "none, moving, committed or aborted";
            ConfigErrors::of(vec![ConfigError::new("record", text, accepted)])
        })
    }
}

/// What the coordinator of a [`Move`] does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MoveStep {
    /// Write [`Moving`](MoveRecord::Moving) where nothing is written.
    Record,
    /// Ask the old owner to [hold](super::OwnsHandle::hold) writes, and wait until it says that those in flight are
    /// settled.
    Hold,
    /// Copy what is left to the new owner. All that the old owner confirmed is there by now.
    Copy,
    /// Write [`Committed`](MoveRecord::Committed), and the new map with it, where
    /// [`Moving`](MoveRecord::Moving) is written.
    Commit,
    /// Nothing: the keys have moved. Let the owners [know](super::OwnsHandle::heard).
    Done,
    /// Nothing: the keys stay. Whatever was copied to the new owner is void.
    GivenUp,
}

/// A move of keys between owners, from the side of its coordinator: what to do next. It may stop anywhere, and be forgotten: the old
/// owner then gives the move up when its hold is over.
///
/// ```
/// use seawall::shards::{Move, MoveStep};
///
/// # struct Directory; impl Directory { fn compare_and_set(&self, _: &str, _: &str) -> bool { true } }
/// # let (directory, old_owner_holds, copied) = (Directory, || true, || true);
/// let mut job = Move::new();
/// loop {
///     let done = match job.next() {
///         MoveStep::Record => directory.compare_and_set("none", "moving"),
///         MoveStep::Hold => old_owner_holds(),
///         MoveStep::Copy => copied(),
///         MoveStep::Commit => directory.compare_and_set("moving", "committed"),
///         MoveStep::Done | MoveStep::GivenUp => break,
///     };
///     job.took(done);
/// }
/// assert_eq!(job.next(), MoveStep::Done);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Move {
    next: MoveStep,
}

impl Move {
    /// A move that nothing is written of yet.
    pub const fn new() -> Self {
        Self { next: MoveStep::Record }
    }

    /// What to do next.
    pub const fn next(&self) -> MoveStep {
        self.next
    }

    /// That was done; or it failed, and the move is given up. A compare-and-set of which nobody knows whether it was done is
    /// neither: read what is written then.
    pub const fn took(&mut self, done: bool) {
        self.next = match self.next {
            MoveStep::Done => MoveStep::Done, // nothing undoes it
            _ if !done => MoveStep::GivenUp,
            MoveStep::Record => MoveStep::Hold,
            MoveStep::Hold => MoveStep::Copy,
            MoveStep::Copy => MoveStep::Commit,
            MoveStep::Commit => MoveStep::Done,
            MoveStep::GivenUp => MoveStep::GivenUp,
        };
    }
}

impl Default for Move {
    fn default() -> Self {
        Self::new()
    }
}

/// What an owner does with the keys of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// They are its own.
    Accepts,
    /// They are still its own, and writes wait.
    Holds,
    /// They are not its own.
    Refuses,
}

impl Part {
    /// An old owner starts and reads what is written: what it had in memory is lost.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "`hold` and `heard` say the same to one that runs")
    )]
    pub(super) const fn started(read: MoveRecord) -> Self {
        match read {
            MoveRecord::None | MoveRecord::Aborted => Self::Accepts,
            MoveRecord::Moving => Self::Holds,
            MoveRecord::Committed => Self::Refuses,
        }
    }

    /// The coordinator asks the old owner to hold: it does, if that is written.
    pub(super) const fn asked(self, read: MoveRecord) -> Self {
        match (self, read) {
            (Self::Accepts, MoveRecord::Moving) => Self::Holds,
            (part, _) => part,
        }
    }

    /// An owner that holds hears what is written.
    pub(super) const fn heard(self, read: MoveRecord) -> Self {
        match (self, read) {
            (Self::Holds, MoveRecord::Committed) => Self::Refuses,
            // Somebody wrote it for this owner: nobody can commit any more.
            (Self::Holds, MoveRecord::Aborted) => Self::Accepts,
            (part, _) => part,
        }
    }

    /// A new owner hears what is written.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a new owner adopts the map that was committed")
    )]
    pub(super) const fn took_over(self, read: MoveRecord) -> Self {
        match (self, read) {
            (Self::Refuses, MoveRecord::Committed) => Self::Accepts,
            (part, _) => part,
        }
    }
}
