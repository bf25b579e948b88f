//! Seeing and steering an owner from outside.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::policy::Owner;
use super::standing::{Standing, Writes};
use crate::core::epoch::Epoch;
use crate::core::event::EventKind;
use crate::core::origin::Origin;
use crate::core::sync::atomic::Ordering;
use crate::shards::error::AdoptError;
use crate::shards::machine::{MoveRecord, Refusal};
use crate::shards::map::Map;
use crate::shards::member::Member;
use crate::shell::reporter::EventContext;

/// Inspects and controls the guard of one owner: puts another map in force, and holds writes while keys move away. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::shards::{HoldError, Holding, Key, Map, MoveRecord, OwnsHandle, OwnsLayer};
///
/// /// The coordinator of a move has written `moving` to the directory, and asks.
/// async fn hold(owner: &OwnsHandle, next: Map) -> Result<(), HoldError> {
///     let holding: Holding = owner.hold(next, MoveRecord::Moving)?;
///     holding.settled().await;
///     Ok(())
/// }
///
/// let map = Map::hashed(7, ["orders-0", "orders-1"])?;
/// let owns = OwnsLayer::builder("orders", "orders-0").key(|tenant: &&str| Key::from(*tenant)).map(map).build()?;
/// let owner = owns.handle();
///
/// hold(&owner, Map::hashed(8, ["orders-0", "orders-1", "orders-2"])?).await?;
/// // Now it copies what moves, and commits; or does not, and the owner gives the move up after a while.
/// assert!(owner.heard(8, MoveRecord::Committed));
/// assert_eq!(owner.epoch().get(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct OwnsHandle {
    owner: Arc<Owner>,
}

/// Writes are held since then: see [`OwnsHandle::hold`]. Dropping it changes nothing.
#[must_use = "wait until it is `settled`"]
pub struct Holding {
    earlier: Vec<Arc<Writes>>,
}

/// Why an owner does not hold writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// The move is not written to the directory as under way, so a restart of this owner would forget that it holds.
    #[error("the directory says {read:?} of the move, not Moving: write that first")]
    NotRecorded {
        /// What it says.
        read: MoveRecord,
    },
    /// The map that is to be committed is no later than the one in force.
    #[error("a map of epoch {offered} is not later than the present one, of epoch {present}")]
    Stale {
        /// Its epoch.
        offered: Epoch,
        /// The epoch in force.
        present: Epoch,
    },
    /// Another move is under way, to a map of this epoch: of another one than was offered, or of the same and another map.
    #[error("a move to the map of epoch {to} is under way")]
    Busy {
        /// The epoch of the map that it is to come to.
        to: Epoch,
    },
}

impl OwnsHandle {
    pub(super) const fn new(owner: Arc<Owner>) -> Self {
        Self { owner }
    }

    /// The kind and the name.
    pub fn origin(&self) -> &Origin {
        &self.owner.reporter.origin
    }

    /// The member whose keys pass.
    pub fn owner(&self) -> &str {
        &self.owner.me
    }

    /// The map in force.
    pub fn map(&self) -> Map {
        self.owner.live.get().map.clone()
    }

    /// The epoch of the map in force.
    pub fn epoch(&self) -> Epoch {
        self.map().epoch()
    }

    /// The epoch of the map that a move is to come to, while writes are held for it.
    pub fn holding(&self) -> Option<Epoch> {
        self.owner.live.get().moving.as_ref().map(Map::epoch)
    }

    /// Writes that wait while their keys move.
    pub fn held(&self) -> usize {
        self.owner.held.load(Ordering::Relaxed)
    }

    /// For how long writes have been held, if they are; or all calls, if it has yet to [open](Self::open).
    pub fn held_for(&self) -> Option<Duration> {
        self.owner.live.get().hold.as_ref().map(|hold| hold.age())
    }

    /// Returns when a hold has lasted longer than a [write waits](super::OwnsBuilder::max_hold), with the epoch of the map that the move
    /// is to come to: it is time to write [`Aborted`](MoveRecord::Aborted), or to read that it was committed. Returns again each
    /// time that the hold has lasted as long once more. Of several who wait one is told. May be dropped and asked again at
    /// any time.
    ///
    /// ```
    /// # use seawall::Epoch;
    /// # use seawall::shards::{MoveRecord, OwnsHandle};
    /// # struct Directory; impl Directory { async fn abort(&self, _: Epoch) -> Option<MoveRecord> { None } }
    /// /// Ends moves whose coordinator is gone.
    /// async fn give_up(owner: OwnsHandle, directory: Directory) {
    ///     loop {
    ///         let epoch = owner.overdue().await;
    ///         // `update moves set state = 'aborted' where epoch = $1 and state = 'moving'`, and then what it is
    ///         if let Some(read) = directory.abort(epoch).await {
    ///             owner.heard(epoch, read);
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn overdue(&self) -> Epoch {
        let every = self.owner.max_hold;
        loop {
            let changed = self.owner.changed.notified(); // before the look
            let standing = self.owner.live.get();
            let Some(hold) = &standing.hold else {
                changed.await;
                continue;
            };
            if hold.asked.is_due(hold.age(), every) {
                self.owner.tell_overdue();
                return standing.awaited();
            }
            timeout_at(hold.due(&hold.asked, every), changed).await.ok();
        }
    }

    /// Puts a later map in force, for all calls that come and those that are held. While writes are held for a move, only the map
    /// that it is to come to or a later one: those before it say nothing of the move. A later one does not end the hold, for the move
    /// may be committed yet; that is [heard](Self::heard).
    ///
    /// # Errors
    ///
    /// The map is not later, is another one than the move is to come to and has its epoch, or lacks more than half of the members. Then
    /// the present one stays in force.
    #[allow(clippy::needless_pass_by_value)] // it is in force from now on
    pub fn adopt(&self, map: Map) -> Result<(), AdoptError> {
        self.put(&map, false)
    }

    /// The same for a map that may lack any number of the members.
    ///
    /// # Errors
    ///
    /// As for [`adopt`](Self::adopt), but for the number of members.
    #[allow(clippy::needless_pass_by_value)] // it is in force from now on
    pub fn adopt_anyway(&self, map: Map) -> Result<(), AdoptError> {
        self.put(&map, true)
    }

    fn put(&self, map: &Map, anyway: bool) -> Result<(), AdoptError> {
        let (mut from, to) = (Epoch::NOBODY, map.epoch());
        self.change(|present| {
            from = present.map.epoch();
            let next = present.adopts(map).map_err(|why| refused(why, to))?;
            if !anyway {
                shrinks(&present.map, map)?;
            }
            Ok::<_, AdoptError>(Some(next))
        })?;
        self.owner.reporter.tell_now(EventContext::default(), EventKind::MapAdopted { from, to });
        Ok(())
    }

    /// Holds the writes of keys that `next` gives to somebody else: they wait, [so many](super::OwnsBuilder::most_held) and [so
    /// long](super::OwnsBuilder::max_hold), until the move is [over](Self::heard). `read` is what the directory says of the
    /// move: it has to be there already, so that an owner that starts again holds again before it serves.
    ///
    /// An owner that holds opens again only when it has *written* [`Aborted`](MoveRecord::Aborted) itself, where
    /// [`Moving`](MoveRecord::Moving) was written; it should do that when the coordinator takes too long. As long as it can neither read
    /// nor write the directory, it goes on refusing.
    ///
    /// # Errors
    ///
    /// The move is not recorded as under way, `next` is not later than the map in force, or another move is under way. The same
    /// move may be asked for again, with an equal map.
    #[allow(clippy::needless_pass_by_value)] // as in `adopt`
    pub fn hold(&self, next: Map, read: MoveRecord) -> Result<Holding, HoldError> {
        let offered = next.epoch();
        let standing = self.change(|present| {
            present.holds(&next, read).map_err(|why| match why {
                Refusal::NotRecorded => HoldError::NotRecorded { read },
                Refusal::Stale { present } => HoldError::Stale { offered, present: present.into() },
                Refusal::Busy { to } => HoldError::Busy { to: to.into() },
            })
        })?;
        Ok(Holding { earlier: standing.earlier.clone() })
    }

    /// What the directory says of the move to the map of this epoch, if writes are held for that one.
    /// [`Committed`](MoveRecord::Committed): the new map is in force, and those who waited are told whose their keys are.
    /// [`Aborted`](MoveRecord::Aborted): the keys stay, and they pass. Anything else, and whatever is said of another move, changes
    /// nothing: what is late about an earlier move ends no later one. So each move needs an epoch of its own, after one that was
    /// given up too.
    ///
    /// Returns whether the hold has ended by this.
    pub fn heard(&self, epoch: impl Into<Epoch>, read: MoveRecord) -> bool {
        let epoch = epoch.into();
        let mut epochs = None;
        let changed: Result<_, std::convert::Infallible> = self.change(|present| {
            let next = present.hears(epoch, read);
            epochs = next.as_ref().map(|next| (present.map.epoch(), next.map.epoch()));
            Ok(next)
        });
        drop(changed);
        let is_over = epochs.is_some();
        if let Some((from, to)) = epochs.filter(|(from, to)| from != to) {
            let adopted = EventKind::MapAdopted { from, to };
            self.owner.reporter.tell_now(EventContext::default(), adopted);
        }
        is_over
    }

    /// Opens an owner that began [closed](super::OwnsBuilder::closed), with what the directory says: the map, and the move away from this
    /// owner that it has a record of, if there is one, with the map that it is to come to. Calls that waited go on by that: they
    /// pass, are held, or are refused. Returns whether it was closed; otherwise nothing changes.
    ///
    /// ```
    /// use seawall::shards::{Key, Map, MoveRecord, OwnsLayer};
    ///
    /// let owns = OwnsLayer::builder("orders", "a")
    ///     .key(|order: &u64| Key::from(*order))
    ///     .map(Map::hashed(1, ["a", "b"])?) // from a file of last year
    ///     .closed()
    ///     .build()?;
    /// let handle = owns.handle();
    /// assert!(handle.is_closed());
    /// // Once the directory has answered:
    /// handle.open(Map::hashed(7, ["a", "b"])?, Some((Map::hashed(8, ["a", "b", "c"])?, MoveRecord::Moving)))?;
    /// assert_eq!((handle.epoch().get(), handle.holding()), (7, Some(8.into())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The map is earlier than the one it has, or writes are held for another move already. Then it stays closed.
    #[allow(clippy::needless_pass_by_value)] // as in `adopt`
    pub fn open(&self, map: Map, moving: Option<(Map, MoveRecord)>) -> Result<bool, AdoptError> {
        let (mut opened, mut epochs) = (false, None);
        let standing = self.change(|present| {
            let next =
                present.opens(&map, moving.as_ref()).map_err(|why| refused(why, map.epoch()))?;
            (opened, epochs) = (next.is_some(), Some(present.map.epoch()));
            Ok::<_, AdoptError>(next)
        })?;
        let to = standing.map.epoch();
        if let Some(from) = epochs.filter(|from| opened && *from != to) {
            let adopted = EventKind::MapAdopted { from, to };
            self.owner.reporter.tell_now(EventContext::default(), adopted);
        }
        Ok(opened)
    }

    /// Whether it has yet to [open](Self::open).
    pub fn is_closed(&self) -> bool {
        self.owner.live.get().closed
    }

    /// Puts another standing in the place of the present one, and returns what is in force then.
    fn change<E>(
        &self,
        mut next: impl FnMut(&Standing) -> Result<Option<Standing>, E>,
    ) -> Result<Arc<Standing>, E> {
        loop {
            let present = self.owner.live.get();
            let Some(next) = next(&present)? else { return Ok(present) };
            if self.owner.live.replace(&present, next) {
                self.owner.version.fetch_add(1, Ordering::AcqRel);
                self.owner.wakers.wake();
                self.owner.changed.notify_waiters();
                self.owner.meter_levels();
                return Ok(self.owner.live.get());
            }
        }
    }
}

fn refused(why: Refusal, offered: Epoch) -> AdoptError {
    match why {
        Refusal::Stale { present } => AdoptError::Stale { offered, present: present.into() },
        Refusal::Busy { to } => AdoptError::Moving { to: to.into() },
        Refusal::NotRecorded => AdoptError::Moving { to: offered }, // nobody asked to hold
    }
}

/// Whether a map lacks more than half of the members, as a fault of the discovery would look.
fn shrinks(present: &Map, next: &Map) -> Result<(), AdoptError> {
    let names: HashSet<_> = next.members().iter().map(Member::name).collect();
    let (before, after) = (present.members().len(), next.members().len());
    let stay = present.members().iter().filter(|member| names.contains(member.name())).count();
    if stay * 2 < before { Err(AdoptError::Shrunk { before, stay, after }) } else { Ok(()) }
}

impl Holding {
    /// Returns when no write is in flight here that was let in before. What is copied from then on has all that this owner
    /// confirmed.
    ///
    /// Writes to keys that stay are waited for too, if they began before: a write is over when its answer is there, or its future is
    /// dropped.
    pub async fn settled(&self) {
        for writes in &self.earlier {
            writes.emptied().await;
        }
    }
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight: usize = self.earlier.iter().map(|writes| writes.in_flight()).sum();
        f.debug_struct("Holding").field("in_flight", &in_flight).finish()
    }
}

impl fmt::Debug for OwnsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnsHandle")
            .field("origin", self.origin())
            .field("owner", &self.owner())
            .field("map", &self.map())
            .finish_non_exhaustive()
    }
}
