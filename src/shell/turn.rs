//! A machine that is stepped by whoever comes first, while others go on.

use std::sync::TryLockError;

use crate::core::sync::Mutex;
#[cfg(feature = "endpoints")]
use crate::shell::lock;

/// Behind a lock that nobody waits for.
#[derive(Debug)]
pub(crate) struct Turn<T>(Mutex<T>);

impl<T> Turn<T> {
    pub(crate) fn new(machine: T) -> Self {
        Self(Mutex::new(machine))
    }

    /// Runs `step`, when nobody else is at it any more: not on the way of a call. It must not run user code.
    #[cfg(feature = "endpoints")]
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        step(&mut lock(&self.0))
    }

    /// Runs `step`, unless somebody else is at it. It must not run user code.
    pub(crate) fn try_with<R>(&self, step: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut machine = match self.0.try_lock() {
            Ok(machine) => machine,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(step(&mut machine))
    }
}
