//! Config that can be turned while calls are in flight.

use std::fmt;
use std::sync::Arc;

use crate::core::sync::Mutex;
use crate::shell::lock;

/// A value that is replaced as a whole. Read off the hot path: it locks for as long as it takes to
/// clone an `Arc`.
pub(crate) struct Live<T>(Mutex<Arc<T>>);

impl<T> Live<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&lock(&self.0))
    }

    /// Replaces the value by what `change` makes of it. Nothing that `change` runs may lock.
    pub(crate) fn update(&self, change: impl FnOnce(&T) -> T) {
        let mut held = lock(&self.0);
        let new = Arc::new(change(&held));
        let old = std::mem::replace(&mut *held, new);
        drop(held);
        drop(old);
    }

    /// Puts `new` in the place of `old`. `false`, if something else is there by now.
    pub(crate) fn replace(&self, old: &Arc<T>, new: T) -> bool {
        let new = Arc::new(new);
        let mut held = lock(&self.0);
        if !Arc::ptr_eq(&held, old) {
            return false;
        }
        let old = std::mem::replace(&mut *held, new);
        drop(held);
        drop(old);
        true
    }

    pub(crate) fn set(&self, value: T) {
        let value = Arc::new(value);
        let old = std::mem::replace(&mut *lock(&self.0), value);
        drop(old); // after the unlock
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
