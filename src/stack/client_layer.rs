//! The stack around a client, as a layer.

use std::sync::Arc;

use tower::Layer;

use super::config::ClientConfig;
use super::frame::Frame;
use super::handle::ClientHandle;
use super::tell::{AsErrors, Tell};
use crate::bulkhead::{Bulkhead, BulkheadHandle, BulkheadLayer};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer};
use crate::classify::Classify;
use crate::error::CallError;
use crate::finish::{AtHead, Finish};
use crate::retry::{Retry, RetryHandle};
use crate::shell::again::Again;
use crate::shell::live::Live;
use crate::timeout::{Fixed, Timeout};

/// The recommended stack around a client; see [`client`](super::client()).
///
/// All services that it and its clones make share one state.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ClientLayer<C, R, K, F = AtHead, H = AtHead, A = AsErrors> {
    pub(super) frame: Frame<C, R, K>,
    pub(super) breaker: CircuitBreakerLayer<C, F, K>,
    pub(super) bulkhead: BulkheadLayer<H, K>,
    pub(super) tell: A,
    pub(super) written: Arc<Live<ClientConfig>>,
}

/// The service that a [`ClientLayer`] makes of another.
pub type Client<S, C, R, K, F = AtHead, H = AtHead> = Timeout<
    Retry<CircuitBreaker<Bulkhead<Timeout<S, Fixed, K>, H, K>, C, F, K>, C, R, K>,
    Fixed,
    K,
>;

impl<C, R, K, F, H, A> ClientLayer<C, R, K, F, H, A>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
{
    /// Sees and steers the whole stack: reads and reloads [all its settings](ClientConfig).
    pub fn handle(&self) -> ClientHandle {
        ClientHandle {
            frame: self.frame.handle(),
            written: Arc::clone(&self.written),
            breaker: self.breaker.handle(),
            bulkhead: self.bulkhead.handle(),
        }
    }

    /// Sees and steers the retry.
    pub fn retry(&self) -> RetryHandle {
        self.frame.retry.handle()
    }

    /// Sees and steers the circuit breaker.
    pub fn breaker(&self) -> CircuitBreakerHandle {
        self.breaker.handle()
    }

    /// Sees and steers the bulkhead.
    pub fn bulkhead(&self) -> BulkheadHandle {
        self.bulkhead.handle()
    }

    /// The calls that are under way.
    pub fn in_flight(&self) -> usize {
        self.frame.whole.in_flight()
    }

    /// Runs an async call through the whole stack, for callers without a service: retried, guarded and
    /// timed like a request.
    ///
    /// The closure is called for each attempt. What the stack was told of copying requests and of what
    /// travels with them does not matter here. Dropping the future drops the attempt that is under way,
    /// and no other follows.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::{Error, stack};
    /// use std::io;
    ///
    /// # async fn query(_: &str, nth: u32) -> io::Result<u32> { if nth < 2 { Err(io::Error::other("reset")) } else { Ok(7) } }
    /// let database = stack::client("orders-db").cloned().build()?;
    /// let mut attempts = 0;
    /// let orders = database
    ///     .run(|| {
    ///         attempts += 1;
    ///         let asked = query("SELECT count(*) FROM orders", attempts);
    ///         async { asked.await.map_err(Error::Inner) }
    ///     })
    ///     .await?;
    /// assert_eq!((orders, attempts), (7, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Call, Fut, T, E>(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, C, R, K, F, H, A>
    where
        Call: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<F::Response, E> + Classify<H::Response, E>,
        R: Clone,
        K: Clone,
        H: Finish<T>,
        F: Finish<H::Response> + Clone + Send + Sync + 'static,
    {
        let call = Again::new(call);
        let Self { frame: Frame { whole, retry, attempt, .. }, breaker, bulkhead, .. } = self;
        let (breaker, bulkhead, attempt) = (breaker.clone(), bulkhead.clone(), attempt.clone());
        let guarded = move || {
            let (bulkhead, attempt, call) = (bulkhead.clone(), attempt.clone(), call.clone());
            breaker.run(move || bulkhead.run(move || attempt.run(move || call.call())))
        };
        let retry = retry.clone();
        whole.run(move || retry.run(guarded))
    }

    /// Takes no further calls, ends all waits that have no attempt under way (between two attempts,
    /// for a place, for the client to be ready), and returns when the attempts under way are over: no
    /// call makes another. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The refusing goes on if the future of
    /// this is dropped.
    pub async fn drain(&self) {
        self.frame.stop();
        self.breaker.stop();
        self.bulkhead.stop();
        self.frame.whole.drain().await;
    }

    /// Takes no further calls, and returns when those under way are over, with all the waits and
    /// attempts they would have made anyway. [`drain`](Self::drain) still ends these.
    pub async fn drain_to_completion(&self) {
        self.frame.whole.drain_to_completion().await;
    }
}

impl<S, C, R, K, F, H, A> Layer<S> for ClientLayer<C, R, K, F, H, A>
where
    R: Clone,
    K: Clone,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
    A: Tell<Client<S, C, R, K, F, H>>,
{
    type Service = A::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let Frame { whole, retry, attempt, .. } = &self.frame;
        let attempt = self.bulkhead.layer(attempt.layer(inner));
        self.tell.tell(whole.layer(retry.layer(self.breaker.layer(attempt))))
    }
}
