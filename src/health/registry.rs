//! Many health checks, and what they mean together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::handle::HealthHandle;
use crate::event::Status;
use crate::shell::live::Live;
use crate::shell::meter::{Ended, Gauge, Instruments, Labels, Meter};
use crate::source::Source;

/// 1 for the overall status, else 0.
const OVERALL: &str = "seawall_health_overall";

/// Many health checks, and what they mean together.
///
/// *Liveness* asks whether this process should be restarted, *readiness* whether it should get
/// traffic; a check counts for one or the other. Keep dependencies out of liveness: a restart does
/// not bring a database back.
///
/// Cheap to clone; clones are the same registry.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe};
/// use seawall::Status;
///
/// # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
/// let database = HealthLayer::builder("database").check(|| ping()).build()?;
/// let registry = HealthRegistry::new("orders");
/// registry.add(Probe::Readiness, Criticality::Critical, &database.handle());
///
/// let report = registry.report(Probe::Readiness);
/// assert_eq!(report.status, Status::Up);
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct HealthRegistry(Arc<Inner>);

pub(super) struct Inner {
    entries: Live<Vec<Entry>>,
    meter: Meter<OverallMeter>,
    overall: watch::Sender<[Status; Probe::ALL.len()]>,
    /// The status of each entry.
    each: watch::Sender<Vec<Status>>,
}

struct OverallMeter([[Gauge; Status::ALL.len()]; Probe::ALL.len()]);

impl Instruments for OverallMeter {
    const OUTCOMES: &'static [Ended] = &[];

    fn new(labels: &Labels<'_>) -> Self {
        let about = "1 for the overall status, else 0.";
        Self(Probe::ALL.map(|probe| {
            Status::ALL.map(|status| {
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

/// Which question a check answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Probe {
    /// Should this process be restarted?
    Liveness,
    /// Should this process get traffic?
    Readiness,
}

impl Probe {
    pub(super) const ALL: [Self; 2] = [Self::Liveness, Self::Readiness];

    /// The metric label `probe`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
        }
    }
}

/// What it means for the whole when a check is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Criticality {
    /// The whole is down.
    Critical,
    /// The whole is degraded: it works, and something is missing.
    Degrading,
    /// Nothing; it is only reported.
    Informational,
}

/// How all checks of one probe fare.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Status;
/// use seawall::health::{CheckReport, Criticality, HealthLayer, HealthRegistry, Probe, Report};
/// use std::io;
/// use std::time::Duration;
///
/// /// What is missing, for a line of the log.
/// fn missing(report: &Report) -> Vec<String> {
///     let line = |check: &CheckReport| {
///         let error = check.error.as_deref().unwrap_or("is down");
///         (check.status == Status::Down).then(|| format!("{}: {error}", check.name))
///     };
///     report.checks.iter().filter_map(line).collect()
/// }
///
/// let cache = HealthLayer::builder("cache")
///     .check(|| async { Err(io::Error::other("no route")) })
///     .build()?;
/// let registry = HealthRegistry::new("orders");
/// registry.add(Probe::Readiness, Criticality::Degrading, &cache.handle());
/// tokio::time::sleep(Duration::from_secs(60)).await;
///
/// let report = registry.report(Probe::Readiness);
/// assert_eq!(report.status, Status::Degraded);
/// assert_eq!(missing(&report), ["cache: no route"]);
/// assert_eq!(missing(&report.without_errors()), ["cache: is down"]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The worst of what the checks mean.
    pub status: Status,
    /// Each check, in the order in which they were added.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// The same without what the checks found wrong, for those who need not know.
    #[must_use]
    pub fn without_errors(mut self) -> Self {
        self.checks.iter_mut().for_each(|check| check.error = None);
        self
    }
}

/// How one check fares.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Up or down.
    pub status: Status,
    /// What it means for the whole when it is down.
    pub criticality: Criticality,
    /// How long it has been so.
    #[cfg_attr(feature = "serde", serde(rename = "since_seconds", serialize_with = "seconds"))]
    pub since: Duration,
    /// What the last check found wrong.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub error: Option<String>,
}

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(duration.as_secs())
}

impl HealthRegistry {
    /// A registry without checks; everything is up. The name labels its metrics.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let inner = Inner {
            entries: Live::new(Vec::new()),
            meter: Meter::new(Source::new("health_registry", name)),
            overall: watch::Sender::new([Status::Up; Probe::ALL.len()]),
            each: watch::Sender::new(Vec::new()),
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
        check.gate.tell_registry(Arc::downgrade(&self.0));
        self.0.look();
    }

    /// The overall status.
    pub fn status(&self, probe: Probe) -> Status {
        self.0.status(probe)
    }

    /// How all checks of a probe fare.
    pub fn report(&self, probe: Probe) -> Report {
        self.0.set_levels(); // for a recorder that came after the last change
        let entries = self.0.entries.get();
        let checks = entries.iter().filter(|entry| entry.probe == probe).map(|entry| CheckReport {
            name: entry.check.source().name().to_owned(),
            status: entry.check.status(),
            criticality: entry.criticality,
            since: entry.check.since(),
            error: entry.check.last_error().map(|error| error.to_string()),
        });
        let checks: Vec<_> = checks.collect();
        let status = checks.iter().map(|check| meaning(check.criticality, check.status)).max();
        Report { status: status.unwrap_or(Status::Up), checks }
    }

    /// The status of the checks of this name, the worst if there are several; `None` if there is none.
    pub fn check(&self, name: &str) -> Option<Status> {
        let entries = self.0.entries.get();
        let named = entries.iter().filter(|entry| entry.check.source().name() == name);
        named.map(|entry| entry.check.status()).max()
    }

    /// Watches the checks of this name, which may be added later.
    pub fn watch_check(&self, name: impl Into<Arc<str>>) -> CheckWatch {
        let each = self.0.each.subscribe();
        let name = name.into();
        let seen = self.check(&name);
        CheckWatch { registry: self.clone(), each, name, seen }
    }

    /// Watches the overall status of a probe.
    pub fn watch(&self, probe: Probe) -> RegistryWatch {
        let overall = self.0.overall.subscribe();
        let seen = overall.borrow()[probe as usize];
        RegistryWatch { overall, probe, seen }
    }
}

/// What the status of a check means for the whole. The worst is the greatest.
fn meaning(criticality: Criticality, status: Status) -> Status {
    match (status, criticality) {
        (Status::Up, _) | (_, Criticality::Informational) => Status::Up,
        (Status::Down, Criticality::Critical) => Status::Down,
        _ => Status::Degraded,
    }
}

impl Inner {
    fn status(&self, probe: Probe) -> Status {
        let entries = self.entries.get();
        let entries = entries.iter().filter(|entry| entry.probe == probe);
        let worst = entries.map(|entry| meaning(entry.criticality, entry.check.status())).max();
        worst.unwrap_or(Status::Up)
    }

    /// A check changed: tells those who watch the whole.
    pub(super) fn look(&self) {
        self.overall.send_if_modified(|overall| {
            // Looked up inside, so that of two changes the later look wins.
            let now = Probe::ALL.map(|probe| self.status(probe));
            std::mem::replace(overall, now) != now
        });
        self.each.send_if_modified(|each| {
            let entries = self.entries.get();
            let now: Vec<_> = entries.iter().map(|entry| entry.check.status()).collect();
            let changed = *each != now;
            *each = now;
            changed
        });
        self.set_levels();
    }

    fn set_levels(&self) {
        self.meter.with(
            |_| (),
            |handles| {
                for probe in Probe::ALL {
                    let overall = self.status(probe);
                    for (gauge, status) in handles.own.0[probe as usize].iter().zip(Status::ALL) {
                        gauge.set(f64::from(u8::from(status == overall)));
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

/// Watches the overall status of a registry.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Status;
/// use seawall::health::{CheckWatch, Criticality, HealthLayer, HealthRegistry, Probe, RegistryWatch};
/// use std::io;
///
/// /// Both can be waited for: the whole, and a check that others may add later.
/// async fn outage(mut whole: RegistryWatch, mut database: CheckWatch) -> [Option<Status>; 2] {
///     let added = database.changed().await;
///     assert_eq!(added, Some(Status::Up)); // until three checks in a row were bad
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
pub struct RegistryWatch {
    overall: watch::Receiver<[Status; Probe::ALL.len()]>,
    probe: Probe,
    seen: Status,
}

impl RegistryWatch {
    /// The overall status at this moment.
    pub fn status(&self) -> Status {
        self.overall.borrow()[self.probe as usize]
    }

    /// Returns the new overall status once it has changed since the last look; `None` when the
    /// registry is gone. Cancel safe.
    pub async fn changed(&mut self) -> Option<Status> {
        loop {
            let now = self.overall.borrow_and_update()[self.probe as usize];
            if std::mem::replace(&mut self.seen, now) != now {
                return Some(now);
            }
            self.overall.changed().await.ok()?;
        }
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
