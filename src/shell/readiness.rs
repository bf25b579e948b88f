//! What a service said of its readiness, which it has to keep until it is called.

use std::task::{Context, Poll, Waker};

use tower::Service;

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
    /// Asks the inner service while the policies are open. Where they are not, the call will say so, or
    /// waits by itself. `park` leaves the waker of who waits for the inner service, to be woken when a policy
    /// closes, and says whether all are still open.
    #[inline]
    pub(crate) fn poll<S: Service<Req>, Req>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        is_open: impl Fn() -> bool,
        mut park: impl FnMut(&Waker) -> bool,
        fail: impl FnOnce(&S::Error),
    ) -> Poll<Result<(), S::Error>> {
        if *self == Self::Alone {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !is_open() {
                return self.alone();
            }
            match inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    *self = Self::WithInner;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    *self = Self::Nothing;
                    fail(&error);
                    return Poll::Ready(Err(error));
                }
                Poll::Pending if park(cx.waker()) => return Poll::Pending,
                Poll::Pending => {} // one has closed meanwhile
            }
        }
    }

    /// It is ready without the inner service; a reservation that is there already is kept.
    #[inline]
    fn alone<E>(&mut self) -> Poll<Result<(), E>> {
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
