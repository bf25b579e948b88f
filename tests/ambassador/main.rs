//! The example `ambassador`, run as a user runs it: a process, its output, its exit code.
//!
//! `cargo test` builds the example first; `cargo test --test ambassador` does not, so after a change
//! run `cargo build --example ambassador` before it.
#![cfg(unix)] // ctrl-c is sent with `kill`
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on ends

mod answers;
mod crowd;
mod deadlines;
mod demo;
mod edge;
mod faults;
mod greeter;
mod grpc;
mod health;
mod http2;
mod manners;
mod origins;
mod passage;
#[path = "../it/http2/peer.rs"]
mod peer;
#[path = "../it/port.rs"]
mod port;
#[path = "../grpc/raw.rs"]
mod raw;
mod repeats;
mod support;
mod upgrades;
mod uploads;
mod wire;
