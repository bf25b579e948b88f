//! One bulkhead for each key.

mod builder;
mod future;
mod handle;
mod instance;
mod part;
mod permit;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

pub use self::builder::KeyedBuilder;
use self::future::ResponseFuture;
pub use self::handle::KeyedBulkheadHandle;
use self::instance::Instance;
pub(super) use self::part::{KeyedPart, reload_key};
use super::cost::{CostOf, One};
use crate::core::completion::Completion;
use crate::core::error::{CallError, Measurement, Reason, Rejected};
use crate::core::request::{ExtractKey, NoPropagation, Propagate};
use crate::shell::caller::Caller;
use crate::shell::in_flight::Stage;
use crate::shell::keyed::Keyed;

/// Puts one bulkhead per key around services; see [`Builder::keyed`](super::Builder::keyed).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct KeyedBulkheadLayer<F, K, Y = NoPropagation, W = One> {
    cells: Arc<Keyed<KeyedPart>>,
    key: Arc<K>,
    completion: F,
    propagate: Y,
    cost: W,
}

impl<F, K, Y, W> KeyedBulkheadLayer<F, K, Y, W> {
    /// Sees and steers the bulkheads of this layer.
    pub fn handle(&self) -> KeyedBulkheadHandle {
        KeyedBulkheadHandle::new(Arc::clone(&self.cells))
    }

    /// The calls that are in flight or wait, of all keys.
    pub fn in_flight(&self) -> usize {
        self.cells.in_flight()
    }

    /// Takes no further calls, sends away those that wait for a place or for the inner service to be
    /// ready, and returns when those in flight are over. There is no way back. See
    /// [`BulkheadLayer::drain`](super::BulkheadLayer::drain).
    pub async fn drain(&self) {
        self.stop();
        self.cells.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.cells.close(Stage::Stopped);
    }

    /// Takes no further calls, and returns when those in flight and those that wait are over.
    pub async fn drain_to_completion(&self) {
        self.cells.close(Stage::Closed);
        self.cells.emptied().await;
    }

    /// Runs an async call in the bulkhead of `key`, for callers without a service. Dropping the future
    /// frees its place.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, bulkhead::BulkheadLayer};
    /// use std::borrow::Cow;
    /// use std::convert::Infallible;
    ///
    /// let tenants = BulkheadLayer::builder("tenants")
    ///     .keyed(|part: &String| Cow::from(part))
    ///     .build()?;
    /// let answer = tenants.run("acme", || async { Ok::<_, Error<Infallible>>(7) }).await?;
    /// assert_eq!(answer, 7);
    /// assert_eq!(tenants.handle().keys(), ["acme".into()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Op, Fut, T, E>(
        &self,
        key: &str,
        call: Op,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Op, Fut, T, E, F, K, Y, W>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        F: Completion<T> + Clone,
    {
        match self.cells.enter(key) {
            Some(own) => {
                let instance = Instance { inner: &mut Caller, readied: true };
                instance.call(own, 1, &self.completion, &NoPropagation, call)
            }
            None => ResponseFuture::rejected(drained(&self.cells), self.completion.clone()),
        }
    }
}

/// What callers are told once the layer takes no further calls.
fn drained(cells: &Keyed<KeyedPart>) -> Rejected {
    cells.common.reporter.reject(Reason::Draining, Measurement::Nothing)
}

impl<S, F: Clone, K, Y: Clone, W: Clone> Layer<S> for KeyedBulkheadLayer<F, K, Y, W> {
    type Service = KeyedBulkhead<S, F, K, Y, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { cells, key, completion, propagate, cost } = self.clone();
        KeyedBulkhead { inner, cells, key, completion, propagate, cost }
    }
}

impl<F: Clone, K, Y: Clone, W: Clone> Clone for KeyedBulkheadLayer<F, K, Y, W> {
    fn clone(&self) -> Self {
        let (cells, key) = (Arc::clone(&self.cells), Arc::clone(&self.key));
        let (completion, propagate, cost) =
            (self.completion.clone(), self.propagate.clone(), self.cost.clone());
        Self { cells, key, completion, propagate, cost }
    }
}

impl<F, K, Y, W> fmt::Debug for KeyedBulkheadLayer<F, K, Y, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBulkheadLayer").field("keys", &self.cells.len()).finish()
    }
}

// ===== impl KeyedBulkhead =====

/// Calls the inner service in the bulkhead of the request's key.
///
/// It is always ready: which bulkhead decides is not known before the request is. A call that has a
/// place waits for the readiness of a clone of the inner service.
pub struct KeyedBulkhead<S, F, K, Y = NoPropagation, W = One> {
    inner: S,
    cells: Arc<Keyed<KeyedPart>>,
    key: Arc<K>,
    completion: F,
    propagate: Y,
    cost: W,
}

impl<S, F, K, Y, W> KeyedBulkhead<S, F, K, Y, W> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, Req, F, K, Y, W> Service<Req> for KeyedBulkhead<S, F, K, Y, W>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    F: Completion<S::Response> + Clone,
    K: ExtractKey<Req>,
    Y: Propagate<Req>,
    W: CostOf<Req>,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, F>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Some(cell) = self.key.with_key(&request, |key| self.cells.enter(key)) else {
            return ResponseFuture::rejected(drained(&self.cells), self.completion.clone());
        };
        let instance = Instance { inner: &mut self.inner, readied: false };
        let permits = self.cost.cost_of(&request);
        instance.call(cell, permits, &self.completion, &self.propagate, request)
    }
}

impl<S: Clone, F: Clone, K, Y: Clone, W: Clone> Clone for KeyedBulkhead<S, F, K, Y, W> {
    fn clone(&self) -> Self {
        let (cells, key) = (Arc::clone(&self.cells), Arc::clone(&self.key));
        let (inner, completion, propagate) =
            (self.inner.clone(), self.completion.clone(), self.propagate.clone());
        Self { inner, cells, key, completion, propagate, cost: self.cost.clone() }
    }
}

impl<S: fmt::Debug, F, K, Y, W> fmt::Debug for KeyedBulkhead<S, F, K, Y, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBulkhead")
            .field("inner", &self.inner)
            .field("keys", &self.cells.len())
            .finish_non_exhaustive()
    }
}
