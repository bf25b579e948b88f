//! Rate limit: limits how many calls begin in a time.
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
//! assert!(why.retry_after() > Some(Duration::from_secs(29))); // when the next one may come
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Around a dependency that allows so many calls in a time, by contract or by a quota; and around your own
//! service, to keep a client that runs wild from the others. It bounds calls, not the work they make: for a
//! dependency that grows slow use a [bulkhead](crate::bulkhead), which bounds calls in flight. Each process
//! has its own limit: divide a quota that several processes share among them.
//!
//! # How it decides
//!
//! By GCRA (the *generic cell rate algorithm* of ITU-T I.371), which is a token bucket on one atomic
//! number: the bucket holds [`burst`](Config::burst) units, `limit` of them come back evenly in each
//! `period`, and a call takes as many as it [costs](Builder::cost). No window has an edge, so no more than
//! a burst and what comes back in the meantime has its turn, whichever span of time you look at. (Calls that
//! wait and are polled late, because their task was kept busy, begin late all the same, perhaps together.)
//! Times are rounded such that the limit is never exceeded: to a sixteenth of a nanosecond.
//!
//! A call that comes too early is rejected at once, with the exact time to the next; or it waits, if
//! [`queue`](Config::queue) and [`max_wait`](Config::max_wait) allow it and its turn comes before the
//! deadline it [carries](Builder::propagate). Its turn is known and taken when it comes, so those who wait pass
//! in order, and nobody waits in vain. If one gives up before its turn, those behind it move up; the
//! [reservations](RateLimitHandle::reserve) that are made by hand do as well. A clock is read for each call;
//! a timer is made for those that wait, and no task runs.
//!
//! With [`warm_up`](Config::warm_up) the rate grows from a third to all of `limit`, and the burst with it,
//! after the start and after each pause as long, for a dependency that has caches to fill. A
//! [reload](RateLimitHandle::reload) keeps what was used up, so it gives nobody a second burst.
//!
//! With [`keyed`](Builder::keyed) each tenant, host, … has a limit and a queue of its own, in bounded memory.
//! A key whose bucket is full again is what a new one is, so it may be forgotten to make room; one that has
//! used something may not, and where there is no room new keys share one limit. Single keys may have
//! [settings of their own](Overrides).
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`limit`](Config::limit) | [100](LIMIT) | calls in each period |
//! | [`period`](Config::period) | [1 s](PERIOD) | |
//! | [`burst`](Config::burst) | as `limit` | calls at once after a pause |
//! | [`queue`](Config::queue) | [0](QUEUE) | calls that may wait |
//! | [`max_wait`](Config::max_wait) | [1 s](MAX_WAIT) | how long a call waits at most |
//! | [`warm_up`](Config::warm_up) | none | how long the rate takes to grow |
//! | [`max_keys`](KeyedConfig::max_keys) | 10,000 | keys that have a limit of their own, where each may |
//!
//! # Rejections
//!
//! [`RateLimited`](crate::Reason::RateLimited) with the time to come back after (HTTP 429 with `Retry-After`,
//! gRPC `RESOURCE_EXHAUSTED`); [`CostTooHigh`](crate::Reason::CostTooHigh) for a call that costs more than
//! a whole burst and could never pass, which is not retried (HTTP 413);
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) for one whose turn would come after its deadline;
//! [`Draining`](crate::Reason::Draining) after [`RateLimitLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected), of a key with its name;
//! [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_rate_limit_queued`, `seawall_rate_limit_wait_seconds`; of keys, which
//! count their calls together, `seawall_keys`, `seawall_key_overflow_total`.
//!
//! # Order
//!
//! Around a client: inside retry, so that each attempt counts, and outside the timeout of the attempt, so
//! that waiting is not taken for a slow dependency. Around a server: outermost, for a rejection should cost as
//! little as possible.
//!
//! # Cancellation
//!
//! Dropping the future of a call that waits gives its turn back, and those behind it move up. Once a turn
//! has come it is used: what has come back by itself since then is not given a second time. A call is admitted
//! when it is made: a future that is dropped before its first poll has used its turn.

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

pub use config::{Config, LIMIT, MAX_WAIT, PERIOD, QUEUE};
pub use handle::{RateLimitHandle, Reservation};
pub use keyed::{KeyedBuilder, KeyedRateLimit, KeyedRateLimitHandle, KeyedRateLimitLayer};
pub use layer::{Builder, RateLimit, RateLimitLayer, ResponseFuture};
pub use overrides::{KeyedConfig, Overrides};
