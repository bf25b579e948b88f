//! Affinity: the owner of a key, or who is next where that is down or has too much to do.

mod bounded;
mod builder;
mod plan;
mod service;

pub use builder::AffineBuilder;
pub use service::{Affine, AffineFuture};
