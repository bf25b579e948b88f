//! What only its owner touches.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

/// Makes a value `Sync` that is reached only by `&mut`, such as a future in a box. Nobody ever locks it.
pub(in crate::log) struct Exclusive<T: ?Sized>(Mutex<T>);

/// A future in a box.
pub(in crate::log) type Boxed<T> = Exclusive<Pin<Box<dyn Future<Output = T> + Send>>>;

impl<T> Exclusive<T> {
    pub(in crate::log) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(in crate::log) fn get(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
