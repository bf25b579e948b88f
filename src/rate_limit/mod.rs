//! Rate limit: limits calls per unit of time (GCRA); queues or rejects the others.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, Reason, rate_limit::RateLimitLayer};
//! use std::{convert::Infallible, time::Duration};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! // A partner allows two calls a minute.
//! let partner = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new("partner-api", 2, Duration::from_secs(60))?)
//!     .map_err(Error::Inner)
//!     .service(service_fn(|id: u32| async move { Ok::<_, Infallible>(id) }));
//!
//! assert_eq!(partner.clone().oneshot(1).await?, 1);
//! assert_eq!(partner.clone().oneshot(2).await?, 2);
//! let Err(Error::Rejected(why)) = partner.oneshot(3).await else { panic!("the third is too early") };
//! assert_eq!(why.reason(), Reason::RateLimited);
//! assert!(why.retry_after() > Some(Duration::from_secs(29))); // until the next call is allowed
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Use it around a dependency with a quota, and around your own service to protect it from a client that sends too
//! much. It limits calls, not the work they cause: for a dependency that becomes slow use a
//! [bulkhead](crate::bulkhead), which is a concurrency limit. Each process has its own limit: divide a shared quota among
//! your processes.
//!
//! # How it decides
//!
//! It uses GCRA (the *generic cell rate algorithm* of ITU-T I.371), a token bucket in one atomic number. The bucket
//! holds [`burst`](Config::burst) tokens. `limit` tokens are refilled evenly in each `period`. A call takes as many tokens as
//! it [costs](Builder::cost). There are no windows with edges: in any span of time at most a burst plus the refill is
//! admitted. (Waiting calls whose tasks are polled late begin late, perhaps together.) Times are rounded to a
//! sixteenth of a nanosecond, so that the limit is never exceeded.
//!
//! A call without tokens is rejected at once, with the exact time until the next call. Or it waits, if
//! [`queue`](Config::queue) and [`max_wait`](Config::max_wait) allow it and its turn comes before its
//! [deadline](Builder::propagate). Its turn is fixed when it arrives, so calls pass in order, and no call waits in
//! vain. If a waiting call is dropped, the calls behind it move up, and so do [reservations](RateLimitHandle::reserve). The
//! clock is read for each call; only waiting calls make a timer, and no task runs.
//!
//! With [`warm_up`](Config::warm_up) the rate and the burst grow from a third to the whole `limit`, after the start
//! and after each pause of the same length, for a dependency with cold caches. A
//! [reload](RateLimitHandle::reload) keeps what was used, so it grants no second burst.
//!
//! With [`keyed`](Builder::keyed) each tenant or host has a limit and a queue of its own, in bounded memory. A key with a
//! full bucket is like a new one, so it may be evicted. A key that has used tokens is not. If there is no room, new keys
//! share one limit. Single keys may have [overrides](Overrides).
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`limit`](Config::limit) | 100 | calls in each period |
//! | [`period`](Config::period) | 1 s | the unit of time |
//! | [`burst`](Config::burst) | as `limit` | calls at once after a pause |
//! | [`queue`](Config::queue) | 0 | calls that may wait |
//! | [`max_wait`](Config::max_wait) | 1 s | how long a call waits at most |
//! | [`warm_up`](Config::warm_up) | none | how long the rate takes to grow |
//! | [`max_keys`](crate::keyed::KeyedConfig::max_keys) | 10,000 | keys with a limit of their own |
//!
//! # Rejections
//!
//! [`RateLimited`](crate::Reason::RateLimited) with the time to try again (HTTP 429 with `Retry-After`,
//! gRPC `RESOURCE_EXHAUSTED`); [`CostTooHigh`](crate::Reason::CostTooHigh) for a call that costs more than
//! a whole burst, which is not retried (HTTP 413);
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) for a call whose turn would come after its deadline;
//! [`Draining`](crate::Reason::Draining) after [`RateLimitLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected), with the key if there is one;
//! [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_rate_limit_queued`, `seawall_rate_limit_wait_seconds`; of keys, which
//! count their calls together, `seawall_keys`, `seawall_key_overflow_total`.
//!
//! # Order
//!
//! Around a client: inside retry, so that each attempt counts, and outside the attempt timeout, so that time in the
//! queue does not count as a slow dependency. Around a server: outermost, so that a rejection costs as little as
//! possible.
//!
//! # Cancellation
//!
//! Dropping the future of a waiting call returns its turn, and the calls behind it move up. A turn that has come is
//! used and is not returned. A call is admitted in `call`: a future that is dropped before its first poll
//! has used its turn.

mod common;
mod config;
mod handle;
mod keyed;
mod layer;
mod limiter;
mod machine;
mod overrides;
mod policy;
mod reload;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use handle::{RateLimitHandle, Reservation};
#[doc(hidden)]
pub use keyed::{KeyedBuilder, KeyedRateLimit};
pub use keyed::{KeyedRateLimitHandle, KeyedRateLimitLayer};
pub use layer::{Builder, RateLimitLayer};
#[doc(hidden)]
pub use layer::{RateLimit, ResponseFuture};
#[doc(hidden)]
pub use overrides::KeyedConfig;
pub use overrides::Overrides;

#[doc(hidden)]
pub use crate::shell::cost::{ByRequest, CostOf, One};
