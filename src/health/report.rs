//! What many health checks mean together.

use std::time::Duration;

use crate::health::status::Status;

/// Which question a check answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Probe {
    /// Should this process be restarted?
    Liveness,
    /// Should this process get traffic? Not before each critical check has been good once, and not
    /// while it [drains](super::HealthRegistry::drain).
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
/// use seawall::health::{CheckReport, Criticality, HealthLayer, HealthRegistry, Probe, Report, Status};
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
    /// The worst of what the checks mean: up, degraded or down. Readiness is down, too, while a critical
    /// check is still unknown, and from [`drain`](super::HealthRegistry::drain) on.
    pub status: Status,
    /// Whether it is down because it [drains](super::HealthRegistry::drain).
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "std::ops::Not::not"))]
    pub draining: bool,
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
    /// Up or down; unknown before the first successful check, and when nothing was heard for three intervals.
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

/// What the status of a check means for the whole. The worst is the greatest.
pub(super) fn meaning(probe: Probe, criticality: Criticality, status: Status) -> Status {
    match (status, criticality) {
        (Status::Up, _) | (_, Criticality::Informational) => Status::Up,
        // Nobody is restarted before it is known that something is wrong.
        (Status::Unknown, _) if probe == Probe::Liveness => Status::Up,
        (Status::Down | Status::Unknown, Criticality::Critical) => Status::Down,
        _ => Status::Degraded,
    }
}
