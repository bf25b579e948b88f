//! The settings of a bulkhead.

use std::time::Duration;

/// The settings of a bulkhead: plain values, which can be turned while calls are flying.
///
/// See the [table of defaults](crate::bulkhead#defaults). They are checked when a layer is built
/// from them or a running policy is [reloaded](super::BulkheadHandle::reload).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Dials {
    /// Calls at a time.
    pub limit: u32,
    /// Calls that may wait for one of them to end. Zero: a call that finds the bulkhead full is
    /// refused at once.
    pub queue: u32,
    /// How long a call waits at most.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_wait: Duration,
    /// Who is next.
    pub order: Order,
}

/// Default [`Dials::limit`].
pub const LIMIT: u32 = 64;
/// Default [`Dials::queue`].
pub const QUEUE: u32 = 0;
/// Default [`Dials::max_wait`].
pub const MAX_WAIT: Duration = Duration::from_secs(1);

impl Default for Dials {
    fn default() -> Self {
        Self { limit: LIMIT, queue: QUEUE, max_wait: MAX_WAIT, order: Order::OldestFirst }
    }
}

/// Which of those who wait is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Order {
    /// First come, first served.
    #[default]
    OldestFirst,
    /// The newest first: under lasting overload a few are served in time, instead of all too late.
    NewestFirst,
}
