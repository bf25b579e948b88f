//! Polling by hand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tower::Service;

use crate::core::sync::atomic::{AtomicUsize, Ordering};

/// A waker that counts how often it was woken, and polls by hand.
///
/// ```
/// use seawall::testing::CountingWaker;
/// use std::pin::pin;
///
/// let (task, (tell, told)) = (CountingWaker::new(), tokio::sync::oneshot::channel());
/// let mut told = pin!(told);
/// assert!(task.poll(&mut told).is_pending());
/// tell.send(7).unwrap();
/// assert_eq!(task.wakes(), 1);
/// ```
#[derive(Debug, Clone, Default)]
pub struct CountingWaker(Arc<Rings>);

#[derive(Debug, Default)]
struct Rings(AtomicUsize);

impl CountingWaker {
    /// One that was never rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it was woken.
    pub fn wakes(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// The waker that rings it.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    /// Polls a future once, with this waker.
    pub fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&self.waker()))
    }

    /// Asks a service once whether it is ready, with this waker.
    pub fn poll_ready<Req, S: Service<Req>>(&self, service: &mut S) -> Poll<Result<(), S::Error>> {
        service.poll_ready(&mut Context::from_waker(&self.waker()))
    }
}

impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
