//! A service to make clones of, when and only when one is needed.

use std::fmt;

use crate::core::sync::Mutex;
use crate::shell::lock;

/// Holds a clone of a service that was never readied. A call that may need another attempt would
/// otherwise have to clone its service beforehand, and pay for it each time.
pub(crate) struct CloneSource<S>(Mutex<S>);

impl<S: Clone> CloneSource<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }

    pub(crate) fn make(&self) -> S {
        lock(&self.0).clone()
    }
}

impl<S> fmt::Debug for CloneSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloneSource")
    }
}
