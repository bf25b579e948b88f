//! For equivalent backends only: load goes to the next tier when the first one is unhealthy, and comes back slowly. (A standby
//! database is not equivalent: a write that goes to it too early is lost.)
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::circuit_breaker::State;
//! use seawall::failover::Failover;
//! use seawall::{Error, stack};
//! use std::collections::HashMap;
//! use std::io;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! // A client with a circuit breaker for each of two regions.
//! let tiers = ["near", "far"];
//! let mut stacks = HashMap::new();
//! for tier in tiers {
//!     stacks.insert(tier.to_owned(), stack::client(tier).cloned().build()?);
//! }
//! let breakers: HashMap<_, _> = stacks.iter().map(|(tier, stack)| (tier.clone(), stack.handle())).collect();
//! let near = breakers["near"].clone();
//!
//! let search = Failover::builder("search")
//!     .tiers(tiers)
//!     .health(move |tier| if breakers[tier].breaker().state() == State::Closed { 1.0 } else { 0.0 })
//!     .over(move |tier| {
//!         let name = tier.to_owned(); // connect to its address here
//!         let region = service_fn(move |_query: String| {
//!             let name = name.clone();
//!             async move { Ok::<_, Error<io::Error>>(name) }
//!         });
//!         Ok(stacks[tier].clone().layer(region))
//!     })?;
//!
//! assert_eq!(search.clone().oneshot("tower".into()).await?, "near");
//! near.breaker().force_open();
//! assert_eq!(search.oneshot("tower".into()).await?, "far");
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Where several groups of servers give the same answers, and one of them is to be preferred: it is nearer, or cheaper. Not for
//! data that only one of them may write, and not between servers of one group, which share the load.
//!
//! A tier that takes over needs room for the load: give its service a bulkhead, which rejects what is too much.
//!
//! # How it decides
//!
//! The *health* of a tier is the share of its members that are well, as your closure tells. A tier takes 1.4 times that of what comes to
//! it, and at most all (Envoy's overprovisioning factor): the first one keeps all of its load down to 71 %, and the rest goes to
//! the next. If nobody takes anything, the first tier takes all (*panic*): a health check that is wrong is no outage.
//!
//! Load leaves at once, and comes back slowly: when a tier was better for 10 s on end it takes 5 %, and each second twice
//! that. Each loss doubles the 10 s, up to 5 min, and each 5 min without one halve it again. Where no other tier serves, one that
//! is well again takes load at once.
//!
//! A tier that is wholly down is sent a single call now and then, at most one a second and one in ten: a circuit breaker lets
//! calls through and closes only where there are some.
//!
//! A tier that is not ready is passed over. A call that failed is not repeated here: put a [retry](crate::retry) around, and tell
//! [`propagate`](Builder::propagate) where the number of the attempt is. Then further attempts go to the next tier that is not down, and the
//! retry says what may be repeated, until when, and out of which budget.
//!
//! # Defaults
//!
//! | setting | default |
//! | --- | --- |
//! | [`up_for`](Builder::up_for) | 10 s |
//! | [`max_up_for`](Builder::max_up_for) | 5 min |
//! | [`propagate`](Builder::propagate) | attempts are not read |
//!
//! # Rejections
//!
//! [`Draining`](crate::Reason::Draining) after [`drain`](FailoverHandle::drain). Everything else that a call can fail of
//! is its tier's.
//!
//! # Events and metrics
//!
//! [`Changed`](crate::EventKind::Changed) between `first`, `spilling` and `panic`, with the cause `health`. Metrics:
//! `seawall_failover_first_share`, `seawall_rejections_total`. The layers of each tier have theirs, under the names you
//! give them.
//!
//! # Order
//!
//! Retries that go to the next tier, the deadline of the whole call and limits for calls in all go around; breakers, bulkheads and
//! attempt timeouts belong to the tiers, in the closure.
//!
//! # Cancellation
//!
//! Dropping the future drops the call in flight.

mod builder;
mod handle;
mod machine;
mod plan;
mod service;

pub use builder::Builder;
pub use handle::FailoverHandle;
pub use service::Failover;
#[doc(hidden)]
pub use service::ResponseFuture;

#[cfg(test)]
mod tests;
