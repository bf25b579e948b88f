//! What somebody outside holds of the policy of one key.

use std::borrow::Borrow;
use std::sync::{Arc, Weak};

use crate::shell::gate::Entrance;
use crate::shell::member::Member;

/// A key's policy in somebody's hands: it is not forgotten meanwhile.
///
/// It holds a weak reference beside the strong one, by which those who watch can be told from calls.
pub(crate) struct Watched<M> {
    cell: Arc<M>,
    _watches: Weak<M>,
}

impl<M> Watched<M> {
    pub(super) fn new(cell: Arc<M>) -> Self {
        Self { _watches: Arc::downgrade(&cell), cell }
    }

    /// The calls that hold it, but not the table and those who watch.
    fn calls(&self) -> usize {
        let watching = Arc::weak_count(&self.cell);
        Arc::strong_count(&self.cell).saturating_sub(1 + watching)
    }
}

impl<T, M: Member + Borrow<T>> Entrance<T> for Watched<M> {
    fn policy(&self) -> &T {
        (*self.cell).borrow()
    }

    fn in_flight(&self) -> usize {
        self.calls()
    }
}
