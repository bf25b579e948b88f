//! Seeing a health check from outside.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::checker::tend;
use super::config::Config;
use super::machine::Params;
use super::monitor::{Latest, Monitor};
use crate::core::config::ConfigErrors;
use crate::core::origin::Origin;
use crate::health::status::Status;

/// Sees one health check, and keeps it going. Cheap to clone.
///
/// The checks go on while a layer, a service or a handle of it is left, and end with the last.
#[derive(Clone)]
pub struct HealthHandle {
    pub(super) monitor: Arc<Monitor>,
}

impl HealthHandle {
    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.monitor.reporter.origin
    }

    /// Up or down.
    pub fn status(&self) -> Status {
        tend(&self.monitor);
        self.monitor.status()
    }

    /// The status in the reports of a registry: unknown before the first successful check, and when the
    /// last word has expired.
    pub(super) fn reported(&self) -> Status {
        self.monitor.reported()
    }

    /// Sees to it that somebody checks.
    pub(super) fn tend(&self) {
        tend(&self.monitor);
    }

    /// How long it has been so.
    pub fn since(&self) -> Duration {
        let now = self.monitor.reporter.clock.now();
        Duration::from_nanos(now.since(self.monitor.latest().at))
    }

    /// What the last check found wrong; `None` if it was good.
    pub fn last_error(&self) -> Option<Arc<str>> {
        tend(&self.monitor);
        self.monitor.last_error()
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.monitor.config()
    }

    /// Reloads the settings. They count from now on: also a pause or a check in flight ends when they
    /// say so.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        let params = Params::from_config(&config, self.monitor.checker.exists())
            .map_err(|wrong| wrong.of_policy(self.origin()))?;
        self.monitor.reload(params, config);
        tend(&self.monitor);
        Ok(())
    }

    /// Watches the status.
    pub fn watch(&self) -> Watch {
        let latest = self.monitor.subscribe();
        let seen = latest.borrow().number;
        tend(&self.monitor);
        Watch { latest, seen, monitor: Arc::downgrade(&self.monitor) }
    }
}

impl fmt::Debug for HealthHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthHandle")
            .field("origin", self.origin())
            .field("status", &self.status())
            .finish()
    }
}

/// Watches the status of one health check. Does not keep it going.
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
pub struct Watch {
    latest: watch::Receiver<Latest>,
    /// The number of the change that was seen last.
    seen: u32,
    monitor: Weak<Monitor>,
}

impl Watch {
    /// The status at this moment.
    pub fn status(&self) -> Status {
        self.tend();
        self.latest.borrow().status
    }

    /// Returns the new status once it has changed since the last look, at once if it has already;
    /// `None` when the check has ended.
    ///
    /// Cancel safe: a change that happens while nobody waits is seen by the next call.
    pub async fn changed(&mut self) -> Option<Status> {
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
        let latest = *self.latest.borrow_and_update();
        self.seen = latest.number;
        let mut status = Some(latest.status);
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
