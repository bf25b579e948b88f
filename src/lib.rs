#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Of two definitions of a link the first counts: on the pages of rustdoc these, elsewhere the README's.
// What rustdoc does not render, docs.rs shows out of the package. Pictures are data URLs, because rustdoc
// copies no files.
//! [retry]: crate::retry
//! [circuit_breaker]: crate::circuit_breaker
//! [adaptive]: crate::bulkhead::Adaptive
//! [bulkhead]: crate::bulkhead
//! [leader]: crate::leader
//! [fence]: crate::fence
//! [failover]: crate::failover
//! [shards]: crate::shards
//! [log]: crate::log
//! [bus]: crate::bus
//! [split]: crate::split
//! [endpoints]: crate::endpoints
//! [rate_limit]: crate::rate_limit
//! [fallback]: crate::fallback
//! [hedge]: crate::hedge
//! [timeout]: crate::timeout
//! [health]: crate::health
//! [getting-started]: crate::guide::getting_started
//! [ordering]: crate::guide::ordering
//! [guide-http]: crate::guide::http
//! [guide-health]: crate::guide::health
//! [guide-grpc]: crate::guide::grpc
//! [guide-sharding]: crate::guide::whose_it_is
//! [guide-how-far]: crate::guide::how_far
//! [guide-who-may]: crate::guide::who_may
//! [guide-testing]: crate::guide::testing
//! [deadlines]: crate::guide::deadlines
//! [migration]: crate::guide::migration
//! [metrics]: crate::guide::metrics
//! [architecture]: crate::guide::architecture
//! [decisions]: crate::guide::decisions
//! [pitfalls]: crate::guide::pitfalls
//! [roadmap]: crate::guide::roadmap
//! [storm]: crate::guide::storm
//! [performance]: crate::guide::performance
//! [correctness]: crate::guide::correctness
//! [security]: crate::guide::security
//! [security-policy]: https://docs.rs/crate/seawall/latest/source/SECURITY.md
//! [contributing]: https://docs.rs/crate/seawall/latest/source/CONTRIBUTING.md
//! [changelog]: https://docs.rs/crate/seawall/latest/source/CHANGELOG.md
//! [apache]: https://docs.rs/crate/seawall/latest/source/LICENSE-APACHE
//! [mit]: https://docs.rs/crate/seawall/latest/source/LICENSE-MIT
//! [example-proxy]: https://docs.rs/crate/seawall/latest/source/examples/ambassador/
//! [example-hyper]: https://docs.rs/crate/seawall/latest/source/examples/hyper_client.rs
//! [example-reqwest]: https://docs.rs/crate/seawall/latest/source/examples/reqwest_client.rs
//! [example-tonic]: https://docs.rs/crate/seawall/latest/source/examples/tonic_client_server.rs
//! [example-axum]: https://docs.rs/crate/seawall/latest/source/examples/axum_server.rs
//! [example-leader-job]: https://docs.rs/crate/seawall/latest/source/examples/leader_job.rs
//! [example-pubsub]: https://docs.rs/crate/seawall/latest/source/examples/pubsub.rs
//! [example-sharded]: https://docs.rs/crate/seawall/latest/source/examples/sharded.rs
//! [example-event-log]: https://docs.rs/crate/seawall/latest/source/examples/event_log.rs
//! [example-read-replicas]: https://docs.rs/crate/seawall/latest/source/examples/read_replicas.rs
//! [example-database]: https://docs.rs/crate/seawall/latest/source/examples/database.rs
//! [example-plain]: https://docs.rs/crate/seawall/latest/source/examples/async_call.rs
//! [example-error]: https://docs.rs/crate/seawall/latest/source/examples/custom_error.rs
//! [example-state]: https://docs.rs/crate/seawall/latest/source/examples/shared_state.rs
#![doc = include_str!("../docs/img/embedded.txt")]
#![doc = include_str!("../README.md")]

mod core;
mod parts;
mod shell;

pub mod bulkhead;
#[cfg(feature = "bus")]
#[cfg_attr(docsrs, doc(cfg(feature = "bus")))]
pub mod bus;
pub mod circuit_breaker;
#[cfg(feature = "endpoints")]
#[cfg_attr(docsrs, doc(cfg(feature = "endpoints")))]
pub mod endpoints;
#[cfg(feature = "failover")]
#[cfg_attr(docsrs, doc(cfg(feature = "failover")))]
pub mod failover;
pub mod fallback;
#[cfg(feature = "leader")]
#[cfg_attr(docsrs, doc(cfg(feature = "leader")))]
pub mod fence;
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub mod grpc;
pub mod health;
pub mod hedge;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
#[cfg(feature = "leader")]
#[cfg_attr(docsrs, doc(cfg(feature = "leader")))]
pub mod leader;
#[cfg(feature = "log")]
#[cfg_attr(docsrs, doc(cfg(feature = "log")))]
pub mod log;
pub mod rate_limit;
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
pub mod reqwest;
pub mod retry;
#[cfg(feature = "shards")]
#[cfg_attr(docsrs, doc(cfg(feature = "shards")))]
pub mod shards;
#[cfg(feature = "split")]
#[cfg_attr(docsrs, doc(cfg(feature = "split")))]
pub mod split;
pub mod stack;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod timeout;

#[doc(hidden)]
pub use self::core::classify::Classifier;
pub use self::core::classify::{Classification, Classify};
pub use self::core::completion::{CallGuard, Completion, OnResponse};
pub use self::core::config::{ConfigError, ConfigErrors};
pub use self::core::context::ClassifyContext;
#[cfg(any(feature = "leader", feature = "log", feature = "shards"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "leader", feature = "log", feature = "shards"))))]
pub use self::core::epoch::Epoch;
pub use self::core::error::{
    CallError, Error, Measurement, Reason, Rejected, SetBy, check_service,
};
pub use self::core::event::{Event, EventKind, Observe};
pub use self::core::origin::Origin;
pub use self::core::outcome::{Outcome, Retryable, Sent, Signal};
#[cfg(any(feature = "log", feature = "split"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "log", feature = "split"))))]
pub use self::core::position::Position;
pub use self::core::request::Deadline;

/// What the layers have in common that decide whether a call may pass.
///
/// Each has a name of its own, such as [`RateLimitLayer`](crate::rate_limit::RateLimitLayer), and its
/// settings; here is what they all can do: apply to services, count the calls in flight, drain, run a plain
/// async call.
pub mod gate {
    pub use crate::shell::gate::{And, BackpressureLayer, GateLayer};
    #[doc(hidden)]
    pub use crate::shell::gate::{Backpressure, Gate, Policy, ResponseFuture};
}

/// What the layers have in common that can keep one policy for each key: a host, a tenant.
///
/// Each has names of its own for them, such as
/// [`KeyedRateLimitLayer`](crate::rate_limit::KeyedRateLimitLayer).
pub mod keyed {
    pub use crate::core::config::KeyedConfig;
    #[doc(hidden)]
    pub use crate::core::config::PerKey;
    pub use crate::core::request::ExtractKey;
    #[doc(hidden)]
    pub use crate::shell::keyed::BuildKeyed;
    pub use crate::shell::keyed::{KeyedBuilder, KeyedHandle};
}

/// What goes with a request from layer to layer: its deadline, and which attempt it is.
///
/// Every layer that takes part has a setter `propagate`, which takes a [`Propagate`](propagate::Propagate).
pub mod propagate {
    pub use crate::core::context::AttemptTimes;
    #[doc(hidden)]
    pub use crate::core::request::NoPropagation;
    pub use crate::core::request::{CallContext, FromWithContext, Propagate, WithContext};
}

/// The guides of the repository, with their code compiled.
#[cfg(any(doc, doctest))]
pub mod guide {
    /// [decisions]: crate::guide::decisions
    /// [contributing]: https://docs.rs/crate/seawall/latest/source/CONTRIBUTING.md
    #[doc = include_str!("../docs/img/embedded.txt")]
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    /// [explorer]: https://docs.rs/crate/seawall/latest/source/src/core/explore.rs
    /// [api]: https://docs.rs/crate/seawall/latest/source/docs/api.txt
    #[doc = include_str!("../docs/correctness.md")]
    pub mod correctness {}
    #[doc = include_str!("../docs/decisions.md")]
    pub mod decisions {}
    #[doc = include_str!("../docs/metrics.md")]
    pub mod metrics {}
    /// [timeout]: crate::timeout
    /// [retry]: crate::retry
    /// [bulkhead]: crate::bulkhead
    /// [circuit_breaker]: crate::circuit_breaker
    /// [health]: crate::health
    #[doc = include_str!("../docs/guide/deadlines.md")]
    pub mod deadlines {}
    /// [guide-http]: crate::guide::http
    /// [guide-grpc]: crate::guide::grpc
    /// [guide-health]: crate::guide::health
    /// [guide-testing]: crate::guide::testing
    /// [ordering]: crate::guide::ordering
    /// [deadlines]: crate::guide::deadlines
    /// [metrics]: crate::guide::metrics
    /// [example-error]: https://docs.rs/crate/seawall/latest/source/examples/custom_error.rs
    #[doc = include_str!("../docs/guide/getting-started.md")]
    pub mod getting_started {}
    /// [deadlines]: crate::guide::deadlines
    #[doc = include_str!("../docs/guide/grpc.md")]
    pub mod grpc {}
    #[doc = include_str!("../docs/guide/health.md")]
    pub mod health {}
    /// [deadlines]: crate::guide::deadlines
    /// [performance]: crate::guide::performance
    #[doc = include_str!("../docs/guide/http.md")]
    pub mod http {}
    #[cfg(feature = "log")]
    #[doc = include_str!("../docs/guide/how-far.md")]
    pub mod how_far {}
    #[doc = include_str!("../docs/guide/migration.md")]
    pub mod migration {}
    #[doc = include_str!("../docs/img/embedded.txt")]
    #[doc = include_str!("../docs/guide/ordering.md")]
    pub mod ordering {}
    #[doc = include_str!("../docs/performance.md")]
    pub mod performance {}
    #[doc = include_str!("../docs/pitfalls.md")]
    pub mod pitfalls {}
    /// [performance]: crate::guide::performance
    /// [correctness]: crate::guide::correctness
    /// [storm]: crate::guide::storm
    #[doc = include_str!("../docs/roadmap.md")]
    pub mod roadmap {}
    /// [security-policy]: https://docs.rs/crate/seawall/latest/source/SECURITY.md
    /// [guide-http]: crate::guide::http
    /// [decisions]: crate::guide::decisions
    #[doc = include_str!("../docs/security.md")]
    pub mod security {}
    /// [roadmap]: crate::guide::roadmap
    #[doc = include_str!("../docs/storm.md")]
    pub mod storm {}
    #[doc = include_str!("../docs/guide/testing.md")]
    pub mod testing {}
    /// [leader]: crate::leader
    /// [fence]: crate::fence
    #[cfg(feature = "leader")]
    #[doc = include_str!("../docs/guide/who-may.md")]
    pub mod who_may {}
    /// [map]: crate::shards::Map
    /// [move]: crate::shards::Move
    #[cfg(all(feature = "http", feature = "shards"))]
    #[doc = include_str!("../docs/guide/whose-it-is.md")]
    pub mod whose_it_is {}
}
