//! Who is told of what a policy does.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::core::event::{Event, Observe};

/// The observers of one policy.
#[derive(Clone, Default)]
pub(crate) struct Observers {
    all: Vec<Arc<dyn Observe>>,
}

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observe + 'static) {
        self.all.push(Arc::new(observer));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tells everyone. A panic stays with the observer that made it.
    pub(crate) fn tell(&self, event: &Event) {
        for observer in &self.all {
            // The payload is dropped: the panic hook has reported it by now.
            let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(event)));
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.all.len())
    }
}
