//! What an owner goes by: its map, the move it takes part in, and the writes that it let in.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::core::epoch::Epoch;
use crate::core::sync::atomic::{AtomicUsize, Ordering};
use crate::shards::key::Key;
use crate::shards::machine::{MoveRecord, Part};
use crate::shards::map::Map;

/// A value that another one follows, as with maps.
pub(super) struct Standing {
    pub(super) map: Map,
    pub(super) moving: Option<Moving>,
    /// Those that were let in by it.
    pub(super) writes: Arc<Writes>,
    /// Those of earlier ones that are not over.
    pub(super) earlier: Vec<Arc<Writes>>,
}

/// A move of keys away from here.
#[derive(Clone)]
pub(super) struct Moving {
    /// The map that is to be committed.
    pub(super) next: Map,
    pub(super) part: Part,
}

/// What an owner does with a request.
pub(super) enum Whose<'a> {
    Own,
    /// Its own, and on the way to somebody else.
    Held,
    Other {
        owner: &'a Arc<str>,
        map: &'a Map,
    },
}

impl Standing {
    pub(super) fn new(map: Map) -> Self {
        Self { map, moving: None, writes: Arc::default(), earlier: Vec::new() }
    }

    /// Whose a key is, for the member of this name.
    pub(super) fn whose(&self, me: &str, key: Key<'_>) -> Whose<'_> {
        let owner = self.map.owner(key);
        if owner.name() != me {
            return Whose::Other { owner: owner.shared_name(), map: &self.map };
        }
        match &self.moving {
            Some(moving) if moving.next.owner(key).name() != me => match moving.part {
                Part::Accepts => Whose::Own,
                Part::Holds => Whose::Held,
                Part::Refuses => {
                    Whose::Other { owner: moving.next.owner(key).shared_name(), map: &moving.next }
                }
            },
            _ => Whose::Own,
        }
    }

    /// The next one: writes that come are counted anew.
    pub(super) fn then(&self, map: Map, moving: Option<Moving>) -> Self {
        // Nobody enters those before it any more. By this one a write may come in until the next is in force.
        let earlier = self.earlier.iter().filter(|writes| writes.in_flight() > 0);
        let earlier = earlier.chain([&self.writes]).cloned().collect();
        Self { map, moving, writes: Arc::default(), earlier }
    }

    /// What follows from what is written of the move to that epoch; `None`, if nothing does.
    pub(super) fn heard(&self, epoch: Epoch, read: MoveRecord) -> Option<Self> {
        let moving = self.moving.as_ref().filter(|moving| moving.next.epoch() == epoch)?;
        Some(match moving.part.heard(read) {
            Part::Holds => return None,
            Part::Accepts => self.then(self.map.clone(), None),
            Part::Refuses => self.then(moving.next.clone(), None),
        })
    }
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
