//! Seeing and steering a timeout from outside.

use std::fmt;
use std::sync::Arc;

use super::dials::Dials;
use super::policy::Policy;
use crate::config::ConfigErrors;
use crate::shell::gate::Gate;
use crate::source::Source;

/// Sees and steers one timeout. Cheap to clone.
#[derive(Clone)]
pub struct TimeoutHandle {
    gate: Arc<Gate<Policy>>,
}

impl TimeoutHandle {
    pub(super) fn new(gate: Arc<Gate<Policy>>) -> Self {
        Self { gate }
    }

    /// The layer and the name.
    pub fn source(&self) -> &Source {
        &self.gate.reporter.source
    }

    /// The dials in force.
    pub fn dials(&self) -> Dials {
        self.gate.dials()
    }

    /// Turns the dials. Calls in flight keep the limit they began with.
    ///
    /// # Errors
    ///
    /// None at present: every value is valid.
    #[allow(clippy::needless_pass_by_value)] // the same shape for every layer
    pub fn reload(&self, dials: Dials) -> Result<(), ConfigErrors> {
        self.gate.turn(&dials);
        Ok(())
    }

    /// The calls that are under way.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }
}

impl fmt::Debug for TimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutHandle").field("dials", &self.dials()).finish_non_exhaustive()
    }
}
