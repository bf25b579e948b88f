//! One bulkhead for each key.

mod builder;
mod future;
mod handle;
mod instance;
mod permit;
mod tenant;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

pub use self::builder::KeyedBuilder;
use self::future::ResponseFuture;
pub use self::handle::KeyedBulkheadHandle;
use self::instance::Instance;
pub(super) use self::tenant::{Tenant, reload_key};
use super::cost::{CostOf, One};
use crate::error::{CallError, Measured, Reason, Rejected};
use crate::finish::Finish;
use crate::request::{Carry, ExtractKey, NoCarry};
use crate::shell::caller::Caller;
use crate::shell::gate::Stage;
use crate::shell::keyed::Keyed;

/// Puts one bulkhead per key around services; see [`Builder::keyed`](super::Builder::keyed).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct KeyedBulkheadLayer<F, K, Y = NoCarry, W = One> {
    cells: Arc<Keyed<Tenant>>,
    key: Arc<K>,
    finish: F,
    carry: Y,
    cost: W,
}

impl<F, K, Y, W> KeyedBulkheadLayer<F, K, Y, W> {
    /// Sees and steers the bulkheads of this layer.
    pub fn handle(&self) -> KeyedBulkheadHandle {
        KeyedBulkheadHandle::new(Arc::clone(&self.cells))
    }

    /// The calls that are under way or wait, of all keys.
    pub fn in_flight(&self) -> usize {
        self.cells.in_flight()
    }

    /// Takes no further calls, sends away those that wait for a place or for the inner service to be
    /// ready, and returns when those under way are over. There is no way back. See
    /// [`BulkheadLayer::drain`](super::BulkheadLayer::drain).
    pub async fn drain(&self) {
        self.stop();
        self.cells.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.cells.close(Stage::Stopped);
    }

    /// Takes no further calls, and returns when those under way and those that wait are over.
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
    ///     .keyed(|tenant: &String| Cow::from(tenant))
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
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, F, K, Y, W>
    where
        Call: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        F: Finish<T> + Clone,
    {
        match self.cells.enter(key) {
            Some(own) => {
                let instance = Instance { inner: &mut Caller, readied: true };
                instance.call(own, 1, &self.finish, &NoCarry, call)
            }
            None => ResponseFuture::refused(drained(&self.cells), self.finish.clone()),
        }
    }
}

/// What callers are told once the layer takes no further calls.
fn drained(cells: &Keyed<Tenant>) -> Rejected {
    cells.common.reporter.reject(Reason::Draining, Measured::Nothing)
}

impl<S, F: Clone, K, Y: Clone, W: Clone> Layer<S> for KeyedBulkheadLayer<F, K, Y, W> {
    type Service = KeyedBulkhead<S, F, K, Y, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { cells, key, finish, carry, cost } = self.clone();
        KeyedBulkhead { inner, cells, key, finish, carry, cost }
    }
}

impl<F: Clone, K, Y: Clone, W: Clone> Clone for KeyedBulkheadLayer<F, K, Y, W> {
    fn clone(&self) -> Self {
        let (cells, key) = (Arc::clone(&self.cells), Arc::clone(&self.key));
        let (finish, carry, cost) = (self.finish.clone(), self.carry.clone(), self.cost.clone());
        Self { cells, key, finish, carry, cost }
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
pub struct KeyedBulkhead<S, F, K, Y = NoCarry, W = One> {
    inner: S,
    cells: Arc<Keyed<Tenant>>,
    key: Arc<K>,
    finish: F,
    carry: Y,
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
    F: Finish<S::Response> + Clone,
    K: ExtractKey<Req>,
    Y: Carry<Req>,
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
            return ResponseFuture::refused(drained(&self.cells), self.finish.clone());
        };
        let instance = Instance { inner: &mut self.inner, readied: false };
        let places = self.cost.cost_of(&request);
        instance.call(cell, places, &self.finish, &self.carry, request)
    }
}

impl<S: Clone, F: Clone, K, Y: Clone, W: Clone> Clone for KeyedBulkhead<S, F, K, Y, W> {
    fn clone(&self) -> Self {
        let (cells, key) = (Arc::clone(&self.cells), Arc::clone(&self.key));
        let (inner, finish, carry) = (self.inner.clone(), self.finish.clone(), self.carry.clone());
        Self { inner, cells, key, finish, carry, cost: self.cost.clone() }
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
