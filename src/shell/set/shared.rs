//! What all clones of a set share: the table in force, and how another takes its place.

use std::fmt;
use std::sync::Arc;

use super::Plan;
use super::table::{Make, Refused, Table};
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::shell::epochs::Epochs;
use crate::shell::in_flight::InFlight;
use crate::shell::meter::Handles;
use crate::shell::reporter::Reporter;

/// The calls of one table.
pub(crate) type Calls<P, S> = Arc<InFlight<Table<P, S>>>;

pub(crate) struct Shared<P: Plan, S> {
    pub(crate) reporter: Arc<Reporter<P::Meter>>,
    make: Make<P::Member, S>,
    tables: Epochs<Table<P, S>>,
}

impl<P: Plan, S> Shared<P, S> {
    pub(crate) fn new(
        reporter: Arc<Reporter<P::Meter>>,
        make: Make<P::Member, S>,
        plan: P,
    ) -> Result<Self, Refused> {
        let tables = Epochs::new(Table::new(&make, plan, None)?);
        Ok(Self { reporter, make, tables })
    }

    /// The table in force.
    pub(crate) fn table(&self) -> Calls<P, S> {
        self.tables.present()
    }

    /// A call comes; whoever records sees the levels from the first on.
    #[inline]
    pub(super) fn called(&self) {
        self.reporter.meter.with(|handles| self.set_levels(handles), |_| ());
    }

    pub(crate) fn set_levels(&self, handles: &Handles<'_, P::Meter>) {
        loop {
            let table = self.table();
            table.plan.set_levels(handles.own);
            if self.table().plan.version() == table.plan.version() {
                return; // nobody set a later one meanwhile, who was overwritten here
            }
        }
    }

    pub(super) fn draining(&self) -> Rejected {
        self.reporter.reject(Reason::Draining, Measurement::Nothing)
    }

    /// A call was for one member, who is not part of the set any more.
    pub(super) fn gone(&self) -> Rejected {
        self.reporter.reject(Reason::NoShard, Measurement::Nothing)
    }

    /// Puts another plan in force, which `next` makes of the present one, perhaps more than once. Calls of the
    /// present one end there. Returns the versions of both.
    pub(crate) fn adopt<E: From<Refused>>(
        &self,
        anyway: bool,
        next: impl Fn(&P) -> Result<P, E>,
    ) -> Result<(Epoch, Epoch), E> {
        loop {
            let present = self.table();
            let plan = next(&present.plan)?;
            if !anyway {
                present.shrinks_to(&plan)?;
            }
            // The user's code: no lock is held.
            let next = Table::new(&self.make, plan, Some(present.policy().as_ref()))?;
            let (from, to) = (present.plan.version(), next.plan.version());
            let gone = present.gone_in(&next);
            if self.tables.replace(&present, next) {
                for service in gone {
                    service.retire();
                }
                self.reporter.meter(|handles| self.set_levels(handles));
                return Ok((from, to));
            }
        }
    }

    /// Calls that were let through, and are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.tables.in_flight()
    }

    /// Returns when a plan later than `version` is in force, and no call of that one or an earlier is left.
    pub(crate) async fn settled(&self, version: Epoch) {
        self.tables.settled(|table| table.plan.version() <= version).await;
    }

    /// Rejects all further calls, and returns when none is left.
    pub(crate) async fn drain(&self) {
        self.tables.drain().await;
    }

    pub(super) fn is_drained(&self) -> bool {
        self.tables.is_drained()
    }
}

impl<P: Plan + fmt::Debug, S> fmt::Debug for Shared<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("origin", &self.reporter.origin)
            .field("plan", &self.table().plan)
            .finish_non_exhaustive()
    }
}
