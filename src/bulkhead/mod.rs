//! Bulkhead: limits how many calls are under way at a time.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, Reason, bulkhead::BulkheadLayer};
//! use std::{convert::Infallible, future::pending};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! let mut payments = ServiceBuilder::new()
//!     .layer(BulkheadLayer::builder("payments").limit(1).build()?)
//!     .map_err(Error::Inner)
//!     .service(service_fn(|_amount: u32| pending::<Result<(), Infallible>>()));
//!
//! let under_way = payments.ready().await?.call(100);
//! let refused = payments.ready().await?.call(100).await;
//! assert!(matches!(refused, Err(Error::Rejected(why)) if why.reason() == Reason::Full));
//! # drop(under_way);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Around a dependency that could take all your tasks, connections or memory with it when it grows
//! slow; and around your own service where it can only do so much at a time. It bounds concurrency,
//! not rate: a dependency that answers fast gets more calls. If you do not know the limit, an
//! adaptive one finds it.
//!
//! # How it decides
//!
//! ```text
//!            room, and nobody waits
//!   call ─────────────────────────────▶ inside ──over──▶ gone; the next who waits takes the place
//!     │ no room, or others wait            ▲
//!     ├──▶ waiting ────────────────────────┘
//!     │      └── patience or deadline ends, or dropped ──▶ gone
//!     └──▶ refused: the queue is full
//! ```
//!
//! A place is taken in `call`, never in `poll_ready`, so that idle clones and keep-alive connections
//! hold none. Who waits does so in line ([`Order`]), with a fresh clone of the inner service, so that
//! nobody waits with a reservation of it in hand. A place that becomes free goes to the next in line
//! directly: nobody can overtake. One whose deadline has passed when its turn comes is passed over.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`limit`](Config::limit) | [64](LIMIT) | calls at a time |
//! | [`queue`](Config::queue) | [0](QUEUE) | calls that may wait |
//! | [`max_wait`](Config::max_wait) | [1 s](MAX_WAIT) | how long a call waits at most |
//! | [`order`](Config::order) | [`OldestFirst`](Order::OldestFirst) | who is next |
//!
//! # Rejections
//!
//! [`Full`](crate::Reason::Full) at once, if there is no room and none in the queue, and
//! [`QueueTimeout`](crate::Reason::QueueTimeout) after [`max_wait`](Config::max_wait), both with the calls
//! in flight, the limit and the queue; [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) for one
//! whose own deadline ends while it waits; [`Draining`](crate::Reason::Draining) after
//! [`BulkheadLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_bulkhead_in_flight`, `seawall_bulkhead_limit`,
//! `seawall_bulkhead_queued`, `seawall_bulkhead_wait_seconds`.
//!
//! # Order
//!
//! Inside retry and breaker, so that a wait between attempts holds no place; outside the timeout of
//! the attempt, so that waiting for a place is not taken for a slow dependency.
//!
//! # Cancellation
//!
//! Dropping the future frees its place, in the bulkhead or in the queue, at once. One that was just
//! given a place and is dropped before it notices hands it on.

mod backpressure;
mod config;
mod future;
mod handle;
mod layer;
mod machine;
mod policy;
mod service;
#[cfg(test)]
mod tests;

pub use backpressure::{Backpressure, BackpressureLayer};
pub use config::{Config, LIMIT, MAX_WAIT, Order, QUEUE};
pub use future::ResponseFuture;
pub use handle::BulkheadHandle;
pub use layer::{Builder, BulkheadLayer};
pub use service::Bulkhead;
