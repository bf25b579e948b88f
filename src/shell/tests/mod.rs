//! The shell under threads.

#[cfg(seawall_loom)]
pub(crate) mod loom;
