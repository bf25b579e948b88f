//! Fallback: answers failed calls from a value, a function, another service or the last good response.
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
//! assert!(recommend.call(7).await?.is_empty()); // the call failed
//! assert!(recommend.call(7).await?.is_empty()); // the circuit is open
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Use it where a degraded response is better than none: a default, an older response, a second source. Do not use it
//! where the caller would take it for the truth (a balance of zero), or around writes, which would seem done. A fallback
//! runs when things already go wrong: keep it simple, and test it.
//!
//! # How it decides
//!
//! A call has failed if an inner layer rejected it, or if the [classifier](Builder::classify) calls its response
//! or error a failure or pushback. Errors that the classifier does not call failures are passed on. So are rejections with
//! a [shown reason](Builder::show), and failures that a [predicate](Builder::when) excludes. All other failures are
//! answered
//!
//! | with | response | needs of the request |
//! | --- | --- | --- |
//! | [`value`](Builder::value) | a clone of a value | nothing |
//! | [`with`](Builder::with) | the result of a function of the failure | nothing |
//! | [`with_part`](Builder::with_part) | the result of a function of request and failure | the part you keep |
//! | [`service`](Builder::service) | the result of another service | a clone |
//! | [`last_good`](Builder::last_good) | the last good response for the same key, if it is not too old | its key |
//!
//! The failed response is dropped before the other service is called. The result of the other service is the result of
//! the call, also if it fails. If there is no response (none was kept, or it is too old), the failure is passed on
//! unchanged. An error of `poll_ready` is passed on too: a service that fails there cannot be used further, and no
//! layer of this crate rejects there.
//!
//! [`mark`](Builder::mark) marks a response as a fallback.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`enabled`](Config::enabled) | yes | whether failures are answered |
//! | [`max_age`](Config::max_age) | 5 min | how old a kept response may be |
//! | [`max_keys`](Config::max_keys) | 1,000 | how many responses are kept |
//!
//! # Rejections
//!
//! None of its own.
//!
//! # Events and metrics
//!
//! [`FellBack`](crate::EventKind::FellBack), and for kept responses
//! [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics: `seawall_fallbacks_total`, `seawall_keys`,
//! `seawall_key_overflow_total`.
//!
//! # Order
//!
//! Outermost, at least outside retry and circuit breaker: further in it would hide failures from them, so that
//! nothing is retried and no circuit opens.
//!
//! # Cancellation
//!
//! Dropping the future drops the call in flight, or the fallback that answers it; they never run together. No event is
//! reported.

mod answer;
mod config;
mod future;
mod handle;
mod last_good;
mod layer;
mod service;
mod terms;

#[doc(hidden)]
pub use answer::{Other, Value};
pub use config::Config;
#[doc(hidden)]
pub use future::ResponseFuture;
pub use handle::FallbackHandle;
#[doc(hidden)]
pub use last_good::LastGood;
pub use layer::{Builder, FallbackLayer};
#[doc(hidden)]
pub use service::Fallback;
pub use terms::FellBack;
