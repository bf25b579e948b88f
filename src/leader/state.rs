//! Whether a candidate leads, in words.

use std::fmt;

/// Whether a candidate leads.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::leader::{Candidate, MemoryStore, State};
///
/// let candidate = Candidate::builder("report", MemoryStore::new()).build()?;
/// let leadership = candidate.leadership();
/// assert_eq!(leadership.state(), State::Following);
/// let campaign = tokio::spawn(candidate.campaign());
/// while leadership.watch().changed().await != State::Leading {}
/// leadership.resign().await;
/// assert_eq!(leadership.state(), State::Resigned);
/// campaign.await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It does not lead. Somebody else may.
    Following,
    /// It leads.
    Leading,
    /// It leads, and less than a fifth of its term is left: the store does not answer. For a health check this is
    /// *degraded*.
    Expiring,
    /// It begins nothing more, and waits for what it began as the leader before it gives the lease back.
    Resigning,
    /// It has resigned. The lease was given back, or ends by itself where the store did not answer.
    Resigned,
}

impl State {
    pub(super) const ALL: [Self; 5] =
        [Self::Following, Self::Leading, Self::Expiring, Self::Resigning, Self::Resigned];

    /// The word in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Leading => "leading",
            Self::Expiring => "expiring",
            Self::Resigning => "resigning",
            Self::Resigned => "resigned",
        }
    }

    /// Whether calls may begin.
    pub const fn leads(self) -> bool {
        matches!(self, Self::Leading | Self::Expiring)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
