//! Timeout: ends slow calls and propagates deadlines.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, Reason, timeout::TimeoutLayer};
//! use std::{convert::Infallible, future::pending, time::Duration};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let hanging = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new("payments", Duration::from_millis(20)))
//!     .map_err(Error::Inner)
//!     .service(service_fn(|_amount: u32| pending::<Result<(), Infallible>>()));
//!
//! let ended = hanging.oneshot(100).await;
//! assert!(matches!(ended, Err(Error::Rejected(why)) if why.reason() == Reason::TimedOut));
//! # });
//! ```
//!
//! # When, and when not
//!
//! Use it around every call that leaves the process: without a timeout, a dependency that hangs makes its callers
//! hang. If callers send a deadline, propagate it ([`Builder::propagate`]). A timeout covers the response head, not the
//! body: for slow bodies the feature `http` has `BodyTimeoutLayer`.
//!
//! # How it decides
//!
//! The inner future is polled first, so a response that is ready when the time is up wins. Time counts from the first
//! `Pending`; until then there is no timer and no reading of the clock. When the time is up, the inner future is
//! dropped, and then the caller gets the rejection.
//!
//! The limit is [`Config::limit`], or the result of [`Builder::limit_by`] for the request. With
//! [`Builder::propagate`] the deadline of the request counts too: whichever is earlier ends the call, and the
//! earlier one is written into the request for inner layers. A request whose deadline has passed is
//! rejected without a call. With [`Config::cover_readiness`] the wait for the inner service to become ready is part
//! of the call; by default that wait is in `poll_ready`, before the request is known.
//!
//! With [`Builder::propagate`] the limit of a request whose body is still being sent counts from the end of the body,
//! or from the last part that was read: a slow caller does not use up the limit. Only the outermost timeout ends a
//! request whose body stalls for the whole limit, with [`RequestTimeout`](crate::Reason::RequestTimeout). The
//! feature `http` has the layers that watch bodies, `RecordBodyLayer` and `RequestBodyTimeoutLayer`. The caller's
//! deadline holds in any case.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`limit`](Config::limit) | 1 s | how long a call may take |
//! | [`cover_readiness`](Config::cover_readiness) | off | whether the wait for readiness is part of the call |
//!
//! # Rejections
//!
//! [`TimedOut`](crate::Reason::TimedOut) with the limit;
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) if the caller's deadline was earlier;
//! [`RequestTimeout`](crate::Reason::RequestTimeout) and
//! [`RequestBroken`](crate::Reason::RequestBroken) if the caller did not send its whole request;
//! [`Draining`](crate::Reason::Draining) after [`TimeoutLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_call_duration_seconds`.
//!
//! # Order
//!
//! Innermost, around each attempt, so that a breaker outside it counts a call that timed out as a failure. A second
//! timeout outside retry bounds the whole call.
//!
//! # Cancellation
//!
//! Dropping the future drops the inner future; the call counts as abandoned.

mod config;
mod handle;
mod layer;
mod limits;
mod policy;
mod uploading;

pub use config::Config;
pub use handle::TimeoutHandle;
pub use layer::{Builder, TimeoutLayer};
#[doc(hidden)]
pub use layer::{ResponseFuture, Timeout};
pub(crate) use policy::Limited;
#[doc(hidden)]
pub use policy::{ByRequest, Fixed, LimitOf};
