//! Body timeout: ends bodies that keep their reader waiting, of responses and of requests.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use bytes::Bytes;
//! use http::Response;
//! use http_body_util::{BodyExt, channel::Channel};
//! use seawall::http::body_timeout::BodyTimeoutLayer;
//! use seawall::{Error, Reason, Rejected};
//! use std::{convert::Infallible, time::Duration};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let (_sender, stuck) = Channel::<Bytes, Infallible>::new(1); // a body of which nothing ever comes
//! let download = ServiceBuilder::new()
//!     .layer(BodyTimeoutLayer::builder("files").idle(Duration::from_millis(20)).build()?)
//!     .map_err(Error::Inner)
//!     .service(service_fn(|body| async { Ok::<_, Infallible>(Response::new(body)) }));
//!
//! let response = download.oneshot(stuck).await?;
//! let failed = response.into_body().collect().await.unwrap_err();
//! assert_eq!(Rejected::find(&*failed).map(Rejected::reason), Some(Reason::TimedOut));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Where you read bodies from a dependency that may hang in the middle of one: a
//! [timeout](crate::timeout) ends with the head of the answer. The idle limit suits nearly everyone;
//! the total is for bodies that are known to be short, not for streams that go on for hours.
//!
//! # How it decides
//!
//! A clock runs only while the reader waits: from the first poll that finds nothing there to the poll
//! that gets a frame. The *idle* limit bounds each of these waits, the *total* limit their sum. So a
//! slow reader costs the dependency nothing, and until a body is found pending there is neither a
//! timer nor a look at the clock. A frame that is there when the time is up wins.
//!
//! When the time is up the inner body is dropped, which closes the connection or resets the stream,
//! and then the reader gets the [`Rejected`](crate::Rejected) as the error of the body. Bodies end
//! with a [`BoxError`](https://docs.rs/tower/0.5/tower/type.BoxError.html), because that is what clients and servers make of every
//! body's error anyway; [`Rejected::find`](crate::Rejected::find) finds ours in it.
//!
//! [`requests`](BodyTimeoutLayer::requests) does the same for the bodies of requests, and tells the timeouts
//! further in that it is the caller who keeps them waiting.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`idle`](Config::idle) | 10 s | how long the reader may wait for one frame |
//! | [`total`](Config::total) | none | how long the reader may wait in all |
//!
//! # Rejections
//!
//! [`TimedOut`](crate::Reason::TimedOut) with the limit that was reached, in the body; in the body of a
//! request it is [`RequestTimeout`](crate::Reason::RequestTimeout). Calls are never rejected.
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected). Metrics: `seawall_rejections_total`.
//!
//! # Order
//!
//! Inside a circuit breaker that finishes [at the end](crate::http::OnBodyEnd): then a body that hangs is a
//! failure of its dependency. Innermost, next to the timeout of the head.
//!
//! # Cancellation
//!
//! Dropping the body drops the inner one.

mod body;
mod config;
mod handle;
mod layer;
mod request;
mod service;

#[doc(hidden)]
pub use body::TimedBody;
pub use config::Config;
pub use handle::BodyTimeoutHandle;
pub use layer::{BodyTimeoutLayer, Builder};
#[doc(hidden)]
pub use request::RequestBodyTimeout;
pub use request::RequestBodyTimeoutLayer;
pub(super) use request::upload_reporter;
#[doc(hidden)]
pub use service::{BodyTimeout, Limits, ResponseFuture, TimeBody};
