//! Being told to stop.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears every ctrl-c, and on Unix every SIGTERM, from the moment it is made.
pub(crate) struct Stops {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
}

impl Stops {
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self, String> {
        let problem = |why: io::Error| format!("cannot listen for ctrl-c: {why}");
        let interrupt = signal(SignalKind::interrupt()).map_err(problem)?;
        let terminate = signal(SignalKind::terminate()).map_err(problem)?;
        Ok(Self { interrupt, terminate })
    }

    /// Returns at the next one.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self, String> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        let _: io::Result<()> = tokio::signal::ctrl_c().await;
    }
}
