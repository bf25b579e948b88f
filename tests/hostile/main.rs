//! Clients under our layers, before servers that break every rule, on real sockets.
//!
//! Time is real here, so nothing is timed: what hangs is given up after a short while, everything else
//! has more time than it can need.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod crowds;
mod grpc;
mod hints;
mod http1;
mod http2;
mod scripts;
mod server;
mod streams;
