//! An event that is being published.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use super::engine::{Held, Sent};
use super::envelope::Envelope;
use super::service::{Owner, PublishError};
use crate::core::time::{poll_timer, timer};

/// The future of a [`Publisher`](crate::bus::Publisher).
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<E> {
    owner: Arc<Owner<E>>,
    event: Option<Result<Arc<Envelope<E>>, PublishError>>,
    /// Its place in the line.
    ticket: Option<u64>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<E> ResponseFuture<E> {
    pub(super) const fn new(
        owner: Arc<Owner<E>>,
        event: Result<Arc<Envelope<E>>, PublishError>,
    ) -> Self {
        Self { owner, event: Some(event), ticket: None, timer: None }
    }
}

impl<E> Future for ResponseFuture<E> {
    type Output = Result<(), PublishError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        let this = self.get_mut();
        let shared = &this.owner.shared;
        loop {
            let event = match this.event.take() {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Pending, // it is over
            };
            let Held { event, ticket, until } =
                match shared.publish(event, this.ticket, Some(cx.waker())) {
                    Sent::Done => {
                        this.ticket = None;
                        return Poll::Ready(Ok(()));
                    }
                    Sent::Closed => {
                        this.ticket = None;
                        return Poll::Ready(Err(PublishError::Closed));
                    }
                    Sent::Held(held) => held,
                };
            this.event = Some(Ok(event));
            this.ticket = Some(ticket);
            let Some(at) = shared.clock().instant(until) else {
                return Poll::Pending; // until a reader reads, or the line moves on
            };
            if this.timer.as_ref().is_none_or(|timer| timer.deadline() != at) {
                this.timer = timer(at).map(Box::pin);
            }
            // Without timers: until a reader reads, or the line moves on.
            let Some(timer) = &mut this.timer else { return Poll::Pending };
            ready!(poll_timer(timer.as_mut(), cx));
            this.timer = None;
        }
    }
}

impl<E> Drop for ResponseFuture<E> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.owner.shared.leave(ticket);
        }
    }
}

impl<E> fmt::Debug for ResponseFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("is_over", &self.event.is_none())
            .field("waits", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}
