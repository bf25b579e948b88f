//! Retry: calls again where that may help, within a budget.
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
//!     .layer(RetryLayer::new("payments").cloned()) // repeating them is safe: we say so
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
//! Around calls that fail now and then for reasons that pass, and that may be repeated. There is no
//! default way to copy a request: `.cloned()`, `.copy(…)` or `.copy_with(…)` is your promise that
//! repeating it does no harm. Retry in one place of a chain of services, the one nearest to what
//! fails; not around what streams or what has effects that must not happen twice.
//!
//! One [`Budget`] pays for all calls of a layer. Where calls are of many tenants, or go to many hosts,
//! the failures of one use up the retries of all; a [`KeyedBudget`] gives each its own:
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
//! An attempt is repeated if its outcome says [`Retryable::Yes`](crate::Retryable::Yes), a copy of the
//! request is at hand, attempts are left, the time left is enough for the wait and
//! [`min_attempt_time`](Config::min_attempt_time) after it, and the [`Budget`] pays for it. Otherwise the last
//! answer is the answer, at once: it is not wrapped, and an event says why it is the last
//! ([`StopReason`](crate::retry::StopReason)).
//!
//! The wait before the *n*-th retry is `base × factor^(n−1)`, at most `cap`, with jitter after
//! the cap (Brooker, AWS Architecture Blog, 2015). A `Retry-After` of the server counts up to
//! [`max_retry_after`](Config::max_retry_after), and the own backoff comes on top: never earlier than told, and not
//! all at once.
//!
//! What was certainly never sent ([`Sent::Never`](crate::Sent::Never)) costs no attempt, but is
//! repeated no more often than [`attempts`](Config::attempts). A rejection by one of our own layers
//! further in is not hammered: it ends the call, or is waited for ([`OnRejection`]), which costs time, but no
//! attempt and no budget. Nor does a good answer that says "ask again" (a job that is not ready yet) cost
//! budget: that is for failures.
//!
//! A request that its caller already repeats ([`prior`](crate::CallContext::prior), which is 0 unless somebody reads it
//! from the wire and says so) is not repeated here: attempts along a chain add up then, where they
//! would multiply.
//!
//! The copy for a retry is made before each attempt but the last, and is asked whether it can
//! still be sent when its turn comes ([`take_over`](crate::CloneRequest::take_over)). Each retry goes to a
//! clone of the inner service that is driven to readiness, for no longer than there is time. A
//! rejected response is dropped before the wait.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`attempts`](Config::attempts) | [3](ATTEMPTS) | attempts in all |
//! | [`backoff.base`](Backoff::base) | [25 ms](BASE) | wait before the first retry |
//! | [`backoff.factor`](Backoff::factor) | [2](FACTOR) | how it grows |
//! | [`backoff.cap`](Backoff::cap) | [1 s](CAP) | and at most |
//! | [`backoff.jitter`](Backoff::jitter) | [`Full`](Jitter::Full) | how chance comes in |
//! | [`max_retry_after`](Config::max_retry_after) | [30 s](MAX_RETRY_AFTER) | how much a server's `Retry-After` counts |
//! | [`max_elapsed`](Config::max_elapsed) | [30 s](MAX_ELAPSED) | no attempt begins later than this |
//! | [`min_attempt_time`](Config::min_attempt_time) | [1 ms](MIN_ATTEMPT_TIME) | nor with less time left than this |
//! | [`on_rejection`](Config::on_rejection) | [`Stop`](OnRejection::Stop) | what a rejection further in means |
//! | [`max_keys`](KeyedBudgetBuilder::max_keys) | [10,000](MAX_KEYS) | keys that have a budget of their own |
//! | [`Budget`] | [50](BUDGET_CAP) tokens, [0.2](PER_SUCCESS) per success, [1](PER_SECOND) per second | what retries may cost: [1](PRICE), after a timeout [2](TIMEOUT_PRICE) |
//!
//! # Rejections
//!
//! [`TimedOut`](crate::Reason::TimedOut) if the time was over before a further attempt could begin,
//! and the last answer was a response, which is gone by then (an error is returned as it is);
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
//! Outside the circuit breaker, so that every attempt is evidence and an open circuit ends the
//! retrying; inside a timeout that bounds the whole.
//!
//! # Cancellation
//!
//! Dropping the future drops the attempt in flight or ends the wait; nothing goes on. What was taken out
//! of the budget for a retry comes back if that never began, and stays out otherwise.

mod budget;
mod builder;
mod config;
mod copy;
mod factor;
mod handle;
mod keyed;
mod layer;
mod machine;
mod policy;
mod purse;
mod reasons;
mod run;
mod terms;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Withdrawal};
pub use builder::Builder;
#[cfg(feature = "serde")]
pub(crate) use config::attempts;
pub use config::{
    ATTEMPTS, BASE, Backoff, CAP, Config, FACTOR, Jitter, MAX_ELAPSED, MAX_RETRY_AFTER,
    MIN_ATTEMPT_TIME, OnRejection, UNLIMITED,
};
pub use copy::{Chosen, CopyBy, CopyIsChosen, Numbered, Unsaid};
pub use factor::Factor;
pub use handle::RetryHandle;
pub use keyed::{KeyedBudget, KeyedBudgetBuilder, MAX_KEYS};
pub use layer::RetryLayer;
pub(crate) use policy::Retries;
pub use policy::{ResponseFuture, Retry};
pub use purse::{BudgetByKey, OneBudget};
pub use reasons::{RetryReason, StopReason};
pub use terms::{
    BUDGET_CAP, BudgetBuilder, BudgetConfig, PER_SECOND, PER_SUCCESS, PRICE, TIMEOUT_PRICE,
};
