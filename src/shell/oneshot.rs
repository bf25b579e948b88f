//! A call to a service: one that was readied already, or a fresh clone that is driven to readiness
//! first.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use pin_project::pin_project;
use tower::Service;

use crate::shell::in_flight::{Hold, Parked};

/// Whether a future is worth being made in its place. Up to so many bytes it is moved more cheaply than a
/// function is called.
pub(crate) const fn is_large<F>() -> bool {
    size_of::<F>() > 128
}

/// Calls a service where nothing is alive that would have to be dropped if it panicked: then a future is made
/// in its place, and otherwise elsewhere and moved. Whatever the service itself would have to drop stays
/// in here.
#[inline(never)]
pub(crate) fn apart<F>(call: impl FnOnce() -> F) -> F {
    call()
}

#[pin_project]
pub struct Oneshot<S: Service<Req>, Req> {
    #[pin]
    stage: Stage<S, Req>,
}

#[pin_project(project = StageProj)]
enum Stage<S: Service<Req>, Req> {
    Waiting(S, Option<Req>, Parked),
    Called(#[pin] S::Future),
    Over,
}

impl<S: Service<Req>, Req> Oneshot<S, Req> {
    /// Nothing to call.
    pub(crate) const fn over() -> Self {
        Self { stage: Stage::Over }
    }

    /// Already called.
    pub(crate) const fn called(future: S::Future) -> Self {
        Self { stage: Stage::Called(future) }
    }

    /// Drives `service` to readiness, then calls it.
    pub(crate) const fn waiting(service: S, request: Req) -> Self {
        Self { stage: Stage::Waiting(service, Some(request), Parked::new()) }
    }

    pub(crate) fn is_called(self: Pin<&Self>) -> bool {
        matches!(self.get_ref().stage, Stage::Called(_))
    }

    /// Whether the service was not called yet.
    pub(crate) fn waits(self: Pin<&Self>) -> bool {
        matches!(self.get_ref().stage, Stage::Waiting(..))
    }

    /// The request, until the service is called.
    pub(crate) fn request(self: Pin<&mut Self>) -> Option<&mut Req> {
        match self.project().stage.project() {
            StageProj::Waiting(_, request, _) => request.as_mut(),
            StageProj::Called(_) | StageProj::Over => None,
        }
    }

    /// It was polled and is pending. While it waits for the service, a drain is to end that: `false` if
    /// one has begun.
    #[inline]
    pub(crate) fn park<P>(self: Pin<&mut Self>, hold: &Hold<P>, waker: &Waker) -> bool {
        match self.project().stage.project() {
            StageProj::Waiting(_, _, parked) => hold.park(parked, waker),
            StageProj::Called(_) | StageProj::Over => true,
        }
    }

    /// Waits until the service is ready for the call, which is not made yet.
    pub(crate) fn poll_ready(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>> {
        match self.project().stage.project() {
            StageProj::Waiting(service, ..) => service.poll_ready(cx),
            StageProj::Called(_) | StageProj::Over => Poll::Pending,
        }
    }

    /// Drops what is left of the call.
    pub(crate) fn end(self: Pin<&mut Self>) {
        self.project().stage.set(Stage::Over);
    }
}

impl<S: Service<Req>, Req> Future for Oneshot<S, Req> {
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            match stage.as_mut().project() {
                StageProj::Waiting(service, request, _) => {
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        stage.set(Stage::Over);
                        return Poll::Ready(Err(error));
                    }
                    let Some(request) = request.take() else {
                        return Poll::Pending; // unreachable: the stage moves on with the request
                    };
                    let future = service.call(request);
                    stage.set(Stage::Called(future));
                }
                StageProj::Called(future) => {
                    // Each branch for itself: an answer is not moved as if it could be an error. The
                    // inner future must not go on holding what it holds.
                    match ready!(future.poll(cx)) {
                        Ok(response) => {
                            stage.set(Stage::Over);
                            return Poll::Ready(Ok(response));
                        }
                        Err(error) => {
                            stage.set(Stage::Over);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StageProj::Over => return Poll::Pending,
            }
        }
    }
}

impl<S: Service<Req>, Req> std::fmt::Debug for Oneshot<S, Req> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.stage {
            Stage::Waiting(..) => "Oneshot(waiting)",
            Stage::Called(_) => "Oneshot(called)",
            Stage::Over => "Oneshot(over)",
        })
    }
}
