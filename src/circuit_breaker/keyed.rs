//! One breaker for each key.

mod builder;
mod handle;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

pub use self::builder::KeyedBuilder;
use self::handle::Cells;
pub use self::handle::KeyedCircuitBreakerHandle;
use super::engine::common::Common;
use super::future::ResponseFuture;
use super::policy::{Instance, Policy};
use crate::classify::Classify;
use crate::error::{CallError, Measured, Reason, Rejected};
use crate::finish::Finish;
use crate::request::{Carry, ExtractKey, NoCarry};
use crate::shell::caller::Caller;
use crate::shell::cell::Cell;
use crate::shell::gate::Stage;
use crate::shell::keyed::Keyed;

/// Puts one circuit breaker per key around services; see
/// [`Builder::keyed`](super::Builder::keyed).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct KeyedCircuitBreakerLayer<C, F, K, Y = NoCarry>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    cells: Arc<Keyed<Policy<C, F>>>,
    key: Arc<K>,
    carry: Y,
}

impl<C, F, K, Y> KeyedCircuitBreakerLayer<C, F, K, Y>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    /// Sees and steers the breakers of this layer.
    pub fn handle(&self) -> KeyedCircuitBreakerHandle {
        KeyedCircuitBreakerHandle { cells: Arc::clone(&self.cells) as Arc<dyn Cells> }
    }

    /// The calls that are under way, of all keys.
    pub fn in_flight(&self) -> usize {
        self.cells.in_flight()
    }

    /// Takes no further calls, sends away those that wait for readiness of the inner service, and
    /// returns when those under way are over. There is no way back. See
    /// [`CircuitBreakerLayer::drain`](super::CircuitBreakerLayer::drain).
    pub async fn drain(&self) {
        self.stop();
        self.cells.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.cells.close(Stage::Stopped);
    }

    /// Runs an async call through the breaker of `key`, for callers without a service.
    ///
    /// `call` is not called if the circuit of this key is open. Dropping the future abandons the call,
    /// as with [`CircuitBreakerLayer::run`](super::CircuitBreakerLayer::run).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, circuit_breaker::CircuitBreakerLayer};
    /// use std::borrow::Cow;
    /// use std::convert::Infallible;
    ///
    /// let tenants = CircuitBreakerLayer::builder("tenants")
    ///     .keyed(|tenant: &&'static str| Cow::from(*tenant))
    ///     .build()?;
    /// let answer = tenants.run("acme", || async { Ok::<_, Error<Infallible>>(7) }).await?;
    /// assert_eq!(answer, 7);
    /// assert_eq!(tenants.handle().keys(), ["acme".into()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Call, Fut, T, E>(
        &self,
        key: &str,
        call: Call,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, C, F, K, Y>
    where
        Call: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E>,
        F: Finish<T> + Clone,
    {
        match self.cells.enter(key) {
            Some(own) => {
                let shared = Arc::clone(&own.policy.shared);
                let instance = Instance { inner: &mut Caller, readied: true };
                instance.call(&shared, || Some(own), &NoCarry, call)
            }
            None => ResponseFuture::refused(drained(&self.cells.common)),
        }
    }

    /// Takes no further calls, and returns when those under way are over, and those that wait for
    /// readiness of the inner service were made and are over too.
    pub async fn drain_to_completion(&self) {
        self.cells.close(Stage::Closed);
        self.cells.emptied().await;
    }
}

impl<S, C, F, K, Y: Clone> Layer<S> for KeyedCircuitBreakerLayer<C, F, K, Y>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    type Service = KeyedCircuitBreaker<S, C, F, K, Y>;

    fn layer(&self, inner: S) -> Self::Service {
        let (cells, key) = (Arc::clone(&self.cells), Arc::clone(&self.key));
        KeyedCircuitBreaker { inner, cells, key, carry: self.carry.clone() }
    }
}

/// Calls the inner service under the breaker of the request's key.
///
/// It is always ready: which breaker decides is not known before the request is. A call that may
/// pass waits for the readiness of a clone of the inner service; a probe for no longer than
/// [`Config::probe_deadline`](super::Config::probe_deadline).
pub struct KeyedCircuitBreaker<S, C, F, K, Y = NoCarry>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    inner: S,
    cells: Arc<Keyed<Policy<C, F>>>,
    key: Arc<K>,
    carry: Y,
}

impl<S, Req, C, F, K, Y> Service<Req> for KeyedCircuitBreaker<S, C, F, K, Y>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    F: Finish<S::Response> + Clone + Send + Sync + 'static,
    K: ExtractKey<Req>,
    Y: Carry<Req>,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, Cell<Policy<C, F>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Some(cell) = self.key.with_key(&request, |key| self.cells.enter(key)) else {
            return ResponseFuture::refused(drained(&self.cells.common));
        };
        let shared = Arc::clone(&cell.policy.shared);
        let instance = Instance { inner: &mut self.inner, readied: false };
        instance.call(&shared, || Some(cell), &self.carry, request)
    }
}

/// What callers are told once the layer takes no further calls.
fn drained(common: &Common) -> Rejected {
    common.reporter.reject(Reason::Draining, Measured::Nothing)
}

impl<S: Clone, C, F, K, Y: Clone> Clone for KeyedCircuitBreaker<S, C, F, K, Y>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    fn clone(&self) -> Self {
        let (cells, key) = (Arc::clone(&self.cells), Arc::clone(&self.key));
        Self { inner: self.inner.clone(), cells, key, carry: self.carry.clone() }
    }
}

impl<C, F, K, Y: Clone> Clone for KeyedCircuitBreakerLayer<C, F, K, Y>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    fn clone(&self) -> Self {
        let (cells, key) = (Arc::clone(&self.cells), Arc::clone(&self.key));
        Self { cells, key, carry: self.carry.clone() }
    }
}

impl<C, F, K, Y> fmt::Debug for KeyedCircuitBreakerLayer<C, F, K, Y>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerLayer").field("keys", &self.cells.len()).finish()
    }
}

impl<S: fmt::Debug, C, F, K, Y> fmt::Debug for KeyedCircuitBreaker<S, C, F, K, Y>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker")
            .field("inner", &self.inner)
            .field("keys", &self.cells.len())
            .finish_non_exhaustive()
    }
}
