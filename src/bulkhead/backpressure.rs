//! A bulkhead for balancers and connection loops: not ready, instead of refusing.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tower::{Layer, Service};

use super::cost::One;
use super::future::ResponseFuture;
use super::permit::Permit;
use super::policy::{Entry, Policy};
use crate::error::{CallError, Measured, Reason};
use crate::finish::Finish;
use crate::shell::gate::{Gate, Hold, Lane, Parked};
use crate::shell::oneshot::Oneshot;
use crate::shell::queue::{Number, Standing};

/// Makes services that are not ready while the bulkhead is full; see
/// [`BulkheadLayer::backpressure`](super::BulkheadLayer::backpressure).
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BackpressureLayer<F> {
    pub(super) gate: Arc<Gate<Policy>>,
    pub(super) finish: F,
}

/// Is ready once it has a place, which it holds until it is called or dropped.
///
/// Each instance waits in the one queue of its bulkhead, in turn, for as long as it takes. Needs no
/// `Clone`.
pub struct Backpressure<S, F> {
    inner: S,
    gate: Arc<Gate<Policy>>,
    finish: F,
    place: Place,
    /// Where the caller waits for the inner service, to be told of a drain. The waker
    /// stays until the next wait: taking it away would cost every call, and it rings but once.
    parked: Parked,
}

#[derive(Debug)]
enum Place {
    None,
    Queued(Turn),
    Held(Reserved),
    /// The bulkhead was drained: the call will say so.
    Drained,
}

/// A turn in the queue; given up when dropped, unless its place has come. Like a place that is held
/// for a call to come, it is no call yet, so that draining does not wait for it.
#[derive(Debug)]
struct Turn(Option<(Arc<Gate<Policy>>, Number)>);

/// A place for a call that is still to come.
#[derive(Debug)]
struct Reserved(Option<Arc<Gate<Policy>>>);

impl Turn {
    /// `None`: the turn was missed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reserved>> {
        let Some((gate, number)) = &self.0 else { return Poll::Ready(None) };
        let standing = gate.look(number, cx.waker());
        if standing == Standing::Waiting {
            return Poll::Pending;
        }
        // What is not waiting any more has given its number back.
        let place = self.0.take().filter(|_| standing == Standing::Placed);
        Poll::Ready(place.map(|(gate, _)| Reserved(Some(gate))))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((gate, number)) = self.0.take() {
            gate.give_up(&number, 1);
        }
    }
}

impl Reserved {
    /// The call comes. `None`: too late, the bulkhead was drained.
    fn begin(mut self) -> Option<Permit<Lane<Policy>, One>> {
        let lane = self.0.as_ref()?.enter()?;
        self.0 = None; // the permit has the place now
        Some(Permit::new(Hold::new(lane), One))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.leave(1);
        }
    }
}

impl<S, F> Backpressure<S, F> {
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.place {
                Place::Held(_) | Place::Drained => return Poll::Ready(()),
                _ if self.gate.is_closed() => self.place = Place::Drained,
                Place::Queued(turn) => {
                    self.place = match ready!(turn.poll(cx)) {
                        Some(reserved) => Place::Held(reserved),
                        None => Place::None,
                    }
                }
                Place::None => {
                    self.place = match self.gate.stand() {
                        Entry::Inside => Place::Held(Reserved(Some(Arc::clone(&self.gate)))),
                        Entry::Queued(number) => {
                            Place::Queued(Turn(Some((Arc::clone(&self.gate), number))))
                        }
                        // A million wait before it: the call will say so.
                        Entry::Full(_) | Entry::TooDear(_) => return Poll::Ready(()),
                    }
                }
            }
        }
    }
}

impl<S, Req, F> Service<Req> for Backpressure<S, F>
where
    S: Service<Req>,
    S::Error: CallError,
    F: Finish<S::Response> + Clone,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, F, Lane<Policy>, One>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.poll_place(cx));
        if matches!(self.place, Place::Drained) {
            return Poll::Ready(Ok(()));
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(Err(error)) => {
                self.place = Place::None;
                Poll::Ready(Err(error))
            }
            // A place that is held for a call to come is given up.
            Poll::Pending if !self.gate.park(&mut self.parked, cx.waker()) => {
                self.place = Place::Drained;
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let permit = match std::mem::replace(&mut self.place, Place::None) {
            Place::Held(reserved) => reserved.begin(),
            // Called without having been ready: only if there happens to be room.
            other => {
                self.place = other;
                self.gate
                    .enter()
                    .filter(|lane| lane.enter(1))
                    .map(|lane| Permit::new(Hold::new(lane), One))
            }
        };
        if let Some(permit) = permit {
            let attempt = Oneshot::called(self.inner.call(request));
            return ResponseFuture::inside(permit, attempt, self.finish.clone());
        }
        let rejected = if self.gate.is_closed() {
            self.gate.reject(Reason::Draining, Measured::Nothing)
        } else {
            self.gate.reject(Reason::Full, self.gate.fullness())
        };
        ResponseFuture::refused(rejected, self.finish.clone())
    }
}

impl<S, F: Clone> Layer<S> for BackpressureLayer<F> {
    type Service = Backpressure<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        let (gate, finish) = (Arc::clone(&self.gate), self.finish.clone());
        Backpressure { inner, gate, finish, place: Place::None, parked: Parked::new() }
    }
}

impl<S: Clone, F: Clone> Clone for Backpressure<S, F> {
    fn clone(&self) -> Self {
        let (gate, finish) = (Arc::clone(&self.gate), self.finish.clone());
        Self { inner: self.inner.clone(), gate, finish, place: Place::None, parked: Parked::new() }
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Backpressure<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backpressure")
            .field("inner", &self.inner)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
