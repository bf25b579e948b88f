//! Locks and atomics: those of std or, where a test looks at all interleavings of threads, loom's.
//! `Arc` is always std's: what it counts is not what these tests ask about, and loom's has no `Weak`.

#[cfg(all(test, seawall_loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(test, seawall_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
