//! Many health checks, and what they mean together.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::handle::HealthHandle;
use super::report::{CheckReport, Criticality, Probe, Report, meaning};
use super::watch::{CheckWatch, Watch};
use crate::core::origin::Origin;
use crate::health::status::Status;
use crate::shell::live::Live;
use crate::shell::meter::{Ended, Gauge, Instruments, Labels, Meter};

/// 1 for the overall status, else 0.
const OVERALL: &str = "seawall_health_overall";

/// Many health checks, and what they mean together.
///
/// *Liveness* asks whether this process should be restarted, *readiness* whether it should get
/// traffic; a check counts for one or the other. Keep dependencies out of liveness: a restart does
/// not bring a database back.
///
/// It is not ready before each [critical](Criticality::Critical) check of readiness has been good once
/// (or a dependency that is [listened to](super::Builder::subscribe) has said so), whatever
/// [`initial`](super::Config::initial) says: until then a report calls the check
/// [unknown](Status::Unknown) and the whole down. A check that learns from
/// [live calls](super::Config::passive) alone is not waited for, for there are none before it is ready.
/// A check that was not heard of for three of its intervals is unknown again. It is never ready again
/// once it [drains](Self::drain).
///
/// Cheap to clone; clones are the same registry.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe, Status};
///
/// # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
/// let database = HealthLayer::builder("database").check(|| ping()).build()?;
/// let registry = HealthRegistry::new("orders");
/// registry.add(Probe::Readiness, Criticality::Critical, &database.handle());
///
/// assert_eq!(registry.status(Probe::Readiness), Status::Down); // not checked yet
/// assert_eq!(registry.watch(Probe::Readiness).changed().await, Some(Status::Up));
/// assert_eq!(registry.report(Probe::Readiness).checks[0].name, "database");
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct HealthRegistry(pub(super) Arc<Inner>);

pub(super) struct Inner {
    entries: Live<Vec<Entry>>,
    meter: Meter<OverallMeter>,
    pub(super) overall: watch::Sender<Overall>,
    /// The status of each entry.
    pub(super) each: watch::Sender<Vec<Status>>,
    draining: watch::Sender<bool>,
}

/// The status of each probe.
pub(super) type Overall = [Status; Probe::ALL.len()];

struct OverallMeter([[Gauge; Status::OVERALL.len()]; Probe::ALL.len()]);

impl Instruments for OverallMeter {
    const OUTCOMES: &'static [Ended] = &[];

    fn new(labels: &Labels<'_>) -> Self {
        let about = "1 for the overall status, else 0.";
        Self(Probe::ALL.map(|probe| {
            Status::OVERALL.map(|status| {
                let words = [("probe", probe.as_str()), ("status", status.as_str())];
                labels.of_no_layer(OVERALL, about, words)
            })
        }))
    }
}

#[derive(Clone)]
struct Entry {
    probe: Probe,
    criticality: Criticality,
    check: HealthHandle,
}

impl HealthRegistry {
    /// A registry without checks; everything is up. The name labels its metrics.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let inner = Inner {
            entries: Live::new(Vec::new()),
            meter: Meter::new(Origin::new("health_registry", name)),
            overall: watch::Sender::new([Status::Up; Probe::ALL.len()]),
            each: watch::Sender::new(Vec::new()),
            draining: watch::Sender::new(false),
        };
        inner.look();
        Self(Arc::new(inner))
    }

    /// Adds a check, and keeps it going.
    pub fn add(&self, probe: Probe, criticality: Criticality, check: &HealthHandle) {
        let entry = Entry { probe, criticality, check: check.clone() };
        self.0.entries.update(|entries| {
            let mut entries = entries.clone();
            entries.push(entry);
            entries
        });
        check.monitor.tell_registry(Arc::downgrade(&self.0));
        self.0.look();
    }

    /// Takes out the checks of this name, and returns how many there were. Each ends with its last layer,
    /// service or handle elsewhere.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe, Status};
    /// use std::io;
    ///
    /// let check = || async { Err(io::Error::other("no route")) };
    /// let part = HealthLayer::builder("part-7").check(check).build()?;
    /// let registry = HealthRegistry::new("orders");
    /// registry.add(Probe::Readiness, Criticality::Critical, &part.handle());
    /// assert_eq!(registry.status(Probe::Readiness), Status::Down);
    ///
    /// assert_eq!(registry.remove("part-7"), 1); // moved elsewhere
    /// assert_eq!(registry.status(Probe::Readiness), Status::Up);
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn remove(&self, name: &str) -> usize {
        let mut removed = 0;
        self.0.entries.update(|entries| {
            let others = entries.iter().filter(|entry| entry.check.origin().name() != name);
            let others: Vec<_> = others.cloned().collect();
            removed = entries.len() - others.len();
            others
        });
        self.0.look();
        removed
    }

    /// From now on not ready, while liveness stays as it is: to be called first when a server shuts down,
    /// so that its load balancer sends the next requests elsewhere. `/readyz` answers 503 and
    /// `grpc.health.v1` `NOT_SERVING`; who watches over gRPC is told so and sent away. There is no way
    /// back.
    ///
    /// `http::ServerLayer::drain` does it too, if its builder was told of the `registry`.
    ///
    /// ```
    /// use seawall::health::{HealthRegistry, Probe, Status};
    ///
    /// let registry = HealthRegistry::new("orders");
    /// registry.drain();
    /// assert!(registry.is_draining() && registry.report(Probe::Readiness).draining);
    /// assert_eq!(registry.status(Probe::Readiness), Status::Down);
    /// assert_eq!(registry.status(Probe::Liveness), Status::Up);
    /// ```
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
        self.0.look();
    }

    /// Whether it [drains](Self::drain).
    pub fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    /// Hears when it drains.
    #[cfg(feature = "grpc")]
    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.0.draining.subscribe()
    }

    /// The overall status.
    pub fn status(&self, probe: Probe) -> Status {
        self.0.status(probe)
    }

    /// How all checks of a probe fare.
    pub fn report(&self, probe: Probe) -> Report {
        self.0.tend();
        self.0.look(); // a word may have expired, and a recorder have come after the last change
        let entries = self.0.entries.get();
        let checks = entries.iter().filter(|entry| entry.probe == probe).map(|entry| CheckReport {
            name: entry.check.origin().name().to_owned(),
            status: entry.check.reported(),
            criticality: entry.criticality,
            since: entry.check.since(),
            error: entry.check.last_error().map(|error| error.to_string()),
        });
        let checks: Vec<_> = checks.collect();
        let status = checks.iter().map(|check| meaning(probe, check.criticality, check.status));
        let draining = probe == Probe::Readiness && self.is_draining();
        let status = if draining { Status::Down } else { status.max().unwrap_or(Status::Up) };
        Report { status, draining, checks }
    }

    /// The status of the checks of this name, the worst if there are several; `None` if there is none.
    pub fn check(&self, name: &str) -> Option<Status> {
        self.0.tend();
        let entries = self.0.entries.get();
        let named = entries.iter().filter(|entry| entry.check.origin().name() == name);
        named.map(|entry| entry.check.reported()).max()
    }

    /// Watches the checks of this name, which may be added later.
    pub fn watch_check(&self, name: impl Into<Arc<str>>) -> CheckWatch {
        CheckWatch::new(self.clone(), name.into())
    }

    /// Watches the overall status of a probe.
    pub fn watch(&self, probe: Probe) -> Watch {
        Watch::of_registry(self, probe)
    }
}

impl Inner {
    pub(super) fn status(&self, probe: Probe) -> Status {
        self.tend();
        self.whole(&self.entries.get(), probe)
    }

    /// Sees to it that somebody checks. Not under a lock: a runtime that is about to end drops what it
    /// is given, and that is told here.
    fn tend(&self) {
        self.entries.get().iter().for_each(|entry| entry.check.tend());
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    fn whole(&self, entries: &[Entry], probe: Probe) -> Status {
        if probe == Probe::Readiness && self.is_draining() {
            return Status::Down;
        }
        let entries = entries.iter().filter(|entry| entry.probe == probe);
        let meanings =
            entries.map(|entry| meaning(probe, entry.criticality, entry.check.reported()));
        meanings.max().unwrap_or(Status::Up)
    }

    /// A check changed: tells those who watch the whole.
    pub(super) fn look(&self) {
        let mut looked = None;
        self.overall.send_if_modified(|overall| {
            // Looked up inside, so that of two changes the later look wins.
            let entries = looked.insert(self.entries.get());
            let now = Probe::ALL.map(|probe| self.whole(entries, probe));
            std::mem::replace(overall, now) != now
        });
        drop(looked.take()); // after the unlock: perhaps the last of a check that was removed
        self.each.send_if_modified(|each| {
            let entries = looked.insert(self.entries.get());
            let now: Vec<_> = entries.iter().map(|entry| entry.check.reported()).collect();
            let changed = *each != now;
            *each = now;
            changed
        });
        drop(looked);
        self.set_levels();
    }

    /// A check has lost its runtime: whoever waits begins it again on another.
    pub(super) fn stir(&self) {
        self.overall.send_modify(|_| ());
        self.each.send_modify(|_| ());
    }

    fn set_levels(&self) {
        self.meter.with(
            |_| (),
            |handles| {
                for probe in Probe::ALL {
                    let overall = self.whole(&self.entries.get(), probe);
                    for (gauge, status) in handles.own.0[probe as usize].iter().zip(Status::OVERALL)
                    {
                        handles.set(gauge, f64::from(u8::from(status == overall)));
                    }
                }
            },
        );
    }
}

impl fmt::Debug for HealthRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for probe in Probe::ALL {
            map.entry(&probe, &self.status(probe));
        }
        map.finish()
    }
}
