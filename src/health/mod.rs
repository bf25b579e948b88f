//! Health check: checks a dependency, rejects calls while it is down, reports liveness and readiness.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, Reason};
//! use seawall::health::{HealthLayer, Status};
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # async fn ping() -> Result<(), std::io::Error> { Err(std::io::Error::other("connection refused")) }
//! # async fn query(id: u32) -> Result<u32, std::io::Error> { Ok(id) }
//! let health = HealthLayer::builder("database")
//!     .check(|| ping())
//!     .interval(Duration::from_millis(10))
//!     .fall(2)
//!     .build()?;
//! let mut watch = health.handle().watch();
//!
//! let database = ServiceBuilder::new()
//!     .layer(health)
//!     .map_err(Error::Inner)
//!     .service(service_fn(query));
//!
//! assert_eq!(watch.changed().await, Some(Status::Down));
//! let rejected = database.oneshot(7).await;
//! assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Unhealthy));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Use it if a check is cheaper than the calls themselves, to stop traffic to a host before the first call fails, and,
//! with a [`HealthRegistry`], to serve liveness and readiness of your own service. It does not replace a circuit
//! breaker, which observes every call; it can [control one](Watch::follow).
//!
//! # How it decides
//!
//! ```text
//!   ┌────┐ ── `fall` consecutive failures ──▶ ┌──────┐
//!   │ Up │                                    │ Down │
//!   └────┘ ◀─ `rise` consecutive successes ── └──────┘
//! ```
//!
//! The first check begins at once, each further one an interval after the end of the check before, so checks
//! never overlap. A check that panics or times out has failed. At the start, one successful check is
//! [enough](Config::initial_rise).
//!
//! Checks run on a task, on the tokio runtime in which the layer was built. If that runtime is gone, or the layer was
//! built outside a runtime, they run on the runtime of whoever next uses the layer, a service, a handle, a watch or the
//! [registry](HealthRegistry). A runtime that is not driven looks like a slow one. So without a result for three intervals
//! the last one expires: a registry reports the check as [unknown](crate::health::Status::Unknown), and the next
//! user takes the task over (a call only while the check is down, because an admitted call reads no clock). The task ends
//! when the last layer, service and handle are dropped. [Reloaded](HealthHandle::reload) settings apply at once, also to a
//! pause or a check in flight.
//!
//! If a dependency reports its health itself, [subscribe](Builder::subscribe) to it instead; each update applies at
//! once. With [`Config::passive`] the outcomes of live calls count like checks, and a call that panics is a
//! failure. While the check is down, one call in [N](Config::probe_one_in) is admitted, and one call in each
//! [`probe_interval`](Config::probe_interval).
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`interval`](Config::interval) | 5 s | between checks |
//! | [`down_interval`](Config::down_interval) | as `interval` | between checks while down, and until the first success |
//! | [`jitter`](Config::jitter) | 0.1 | makes both shorter or longer by up to this share |
//! | [`timeout`](Config::timeout) | 1 s | a check that takes longer has failed |
//! | [`rise`](Config::rise) | 2 | consecutive successes until up |
//! | [`initial_rise`](Config::initial_rise) | 1 | the same at the start |
//! | [`fall`](Config::fall) | 3 | consecutive failures until down |
//! | [`initial`](Config::initial) | up | the status before the first result |
//! | [`probe_one_in`](Config::probe_one_in) | none; 10 without a check | one call in N is admitted while down |
//! | [`probe_interval`](Config::probe_interval) | 5 s | if any are, one call in each interval is admitted |
//! | [`passive`](Config::passive) | off; on without a check | live calls count like checks |
//!
//! # Rejections
//!
//! [`Unhealthy`](crate::Reason::Unhealthy) while down; [`Draining`](crate::Reason::Draining) after
//! [`HealthLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Changed`](crate::EventKind::Changed), [`Rejected`](crate::EventKind::Rejected). Metrics:
//! `seawall_calls_total`, `seawall_rejections_total`, `seawall_health_up`,
//! `seawall_health_checks_total`, `seawall_health_check_seconds`, and for a registry
//! `seawall_health_overall`. For alerts use [`Builder::on_down`] and [`Builder::on_up`]: once for each change.
//!
//! # Order
//!
//! Where a circuit breaker would be: inside retry, outside timeout.
//!
//! # Cancellation
//!
//! Dropping a call's future drops the inner call. A check is dropped when it times out, and with the last handle.

mod check;
mod checker;
mod config;
mod handle;
mod layer;
mod listen;
mod machine;
mod monitor;
mod policy;
mod registry;
mod report;
mod status;
#[cfg(test)]
mod tests;
mod watch;

pub use config::Config;
pub use handle::HealthHandle;
pub use layer::{Builder, HealthLayer};
#[doc(hidden)]
pub use layer::{Health, ResponseFuture};
pub use listen::HealthUpdate;
pub use registry::HealthRegistry;
pub use report::{CheckReport, Criticality, Probe, Report};
pub use status::Status;
#[doc(hidden)]
pub use watch::RegistryWatch;
pub use watch::{CheckWatch, Watch};
