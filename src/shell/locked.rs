//! A small machine behind a lock, for where it is stepped seldom.

use crate::core::sync::Mutex;
use crate::shell::lock;

pub(crate) struct Locked<T>(Mutex<T>);

impl<T: Default> Default for Locked<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Nothing that `step` runs may lock, or be code of the user's.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        step(&mut lock(&self.0))
    }

    /// The same, unless another is at it just now.
    pub(crate) fn try_with<R>(&self, step: impl FnOnce(&mut T) -> R) -> Option<R> {
        match self.0.try_lock() {
            Ok(mut value) => Some(step(&mut value)),
            Err(_) => None,
        }
    }
}
