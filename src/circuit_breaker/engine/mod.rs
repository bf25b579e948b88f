//! The breaker under traffic: one lock, and a word that spares most calls the lock.

pub(crate) mod common;
pub(crate) mod flight;
pub(crate) mod shared;
pub(crate) mod step;
mod tail;
pub(crate) mod untold;
pub(crate) mod word;
