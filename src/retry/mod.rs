//! Retry: retries failed calls with backoff, jitter and a retry budget.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, retry::RetryLayer};
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[derive(Debug, thiserror::Error)] #[error("busy")] struct Busy;
//! let attempts = AtomicU32::new(0);
//! let attempts = &attempts;
//! let payments = ServiceBuilder::new()
//!     .layer(RetryLayer::new("payments").cloned()) // requests are idempotent and may be cloned
//!     .map_err(Error::Inner)
//!     .service(service_fn(|amount: u32| async move {
//!         if attempts.fetch_add(1, Ordering::Relaxed) == 0 { Err(Busy) } else { Ok(amount) }
//!     }));
//!
//! assert_eq!(payments.oneshot(100).await?, 100);
//! assert_eq!(attempts.load(Ordering::Relaxed), 2);
//! # Ok::<(), Error<Busy>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Use it around idempotent calls with transient failures. There is no default way to copy a request: with
//! `.cloned()`, `.copy(…)` or `.copy_with(…)` you promise that a retry does no harm. In a chain of services, retry in one
//! place, nearest to what fails. Do not use it around streams, or around calls whose effects must not happen
//! twice.
//!
//! One [`Budget`] pays for all calls of a layer. If calls belong to many tenants or go to many hosts, the failures
//! of one use up the retries of all. A [`KeyedBudget`] gives each its own:
//!
//! ```
//! use seawall::retry::{Budget, RetryLayer};
//! use std::borrow::Cow;
//!
//! #[derive(Clone)]
//! struct Request { host: String }
//!
//! let hosts = Budget::builder().cap(20.0).keyed("hosts").max_keys(1_000).build()?;
//! let retry = RetryLayer::builder("web")
//!     .keyed_budget(hosts.clone(), |request: &Request| Cow::from(&request.host))
//!     .cloned()
//!     .build()?;
//! assert!(hosts.is_empty()); // a host gets its budget with its first call
//! # drop(retry);
//! # Ok::<(), seawall::ConfigErrors>(())
//! ```
//!
//! # How it decides
//!
//! A call is retried if its outcome is [`Retryable::Yes`](crate::Retryable::Yes), a copy of the request exists,
//! attempts are left, the remaining time suffices for the backoff and
//! [`min_attempt_time`](Config::min_attempt_time), and the [`Budget`] pays for it. Otherwise the last result is
//! returned at once and unchanged, and an event gives the reason ([`StopReason`]).
//!
//! The backoff before the *n*-th retry is `base × factor^(n−1)`, at most `cap`, with jitter after
//! the cap (Brooker, AWS Architecture Blog, 2015). A `Retry-After` of the server counts up to
//! [`max_retry_after`](Config::max_retry_after), and the backoff is added to it. So no retry comes earlier than the
//! server asked, and not all retries come at once.
//!
//! A request that was certainly never sent ([`Sent::Never`](crate::Sent::Never)) costs no attempt, but is retried no
//! more often than [`attempts`](Config::attempts). A rejection by an inner layer ends the call, or the retry
//! waits until it may be over ([`OnRejection`]), which costs time, but no attempt and no budget. A successful response
//! that is retryable (a job that is not ready yet) costs no budget either: the budget is for failures.
//!
//! A request that its caller retries already ([`prior`](crate::propagate::CallContext::prior), which is 0 unless it is read from a
//! header that was switched on) is not retried here. So attempts along a chain of services add up instead of
//! multiplying.
//!
//! The copy for a retry is made before each attempt except the last. Before it is sent,
//! [`take_over`](crate::retry::CloneRequest::take_over) checks that it still can be. Each retry uses a clone of the inner service,
//! which is driven to readiness within the remaining time. A failed response is dropped before the backoff.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`attempts`](Config::attempts) | 3 | attempts in all |
//! | [`backoff.base`](Backoff::base) | 25 ms | backoff before the first retry |
//! | [`backoff.factor`](Backoff::factor) | 2 | how it grows |
//! | [`backoff.cap`](Backoff::cap) | 1 s | the longest backoff |
//! | [`backoff.jitter`](Backoff::jitter) | [`Full`](Jitter::Full) | the kind of jitter |
//! | [`max_retry_after`](Config::max_retry_after) | 30 s | how much of a server's `Retry-After` counts |
//! | [`max_elapsed`](Config::max_elapsed) | 30 s | no attempt begins later than this |
//! | [`min_attempt_time`](Config::min_attempt_time) | 1 ms | no attempt begins with less time left |
//! | [`on_rejection`](Config::on_rejection) | [`Stop`](OnRejection::Stop) | what follows a rejection by an inner layer |
//! | [`max_keys`](KeyedBudgetBuilder::max_keys) | 10,000 | keys with a budget of their own |
//! | [`Budget`] | 50 tokens, 0.2 per success, 1 per second | pays for retries: each costs 1, after a timeout 2 |
//!
//! # Rejections
//!
//! [`TimedOut`](crate::Reason::TimedOut) if the time was over before a further attempt could begin,
//! and the last result was a response, which is dropped by then (an error is returned as it is);
//! [`Draining`](crate::Reason::Draining) after [`RetryLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Retrying`](crate::EventKind::Retrying), [`Stopped`](crate::EventKind::Stopped),
//! [`Rejected`](crate::EventKind::Rejected). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_call_duration_seconds`, `seawall_retry_attempts_total`, `seawall_retry_retries_total`,
//! `seawall_retry_stopped_total`, `seawall_retry_budget_tokens`. With a budget for each key, events
//! name the key, and instead of the tokens there are `seawall_keys` and `seawall_key_overflow_total`.
//!
//! # Order
//!
//! Outside the circuit breaker, so that every attempt counts and an open circuit ends the retries. Inside a timeout
//! that bounds the whole call.
//!
//! # Cancellation
//!
//! Dropping the future drops the attempt in flight or ends the backoff; nothing goes on. The budget gets back what
//! a retry took if that retry never began.

mod builder;
mod config;
mod factor;
mod handle;
mod keyed;
mod layer;
mod machine;
mod numbered;
mod policy;
mod purse;
mod reasons;
mod run;
#[cfg(test)]
mod tests;

pub use crate::core::request::{CloneRequest, Cloned, Never};
pub use crate::shell::budget::{Budget, BudgetBuilder, BudgetConfig, Withdrawal};
#[doc(hidden)]
pub use crate::shell::copy::{Chosen, CopyBy, CopyIsChosen, Unsaid};
pub use builder::Builder;
pub(crate) use config::MIN_ATTEMPT_TIME;
#[cfg(feature = "serde")]
pub(crate) use config::attempts;
pub use config::{Backoff, Config, Jitter, OnRejection, UNLIMITED};
pub use factor::Factor;
pub use handle::RetryHandle;
pub use keyed::{KeyedBudget, KeyedBudgetBuilder};
pub use layer::RetryLayer;
#[doc(hidden)]
pub use numbered::Numbered;
#[doc(hidden)]
pub use policy::ResponseFuture;
pub(crate) use policy::Retries;
#[doc(hidden)]
pub use policy::Retry;
#[doc(hidden)]
pub use purse::{BudgetByKey, OneBudget};
pub use reasons::{RetryReason, StopReason};
