//! What layers need to know about gRPC. It works on plain [`http`] requests and responses,
//! as a layer around a tonic channel or server sees them, and needs no gRPC library.
//!
//! A gRPC failure is an `Ok(200)` to whoever looks at HTTP alone. [`GrpcClassifier`] reads the
//! `grpc-status`, [`parse_timeout`] the `grpc-timeout`, and [`respond`] turns rejections into answers that
//! every gRPC client understands. Health is checked and told by grpc.health.v1:
//! [`check_grpc`](crate::health::Builder::check_grpc),
//! [`watch_grpc`](crate::health::Builder::watch_grpc) and [`HealthService`].

mod check;
mod classify;
mod client;
mod details;
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
pub use client::{Client, KeyedClient, OnChannel, Sender, SenderFuture};
pub use health::{HealthBody, HealthService, WATCHERS};
pub use key::PerMethod;
pub use rejection::Rejection;
pub use respond::{Trailers, code_of, rejections, respond};
pub use stacks::{AsAnswers, client, server};
pub use stream_deadline::{
    DeadlineBody, StreamDeadline, StreamDeadlineFuture, StreamDeadlineLayer,
};
pub use timeout::{format_timeout, parse_timeout};
pub use trailers::{StatusInTrailers, at_trailers};
