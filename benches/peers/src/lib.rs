//! seawall beside its peers: the same calls, in one process, in turns.
//!
//! `rows` is the table of contenders. `benches/peers.rs` measures time and allocations,
//! `src/bin/instructions.rs` runs one contender for callgrind to count its instructions.

pub mod alloc;
pub mod drive;
pub mod inner;
pub mod measure;
pub mod recorder;
pub mod report;
pub mod rows;

use std::sync::OnceLock;

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};

/// The runtime whose timers the calls arm. Nobody drives it while a call is measured: calls are
/// polled in place, and no timer of a healthy call ever has to ring.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_current_thread().enable_time().build().expect("a runtime can be built")
    })
}

/// Makes the runtime current on this thread.
pub fn enter() -> EnterGuard<'static> {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| runtime().handle().clone()).enter()
}
