//! Clients under our layers, before servers that break every rule, on real sockets.
//!
//! Time is real here, so nothing is timed, and everything has more time than it can need. Where it is
//! the point of a test that time passes, the clock stands until the server is where it should be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod clock;
mod crowds;
mod grpc;
mod http1;
mod http2;
#[path = "../it/port.rs"]
mod port;
mod retry_afters;
mod scripts;
mod server;
mod streams;
