//! A service to make clones of, when and only when one is needed.

use std::fmt;

use crate::core::sync::Mutex;
use crate::shell::lock;

/// Holds a clone of a service that was never readied. A call that may need another attempt would
/// otherwise have to clone its service beforehand, and pay for it each time.
pub(crate) struct CloneSource<S>(Mutex<S>);

impl<S> CloneSource<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }

    pub(crate) fn make(&self) -> S
    where
        S: Clone,
    {
        lock(&self.0).clone()
    }
}

#[cfg(any(feature = "endpoints", feature = "failover", feature = "shards"))]
impl<S> CloneSource<Option<S>> {
    /// Lets go of the service for good: whoever comes later gets none.
    pub(crate) fn retire(&self) {
        let service = lock(&self.0).take();
        drop(service); // after the unlock
    }
}

impl<S> fmt::Debug for CloneSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloneSource")
    }
}
