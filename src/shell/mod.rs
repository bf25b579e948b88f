//! Machines under traffic: the only rooms with locks in them.

pub(crate) mod budget;
pub(crate) mod caller;
pub(crate) mod clone_source;
pub(crate) mod copy;
pub(crate) mod cost;
#[cfg(any(feature = "endpoints", feature = "failover", feature = "shards", feature = "split"))]
pub(crate) mod epochs;
pub(crate) mod gate;
pub(crate) mod in_flight;
pub(crate) mod keyed;
pub(crate) mod live;
pub(crate) mod locked;
pub(crate) mod member;
pub(crate) mod meter;
pub(crate) mod oneshot;
pub(crate) mod queue;
pub(crate) mod readiness;
#[cfg(feature = "http")]
pub(crate) mod relay;
pub(crate) mod reporter;
pub(crate) mod retry;
pub(crate) mod series;
#[cfg(any(feature = "endpoints", feature = "failover", feature = "shards", feature = "split"))]
pub(crate) mod set;
pub(crate) mod shared_fn;
pub(crate) mod slots;
pub(crate) mod task;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(feature = "endpoints")]
pub(crate) mod turn;
pub(crate) mod waiters;

use std::sync::PoisonError;

use crate::core::sync::{Mutex, MutexGuard};

/// Locks. A step does not panic and user code never runs under a lock, so a poisoned lock guards
/// nothing worse than a healthy one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
