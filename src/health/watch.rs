//! Watching a check, or a registry.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::checker::tend;
use super::monitor::{Latest, Monitor};
use super::registry::{HealthRegistry, Inner, Overall};
use super::report::Probe;
use crate::health::status::Status;

/// Watches the status of a health check, or of a whole [`HealthRegistry`]. Does not keep it going.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::health::{HealthLayer, Status, Watch};
/// use std::io;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::time::Duration;
///
/// /// Before a batch begins.
/// async fn until_up(mut database: Watch) {
///     while database.status() != Status::Up {
///         if database.changed().await.is_none() {
///             return; // the check has ended
///         }
///     }
/// }
///
/// static STARTED: AtomicBool = AtomicBool::new(false);
/// let database = HealthLayer::builder("database")
///     .check(|| async {
///         STARTED.load(Ordering::Relaxed).then_some(()).ok_or(io::Error::other("is starting"))
///     })
///     .initial(Status::Down)
///     .build()?;
/// let handle = database.handle();
/// tokio::time::sleep(Duration::from_secs(1)).await;
/// assert_eq!(handle.last_error().as_deref(), Some("is starting"));
///
/// STARTED.store(true, Ordering::Relaxed);
/// until_up(handle.watch()).await;
/// assert_eq!((handle.status(), handle.last_error()), (Status::Up, None));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Watch(Of);

/// The watch of a registry.
pub type RegistryWatch = Watch;

#[derive(Clone)]
enum Of {
    Check(OfCheck),
    Registry(OfRegistry),
}

#[derive(Clone)]
struct OfCheck {
    latest: watch::Receiver<Latest>,
    /// The number of the change that was seen last.
    seen: u32,
    monitor: Weak<Monitor>,
}

#[derive(Clone)]
struct OfRegistry {
    overall: watch::Receiver<Overall>,
    registry: Weak<Inner>,
    probe: Probe,
    seen: Status,
}

// ===== impl Watch =====

impl Watch {
    pub(super) fn of_check(monitor: &Arc<Monitor>) -> Self {
        let latest = monitor.subscribe();
        let seen = latest.borrow().number;
        tend(monitor);
        Self(Of::Check(OfCheck { latest, seen, monitor: Arc::downgrade(monitor) }))
    }

    pub(super) fn of_registry(registry: &HealthRegistry, probe: Probe) -> Self {
        let inner = &registry.0;
        let overall = inner.overall.subscribe();
        let (seen, registry) = (inner.status(probe), Arc::downgrade(inner));
        Self(Of::Registry(OfRegistry { overall, registry, probe, seen }))
    }

    /// The status at this moment.
    pub fn status(&self) -> Status {
        match &self.0 {
            Of::Check(check) => check.status(),
            Of::Registry(registry) => registry.status(),
        }
    }

    /// Returns the new status once it has changed since the last look, at once if it has already;
    /// `None` when the check has ended or the registry is gone.
    ///
    /// Cancel safe: a change that happens while nobody waits is seen by the next call.
    pub async fn changed(&mut self) -> Option<Status> {
        match &mut self.0 {
            Of::Check(check) => check.changed().await,
            Of::Registry(registry) => registry.changed().await,
        }
    }

    /// Calls `follower` with the status now and after each change, until the check ends.
    ///
    /// This is how a health check steers a circuit breaker, without either knowing the other:
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, Position, State};
    /// use seawall::health::{HealthHandle, HealthLayer, Status};
    /// use std::io;
    ///
    /// fn steer(health: &HealthHandle, breaker: &CircuitBreakerHandle) {
    ///     let mut switch = breaker.switch(Position::Auto);
    ///     tokio::spawn(health.watch().follow(move |status| {
    ///         switch.set(if status == Status::Up { Position::Auto } else { Position::Open });
    ///     }));
    /// }
    ///
    /// let check = || async { Err(io::Error::other("no route")) };
    /// let health = HealthLayer::builder("payments").check(check).build()?;
    /// let breaker = CircuitBreakerLayer::new("payments");
    /// steer(&health.handle(), &breaker.handle());
    /// assert_eq!(breaker.handle().watch().changed().await, State::ForcedOpen);
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub async fn follow(mut self, mut follower: impl FnMut(Status)) {
        let mut status = Some(match &mut self.0 {
            Of::Check(check) => check.look(),
            Of::Registry(registry) => registry.look(),
        });
        while let Some(now) = status {
            follower(now);
            status = self.changed().await;
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl OfCheck {
    fn status(&self) -> Status {
        self.tend();
        self.latest.borrow().status
    }

    fn look(&mut self) -> Status {
        let latest = *self.latest.borrow_and_update();
        self.seen = latest.number;
        latest.status
    }

    async fn changed(&mut self) -> Option<Status> {
        loop {
            // Whoever waits is also woken when the checks lost their runtime, to lend them this one.
            self.tend();
            let latest = *self.latest.borrow_and_update();
            if std::mem::replace(&mut self.seen, latest.number) != latest.number {
                return Some(latest.status);
            }
            self.latest.changed().await.ok()?;
        }
    }

    fn tend(&self) {
        if let Some(monitor) = self.monitor.upgrade() {
            tend(&monitor);
        }
    }
}

impl OfRegistry {
    fn status(&self) -> Status {
        match self.registry.upgrade() {
            Some(registry) => registry.status(self.probe),
            None => self.overall.borrow()[self.probe as usize],
        }
    }

    fn look(&mut self) -> Status {
        // Before the look. Also begins the checks again that have lost their runtime.
        let last = self.overall.borrow_and_update()[self.probe as usize];
        self.seen = self.registry.upgrade().map_or(last, |registry| registry.status(self.probe));
        self.seen
    }

    async fn changed(&mut self) -> Option<Status> {
        loop {
            let seen = self.seen;
            let now = self.look();
            if seen != now {
                return Some(now);
            }
            self.overall.changed().await.ok()?;
        }
    }
}

/// Watches the checks of one name in a registry, and keeps the registry going.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::health::{CheckWatch, Criticality, HealthLayer, HealthRegistry, Probe, Status, Watch};
/// use std::io;
///
/// /// Both can be waited for: the whole, and a check that others may add later.
/// async fn outage(mut whole: Watch, mut database: CheckWatch) -> [Option<Status>; 2] {
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
