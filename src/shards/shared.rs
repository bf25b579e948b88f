//! What all clones of a sharded service share: the table in force, and how another takes its place.

use std::fmt;
use std::sync::Arc;

use super::error::AdoptError;
use super::map::Map;
use super::table::{Make, Table};
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::EventKind;
use crate::shell::epochs::Epochs;
use crate::shell::in_flight::InFlight;
use crate::shell::meter::{Ended, Gauge, Handles, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};

const EPOCH: &str = "seawall_shards_epoch";
const MEMBERS: &str = "seawall_shards_members";

/// The calls of one epoch.
pub(super) type Calls<S> = Arc<InFlight<Table<S>>>;

pub(crate) struct Shared<S> {
    pub(super) reporter: Reporter<ShardsMeter>,
    make: Make<S>,
    tables: Epochs<Table<S>>,
}

pub(crate) struct ShardsMeter {
    epoch: Gauge,
    members: Gauge,
}

impl Instruments for ShardsMeter {
    // The stacks of the members count their calls.
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            epoch: labels.gauge(EPOCH, "The epoch of the map in force."),
            members: labels.gauge(MEMBERS, "Members of the map in force."),
        }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.epoch)
    }
}

impl<S> Shared<S> {
    pub(super) fn new(
        reporter: Reporter<ShardsMeter>,
        make: Make<S>,
        map: Map,
    ) -> Result<Self, AdoptError> {
        let tables = Epochs::new(Table::new(&make, map, None)?);
        Ok(Self { reporter, make, tables })
    }

    /// The table in force.
    pub(super) fn table(&self) -> Calls<S> {
        self.tables.present()
    }

    pub(super) fn map(&self) -> Map {
        self.table().map.clone()
    }

    /// A call comes; whoever records sees the levels from the first on.
    #[inline]
    pub(super) fn called(&self) {
        self.reporter.meter.with(|handles| self.set_levels(handles), |_| ());
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats
    fn set_levels(&self, handles: &Handles<ShardsMeter>) {
        loop {
            let map = self.map();
            handles.own.epoch.set(map.epoch().get() as f64);
            handles.own.members.set(map.members().len() as f64);
            if self.map().epoch() == map.epoch() {
                return; // nobody set a later one meanwhile, who was overwritten here
            }
        }
    }

    pub(super) fn draining(&self) -> Rejected {
        self.reporter.reject(Reason::Draining, Measurement::Nothing)
    }

    /// Puts a later map in force. Calls of the present one end there.
    pub(super) fn adopt(&self, map: &Map, anyway: bool) -> Result<(), AdoptError> {
        loop {
            let present = self.table();
            let (now, then) = (present.map.epoch(), map.epoch());
            if then <= now {
                return Err(AdoptError::Stale { offered: then, present: now });
            }
            let (before, after) = (present.map.members().len(), map.members().len());
            let stay = map.members().iter().filter(|member| present.map.has(member.name())).count();
            if stay * 2 < before && !anyway {
                return Err(AdoptError::Shrunk { before, stay, after });
            }
            // The user's code: no lock is held.
            let next = Table::new(&self.make, map.clone(), Some(present.policy().as_ref()))?;
            if self.tables.replace(&present, next) {
                present.retire_all_but(map);
                self.reporter.meter(|handles| self.set_levels(handles));
                let adopted = EventKind::MapAdopted { from: now, to: then };
                self.reporter.tell_now(EventContext::default(), adopted);
                return Ok(());
            }
        }
    }

    /// Calls that were let through, and are not over.
    pub(super) fn in_flight(&self) -> usize {
        self.tables.in_flight()
    }

    /// Returns when a map later than `epoch` is in force, and no call of that one or an earlier is left.
    pub(super) async fn settled(&self, epoch: Epoch) {
        self.tables.settled(|table| table.map.epoch() <= epoch).await;
    }

    /// Rejects all further calls, and returns when none is left.
    pub(super) async fn drain(&self) {
        self.tables.drain().await;
    }

    pub(super) fn is_drained(&self) -> bool {
        self.tables.is_drained()
    }
}

impl<S> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("origin", &self.reporter.origin)
            .field("map", &self.map())
            .finish_non_exhaustive()
    }
}
