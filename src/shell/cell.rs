//! The policy of one key.

use crate::shell::in_flight::{Count, Counted};

/// The policy of one key, and the calls in flight in it.
#[derive(Debug)]
pub(crate) struct Cell<P> {
    pub(crate) policy: P,
    pub(crate) count: Count,
}

impl<P> Counted for Cell<P> {
    #[inline]
    fn count(&self) -> &Count {
        &self.count
    }
}
