//! Fallback: another answer instead of a failure.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
//! use seawall::{Error, fallback::FallbackLayer};
//! use std::io;
//! use tower::{Service, ServiceBuilder, service_fn};
//!
//! // A page without recommendations is better than none.
//! let mut recommend = ServiceBuilder::new()
//!     .layer(FallbackLayer::new("recommendations", Vec::new()))
//!     .layer(CircuitBreakerLayer::builder("recommendations").trip(Trip::consecutive(1)).build()?)
//!     .map_err(Error::Inner)
//!     .service(service_fn(|_: u32| async { Err::<Vec<u32>, _>(io::Error::other("down")) }));
//!
//! assert!(recommend.call(7).await?.is_empty()); // it failed
//! assert!(recommend.call(7).await?.is_empty()); // the circuit is open
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Where a worse answer is better than none: a default, an older answer, a second source. Not where the
//! caller would take it for the truth (a balance of zero), and not around writes, which would seem done.
//! What happens in the fallback happens when things go wrong already: let it be simple, and exercise it.
//!
//! # How it decides
//!
//! A call has failed if a layer further in rejected it, or if the
//! [classifier](Builder::classify) says so of its response or error (bad, or pushback). Errors that are an
//! answer, as the classifier knows, are passed on; so are rejections with [reasons that are to be
//! seen](Builder::show), and failures that a [predicate](Builder::when) does not want. To all others it answers
//!
//! | with | | needs of the request |
//! | --- | --- | --- |
//! | [`value`](Builder::value) | clones of a value | nothing |
//! | [`with`](Builder::with) | what a function makes of the failure | nothing |
//! | [`with_part`](Builder::with_part) | what a function makes of the request and the failure | what you keep of it |
//! | [`service`](Builder::service) | what another service says | a clone |
//! | [`last_good`](Builder::last_good) | the last good answer of the same key, if it is not too old | its key |
//!
//! The failed response is dropped before the other service is called. What the other service says is the
//! answer, also if it fails. Where nothing is to be answered (no answer was kept, or it is too old) the
//! failure is passed on as it is. An error out of `poll_ready` is passed on too: a service that fails there
//! is of no further use, and no layer of this crate rejects there.
//!
//! [`mark`](Builder::mark) lets readers of a response know that it is one of these.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`enabled`](Config::enabled) | yes | whether it answers at all |
//! | [`max_age`](Config::max_age) | 5 min | how old a kept answer may be |
//! | [`max_keys`](Config::max_keys) | 1,000 | answers that are kept |
//!
//! # Rejections
//!
//! None of its own.
//!
//! # Events and metrics
//!
//! [`FellBack`](crate::EventKind::FellBack), and of the answers that are kept
//! [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics: `seawall_fallbacks_total`, `seawall_keys`,
//! `seawall_key_overflow_total`.
//!
//! # Order
//!
//! Outermost, at least outside retry and circuit breaker: further in it would hide failures from them, so
//! that nothing is tried again and no circuit opens.
//!
//! # Cancellation
//!
//! Dropping the future drops the call in flight, or what answers in its place; they are never in flight
//! together. Nothing is told then.

mod answer;
mod config;
mod future;
mod handle;
mod last_good;
mod layer;
mod service;
mod terms;

pub use answer::{Other, Value};
pub use config::Config;
pub use future::ResponseFuture;
pub use handle::FallbackHandle;
pub use last_good::LastGood;
pub use layer::{Builder, FallbackLayer};
pub use service::Fallback;
pub use terms::FellBack;
