//! The algorithm, tested without a runtime.

mod explore;
mod scenes;
