//! Health checks, through the public API.

mod calls;
mod checks;
mod listening;
mod owner;
mod readiness;
mod registry;
mod runtimes;
mod turning;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seawall::health::{Builder, HealthLayer, Status};
use seawall::{EventKind, Measurement};

use crate::scene::Calls;

/// What is told of a change.
pub(crate) const fn changed(from: Status, to: Status, cause: &'static str) -> EventKind {
    let (from, to) = (from.as_str(), to.as_str());
    EventKind::Changed { from, to, cause, measurement: Measurement::Nothing }
}

/// How a dependency is; the test's other hand on it.
#[derive(Clone)]
struct Patient {
    well: Arc<AtomicBool>,
    calls: Calls,
}

impl Patient {
    fn new(well: bool) -> Self {
        Self { well: Arc::new(AtomicBool::new(well)), calls: Calls::default() }
    }

    fn set(&self, well: bool) {
        self.well.store(well, Ordering::SeqCst);
    }

    /// Checks it every 100 ms, without jitter.
    fn checked(&self) -> Builder {
        let patient = self.clone();
        every_100_ms().check(move || {
            patient.calls.note();
            let well = patient.well.load(Ordering::SeqCst);
            async move { if well { Ok(()) } else { Err("it does not feel well") } }
        })
    }
}

fn every_100_ms() -> Builder {
    HealthLayer::builder("x").interval(Duration::from_millis(100)).jitter(0.0)
}
