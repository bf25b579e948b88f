//! What a policy must know of itself to be one of many.

use std::sync::Arc;

use crate::core::error::{Measurement, Reason, Rejected};
use crate::shell::meter::Instruments;
use crate::shell::reporter::Reporter;

/// A policy that may be one of many, each of which is forgotten when it says nothing any more.
pub(crate) trait Member: Send + Sync + 'static {
    /// What all of them have in common.
    type Common: Send + Sync + 'static;
    /// What they measure together.
    type Meter: Instruments;

    /// Who tells the world of them.
    fn reporter(common: &Self::Common) -> &Reporter<Self::Meter>;

    /// What callers are told once no further calls are taken.
    fn drained(common: &Self::Common) -> Rejected {
        Self::reporter(common).reject(Reason::Draining, Measurement::Nothing)
    }

    /// Whose it is.
    fn key(&self) -> Option<&Arc<str>>;

    /// Whether somebody outside holds a handle to it, and not to its [cell](Watched).
    ///
    /// [Watched]: crate::shell::keyed::Watched
    fn is_watched(&self) -> bool {
        false
    }

    /// A stamp, if nothing would be lost by forgetting it.
    fn at_rest(&self) -> Option<Stamp>;

    /// As long as it stays the same, nothing was decided. Takes no lock.
    fn stamp(&self) -> Stamp;

    /// It is in the table now, and what turns all that are there comes to it too.
    fn settle_in(&self) {}
}

/// What was seen of a policy at rest.
pub(crate) type Stamp = Option<u64>;
