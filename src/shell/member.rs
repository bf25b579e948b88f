//! What a policy must know of itself to be one of many.

use std::sync::Arc;

use crate::machine::Forgettable;
use crate::shell::common::{Common, StateMeter};
use crate::shell::flight::Site;
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

    /// Whose it is.
    fn key(&self) -> Option<&Arc<str>>;

    /// Whether somebody outside holds a handle to it.
    fn is_watched(&self) -> bool;

    /// A stamp, if nothing would be lost by forgetting it.
    fn at_rest(&self) -> Option<Stamp>;

    /// As long as it stays the same, nothing was decided. Takes no lock.
    fn stamp(&self) -> Stamp;

    /// It is in the table now, and what turns all that are there comes to it too.
    fn settle_in(&self) {}

    /// Lets those who wait in it look again: the table was closed.
    fn wake_all(&self) {}
}

/// What was seen of a policy at rest.
pub(crate) type Stamp = Option<u64>;

impl<P: Site<Machine: Forgettable>> Member for P {
    type Common = Common<P::Machine>;
    type Meter = StateMeter;

    fn reporter(common: &Self::Common) -> &Reporter<StateMeter> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.shared().key()
    }

    fn is_watched(&self) -> bool {
        Site::is_watched(self)
    }

    fn at_rest(&self) -> Option<Stamp> {
        let shared = self.shared();
        let (at_rest, stamp) = shared
            .inspect(|machine, config, now| (machine.is_at_rest(config, now), shared.stamp()));
        at_rest.then_some(stamp)
    }

    fn stamp(&self) -> Stamp {
        self.shared().stamp()
    }
}
