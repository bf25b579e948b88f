//! What an owner goes by: its map, the move it takes part in, and the writes that it let in.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::epoch::Epoch;
use crate::core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::core::time;
use crate::shards::key::Key;
use crate::shards::machine::{MoveRecord, Refusal, Stance};
use crate::shards::map::Map;

/// Who waits longer waits for ever: 30 years, which timers can reach.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// A value that another one follows, as with maps.
pub(super) struct Standing {
    pub(super) map: Map,
    /// The map that a move of keys away from here is to come to: their writes are held.
    pub(super) moving: Option<Map>,
    /// It has yet to hear what the directory says.
    pub(super) closed: bool,
    /// Since when calls are held.
    pub(super) hold: Option<Arc<Hold>>,
    /// Those that were let in by it.
    pub(super) writes: Arc<Writes>,
    /// Those of earlier ones that are not over.
    pub(super) earlier: Vec<Arc<Writes>>,
}

/// Calls are held since then.
pub(super) struct Hold {
    since: Instant,
    /// How often somebody was told that it is overdue: observers, and who asked for that.
    pub(super) told: Overdue,
    pub(super) asked: Overdue,
}

/// Counts by the length of a hold how often that is to be told.
#[derive(Default)]
pub(super) struct Overdue(AtomicU64);

/// What an owner does with a request.
pub(super) enum Whose<'a> {
    Own,
    /// Its own, and on the way to somebody else.
    Held,
    Other(&'a Arc<str>),
}

impl Standing {
    /// What an owner begins with.
    pub(super) fn new(map: Map, moving: Option<(Map, MoveRecord)>, closed: bool) -> Self {
        let read = moving.as_ref().map(|(next, read)| (next.epoch().get(), *read));
        let stance = Stance { closed, ..Stance::started(map.epoch().get(), read) };
        let next = moving.map(|(next, _)| next);
        let is_moved = next
            .as_ref()
            .is_some_and(|next| next.epoch() > map.epoch() && next.epoch().get() == stance.map);
        let (map, next) = if is_moved { (next.unwrap_or(map), None) } else { (map, next) };
        let moving = next.filter(|_| stance.moving.is_some());
        let hold = (closed || moving.is_some()).then(Arc::default);
        Self { map, moving, closed, hold, writes: Arc::default(), earlier: Vec::new() }
    }

    /// The same in epochs.
    pub(super) fn stance(&self) -> Stance {
        let moving = self.moving.as_ref().map(|next| next.epoch().get());
        Stance { map: self.map.epoch().get(), moving, closed: self.closed }
    }

    /// The epoch of the map that a hold waits for; that of its own, if it is closed.
    pub(super) fn awaited(&self) -> Epoch {
        self.moving.as_ref().unwrap_or(&self.map).epoch()
    }

    /// Whose a key is, for the member of this name.
    pub(super) fn whose(&self, me: &str, key: Key<'_>) -> Whose<'_> {
        let owner = self.map.owner(key);
        if owner.name() != me {
            return Whose::Other(owner.shared_name());
        }
        let moves = |next: &Map| next.owner(key).name() != me;
        if self.moving.as_ref().is_some_and(moves) { Whose::Held } else { Whose::Own }
    }

    /// The next one: writes that come are counted anew. `next` is the map of the move, if that is a new one.
    fn then(&self, stance: Stance, map: Map, next: Option<Map>) -> Self {
        // Nobody enters those before it any more. By this one a write may come in until the next is in force.
        let earlier = self.earlier.iter().filter(|writes| writes.in_flight() > 0);
        let earlier = earlier.chain([&self.writes]).cloned().collect();
        let moving = self.moving.clone().or(next).filter(|_| stance.moving.is_some());
        let holds = stance.closed || moving.is_some();
        let hold = holds.then(|| self.hold.clone().unwrap_or_default());
        let writes = Arc::default();
        Self { map, moving, closed: stance.closed, hold, writes, earlier }
    }

    /// It is asked to hold. `None`: it does.
    pub(super) fn holds(&self, next: &Map, read: MoveRecord) -> Result<Option<Self>, Refusal> {
        let is_same = self.moving.as_ref().is_some_and(|moving| moving.is_same(next));
        let stance = self.stance().holds(next.epoch().get(), is_same, read)?;
        Ok(stance.map(|stance| self.then(stance, self.map.clone(), Some(next.clone()))))
    }

    /// A later map comes.
    pub(super) fn adopts(&self, map: &Map) -> Result<Self, Refusal> {
        let is_next = self.moving.as_ref().is_some_and(|next| next.is_same(map));
        let stance = self.stance().adopts(map.epoch().get(), is_next)?;
        Ok(self.then(stance, map.clone(), None))
    }

    /// What follows from what is written of the move to that epoch; `None`, if nothing does.
    pub(super) fn hears(&self, epoch: Epoch, read: MoveRecord) -> Option<Self> {
        let stance = self.stance().hears(epoch.get(), read)?;
        let map = self
            .moving
            .as_ref()
            .filter(|next| next.epoch().get() == stance.map)
            .unwrap_or(&self.map);
        Some(self.then(stance, map.clone(), None))
    }

    /// It was closed, and reads what the directory says; `None`, if it is open.
    pub(super) fn opens(
        &self,
        map: &Map,
        moving: Option<&(Map, MoveRecord)>,
    ) -> Result<Option<Self>, Refusal> {
        if !self.closed {
            return Ok(None);
        }
        let read = moving.map(|(next, read)| (next.epoch().get(), *read));
        let stance = self.stance().opens(map.epoch().get(), read)?;
        let next = moving.map(|(next, _)| next);
        let map = next.filter(|next| next.epoch().get() == stance.map).unwrap_or(map);
        Ok(Some(self.then(stance, map.clone(), next.cloned())))
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self { since: time::now(), told: Overdue::default(), asked: Overdue::default() }
    }
}

impl Hold {
    /// How long it lasts.
    pub(super) fn age(&self) -> Duration {
        time::now().saturating_duration_since(self.since)
    }

    /// When somebody is to be told that it is overdue, if never again then not for a lifetime.
    pub(super) fn due(&self, times: &Overdue, every: Duration) -> Instant {
        let times = u32::try_from(times.0.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        after(self.since, every.saturating_mul(times.saturating_add(1)))
    }
}

impl Overdue {
    /// Whether this is one more time that it lasts as long, which nobody was told.
    pub(super) fn is_due(&self, age: Duration, every: Duration) -> bool {
        let times = time::nanos(age) / time::nanos(every).max(1);
        self.0.fetch_max(times, Ordering::Relaxed) < times
    }
}

/// The end of a time from then on; of one without an end, the latest that a timer can reach.
pub(super) fn after(from: Instant, wait: Duration) -> Instant {
    from.checked_add(wait.min(LONGEST)).unwrap_or(from)
}

/// Counts writes that are in flight.
#[derive(Debug, Default)]
pub struct Writes {
    in_flight: AtomicUsize,
    emptied: Notify,
}

impl Writes {
    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Returns when none is in flight; nobody enters any more.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified(); // before the look
            if self.in_flight() == 0 {
                return;
            }
            emptied.await;
        }
    }
}
