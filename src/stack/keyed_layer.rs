//! The stack around a client with a circuit breaker and a bulkhead for each key, as a layer.

use std::sync::Arc;

use tower::Layer;

use super::frame::Frame;
use super::keyed_config::{KeyedClientConfig, Spelling};
use super::keyed_handle::KeyedClientHandle;
use super::tell::{AsErrors, Tell};
use crate::bulkhead::{KeyedBulkhead, KeyedBulkheadLayer};
use crate::circuit_breaker::{KeyedCircuitBreaker, KeyedCircuitBreakerLayer};
use crate::core::classify::Classify;
use crate::core::completion::{Completion, OnResponse};
use crate::core::error::CallError;
use crate::retry::Retry;
use crate::shell::live::Live;
use crate::shell::shared_fn::SharedFn;
use crate::timeout::{Fixed, Timeout};

/// The recommended stack around a client, with a circuit breaker and a bulkhead for each key `X`; see
/// [`keyed`](super::ClientBuilder::keyed).
///
/// All services that it and its clones make share one state.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct KeyedClientLayer<X, C, R, K, F = OnResponse, H = OnResponse, A = AsErrors>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    pub(super) frame: Frame<C, R, K>,
    pub(super) breaker: KeyedCircuitBreakerLayer<C, F, X, K>,
    pub(super) bulkhead: KeyedBulkheadLayer<H, X, K>,
    pub(super) tell: A,
    pub(super) written: Arc<Live<KeyedClientConfig>>,
    pub(super) spelling: Spelling,
}

/// The service that a [`KeyedClientLayer`] makes of another.
pub type KeyedClient<S, X, C, R, K, F = OnResponse, H = OnResponse> = Timeout<
    Retry<KeyedCircuitBreaker<KeyedBulkhead<Timeout<S, Fixed, K>, H, X, K>, C, F, X, K>, C, R, K>,
    Fixed,
    K,
>;

impl<X, C, R, K, F, H, A> KeyedClientLayer<X, C, R, K, F, H, A>
where
    X: Send + Sync + 'static,
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    /// Sees and steers the whole stack: reads and reloads [all its settings](KeyedClientConfig).
    pub fn handle(&self) -> KeyedClientHandle {
        KeyedClientHandle {
            frame: self.frame.handle(),
            written: Arc::clone(&self.written),
            spelling: self.spelling,
            breakers: self.breaker.handle(),
            bulkheads: self.bulkhead.handle(),
        }
    }

    /// The calls that are in flight, of all keys.
    pub fn in_flight(&self) -> usize {
        self.frame.whole.in_flight()
    }

    /// Runs an async call through the whole stack, with the breaker and the bulkhead of `key`, for callers without a
    /// service; as [`ClientLayer::run`](super::ClientLayer::run) does.
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
        C: Classify<F::Response, E> + Classify<H::Response, E>,
        R: Clone,
        K: Clone,
        H: Completion<T> + Clone,
        F: Completion<H::Response> + Clone,
    {
        let (call, key) = (SharedFn::new(call), Arc::<str>::from(key));
        let Self { frame: Frame { whole, retry, attempt, .. }, breaker, bulkhead, .. } = self;
        let (breaker, bulkhead, attempt) = (breaker.clone(), bulkhead.clone(), attempt.clone());
        let guarded = move || {
            let (bulkhead, attempt, call) = (bulkhead.clone(), attempt.clone(), call.clone());
            let own = Arc::clone(&key);
            breaker.run(&key, move || bulkhead.run(&own, move || attempt.run(move || call.call())))
        };
        let retry = retry.clone();
        whole.run(move || retry.run(guarded))
    }

    /// Takes no further calls, ends all waits that have no attempt in flight, and returns when the
    /// attempts in flight are over; as [`ClientLayer::drain`](super::ClientLayer::drain) does.
    pub async fn drain(&self) {
        self.frame.stop();
        self.breaker.stop();
        self.bulkhead.stop();
        self.frame.whole.drain().await;
    }

    /// Takes no further calls, and returns when those in flight are over, with all the waits and
    /// attempts they would have made anyway. [`drain`](Self::drain) still ends these.
    pub async fn drain_to_completion(&self) {
        self.frame.whole.drain_to_completion().await;
    }
}

impl<S, X, C, R, K, F, H, A> Layer<S> for KeyedClientLayer<X, C, R, K, F, H, A>
where
    X: Send + Sync + 'static,
    R: Clone,
    K: Clone,
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
    H: Clone,
    A: Tell<KeyedClient<S, X, C, R, K, F, H>>,
{
    type Service = A::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let Frame { whole, retry, attempt, .. } = &self.frame;
        let attempt = self.bulkhead.layer(attempt.layer(inner));
        self.tell.tell(whole.layer(retry.layer(self.breaker.layer(attempt))))
    }
}
