//! What users rely on, through the public API, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that panics is a test that fails

#[cfg(feature = "http")]
mod any_body;
mod api;
#[cfg(feature = "http")]
mod axum;
mod budget;
mod bulkhead;
#[cfg(feature = "bus")]
mod bus;
mod cancel;
mod circuit_breaker;
mod classify;
mod compile;
mod completion;
mod contract;
mod coop;
mod day;
mod docs;
mod drain;
#[cfg(feature = "http")]
mod edge_passes;
#[cfg(all(feature = "endpoints", feature = "http"))]
mod endpoint_clients;
#[cfg(feature = "endpoints")]
mod endpoints;
mod events;
mod exposition;
#[cfg(feature = "failover")]
mod failover;
mod fallback;
#[cfg(feature = "leader")]
mod fence;
mod health;
mod hedge;
mod hooks;
mod house;
#[cfg(feature = "http")]
mod http2;
#[cfg(feature = "http")]
mod http_bodies;
#[cfg(feature = "http")]
mod http_edge;
mod keyed_stack;
mod kit;
#[cfg(feature = "leader")]
mod leader;
mod links;
#[cfg(feature = "log")]
mod log;
mod manifest;
mod metrics;
mod ordering;
mod pairs;
#[cfg(feature = "http")]
mod per_host;
mod policy;
#[cfg(feature = "http")]
mod port;
mod rate_limit;
mod readiness;
#[cfg(feature = "http")]
mod ready_made;
#[cfg(feature = "http")]
mod rejected_answers;
mod rejections;
#[cfg(feature = "reqwest")]
mod reqwest_client;
#[cfg(feature = "reqwest")]
mod reqwest_uploads;
mod retry;
#[cfg(feature = "http")]
mod runtimes;
mod scene;
mod security;
#[cfg(feature = "http")]
mod settings;
#[cfg(feature = "shards")]
mod shards;
mod source;
#[cfg(feature = "split")]
mod split;
mod stack;
mod subjects;
mod support;
mod timeout;
mod types;
#[cfg(feature = "http")]
mod uploads;
#[cfg(feature = "http")]
mod whose_deadline;
