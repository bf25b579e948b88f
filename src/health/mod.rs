//! Health check: knows whether a dependency is up, and rejects calls while it is not.
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
//! Where a dependency can be asked how it is, cheaper than by the calls themselves; to keep traffic
//! away from a host before the first call fails; and, with a [`HealthRegistry`], to answer when you
//! are asked yourself. It does not replace a circuit breaker, which learns from every call: let it
//! [steer one](Watch::follow).
//!
//! # How it decides
//!
//! ```text
//!   ┌────┐ ── `fall` bad in a row ─▶ ┌──────┐
//!   │ Up │                           │ Down │
//!   └────┘ ◀─ `rise` good in a row ─ └──────┘
//! ```
//!
//! The first check begins at once, each further one an interval after the one before has ended, so
//! that they never overlap. A check that panics or takes too long has failed. At the start, before
//! anything is known, the first good check is [enough](Config::initial_rise).
//!
//! The checks run on a task, on the tokio runtime in which the layer was built. If that runtime is gone
//! they begin again on the runtime of whoever next uses the layer, a service, a handle, a watch or the
//! [registry](HealthRegistry); so do those of a layer that was built outside a runtime. A runtime that
//! is there and is not driven cannot be told from a slow one: when nothing was heard for three intervals
//! the last word has expired, a registry calls the check [unknown](crate::health::Status::Unknown), and whoever
//! looks takes it over (a call only while it is down: a call that passes reads no clock). The task ends
//! with the last layer, service or handle. Settings that are [reloaded](HealthHandle::reload) count from
//! then on, also for a pause or a check in flight.
//!
//! A dependency that tells of its health by itself is
//! [listened to](Builder::subscribe) instead, and its word needs no confirming. With [`Config::passive`] the outcomes of live calls
//! count like checks; a call that panics is a bad one, as it is for a circuit breaker. While it is down,
//! one call in [so many](Config::probe_one_in) is let through, and one in
//! [so long](Config::probe_interval).
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`interval`](Config::interval) | [5 s](INTERVAL) | between checks |
//! | [`down_interval`](Config::down_interval) | as `interval` | between checks while down, and until the first good one |
//! | [`jitter`](Config::jitter) | [0.1](JITTER) | spreads both, to both sides |
//! | [`timeout`](Config::timeout) | [1 s](TIMEOUT) | a check that takes longer has failed |
//! | [`rise`](Config::rise) | [2](RISE) | good checks in a row until up |
//! | [`initial_rise`](Config::initial_rise) | [1](INITIAL_RISE) | the same before anything is known |
//! | [`fall`](Config::fall) | [3](FALL) | bad checks in a row until down |
//! | [`initial`](Config::initial) | up | until it is known |
//! | [`probe_one_in`](Config::probe_one_in) | none; [10](PROBE_ONE_IN) without a check | one call in so many passes while down |
//! | [`probe_interval`](Config::probe_interval) | [5 s](PROBE_INTERVAL) | if any pass, one in so long does |
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
//! `seawall_health_overall`. For alerts: [`Builder::on_down`] and [`Builder::on_up`], once each change.
//!
//! # Order
//!
//! Where a circuit breaker would stand: inside retry, outside timeout.
//!
//! # Cancellation
//!
//! Dropping a call's future drops the inner call. A check is dropped when it takes too long, and
//! with the last handle.

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

pub use config::{
    Config, FALL, INITIAL_RISE, INTERVAL, JITTER, PROBE_INTERVAL, PROBE_ONE_IN, RISE, TIMEOUT,
};
pub use handle::{HealthHandle, Watch};
pub use layer::{Builder, Health, HealthLayer, ResponseFuture};
pub use listen::HealthUpdate;
pub use registry::HealthRegistry;
pub use report::{CheckReport, Criticality, Probe, Report};
pub use status::Status;
pub use watch::{CheckWatch, RegistryWatch};
