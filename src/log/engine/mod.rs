//! Logs under load: the only room of this folder with locks in it.

pub(super) mod disk;
pub(super) mod exclusive;
pub(super) mod file;
pub(super) mod latest;
pub(super) mod memory;
pub(super) mod reading;
pub(super) mod snapshots;
