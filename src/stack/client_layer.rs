//! The stack around a client, as a layer: one for all calls, or with a part for each key.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use tower::{Layer, Service};

use super::config::ClientConfig;
use super::handle::{ClientHandle, FrameHandle, KeyedClientHandle, StackHandle};
use super::keyed_config::{KeyedClientConfig, Spelling};
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
use crate::shell::gate::{ByKey, Part, Policy};
use crate::shell::in_flight::InFlight;
use crate::shell::live::Live;
use crate::shell::retry::{Core, Named, RequestTools, Retried};
use crate::shell::shared_fn::SharedFn;
use crate::timeout::{Fixed, Limited, TimeoutHandle};

/// The recommended stack around a client, with the policy `P` of each attempt and the settings `D`: a
/// [`ClientLayer`] or a [`KeyedClientLayer`].
///
/// All services that it and its clones make share one state.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct StackLayer<P, D, C, R, K, A = AsErrors> {
    pub(super) gate: Arc<InFlight<Shared<P, C>>>,
    pub(super) tools: RequestTools<R, K>,
    pub(super) budget: Budget,
    pub(super) origin: Origin,
    pub(super) tell: A,
    pub(super) written: Arc<Live<D>>,
    pub(super) spelling: Spelling,
}

/// What all services of a stack share.
pub(super) type Shared<P, C> = Core<Retries, Limited<Fixed>, P, C>;

/// The service that a [`StackLayer`] makes of another: all of its layers in one.
pub(super) type Stacked<S, P, C, R, K, B = OneBudget> =
    Retried<S, Retries, Limited<Fixed>, P, C, R, K, B>;

/// The policies of each attempt, from outside in: those that have one state for all calls, and its time.
pub(super) type ForAll<F, H> = (BreakerPolicy<F>, (Bounded<H, One>, Limited<Fixed>));

/// The same, where the first two have a state for each key `X`.
type ForEachKey<X, F, H> =
    (ByKey<BreakerPolicy<Arc<F>>, X>, (ByKey<Bounded<Arc<H>, Arc<One>>, X>, Limited<Fixed>));

/// The recommended stack around a client; see [`client`](super::client()).
///
/// All services that it and its clones make share one state.
pub type ClientLayer<C, R, K, F = OnResponse, H = OnResponse, A = AsErrors> =
    StackLayer<ForAll<F, H>, ClientConfig, C, R, K, A>;

/// The service that a [`ClientLayer`] makes of another.
pub type Client<S, C, R, K, F = OnResponse, H = OnResponse> = Stacked<S, ForAll<F, H>, C, R, K>;

/// The recommended stack around a client, with a circuit breaker and a bulkhead for each key `X`; see
/// [`keyed`](super::ClientBuilder::keyed).
///
/// All services that it and its clones make share one state.
pub type KeyedClientLayer<X, C, R, K, F = OnResponse, H = OnResponse, A = AsErrors> =
    StackLayer<ForEachKey<X, F, H>, KeyedClientConfig, C, R, K, A>;

/// The service that a [`KeyedClientLayer`] makes of another.
///
/// It is always ready: which breaker decides is not known before the request is. An attempt that may
/// pass waits for the readiness of a clone of the inner service.
pub type KeyedClient<S, X, C, R, K, F = OnResponse, H = OnResponse> =
    Stacked<S, ForEachKey<X, F, H>, C, R, K>;

impl<P: Policy, D, C, R, K, A> StackLayer<P, D, C, R, K, A> {
    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
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

impl<C, R, K, F, H, A> ClientLayer<C, R, K, F, H, A>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
{
    /// Inspects and controls the whole stack: reads and reloads [all its settings](ClientConfig).
    pub fn handle(&self) -> ClientHandle {
        let attempt = TimeoutHandle::new(Part::of(&self.gate, |it| it.each.1.1.borrow()));
        self.handle_of(attempt, self.breaker(), self.bulkhead())
    }

    /// Inspects and controls the retry.
    pub fn retry(&self) -> RetryHandle {
        RetryHandle::new(Arc::clone(&self.gate))
    }

    /// Inspects and controls the circuit breaker.
    pub fn breaker(&self) -> CircuitBreakerHandle {
        self.gate.each.0.handle()
    }

    /// Inspects and controls the bulkhead.
    pub fn bulkhead(&self) -> BulkheadHandle {
        BulkheadHandle::new(Part::of(&self.gate, |it| it.each.1.0.borrow()))
    }

    /// Runs an async call through the whole stack, for callers without a service: retried, guarded and
    /// timed like a request.
    ///
    /// The closure is called for each attempt. What the stack was told of copying requests and of
    /// propagation does not matter here. Dropping the future drops the attempt that is in flight,
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
        Stacked::new(Caller, Arc::clone(&self.gate), tools, OneBudget)
            .readied()
            .call(move || call.call())
    }
}

impl<X, C, R, K, F, H, A> KeyedClientLayer<X, C, R, K, F, H, A>
where
    X: Send + Sync + 'static,
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
{
    /// Inspects and controls the whole stack: reads and reloads [all its settings](KeyedClientConfig).
    pub fn handle(&self) -> KeyedClientHandle {
        let (breakers, bulkheads) = (self.gate.each.0.handle(), self.gate.each.1.0.handle());
        let attempt = TimeoutHandle::new(Part::of(&self.gate, |it| it.each.1.1.borrow()));
        self.handle_of(attempt, breakers, bulkheads)
    }

    /// Runs an async call through the whole stack, with the breaker and the bulkhead of `key`, for callers without a
    /// service; as [`ClientLayer::run`](super::ClientLayer) does.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, stack};
    /// use std::borrow::Cow;
    ///
    /// # async fn query(_: &str) -> std::io::Result<u32> { Ok(7) }
    /// let shards = stack::client("store").keyed(|shard: &String| Cow::from(shard)).cloned().build()?;
    /// let orders = shards
    ///     .run("eu-1", || async { query("SELECT count(*) FROM orders").await.map_err(Error::Inner) })
    ///     .await?;
    /// assert_eq!(orders, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Op, Fut, T, E>(
        &self,
        key: &str,
        call: Op,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Op, Fut, T, E, X, C, R, K, F, H, A>
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
        Stacked::new(Caller, Arc::clone(&self.gate), tools, Named(key.into()))
            .call(move || call.call())
    }
}

impl<P, D, C, R, K, A> StackLayer<P, D, C, R, K, A>
where
    P: Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    /// Inspects and controls what is one for all calls.
    pub(super) fn frame(&self) -> FrameHandle {
        FrameHandle {
            origin: self.origin.clone(),
            whole: TimeoutHandle::new(Part::of(&self.gate, |it| it.whole.borrow())),
            retry: RetryHandle::new(Arc::clone(&self.gate)),
            budget: self.budget.clone(),
        }
    }

    fn handle_of<B, L>(
        &self,
        attempt: TimeoutHandle,
        breaker: B,
        bulkhead: L,
    ) -> StackHandle<D, B, L> {
        let (frame, written) = (self.frame(), Arc::clone(&self.written));
        StackHandle { frame, attempt, written, spelling: self.spelling, breaker, bulkhead }
    }
}

impl<S, P, D, C, R, K, A> Layer<S> for StackLayer<P, D, C, R, K, A>
where
    P: Policy,
    R: Clone,
    K: Clone,
    A: Tell<Stacked<S, P, C, R, K>>,
{
    type Service = A::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let tools =
            RequestTools { copy: self.tools.copy.clone(), propagate: self.tools.propagate.clone() };
        self.tell.tell(Stacked::new(inner, Arc::clone(&self.gate), tools, OneBudget))
    }
}

impl<P, D, C, R: Clone, K: Clone, A: Clone> Clone for StackLayer<P, D, C, R, K, A> {
    fn clone(&self) -> Self {
        let (tools, tell, spelling) = (self.tools.clone(), self.tell.clone(), self.spelling);
        let (gate, written) = (Arc::clone(&self.gate), Arc::clone(&self.written));
        let (budget, origin) = (self.budget.clone(), self.origin.clone());
        Self { gate, tools, budget, origin, tell, written, spelling }
    }
}

impl<P, D, C, R, K, A> fmt::Debug for StackLayer<P, D, C, R, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackLayer")
            .field("origin", &self.origin)
            .field("in_flight", &self.gate.in_flight())
            .finish_non_exhaustive()
    }
}
