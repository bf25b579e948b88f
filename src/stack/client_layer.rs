//! The stack around a client, as a layer.

use std::borrow::Borrow;
use std::sync::Arc;

use tower::{Layer, Service};

use super::config::ClientConfig;
use super::frame::{FrameHandle, Part};
use super::handle::ClientHandle;
use super::tell::{AsErrors, Tell};
use crate::bulkhead::{Bounded, BulkheadHandle, One};
use crate::circuit_breaker::{BreakerPolicy, CircuitBreakerHandle};
use crate::core::classify::Classify;
use crate::core::completion::{Completion, OnResponse};
use crate::core::error::CallError;
use crate::core::origin::Origin;
use crate::core::request::{Cloned, NoPropagation};
use crate::retry::{Budget, OneBudget, Retries, RetryHandle};
use crate::shell::caller::Caller;
use crate::shell::gate::Policy;
use crate::shell::in_flight::InFlight;
use crate::shell::live::Live;
use crate::shell::retry::{Core, RequestTools, Retried};
use crate::shell::shared_fn::SharedFn;
use crate::timeout::{Fixed, Limited, TimeoutHandle};

/// The recommended stack around a client; see [`client`](super::client()).
///
/// All services that it and its clones make share one state.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ClientLayer<C, R, K, F = OnResponse, H = OnResponse, A = AsErrors> {
    pub(super) gate: Arc<InFlight<Shared<C, F, H>>>,
    pub(super) tools: RequestTools<R, K>,
    pub(super) budget: Budget,
    pub(super) origin: Origin,
    pub(super) tell: A,
    pub(super) written: Arc<Live<ClientConfig>>,
}

/// The policies of each attempt, from outside in: those that have one state for all calls, and its time.
type Attempt<F, H> = (BreakerPolicy<F>, (Bounded<H, One>, Limited<Fixed>));

/// What all services of a stack share.
pub(super) type Shared<C, F, H> = Core<Retries, Limited<Fixed>, Attempt<F, H>, C>;

/// The service that a [`ClientLayer`] makes of another: all of its layers in one.
pub type Client<S, C, R, K, F = OnResponse, H = OnResponse> =
    Retried<S, Retries, Limited<Fixed>, Attempt<F, H>, C, R, K, OneBudget>;

impl<C, R, K, F, H, A> ClientLayer<C, R, K, F, H, A>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
{
    /// Sees and steers the whole stack: reads and reloads [all its settings](ClientConfig).
    pub fn handle(&self) -> ClientHandle {
        let frame = FrameHandle {
            origin: self.origin.clone(),
            whole: TimeoutHandle::new(Part::of(&self.gate, |shared| shared.whole.borrow())),
            retry: self.retry(),
            budget: self.budget.clone(),
            attempt: TimeoutHandle::new(Part::of(&self.gate, |shared| shared.each.1.1.borrow())),
        };
        let written = Arc::clone(&self.written);
        ClientHandle { frame, written, breaker: self.breaker(), bulkhead: self.bulkhead() }
    }

    /// Sees and steers the retry.
    pub fn retry(&self) -> RetryHandle {
        RetryHandle::new(Arc::clone(&self.gate))
    }

    /// Sees and steers the circuit breaker.
    pub fn breaker(&self) -> CircuitBreakerHandle {
        self.gate.each.0.handle()
    }

    /// Sees and steers the bulkhead.
    pub fn bulkhead(&self) -> BulkheadHandle {
        BulkheadHandle::new(Part::of(&self.gate, |shared| shared.each.1.0.borrow()))
    }

    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Runs an async call through the whole stack, for callers without a service: retried, guarded and
    /// timed like a request.
    ///
    /// The closure is called for each attempt. What the stack was told of copying requests and of what
    /// travels with them does not matter here. Dropping the future drops the attempt that is in flight,
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
    pub fn run<Op, Fut, T, E>(
        &self,
        call: Op,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Op, Fut, T, E, C, R, K, F, H, A>
    where
        Op: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E>,
        H: Completion<T>,
        F: Completion<H::Response>,
    {
        let (call, tools) =
            (SharedFn::new(call), RequestTools { copy: Cloned, propagate: NoPropagation });
        Retried::new(Caller, Arc::clone(&self.gate), tools, OneBudget)
            .readied()
            .call(move || call.call())
    }

    /// Takes no further calls, ends all waits that have no attempt in flight (between two attempts,
    /// for a place, for the client to be ready), and returns when the attempts in flight are over: no
    /// call makes another. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The rejecting goes on if the future of
    /// this is dropped.
    pub async fn drain(&self) {
        self.gate.stop();
        self.gate.each.wake_waiting();
        self.gate.emptied().await;
    }

    /// Takes no further calls, and returns when those in flight are over, with all the waits and
    /// attempts they would have made anyway. [`drain`](Self::drain) still ends these.
    pub async fn drain_to_completion(&self) {
        self.gate.close();
        self.gate.each.wake_waiting();
        self.gate.emptied().await;
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
        let tools =
            RequestTools { copy: self.tools.copy.clone(), propagate: self.tools.propagate.clone() };
        self.tell.tell(Retried::new(inner, Arc::clone(&self.gate), tools, OneBudget))
    }
}
