//! Read/write split: who answers, how fresh, and what it costs the primary.

mod fresh;
mod members;
#[cfg(feature = "log")]
mod of_log;
mod sessions;
mod spilled;
mod world;
