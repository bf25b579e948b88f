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
//! Whoever holds opens again by writing *aborted*, never by looking: the coordinator may commit just then. A later map, which
//! another move came to, ends no hold either; and it makes a commit impossible that began from an earlier one.

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
    /// Write [`Committed`](MoveRecord::Committed), and the new map with it, where [`Moving`](MoveRecord::Moving) is written and
    /// the map is still the one that the move began from, by its epoch: one compare-and-set for both. Where another map is in
    /// force by now the move is given up: its own would undo what others have moved.
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
/// # struct Directory; impl Directory { fn compare_and_set(&self, _: (&str, u64), _: (&str, u64)) -> bool { true } }
/// # let (directory, old_owner_holds, copied) = (Directory, || true, || true);
/// let mut job = Move::new();
/// loop {
///     let done = match job.next() {
///         // The record of this move, and the epoch of the map in force: 7 at the beginning.
///         MoveStep::Record => directory.compare_and_set(("none", 7), ("moving", 7)),
///         MoveStep::Hold => old_owner_holds(),
///         MoveStep::Copy => copied(),
///         MoveStep::Commit => directory.compare_and_set(("moving", 7), ("committed", 8)),
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

/// Where an owner stands: which map it goes by, and whether it holds writes. Epochs alone, which say which map is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stance {
    /// The epoch of the map in force.
    pub(super) map: u64,
    /// That of the map which a move is to come to, while writes of its keys are held. The map in force may be later by now.
    pub(super) moving: Option<u64>,
    /// It has not read yet what the directory says, so nothing passes.
    pub(super) closed: bool,
}

/// Why an owner stays where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    /// The move is not recorded as under way.
    NotRecorded,
    /// What is offered is no later than this.
    Stale { present: u64 },
    /// Another move is under way, or another map of that epoch.
    Busy { to: u64 },
}

impl Stance {
    /// An owner starts, with what the directory says: what it had in memory is lost. The map, and a move away from it.
    pub(super) const fn started(map: u64, moving: Option<(u64, MoveRecord)>) -> Self {
        let (map, moving) = match moving {
            Some((next, MoveRecord::Moving)) => (map, Some(next)),
            Some((next, MoveRecord::Committed)) if next > map => (next, None),
            _ => (map, None),
        };
        Self { map, moving, closed: false }
    }

    /// The coordinator asks it to hold: it does, if that is written. `None`: it does already.
    pub(super) const fn holds(
        self,
        next: u64,
        is_same: bool,
        read: MoveRecord,
    ) -> Result<Option<Self>, Refusal> {
        match (read, self.moving) {
            (MoveRecord::Moving, Some(_)) if is_same => Ok(None),
            (MoveRecord::Moving, Some(to)) => Err(Refusal::Busy { to }),
            (MoveRecord::Moving, None) if next <= self.map => {
                Err(Refusal::Stale { present: self.map })
            }
            (MoveRecord::Moving, None) => Ok(Some(Self { moving: Some(next), ..self })),
            _ => Err(Refusal::NotRecorded),
        }
    }

    /// A later map is in force. It ends no hold but that of the move which came to it (`is_next`): another move may still be
    /// committed, whatever else was.
    pub(super) const fn adopts(self, map: u64, is_next: bool) -> Result<Self, Refusal> {
        if map <= self.map {
            return Err(Refusal::Stale { present: self.map });
        }
        match self.moving {
            Some(next) if map < next => Err(Refusal::Stale { present: next }),
            Some(next) if map == next && !is_next => Err(Refusal::Busy { to: next }),
            Some(next) if map == next => Ok(Self { map, moving: None, ..self }),
            Some(_) | None => Ok(Self { map, ..self }),
        }
    }

    /// It hears what is written of the move to that epoch. `None`: that changes nothing.
    pub(super) const fn hears(self, epoch: u64, read: MoveRecord) -> Option<Self> {
        match (self.moving, read) {
            (Some(next), MoveRecord::Committed) if next == epoch => {
                let map = if next > self.map { next } else { self.map };
                Some(Self { map, moving: None, ..self })
            }
            // Somebody wrote it for this owner: nobody can commit any more.
            (Some(next), MoveRecord::Aborted) if next == epoch => {
                Some(Self { moving: None, ..self })
            }
            _ => None,
        }
    }

    /// It was closed, and reads what the directory says. A hold that it was asked for meanwhile stays.
    pub(super) const fn opens(
        self,
        map: u64,
        moving: Option<(u64, MoveRecord)>,
    ) -> Result<Self, Refusal> {
        if map < self.map {
            return Err(Refusal::Stale { present: self.map });
        }
        let read = Self::started(map, moving);
        match (self.moving, moving) {
            (Some(to), Some((next, MoveRecord::Moving))) if next != to => Err(Refusal::Busy { to }),
            (Some(to), Some((next, said))) if next == to && !matches!(said, MoveRecord::None) => {
                Ok(read)
            }
            (Some(to), _) => Ok(Self { moving: Some(to), ..read }),
            (None, _) => Ok(read),
        }
    }
}
