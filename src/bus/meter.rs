//! What subscribers measure.

use crate::core::error::Reason;
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};

const LAG: &str = "seawall_bus_lag";
const LOST: &str = "seawall_bus_lost_total";

/// Of one subscriber.
pub(super) struct SubscriberMeter {
    pub(super) lag: Gauge,
    pub(super) lost: Counter,
}

impl Instruments for SubscriberMeter {
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            lag: labels.gauge(LAG, "Events that a subscriber has not received yet."),
            lost: labels.counter(LOST, "Events that a subscriber has lost, because it was slow."),
        }
    }

    fn prime(&self) {
        self.lost.touch();
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.lag)
    }
}
