//! The breaker under traffic: one lock, and a word that spares most calls the lock.

pub(super) mod common;
mod packed_digest;
mod pending_events;
pub(super) mod shared;
pub(super) mod step;
mod tail;
