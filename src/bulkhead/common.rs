//! What the bulkheads of all keys have in common; or one alone has.

use std::sync::Arc;

use super::config::Config;
use super::meter::{BulkheadMeter, Totals};
use crate::shell::keyed::Settings;
use crate::shell::reporter::Reporter;

/// Whom they speak for, by which settings, and what all of them come to.
pub(crate) struct Common {
    pub(super) reporter: Reporter<BulkheadMeter>,
    pub(super) settings: Settings<Config>,
    /// Of those of keys only.
    pub(super) totals: Totals,
}

impl Common {
    pub(super) fn new(reporter: Reporter<BulkheadMeter>, settings: Settings<Config>) -> Arc<Self> {
        let totals = Totals::new(settings.get().params(None).limit);
        Arc::new(Self { reporter, settings, totals })
    }

    /// The settings of all were reloaded.
    pub(super) fn reloaded(&self) {
        self.settings.bring(|in_force| self.totals.set_limit(in_force.params(None).limit));
    }
}
