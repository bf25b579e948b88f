//! Hedge: attempts a slow call again, beside the first attempt, and takes the first good answer.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! use seawall::{Error, hedge::HedgeLayer};
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::{convert::Infallible, time::Duration};
//! use tokio::time::{Instant, sleep};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! // One of a hundred answers is slow; here it is the first one.
//! static ASKED: AtomicU32 = AtomicU32::new(0);
//! let search = ServiceBuilder::new()
//!     .layer(HedgeLayer::builder("search").delay(Duration::from_millis(50)).cloned().build()?)
//!     .map_err(Error::Inner)
//!     .service(service_fn(|query: &'static str| async move {
//!         let is_slow = ASKED.fetch_add(1, Ordering::Relaxed) == 0;
//!         sleep(Duration::from_millis(if is_slow { 2_000 } else { 20 })).await;
//!         Ok::<_, Infallible>(query.len())
//!     }));
//!
//! let began = Instant::now();
//! assert_eq!(search.oneshot("seven").await?, 5);
//! assert_eq!(began.elapsed().as_millis(), 70); // 50 until the hedge began, and its 20
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Use it against a long tail: a few answers are far slower than most, and a second try is likely to be fast (Dean and
//! Barroso, *The Tail at Scale*, 2013). The dependency needs room for the extra load, and the requests must be
//! [idempotent](crate::retry::CloneRequest), because both attempts may be executed. It does not help where all answers are slow: then the
//! [budget](Builder::budget) stops it. Around a set of endpoints the second attempt goes to another endpoint.
//!
//! # How it decides
//!
//! The next attempt begins when no attempt has answered after the [delay](Config::delay): a fixed one, or the
//! [95th percentile](Config::percentile) of the last 256 good answers. Until 64 answers were seen, that is unknown and nothing is hedged.
//! Answers that are there at the first poll do not count.
//! After a transient failure the next attempt [begins at once](Config::on_failure), if no other one is in flight.
//!
//! It begins only if all of these are so:
//!
//! - fewer than [`max_hedges`](Config::max_hedges) have begun, and the request can be [copied](Builder::copy_with);
//! - the dependency has not asked for less load (*pushback*) within the time it asked for (30 s at most), or the last second;
//! - your own [condition](Builder::only_if) holds;
//! - the budget pays: one hedge for ten successes, up to 40 at once. The price is not given back.
//!
//! The first good answer is that of the call. The others are dropped before the caller gets it. A failure that is final, or
//! pushback, ends the call too. Other failures end it when no attempt is in flight any more. A rejection by a layer further in is not
//! followed by another attempt, but a timeout of an attempt is.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`delay`](Config::delay) | none | a fixed delay instead of a percentile |
//! | [`percentile`](Config::percentile) | 95 | how many of 100 calls are answered before the next attempt begins |
//! | [`min_delay`](Config::min_delay) | 1 ms | the delay that is learnt is never shorter |
//! | [`max_hedges`](Config::max_hedges) | 1 | attempts beside the first one |
//! | [`on_failure`](Config::on_failure) | yes | whether the next attempt begins at once after a transient failure |
//! | [`budget`](Builder::budget) | its own | 0.1 a success, at most 40, 1 a second |
//!
//! # Rejections
//!
//! None of its own.
//!
//! # Events and metrics
//!
//! [`Hedging`](crate::EventKind::Hedging). Metrics: `seawall_hedges_total` by outcome (`won`, `lost`, `failed`, and `no_budget` for
//! those that did not begin), `seawall_hedge_delay_seconds`.
//!
//! # Order
//!
//! Inside the retry and outside of circuit breaker, bulkhead and endpoints, so that each attempt is counted and may go to another
//! endpoint. With a hedge inside, the timeout of an attempt should be long: an attempt that is cancelled has cost the dependency as much
//! as one that is answered. Let retry and hedge share one [budget](Builder::budget).
//!
//! # Cancellation
//!
//! Dropping the future drops all attempts in flight. A call that is answered at its first poll has no timer, and nothing is allocated unless a
//! hedge begins.

mod config;
mod future;
mod handle;
mod layer;
mod machine;
mod service;
mod terms;
#[cfg(test)]
mod tests;

pub use config::Config;
#[doc(hidden)]
pub use future::ResponseFuture;
pub use handle::HedgeHandle;
pub use layer::{Builder, HedgeLayer};
#[doc(hidden)]
pub use service::Hedge;
