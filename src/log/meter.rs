//! What commands and projections measure.

use crate::core::error::Reason;
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};

const CONFLICTS: &str = "seawall_log_conflicts_total";
const SNAPSHOTS: &str = "seawall_log_snapshots_total";
const APPLIED: &str = "seawall_log_applied_total";
const POSITION: &str = "seawall_log_position";
const BEHIND: &str = "seawall_log_behind";

/// What became of a snapshot, for the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Used,
    /// It is of other code, or of another history.
    Dropped,
    /// The store failed.
    Failed,
    Saved,
}

impl Fate {
    const ALL: [&'static str; 4] = ["used", "dropped", "failed", "saved"];
}

/// What becomes of an event, for the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Applied,
    Skipped,
    Failed,
}

impl End {
    const ALL: [&'static str; 3] = ["applied", "skipped", "failed"];
}

/// Of the command side.
pub(super) struct CommandMeter {
    pub(super) conflicts: Counter,
    snapshots: [Counter; Fate::ALL.len()],
}

impl CommandMeter {
    pub(super) const fn snapshots(&self, used: Fate) -> &Counter {
        &self.snapshots[used as usize]
    }
}

impl Instruments for CommandMeter {
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            conflicts: labels
                .counter(CONFLICTS, "Appends that met another version of their stream."),
            snapshots: labels.counters(
                SNAPSHOTS,
                "Snapshots, by what became of them.",
                "result",
                Fate::ALL,
            ),
        }
    }

    fn prime(&self) {
        self.conflicts.touch();
        self.snapshots.iter().for_each(Counter::touch);
    }
}

/// Of a projection.
pub(super) struct ProjectionMeter {
    applied: [Counter; End::ALL.len()],
    pub(super) position: Gauge,
    pub(super) behind: Gauge,
}

impl ProjectionMeter {
    pub(super) const fn applied(&self, how: End) -> &Counter {
        &self.applied[how as usize]
    }
}

impl Instruments for ProjectionMeter {
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            applied: labels.counters(
                APPLIED,
                "Events that a projection has read, by what became of them.",
                "result",
                End::ALL,
            ),
            position: labels.gauge(POSITION, "How far in the log the projection is."),
            behind: labels.gauge(BEHIND, "1 while the projection has not caught up, else 0."),
        }
    }

    fn prime(&self) {
        self.applied.iter().for_each(Counter::touch);
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.position)
    }
}
