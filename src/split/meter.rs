//! What a split measures.

use super::knowledge::Knowledge;
use crate::core::error::Reason;
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};

const REPLICAS: &str = "seawall_split_replicas";
const BEHIND: &str = "seawall_split_behind";
const SPILLED: &str = "seawall_split_spilled_total";
const WAITED: &str = "seawall_split_waited_total";
const UNANSWERED: &str = "seawall_split_unanswered_total";

#[derive(Debug)]
pub(super) struct SplitMeter {
    replicas: Gauge,
    behind: Gauge,
    pub(super) spilled: Counter,
    pub(super) waited: Counter,
    pub(super) unanswered: Counter,
}

impl Instruments for SplitMeter {
    // The stacks of the members count their calls.
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[
        Reason::Stale,
        Reason::NoReplica,
        Reason::Lost,
        Reason::DeadlineExceeded,
        Reason::Draining,
    ];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            replicas: labels
                .gauge(REPLICAS, "Replicas that are known to be of the present history."),
            behind: labels.gauge(BEHIND, "How far the last of these is behind the primary."),
            spilled: labels.counter(SPILLED, "Queries that the primary took for a replica."),
            waited: labels.counter(WAITED, "Queries that waited for a replica."),
            unanswered: labels.counter(UNANSWERED, "Questions for a position without an answer."),
        }
    }

    fn prime(&self) {
        [&self.spilled, &self.waited, &self.unanswered].into_iter().for_each(Counter::touch);
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.replicas)
    }
}

impl SplitMeter {
    pub(super) fn set_levels(&self, knowledge: &Knowledge) {
        let all = || knowledge.replicas().iter().filter_map(super::knowledge::Seat::position);
        let newest = knowledge.seats[0].position();
        let era = newest.map(|at| at.era).max(all().map(|at| at.era).max());
        let present = || all().filter(|at| Some(at.era) == era);
        let first = newest
            .filter(|at| Some(at.era) == era)
            .or(present().reduce(|a, b| if a < b { b } else { a }));
        let last = present().map(|at| at.at).min();
        let behind = first.zip(last).map_or(0, |(first, last)| first.at.saturating_sub(last));
        self.replicas.set(present().count() as f64);
        self.behind.set(behind as f64);
    }
}
