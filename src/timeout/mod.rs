//! Timeout: ends calls that take too long, and carries deadlines.
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
//! Around every call that leaves the process: without a limit a dependency that hangs takes its
//! callers with it. Where the caller brings a deadline, let it travel ([`Builder::propagate`]). Not
//! around streams whose head comes soon and whose body takes long: the limit ends at the head.
//!
//! # How it decides
//!
//! The inner service is asked first, so an answer that is there when the time is up wins. The clock
//! starts when the inner service is first found pending; until then no timer is made and no clock is
//! read. When the time is up the inner future is dropped, then the caller is told.
//!
//! The limit is [`Config::limit`], or what [`Builder::limit_by`] says of the request. With
//! [`Builder::propagate`] the deadline that came with the request counts too: whichever is earlier ends
//! the call, and the earlier one is written into the request for those further in. A request whose
//! deadline has passed is rejected without a call. With [`Config::cover_readiness`] waiting for the
//! inner service to become ready is part of the call; by default it happens in `poll_ready`, where
//! no request is known and no clock runs.
//!
//! With [`Builder::propagate`] a request whose body is still being sent has the limit from its end on, or from
//! the last part that was taken: while the caller keeps others waiting no limit of ours runs. Only the
//! outermost timeout ends a body of which nothing comes for all of its limit, with
//! [`RequestTimeout`](crate::Reason::RequestTimeout). The feature `http` has the layers that tell of bodies,
//! `RecordBodyLayer` and `RequestBodyTimeoutLayer`. A deadline that the caller told holds whatever it sends.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`limit`](Config::limit) | [1 s](LIMIT) | how long a call may take |
//! | [`cover_readiness`](Config::cover_readiness) | off | whether readiness is part of the call |
//!
//! # Rejections
//!
//! [`TimedOut`](crate::Reason::TimedOut) with the limit;
//! [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) where the caller's deadline was the
//! earlier one; [`RequestTimeout`](crate::Reason::RequestTimeout) and
//! [`RequestBroken`](crate::Reason::RequestBroken) where the caller did not send its request;
//! [`Draining`](crate::Reason::Draining) after [`TimeoutLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_call_duration_seconds`.
//!
//! # Order
//!
//! Innermost, around each attempt: then a breaker outside it sees a call that ran out of time as a
//! failure. A second one outside retry bounds the whole.
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

pub use config::{Config, LIMIT};
pub use handle::TimeoutHandle;
pub use layer::{Builder, ResponseFuture, Timeout, TimeoutLayer};
pub(crate) use policy::Limited;
pub use policy::{ByRequest, Fixed, LimitOf};
