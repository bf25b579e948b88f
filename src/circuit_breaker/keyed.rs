//! One breaker for each key.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::config::Config;
use super::future::ResponseFuture;
use super::handle::{CircuitBreakerHandle, reload};
use super::law::Law;
use super::layer::{Builder, LAYER};
use super::machine::Breaker;
use super::policy::{Instance, Policy};
use crate::classify::Classify;
use crate::config::ConfigErrors;
use crate::error::{CallError, Measured, Reason};
use crate::finish::Finish;
use crate::request::{Carry, NoCarry};
use crate::rng;
use crate::shell::common::Common;
use crate::shell::flight::Cell;
use crate::shell::gate::Stage;
use crate::shell::keyed::Keyed;
use crate::shell::shared::Shared;
use crate::source::Source;

/// Default of [`KeyedBuilder::max_keys`].
pub const MAX_KEYS: usize = 10_000;

/// Builds a [`KeyedCircuitBreakerLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct KeyedBuilder<C, F, K, Y = NoCarry> {
    builder: Builder<C, F, Y>,
    key: K,
    max_keys: usize,
}

impl<C, F, K, Y> KeyedBuilder<C, F, K, Y> {
    pub(super) fn new(builder: Builder<C, F, Y>, key: K) -> Self {
        Self { builder, key, max_keys: MAX_KEYS }
    }

    /// At most this many keys have a breaker of their own, by default 10,000.
    ///
    /// When a new key comes and the table is full, a breaker that is at rest and has no call in
    /// flight makes room. If there is none, the key shares one overflow breaker with others like
    /// it, and an event and a counter say so. Keys of more than 256 bytes always share it.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build(self) -> Result<KeyedCircuitBreakerLayer<C, F, K, Y>, ConfigErrors>
    where
        C: Send + Sync + 'static,
        F: Send + Sync + 'static,
    {
        let Builder { name, config, hooks, carry, observers, seed } = self.builder;
        let source = Source::new(LAYER, name);
        let law = Law::from_config_and(&config, |check| {
            if self.max_keys == 0 {
                check.wrong("max_keys", 0, "at least 1");
            }
        })
        .map_err(|wrong| wrong.of_policy(&source))?;
        let seed = seed.unwrap_or_else(rng::seed);
        let common = Common::new(source, observers, law, config, seed);
        let (for_cells, hooks) = (Arc::clone(&common), Arc::new(hooks));
        let cells = Keyed::new(common, self.max_keys, move |key| {
            Policy::new(Arc::clone(&for_cells), Arc::clone(&hooks), Some(key))
        });
        Ok(KeyedCircuitBreakerLayer { cells: Arc::new(cells), key: Arc::new(self.key), carry })
    }
}

/// Puts one circuit breaker per key around services; see [`Builder::keyed`].
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
        self.cells.close(Stage::Stopped);
        self.cells.emptied().await;
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
/// [`Config::probe_deadline`].
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
    K: Fn(&Req) -> Cow<'_, str>,
    Y: Carry<Req>,
{
    type Response = F::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, Cell<Policy<C, F>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Some(cell) = self.cells.enter(&(self.key)(&request)) else {
            let reporter = &self.cells.common.reporter;
            return ResponseFuture::refused(reporter.reject(Reason::Draining, Measured::Nothing));
        };
        let shared = Arc::clone(&cell.policy.shared);
        let instance = Instance { inner: &mut self.inner, readied: false };
        instance.call(&shared, || Some(cell), &self.carry, request)
    }
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

// ===== impl KeyedCircuitBreakerHandle =====

/// Sees and steers the breakers of a keyed layer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, KeyedCircuitBreakerHandle, Trip};
/// use seawall::{Error, State};
/// use std::borrow::Cow;
/// use std::io;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// The hosts that are not called at present.
/// fn shunned(hosts: &KeyedCircuitBreakerHandle) -> Vec<String> {
///     let is_open = |host: &str| hosts.key(host).is_some_and(|it| it.state() == State::Open);
///     hosts.keys().iter().filter(|host| is_open(host)).map(|host| host.to_string()).collect()
/// }
///
/// let layer = CircuitBreakerLayer::builder("hosts")
///     .trip(Trip::consecutive(1))
///     .keyed(|host: &&'static str| Cow::from(*host))
///     .build()?;
/// let hosts = layer.handle();
/// let get = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(
///     |host: &'static str| async move {
///         if host == "b.example" { Err(io::Error::other("no route")) } else { Ok("hello") }
///     },
/// ));
///
/// assert_eq!(get.clone().oneshot("a.example").await?, "hello");
/// assert!(get.oneshot("b.example").await.is_err());
/// assert_eq!(hosts.len(), 2);
/// assert_eq!(shunned(&hosts), ["b.example"]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct KeyedCircuitBreakerHandle {
    cells: Arc<dyn Cells>,
}

/// The registry, whatever the types of its hooks.
trait Cells: Send + Sync {
    fn find(&self, key: &str) -> Option<Arc<Shared<Breaker>>>;
    fn keys(&self) -> Vec<Arc<str>>;
    fn len(&self) -> usize;
    fn common(&self) -> &Common<Breaker>;
}

impl<C, F> Cells for Keyed<Policy<C, F>>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    fn find(&self, key: &str) -> Option<Arc<Shared<Breaker>>> {
        Keyed::find(self, key).map(|cell| Arc::clone(&cell.policy.shared))
    }

    fn keys(&self) -> Vec<Arc<str>> {
        Keyed::keys(self)
    }

    fn len(&self) -> usize {
        Keyed::len(self)
    }

    fn common(&self) -> &Common<Breaker> {
        &self.common
    }
}

impl KeyedCircuitBreakerHandle {
    /// The breaker of a key, if it has one of its own. It is not evicted while the handle lives.
    pub fn key(&self, key: &str) -> Option<CircuitBreakerHandle> {
        self.cells.find(key).map(CircuitBreakerHandle::new)
    }

    /// The keys that have a breaker of their own, in no order.
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.cells.keys()
    }

    /// The number of keys that have a breaker of their own.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no key has a breaker yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The settings in force, for all keys.
    pub fn config(&self) -> Config {
        Config::clone(&self.cells.common().written())
    }

    /// Reloads the settings of all keys at once.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        reload(self.cells.common(), config)
    }
}

impl fmt::Debug for KeyedCircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerHandle").field("keys", &self.len()).finish()
    }
}
