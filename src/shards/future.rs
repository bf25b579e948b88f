//! The future of a call to the owner of its key.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use super::key::Key;
use super::shared::{Calls, Shared};
use super::table::Table;
use crate::core::error::CallError;
use crate::shell::in_flight::{Hold, Parked, Stripe};

/// The future of a call to the owner of its key.
///
/// Dropping it drops the call in flight. While it waits for the owner's service to be ready, a new map sends
/// it to the owner that its key has then.
#[pin_project]
pub struct ResponseFuture<S: Service<Req>, Req, K> {
    #[pin]
    stage: Stage<S, Req, K>,
    /// After the stage, so that the call is dropped first: its epoch is not settled before.
    counted: Counted<S>,
}

/// A call that counts as in flight until this is dropped; also if the service panics when it is called.
pub(super) struct Counted<S>(Hold<Table<S>>);

#[pin_project(project = StageProj)]
enum Stage<S: Service<Req>, Req, K> {
    Called(#[pin] S::Future),
    Waiting(Box<Waiting<S, Req, K>>),
    Failed(Option<S::Error>),
    Over,
}

/// A call whose owner is not ready.
struct Waiting<S, Req, K> {
    shared: Arc<Shared<S>>,
    key: Arc<K>,
    request: Option<Req>,
    owner: Option<Owner<S>>,
}

/// A call that was made and what counts it, or why it was not.
type Made<F, S, E> = Result<(F, Counted<S>), E>;

struct Owner<S> {
    service: S,
    calls: Calls<S>,
    stripe: Arc<Stripe<Table<S>>>,
    parked: Parked,
}

impl<S: Service<Req>, Req, K> ResponseFuture<S, Req, K> {
    #[inline]
    pub(super) const fn called(future: S::Future, counted: Counted<S>) -> Self {
        Self { stage: Stage::Called(future), counted }
    }

    pub(super) const fn failed(error: S::Error) -> Self {
        Self { stage: Stage::Failed(Some(error)), counted: Counted(Hold::over()) }
    }

    pub(super) fn waiting(shared: Arc<Shared<S>>, key: Arc<K>, request: Req) -> Self {
        let waiting = Waiting { shared, key, request: Some(request), owner: None };
        Self { stage: Stage::Waiting(Box::new(waiting)), counted: Counted(Hold::over()) }
    }
}

impl<S> Counted<S> {
    /// The call is made now, unless another map came in between.
    #[inline]
    pub(super) fn begin(stripe: Arc<Stripe<Table<S>>>) -> Option<Self> {
        let mut hold = Hold::new(stripe);
        hold.begin(|| false).then_some(Self(hold))
    }

    fn end(&mut self) {
        drop(self.0.lose());
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<S, Req, K> Waiting<S, Req, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    K: for<'r> Fn(&'r Req) -> Key<'r>,
{
    /// Waits until the owner is ready, whoever that is by then, and makes the call.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Made<S::Future, S, S::Error>> {
        loop {
            if self.request.is_none() {
                return Poll::Pending; // polled again after a panic
            }
            let Some(owner) = &mut self.owner else {
                match self.choose() {
                    Ok(owner) => self.owner = owner,
                    Err(error) => return Poll::Ready(Err(error)),
                }
                continue;
            };
            if owner.calls.is_closed() {
                self.owner = None; // what it would say is of no interest any more
                continue;
            }
            match owner.service.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    let Some(counted) = Counted::begin(Arc::clone(&owner.stripe)) else {
                        self.owner = None; // another map came
                        continue;
                    };
                    let Some(request) = self.request.take() else { return Poll::Pending };
                    let future = owner.service.call(request);
                    return Poll::Ready(Ok((future, counted)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if owner.calls.park(&mut owner.parked, cx.waker()) => {
                    return Poll::Pending;
                }
                Poll::Pending => self.owner = None,
            }
        }
    }

    /// The owner by the map in force; `None`, if another map comes in between.
    fn choose(&self) -> Result<Option<Owner<S>>, S::Error> {
        let (calls, Some(request)) = (self.shared.table(), &self.request) else { return Ok(None) };
        let Some(stripe) = calls.enter() else {
            let is_drained = self.shared.is_drained();
            return if is_drained { Err(self.shared.draining().into()) } else { Ok(None) };
        };
        let place = stripe.map.place((self.key)(request));
        let service = stripe.make(place);
        Ok(service.map(|service| Owner { service, calls, stripe, parked: Parked::new() }))
    }
}

impl<S, Req, K> Future for ResponseFuture<S, Req, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    K: for<'r> Fn(&'r Req) -> Key<'r>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let result = match this.stage.as_mut().project() {
                StageProj::Called(future) => ready!(future.poll(cx)),
                StageProj::Waiting(waiting) => match ready!(waiting.poll(cx)) {
                    Ok((future, counted)) => {
                        *this.counted = counted;
                        this.stage.set(Stage::Called(future));
                        continue;
                    }
                    Err(error) => Err(error),
                },
                StageProj::Failed(error) => match error.take() {
                    Some(error) => Err(error),
                    None => return Poll::Pending,
                },
                StageProj::Over => return Poll::Pending, // polled after it was ready
            };
            this.stage.set(Stage::Over); // nothing of the call goes on
            this.counted.end();
            return Poll::Ready(result);
        }
    }
}

impl<S: Service<Req>, Req, K> fmt::Debug for ResponseFuture<S, Req, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Called(_) => "ResponseFuture(in flight)",
            Stage::Waiting(_) => "ResponseFuture(waiting)",
            Stage::Failed(_) => "ResponseFuture(failed)",
            Stage::Over => "ResponseFuture(over)",
        })
    }
}
