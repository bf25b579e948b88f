//! A limit that follows what the dependency can do.
//!
//! Pure: time is an argument. `machine.rs` is the one door; the other files are what it is made of.

mod ages;
mod baseline;
mod cohort;
mod config;
mod machine;
mod pace;
#[cfg(test)]
mod tests;
mod trend;

pub use self::config::Adaptive;
pub(super) use self::config::Bounds;
pub(super) use self::machine::{AdaptiveLimit, CallStart, HowEnded};
