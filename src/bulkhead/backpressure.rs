//! A bulkhead for balancers and connection loops: not ready, instead of rejecting.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tower::{Layer, Service};

use super::cost::One;
use super::layer::ResponseFuture;
use super::limiter::{Entry, Limiter};
use super::policy::{Bounded, Permit};
use crate::core::completion::Completion;
use crate::core::context::ClassifyContext;
use crate::core::error::CallError;
use crate::shell::gate::{Core, Policy, Unclassified};
use crate::shell::in_flight::{InFlight, Parked};
use crate::shell::queue::{Standing, Ticket};

/// Makes services that are not ready while the bulkhead is full; see
/// [`BulkheadLayer::backpressure`](super::BulkheadLayer::backpressure).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BackpressureLayer<F> {
    pub(super) gate: Shared<F>,
}

/// A bulkhead of which each call takes one place.
type Shared<F> = Arc<InFlight<Core<Bounded<F, One>, Unclassified>>>;

/// Is ready once it has a place, which it holds until it is called or dropped.
///
/// Each instance waits in the one queue of its bulkhead, in turn, for as long as it takes. Needs no
/// `Clone`.
pub struct Backpressure<S, F> {
    inner: S,
    gate: Shared<F>,
    permit: Place,
    /// Where the caller waits for the inner service, to be told of a drain. The waker
    /// stays until the next wait: taking it away would cost every call, and it rings but once.
    parked: Parked,
}

/// A turn in the queue, or a place that is held for a call to come. Neither is a call yet, so that draining
/// does not wait for it.
#[derive(Debug)]
enum Place {
    None,
    Queued(Ticket),
    Held,
    /// The bulkhead was drained: the call will say so.
    Drained,
}

impl<S, F> Backpressure<S, F> {
    fn limiter(&self) -> &Limiter {
        self.gate.policy.limiter()
    }

    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &self.permit {
                Place::Held | Place::Drained => return Poll::Ready(()),
                _ if self.gate.is_closed() => self.give_up(Place::Drained),
                Place::Queued(number) => match self.limiter().look(number, cx.waker()) {
                    Standing::Placed => self.permit = Place::Held,
                    // Whoever closes it now finds the waker.
                    Standing::Waiting if !self.gate.is_closed() => return Poll::Pending,
                    Standing::Waiting => {}
                    Standing::Expired | Standing::Barred => self.permit = Place::None,
                },
                Place::None => {
                    self.permit = match self.limiter().stand() {
                        Entry::Inside => Place::Held,
                        Entry::Queued(number) => Place::Queued(number),
                        // A million wait before it: the call will say so.
                        Entry::Full(_) | Entry::TooDear(_) => return Poll::Ready(()),
                    }
                }
            }
        }
    }

    /// Gives back what it has: its turn, or its place.
    fn give_up(&mut self, next: Place) {
        match std::mem::replace(&mut self.permit, next) {
            Place::Queued(number) => self.limiter().give_up(&number, 1),
            Place::Held => self.limiter().leave(1),
            Place::None | Place::Drained => {}
        }
    }
}

impl<S, Req, F> Service<Req> for Backpressure<S, F>
where
    S: Service<Req>,
    S::Error: CallError,
    F: Completion<S::Response>,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.poll_place(cx));
        if matches!(self.permit, Place::Drained) {
            return Poll::Ready(Ok(()));
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(Err(error)) => {
                self.give_up(Place::None);
                Poll::Ready(Err(error))
            }
            // A place that is held for a call to come is given up.
            Poll::Pending if !self.gate.park(&mut self.parked, cx.waker()) => {
                self.give_up(Place::Drained);
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let permit = if matches!(self.permit, Place::Held) {
            self.permit = Place::None;
            Some(Permit::new(1))
        } else {
            // Called without having been ready: only if there happens to be room.
            self.limiter().enter(1).then(|| Permit::new(1))
        };
        let policy = &self.gate.policy;
        let Some(permit) = permit else {
            return ResponseFuture::rejected(if self.gate.is_closed() {
                policy.draining()
            } else {
                policy.full()
            });
        };
        let Some(stripe) = self.gate.enter() else {
            policy.give_back(permit);
            return ResponseFuture::rejected(policy.draining());
        };
        ResponseFuture::begun(
            stripe,
            permit,
            || self.inner.call(request),
            ClassifyContext::default(),
        )
    }
}

impl<S, F> Layer<S> for BackpressureLayer<F> {
    type Service = Backpressure<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        let gate = Arc::clone(&self.gate);
        Backpressure { inner, gate, permit: Place::None, parked: Parked::new() }
    }
}

impl<S: Clone, F> Clone for Backpressure<S, F> {
    fn clone(&self) -> Self {
        BackpressureLayer { gate: Arc::clone(&self.gate) }.layer(self.inner.clone())
    }
}

impl<S, F> Drop for Backpressure<S, F> {
    fn drop(&mut self) {
        self.give_up(Place::None);
    }
}

impl<F> Clone for BackpressureLayer<F> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate) }
    }
}

impl<F> fmt::Debug for BackpressureLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackpressureLayer")
            .field("policy", &self.gate.policy)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Backpressure<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backpressure")
            .field("inner", &self.inner)
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}
