//! What a service said of its readiness, which it has to keep until it is called.

use std::task::Poll;

/// What a service said when it was last asked whether it is ready, and was not called since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Readiness {
    #[default]
    Nothing,
    /// That it is ready, for the inner service is.
    WithInner,
    /// That it is ready, for the call needs no inner service that is: it would be rejected, or waits
    /// by itself. tower asks that this holds until the call, also if the call will pass by then; it
    /// drives a clone to readiness in that case.
    Alone,
}

impl Readiness {
    /// It is ready without the inner service; a reservation that is there already is kept.
    #[inline]
    pub(crate) fn alone<E>(&mut self) -> Poll<Result<(), E>> {
        if *self == Self::Nothing {
            *self = Self::Alone;
        }
        Poll::Ready(Ok(()))
    }

    /// It is called: whether the inner service is ready for it.
    #[inline]
    pub(crate) fn take(&mut self) -> bool {
        std::mem::take(self) == Self::WithInner
    }
}
