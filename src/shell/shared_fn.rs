//! A call that can be made again, and whose closure needs not be cloned for it.

use std::fmt;
use std::sync::Arc;

use crate::core::sync::Mutex;
use crate::shell::lock;

/// Hands one closure to the attempts of a call, one after the other.
pub(crate) struct SharedFn<F>(Arc<Mutex<Option<F>>>);

impl<F> SharedFn<F> {
    pub(crate) fn new(call: F) -> Self {
        Self(Arc::new(Mutex::new(Some(call))))
    }

    /// Makes the call. No lock is held meanwhile, for it is user code.
    #[expect(clippy::expect_used, reason = "the attempts of a call follow one another")]
    pub(crate) fn call<Fut>(&self) -> Fut
    where
        F: FnMut() -> Fut,
    {
        let taken = lock(&self.0).take();
        let mut call = taken.expect("an attempt begins when the one before is over");
        let future = call();
        *lock(&self.0) = Some(call);
        future
    }
}

impl<F> Clone for SharedFn<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> fmt::Debug for SharedFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedFn(closure)")
    }
}
