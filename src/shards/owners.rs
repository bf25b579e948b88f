//! A map and the keys of requests, as the plan of a set.

use std::fmt;
use std::sync::Arc;

use super::key::Key;
use super::map::Map;
use super::member::Member;
use crate::core::epoch::Epoch;
use crate::core::error::Reason;
use crate::shell::meter::{Ended, Gauge, Instruments, Labels};
use crate::shell::set::{Choose, Named, Passed, Plan};

const EPOCH: &str = "seawall_shards_epoch";
const MEMBERS: &str = "seawall_shards_members";

/// Whose each request is.
pub struct Owners<K> {
    pub(super) map: Map,
    pub(super) key: Arc<K>,
}

#[derive(Debug)]
pub struct ShardsMeter {
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

impl Named for Member {
    fn name(&self) -> &Arc<str> {
        self.shared_name()
    }
}

impl<K> Plan for Owners<K> {
    type Member = Member;
    type Call = ();
    type Meter = ShardsMeter;

    fn members(&self) -> &[Member] {
        self.map.members()
    }

    fn version(&self) -> Epoch {
        self.map.epoch()
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats
    fn set_levels(&self, meter: &ShardsMeter) {
        meter.epoch.set(self.map.epoch().get() as f64);
        meter.members.set(self.map.members().len() as f64);
    }
}

impl<K, Req, Res, Err> Choose<Req, Res, Err> for Owners<K>
where
    K: for<'r> Fn(&'r Req) -> Key<'r>,
{
    /// The owner, or nobody.
    #[inline]
    fn choose(&self, request: &Req, passed: &Passed) -> Option<usize> {
        passed.is_empty().then(|| self.map.place((self.key)(request)))
    }

    #[inline]
    fn begin(&self, _: usize) {}

    #[inline]
    fn settle(&self, (): (), _: Result<&Res, &Err>) {}
}

impl<K> fmt::Debug for Owners<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map.fmt(f)
    }
}
