//! Health check: knows whether a dependency is up, and refuses calls while it is not.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, Reason, Status, health::HealthLayer};
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
//! let refused = database.oneshot(7).await;
//! assert!(matches!(refused, Err(Error::Rejected(why)) if why.reason() == Reason::Unhealthy));
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
//! that they never overlap. A check that panics or takes too long has failed. The task that checks
//! ends with the last layer, service or handle. A dependency that tells of its health by itself is
//! [listened to](Builder::listen) instead, and its word needs no confirming. With [`Config::learn`] the outcomes of live calls
//! count like checks.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`interval`](Config::interval) | [5 s](INTERVAL) | between checks |
//! | [`jitter`](Config::jitter) | [0.1](JITTER) | spreads it, to both sides |
//! | [`timeout`](Config::timeout) | [1 s](TIMEOUT) | a check that takes longer has failed |
//! | [`rise`](Config::rise) | [2](RISE) | good checks in a row until up |
//! | [`fall`](Config::fall) | [3](FALL) | bad checks in a row until down |
//! | [`initial`](Config::initial) | up | until it is known |
//! | [`let_through`](Config::let_through) | none | one call in so many passes while down |
//! | [`learn`](Config::learn) | off | live calls count like checks |
//!
//! # Rejections
//!
//! [`Unhealthy`](crate::Reason::Unhealthy) while down; [`Draining`](crate::Reason::Draining) after
//! [`HealthLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Health`](crate::EventKind::Health), [`Rejected`](crate::EventKind::Rejected). Metrics:
//! `seawall_calls_total`, `seawall_rejections_total`, `seawall_health_up`,
//! `seawall_health_checks_total`, `seawall_health_check_seconds`, and for a registry
//! `seawall_health_overall`.
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
mod future;
mod handle;
mod layer;
mod listen;
mod machine;
mod policy;
mod registry;
mod report;
mod service;
#[cfg(test)]
mod tests;
mod watch;

pub use config::{
    Config, FALL, INITIAL_RISE, INTERVAL, JITTER, LET_THROUGH, PROBE_INTERVAL, RISE, TIMEOUT,
};
pub use future::ResponseFuture;
pub use handle::{HealthHandle, Watch};
pub use layer::{Builder, HealthLayer};
pub use listen::Told;
pub use registry::HealthRegistry;
pub use report::{CheckReport, Criticality, Probe, Report};
pub use service::Health;
pub use watch::{CheckWatch, RegistryWatch};
