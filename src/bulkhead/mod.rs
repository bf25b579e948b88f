//! Bulkhead: limits concurrent calls; queues or rejects the others.
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
//! let in_flight = payments.ready().await?.call(100);
//! let rejected = payments.ready().await?.call(100).await;
//! assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Full));
//! # drop(in_flight);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Use it around a dependency that would take all your tasks, connections or memory when it becomes slow, and
//! around your own service to limit its load. It is a concurrency limit, not a rate limit: a fast dependency gets
//! more calls.
//!
//! One tenant or host can take every permit. With [`keyed`](Builder::keyed) each tenant, host or route has a
//! bulkhead of its own:
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
//! let _initech = begin("initech"); // has a permit of its own
//! assert_eq!(tenants.handle().len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # How it decides
//!
//! ```text
//!            a permit is free, no call waits
//!   call ──────────────────────────────────▶ in flight ──▶ over: the next in the queue gets the permit
//!     │ no permit, or others wait               ▲
//!     ├──▶ queue ───────────────────────────────┘
//!     │      └── max_wait or deadline is over, or dropped ──▶ ends
//!     └──▶ rejected: the queue is full
//! ```
//!
//! A call takes its permit in `call`, never in `poll_ready`, so idle clones and keep-alive connections hold none. Other
//! calls wait in the [queue](Order) with a fresh clone of the inner service, so a waiting call holds no reservation
//! of the inner service. A free permit goes directly to the next call, so none can overtake. A call whose deadline has
//! passed is skipped.
//!
//! A call takes one permit, or as many as it [costs](Builder::cost). The next call waits until there are enough, and
//! permits that become free meanwhile are kept for it, so many small calls do not starve a large one. If it is
//! dropped, the calls behind it get them. (With [`NewestFirst`](Order::NewestFirst) the next is the newest, whatever
//! the older ones need.)
//!
//! A keyed bulkhead has a [maximum of keys](crate::keyed::KeyedBuilder::max_keys). A new key then evicts an idle one,
//! which has no state to lose. A key in use is never evicted, because it would return with all its permits free. If
//! all are in use, new keys share one overflow bulkhead. So a flood of keys gets one more limit, not thousands, and
//! the total of permits is bounded: the limit times the maximum of keys plus one.
//!
//! ## Adaptive limits
//!
//! The right limit is what the dependency can do at a time, and that changes: a deployment, a slow disk, half of
//! the servers gone. [`Adaptive`] makes the limit follow (*adaptive concurrency* in Envoy, *concurrency limits* at Netflix):
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::bulkhead::{Adaptive, BulkheadLayer};
//!
//! let users = BulkheadLayer::builder("users").adaptive(Adaptive::default()).build()?;
//! # let call = || async { Ok::<_, seawall::Error<std::io::Error>>(()) };
//! users.run(call).await?;
//! println!("{} of {} places are taken", users.handle().in_flight(), users.handle().limit());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! - **It falls** to 0.85 times what is in flight when most calls are late: an answer that takes over 1.6 times what three in
//!   four take without load, a call that was dropped after that time, an answer that asks for less load. *Most* is decided by
//!   a cumulative sum (Page 1954), so six in a row are enough, and one bad server of four behind a balancer is not.
//!   A fast error says nothing about load. The limit never falls below what Little's law asks for.
//! - **It grows** by half a place with each good answer up to where it was right before, and slowly above that, while at least
//!   70 % of it is taken. While fewer calls come, it holds still.
//! - **What is usual** is learnt from answers that came without pressure. While the limit is always taken, half of it is left
//!   free for a moment, every 10 s at most, to see how fast answers are without a queue. So the limit does not drift in
//!   an hour of overload.
//! - **Distance is not a queue**: if answers are still slow when only [`min`](Adaptive::min) calls are in flight, that is what is usual now.
//!
//! Latency counts from when a call is first found pending, to its response head. Give it a short [`max_wait`](Config::max_wait), 50 ms for
//! example: in a long queue calls wait until nobody wants their answer. Alone, a bulkhead takes every response for a good one; in a stack,
//! or with [`classify`](Builder::classify), the classifier decides. Each key of a keyed bulkhead has an adaptive limit of its own; a key that was idle
//! and forgotten begins anew.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`limit`](Config::limit) | 64 | concurrent calls |
//! | [`queue`](Config::queue) | 0 | calls that may wait |
//! | [`max_wait`](Config::max_wait) | 1 s | how long a call waits at most |
//! | [`order`](Config::order) | [`OldestFirst`](Order::OldestFirst) | which call is next |
//! | [`adaptive`](Config::adaptive) | none | a limit that follows what the dependency can do: [begins](Adaptive::initial) at 40, [2](Adaptive::min) to [1,000](Adaptive::max), [60 %](Adaptive::tolerance) slower is late |
//! | [`max_keys`](crate::keyed::KeyedConfig::max_keys) | 10,000 | keys with a bulkhead of their own |
//!
//! The settings of a [keyed](Builder::keyed) bulkhead apply to all keys. Single keys may have
//! [overrides](Overrides). All of it is one [`KeyedConfig`].
//!
//! # Rejections
//!
//! [`Full`](crate::Reason::Full) at once, if no permit is free and the queue is full, and
//! [`QueueTimeout`](crate::Reason::QueueTimeout) after [`max_wait`](Config::max_wait), both with the calls
//! in flight, the limit and the queue; [`CostTooHigh`](crate::Reason::CostTooHigh) for a call that costs more
//! than the limit, also if the limit is lowered while it waits;
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) for a call whose deadline passes while it waits;
//! [`Draining`](crate::Reason::Draining) after [`BulkheadLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected), [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics:
//! `seawall_calls_total`, `seawall_rejections_total`, `seawall_bulkhead_in_flight`,
//! `seawall_bulkhead_limit`, `seawall_bulkhead_queued`, `seawall_bulkhead_wait_seconds`, and for keyed
//! ones `seawall_keys` and `seawall_key_overflow_total`. They count all keys together: keys are not labels.
//!
//! # Order
//!
//! Inside retry and breaker, so that a call holds no permit during backoff. Outside the attempt timeout, so that
//! time in the queue does not count as a slow dependency.
//!
//! # Cancellation
//!
//! Dropping the future releases its permit, or its position in the queue, at once. A waiting call that just got a
//! permit and is dropped passes it on.

mod adaptive;
mod backpressure;
mod common;
mod config;
mod handle;
mod keyed;
mod layer;
mod limiter;
mod machine;
mod meter;
mod overrides;
mod places;
mod policy;
mod report;
mod steering;
#[cfg(test)]
mod tests;

pub use adaptive::Adaptive;
#[doc(hidden)]
pub use backpressure::{Backpressure, BackpressureLayer};
#[cfg(feature = "http")]
pub(crate) use config::MAX_WAIT;
pub use config::{Config, Order};
pub use handle::BulkheadHandle;
#[doc(hidden)]
pub use keyed::{KeyedBuilder, KeyedBulkhead};
pub use keyed::{KeyedBulkheadHandle, KeyedBulkheadLayer};
pub use layer::{Builder, BulkheadLayer};
#[doc(hidden)]
pub use layer::{Bulkhead, ResponseFuture};
#[doc(hidden)]
pub use overrides::KeyedConfig;
pub use overrides::Overrides;
pub(crate) use policy::Bounded;

#[doc(hidden)]
pub use crate::shell::cost::{ByRequest, CostOf, One};
