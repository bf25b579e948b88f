//! Who is told of what a policy does.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::core::event::{Event, Observe, Outage};

/// The observers of one policy.
#[derive(Clone, Default)]
pub(crate) struct Observers {
    all: Vec<Arc<dyn Observe>>,
    opened: Vec<OnOutage>,
    closed: Vec<OnOutage>,
}

type OnOutage = Arc<dyn Fn(&Outage) + Send + Sync>;

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observe + 'static) {
        self.all.push(Arc::new(observer));
    }

    pub(crate) fn on_open(&mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) {
        self.opened.push(Arc::new(tell));
    }

    pub(crate) fn on_close(&mut self, tell: impl Fn(&Outage) + Send + Sync + 'static) {
        self.closed.push(Arc::new(tell));
    }

    /// Tells those who asked for outages. A panic stays with whoever made it.
    pub(crate) fn tell_outage(&self, outage: &Outage) {
        let listeners = if outage.lasted.is_none() { &self.opened } else { &self.closed };
        for tell in listeners {
            let _ = catch_unwind(AssertUnwindSafe(|| tell(outage)));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.opened.is_empty() && self.closed.is_empty()
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
        write!(f, "Observers({})", self.all.len() + self.opened.len() + self.closed.len())
    }
}
