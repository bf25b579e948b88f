//! Watching a registry.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::registry::{HealthRegistry, Inner, Overall};
use super::report::Probe;
use crate::health::status::Status;

/// Watches the overall status of a registry.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::health::{CheckWatch, Criticality, HealthLayer, HealthRegistry, Probe, RegistryWatch, Status};
/// use std::io;
///
/// /// Both can be waited for: the whole, and a check that others may add later.
/// async fn outage(mut whole: RegistryWatch, mut database: CheckWatch) -> [Option<Status>; 2] {
///     let added = database.changed().await;
///     assert_eq!(added, Some(Status::Unknown)); // it was not well yet
///     [database.changed().await, whole.changed().await]
/// }
///
/// let registry = HealthRegistry::new("orders");
/// let (whole, one) = (registry.watch(Probe::Readiness), registry.watch_check("database"));
/// assert_eq!((whole.status(), one.status()), (Status::Up, None));
///
/// let outage = tokio::spawn(outage(whole, one));
/// let database = HealthLayer::builder("database")
///     .check(|| async { Err(io::Error::other("no route")) })
///     .build()?;
/// registry.add(Probe::Readiness, Criticality::Critical, &database.handle());
/// assert_eq!(outage.await?, [Some(Status::Down); 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct RegistryWatch {
    overall: watch::Receiver<Overall>,
    registry: Weak<Inner>,
    probe: Probe,
    seen: Status,
}

impl RegistryWatch {
    /// The overall status at this moment.
    pub fn status(&self) -> Status {
        match self.registry.upgrade() {
            Some(registry) => registry.status(self.probe),
            None => self.overall.borrow()[self.probe as usize],
        }
    }

    /// Returns the new overall status once it has changed since the last look; `None` when the
    /// registry is gone. Cancel safe.
    pub async fn changed(&mut self) -> Option<Status> {
        loop {
            // Before the look. Also begins the checks again that have lost their runtime.
            let last = self.overall.borrow_and_update()[self.probe as usize];
            let now = self.registry.upgrade().map_or(last, |registry| registry.status(self.probe));
            if std::mem::replace(&mut self.seen, now) != now {
                return Some(now);
            }
            self.overall.changed().await.ok()?;
        }
    }
}

impl RegistryWatch {
    pub(super) fn new(registry: &HealthRegistry, probe: Probe) -> Self {
        let inner = &registry.0;
        let overall = inner.overall.subscribe();
        Self { seen: inner.status(probe), registry: Arc::downgrade(inner), overall, probe }
    }
}

impl fmt::Debug for RegistryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryWatch")
            .field("probe", &self.probe)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// Watches the checks of one name in a registry, and keeps the registry going.
#[derive(Debug, Clone)]
pub struct CheckWatch {
    registry: HealthRegistry,
    each: watch::Receiver<Vec<Status>>,
    name: Arc<str>,
    seen: Option<Status>,
}

impl CheckWatch {
    pub(super) fn new(registry: HealthRegistry, name: Arc<str>) -> Self {
        let each = registry.0.each.subscribe();
        Self { seen: registry.check(&name), registry, each, name }
    }

    /// The status at this moment; `None` while there is no check of this name.
    pub fn status(&self) -> Option<Status> {
        self.registry.check(&self.name)
    }

    /// Returns the new status once it has changed since the last look. Cancel safe.
    pub async fn changed(&mut self) -> Option<Status> {
        loop {
            self.each.borrow_and_update(); // before the look, so that what changes after it is seen
            let now = self.status();
            if std::mem::replace(&mut self.seen, now) != now {
                return now;
            }
            if self.each.changed().await.is_err() {
                return now; // cannot be: the registry is held
            }
        }
    }
}
