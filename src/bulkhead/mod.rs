//! Bulkhead: limits how many calls are in flight at a time.
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
//! let rejected = payments.ready().await?.call(100).await;
//! assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Full));
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
//! Where calls come from many, one of them can take every place. With [`keyed`](Builder::keyed) each
//! tenant, host or route has a bulkhead of its own:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, Reason, bulkhead::BulkheadLayer};
//! use std::{borrow::Cow, convert::Infallible, future::pending};
//! use tower::{Layer, Service, service_fn};
//!
//! struct Report { part: String }
//!
//! let tenants = BulkheadLayer::builder("reports")
//!     .limit(1)
//!     .keyed(|report: &Report| Cow::from(&report.part))
//!     .build()?;
//! let make = service_fn(|_: Report| pending::<Result<(), Error<Infallible>>>());
//! let mut reports = tenants.layer(make);
//! let mut begin = |part: &str| reports.call(Report { part: part.to_owned() });
//!
//! let _acme = begin("acme");
//! let rejected = begin("acme").await;
//! assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Full));
//! let _initech = begin("initech"); // has a place of its own
//! assert_eq!(tenants.handle().len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # How it decides
//!
//! ```text
//!            room, and nobody waits
//!   call ─────────────────────────────▶ inside ──over──▶ gone; the next who waits takes the permit
//!     │ no room, or others wait            ▲
//!     ├──▶ waiting ────────────────────────┘
//!     │      └── patience or deadline ends, or dropped ──▶ gone
//!     └──▶ rejected: the queue is full
//! ```
//!
//! A place is taken in `call`, never in `poll_ready`, so that idle clones and keep-alive connections
//! hold none. Who waits does so in line ([`Order`]), with a fresh clone of the inner service, so that
//! nobody waits with a reservation of it in hand. A place that becomes free goes to the next in the queue
//! directly: nobody can overtake. One whose deadline has passed when its turn comes is passed over.
//!
//! A call takes one place, or as many as it [costs](Builder::cost). The next in the queue waits until there is
//! room for all it needs, and the places that become free meanwhile are kept for it: many small calls do
//! not starve a large one. If it goes away, those behind it come in. (With
//! [`NewestFirst`](Order::NewestFirst) the next is the newest, whatever the older ones need.)
//!
//! A keyed bulkhead holds [so many](crate::keyed::KeyedBuilder::max_keys) keys. When there are more, one that nobody
//! is in and nobody waits for makes room: it has nothing to remember, and comes back as it was. One that
//! is in use is never forgotten, for it would come back with its places free. A new key that finds no
//! room shares one overflow bulkhead with others like it: a flood of keys gets one limit more, not
//! thousands. Hence the number of places in all is bounded too, by the limit times one more than the keys.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`limit`](Config::limit) | [64](LIMIT) | calls at a time |
//! | [`queue`](Config::queue) | [0](QUEUE) | calls that may wait |
//! | [`max_wait`](Config::max_wait) | [1 s](MAX_WAIT) | how long a call waits at most |
//! | [`order`](Config::order) | [`OldestFirst`](Order::OldestFirst) | who is next |
//! | [`max_keys`](KeyedConfig::max_keys) | 10,000 | keys that have a bulkhead of their own |
//!
//! A [keyed](Builder::keyed) bulkhead has these settings for all of its keys, and single keys may have
//! [some of their own](Overrides); all of it is one [`KeyedConfig`].
//!
//! # Rejections
//!
//! [`Full`](crate::Reason::Full) at once, if there is no room and none in the queue, and
//! [`QueueTimeout`](crate::Reason::QueueTimeout) after [`max_wait`](Config::max_wait), both with the calls
//! in flight, the limit and the queue; [`CostTooHigh`](crate::Reason::CostTooHigh) for a call that takes
//! more places than the limit, also if the limit is lowered while it waits;
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) for one
//! whose own deadline ends while it waits; [`Draining`](crate::Reason::Draining) after
//! [`BulkheadLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected), [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics:
//! `seawall_calls_total`, `seawall_rejections_total`, `seawall_bulkhead_in_flight`,
//! `seawall_bulkhead_limit`, `seawall_bulkhead_queued`, `seawall_bulkhead_wait_seconds`, and for keyed
//! ones `seawall_keys` and `seawall_key_overflow_total`: of all keys together, for a key is no label.
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
mod common;
mod config;
mod cost;
mod handle;
mod keyed;
mod layer;
mod limiter;
mod machine;
mod meter;
mod overrides;
mod policy;
#[cfg(test)]
mod tests;

pub use backpressure::{Backpressure, BackpressureLayer};
pub use config::{Config, LIMIT, MAX_WAIT, Order, QUEUE};
pub use cost::{ByRequest, CostOf, One};
pub use handle::BulkheadHandle;
pub use keyed::{KeyedBuilder, KeyedBulkhead, KeyedBulkheadHandle, KeyedBulkheadLayer};
pub use layer::{Builder, Bulkhead, BulkheadLayer, ResponseFuture};
pub use overrides::{KeyedConfig, Overrides};
pub(crate) use policy::Bounded;
