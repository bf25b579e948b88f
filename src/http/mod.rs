//! HTTP: client and server stacks, status codes, idempotent methods, replayable bodies, deadlines in headers,
//! health endpoints.
//!
//! [`client`] and [`server`] are ready-made stacks. Single layers take the same strategies:
//!
//! ```
//! use http::{Request, Response};
//! use seawall::http::{HttpClassifier, Replay};
//! use seawall::{Error, circuit_breaker::CircuitBreakerLayer, retry::RetryLayer};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> {
//! #     Ok(Response::default())
//! # }
//! let client = ServiceBuilder::new()
//!     .layer(
//!         RetryLayer::builder("api").classify(HttpClassifier).copy_with(Replay::default()).build()?,
//!     )
//!     .layer(CircuitBreakerLayer::builder("api").classify(HttpClassifier).build()?)
//!     .map_err(Error::Inner)
//!     .service(service_fn(send)); // hyper, reqwest, …: anything that takes an `http::Request`
//! # let _ = seawall::check_service::<_, Request<String>>(client);
//! # Ok::<(), seawall::ConfigErrors>(())
//! ```

mod amend;
mod body;
mod classify;
mod client;
mod grpc_timeout;
mod key;
mod propagate;
mod replay;
pub(crate) mod server;
mod timeout_header;
pub(crate) mod untrusted;

#[doc(hidden)]
pub use amend::Amended;
pub use body::body_timeout;
pub use body::{
    ClassifyTrailers, OnBodyEnd, OnFirstByte, OnTrailers, RecordBodyLayer, ReplayBody, ReplayError,
    ResponseBody, TrailersInBody,
};
#[doc(hidden)]
pub use body::{GuardedBody, HeadKnows, REPLAY_CAP, RecordBody};
#[cfg(any(feature = "grpc", feature = "reqwest"))]
pub(crate) use classify::of_call_error;
pub use classify::{
    AsError, Http2Classifier, HttpClassifier, of_error, of_status, requested_delay, retry_after,
};
#[cfg(feature = "reqwest")]
pub(crate) use classify::{never_connected, of_answer, of_reqwest_error};
#[cfg(feature = "shards")]
pub use client::OwnerHint;
#[cfg(all(feature = "endpoints", feature = "reqwest"))]
pub(crate) use client::destination;
pub use client::drain;
#[cfg(feature = "endpoints")]
#[cfg_attr(docsrs, doc(cfg(feature = "endpoints")))]
pub use client::{EndpointsClient, endpoints};
#[cfg(feature = "endpoints")]
#[doc(hidden)]
pub use client::{ToAuthority, ToDestination};
#[doc(hidden)]
pub use client::{WriteAttempt, WriteDeadline};
pub use client::{WriteAttemptLayer, WriteDeadlineLayer, client};
#[cfg(feature = "grpc")]
pub(crate) use grpc_timeout::{format_timeout, parse_timeout};
#[doc(hidden)]
pub use key::NO_HOST;
#[cfg(feature = "reqwest")]
pub(crate) use key::spell;
pub use key::{PerHost, authority, path};
pub use propagate::{InExtensions, InTimeoutHeader};
pub use replay::{Replay, ReplayableBody};
#[doc(hidden)]
pub use server::{
    Asked, HandleError, HandleErrorFuture, ProblemDetails, ReadDeadline, Render, RenderBy,
    RenderBytes, RenderRejection, Respond, ResponseFuture, Server, UntrustedHeaders,
};
pub use server::{
    HandleErrorLayer, HealthEndpoint, ReadDeadlineLayer, RejectionResponseLayer, ServerBuilder,
    ServerConfig, ServerHandle, ServerLayer, UntrustedHeadersConfig, UntrustedHeadersLayer,
    health_response, rejection_response, server, status_of,
};
pub use timeout_header::TimeoutHeader;
