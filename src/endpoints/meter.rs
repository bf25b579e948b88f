//! What a set of endpoints measures.

use super::machine::{Cause, Panic, Recall};
use crate::core::error::{Measurement, Reason};
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};

const MEMBERS: &str = "seawall_endpoints_members";
const EJECTED: &str = "seawall_endpoints_ejected";
const PANIC: &str = "seawall_endpoints_panic";
const SOURCE_AGE: &str = "seawall_endpoints_source_age_seconds";
const EJECTIONS: &str = "seawall_ejections_total";

#[derive(Debug)]
pub struct EndpointsMeter {
    pub(super) members: Gauge,
    pub(super) ejected: Gauge,
    pub(super) panic: Gauge,
    pub(super) source_age: Gauge,
    pub(super) ejections: [Counter; Cause::ALL.len()],
}

impl Instruments for EndpointsMeter {
    // The stacks of the endpoints count their calls.
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            members: labels.gauge(MEMBERS, "Endpoints of the list in force."),
            ejected: labels.gauge(EJECTED, "Endpoints that are ejected."),
            panic: labels.gauge(PANIC, "1 while all are used, for too few are left."),
            source_age: labels.gauge(SOURCE_AGE, "Since the source last gave a good list."),
            ejections: labels.counters(
                EJECTIONS,
                "Ejections of endpoints, by cause.",
                "cause",
                Cause::ALL.map(Cause::as_str),
            ),
        }
    }

    fn prime(&self) {
        self.ejections.iter().for_each(Counter::touch);
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.members)
    }
}

impl Recall {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::PeersFail => "peers_fail",
            Self::MaxEjected => "max_ejected",
        }
    }
}

impl Panic {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::FewLeft => "few_left",
            Self::AllFail => "all_fail",
        }
    }
}

impl Cause {
    pub(super) const ALL: [Self; 5] =
        [Self::Consecutive, Self::FailureRate, Self::Outlier, Self::Latency, Self::StillBad];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::Outlier => "outlier_failure_rate",
            Self::Latency => "latency",
            Self::StillBad => "still_bad",
        }
    }

    pub(super) fn measurement(self, observed: u64, threshold: u64) -> Measurement {
        let number = |value| u32::try_from(value).unwrap_or(u32::MAX);
        let (seen, most) = (number(observed), number(threshold));
        match self {
            Self::Consecutive => Measurement::Count { observed: seen, threshold: most },
            Self::FailureRate | Self::Outlier => {
                Measurement::FailureRate { observed: seen, threshold: most }
            }
            Self::Latency | Self::StillBad => Measurement::Nothing,
        }
    }
}
