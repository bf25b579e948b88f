//! The shell under threads, and a gate as a stranger would write it.

#[cfg(seawall_loom)]
pub(crate) mod loom;
#[cfg(all(feature = "testing", not(seawall_loom)))]
mod toy;
