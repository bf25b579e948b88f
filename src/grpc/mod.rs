//! gRPC: client and server stacks, status codes, `grpc-timeout`, trailers, `grpc.health.v1`.
//!
//! [`client`] and [`server`] are ready-made stacks around a tonic channel or server. They work on plain [`http`]
//! requests and responses and need no gRPC library.
//!
//! A failed gRPC call is an HTTP 200. [`GrpcClassifier`] reads the `grpc-status`, [`parse_timeout`] the
//! `grpc-timeout`, and [`respond`] turns rejections into responses that every gRPC client understands. Health is
//! checked and served by grpc.health.v1:
//! [`check_grpc`](crate::health::Builder::check_grpc),
//! [`watch_grpc`](crate::health::Builder::watch_grpc) and [`HealthService`].

mod check;
mod classify;
mod client;
mod details;
#[cfg(feature = "endpoints")]
mod endpoints;
mod health;
mod key;
mod messages;
mod proto;
mod rejection;
mod respond;
mod stacks;
mod stream_deadline;
mod timeout;
mod trailers;

/// The header that tells a gRPC server how many attempts there were before (gRFC A6); see
/// [`WriteAttemptLayer`](crate::http::WriteAttemptLayer).
pub const PREVIOUS_ATTEMPTS: http::HeaderName =
    http::HeaderName::from_static("grpc-previous-rpc-attempts");

pub use classify::{Code, GrpcClassifier, of_code};
pub use client::Client;
#[doc(hidden)]
pub use client::{KeyedClient, OnChannel, Sender};
#[cfg(feature = "endpoints")]
#[doc(hidden)]
pub use endpoints::OnChannels;
#[cfg(feature = "endpoints")]
#[cfg_attr(docsrs, doc(cfg(feature = "endpoints")))]
pub use endpoints::{EndpointsClient, endpoints};
#[doc(hidden)]
pub use health::HealthBody;
pub use health::HealthService;
pub use key::PerMethod;
pub use rejection::Rejection;
#[doc(hidden)]
pub use respond::Trailers;
pub use respond::{code_of, rejections, respond};
#[doc(hidden)]
pub use stacks::AsAnswers;
pub use stacks::{client, server};
pub use stream_deadline::StreamDeadlineLayer;
#[doc(hidden)]
pub use stream_deadline::{DeadlineBody, StreamDeadline, StreamDeadlineFuture};
#[doc(hidden)]
pub use timeout::{format_timeout, parse_timeout};
#[doc(hidden)]
pub use trailers::StatusInTrailers;
pub use trailers::at_trailers;
