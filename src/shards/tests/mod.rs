//! The algorithms, tested without a runtime.

mod moves;
mod overlap;
