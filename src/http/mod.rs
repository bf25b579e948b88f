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
mod at_end;
mod attempt;
mod check;
mod classify;
mod client;
mod deadline;
pub(crate) mod edge;
mod edge_config;
mod endpoint;
mod health;
mod in_body;
mod key;
pub(crate) mod manners;
mod over_http2;
pub(crate) mod proof;
mod propagate;
mod rejections;
mod render;
mod replay;
mod replay_body;
mod requested_delay;
mod respond;
mod response_body;
mod server;
mod server_config;

pub mod body_timeout;
pub mod drain;

#[doc(hidden)]
pub use amend::Amended;
pub use at_end::{ClassifyTrailers, OnBodyEnd, OnFirstByte, OnTrailers};
#[doc(hidden)]
pub use at_end::{GuardedBody, HeadKnows};
#[doc(hidden)]
pub use attempt::WriteAttempt;
pub use attempt::WriteAttemptLayer;
#[cfg(feature = "reqwest")]
pub(crate) use classify::of_answer;
#[cfg(any(feature = "grpc", feature = "reqwest"))]
pub(crate) use classify::of_call_error;
pub use classify::{AsError, HttpClassifier, of_error, of_status};
pub use client::client;
#[doc(hidden)]
pub use deadline::{ReadDeadline, WriteDeadline};
pub use deadline::{ReadDeadlineLayer, TimeoutHeader, WriteDeadlineLayer};
#[doc(hidden)]
pub use edge::UntrustedHeaders;
pub use edge::UntrustedHeadersLayer;
pub use edge_config::UntrustedHeadersConfig;
pub use endpoint::HealthEndpoint;
pub use health::health_response;
pub use in_body::TrailersInBody;
#[cfg(feature = "reqwest")]
pub(crate) use key::spell;
pub use key::{NO_HOST, PerHost, authority, path};
pub use manners::Asked;
pub use over_http2::Http2Classifier;
pub use propagate::{InExtensions, InTimeoutHeader};
pub use rejections::HandleErrorLayer;
#[doc(hidden)]
pub use rejections::{HandleError, HandleErrorFuture};
pub use render::{ProblemDetails, Render, rejection_response, status_of};
#[doc(hidden)]
pub use render::{RenderBy, RenderBytes};
pub use replay::{Replay, ReplayableBody};
#[doc(hidden)]
pub use replay_body::RecordBody;
pub use replay_body::{REPLAY_CAP, RecordBodyLayer, ReplayBody, ReplayError};
pub use requested_delay::{requested_delay, retry_after};
pub use respond::RejectionResponseLayer;
#[doc(hidden)]
pub use respond::{Respond, ResponseFuture};
pub use response_body::ResponseBody;
#[doc(hidden)]
pub use server::Server;
pub use server::{ServerBuilder, ServerLayer, server};
pub use server_config::{ServerConfig, ServerHandle};
