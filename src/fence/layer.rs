//! Building a fence, and putting it around services.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tower::{BoxError, Service, ServiceExt};

use super::cell::{Asks, Cell, Common};
use super::config::Config;
use super::handle::FenceHandle;
use super::policy::{Fenced, InRequest, Propagated};
use super::store::Ask;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::epoch::Epoch;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::gate::{self, Gate, GateLayer, Unclassified};
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "fence";

/// Refuses calls that are made by an epoch which is over.
pub type FenceLayer<E = Propagated, K = NoPropagation> = GateLayer<Fenced<E>, Unclassified, K>;

/// The service that a fence makes of another.
pub type Fence<S, E = Propagated, K = NoPropagation> = Gate<S, Fenced<E>, Unclassified, K>;

/// The future of a call through it.
pub type ResponseFuture<S, Req, E = Propagated, K = NoPropagation> =
    gate::ResponseFuture<S, Req, Fenced<E>, Unclassified, K>;

impl FenceLayer {
    /// A fence of calls with which an epoch is [propagated](crate::propagate::CallContext::epoch) in a
    /// [`WithContext`](crate::propagate::WithContext), and everything else at its [default](crate::fence#defaults).
    pub fn new<S>(
        name: impl Into<Arc<str>>,
        store: S,
    ) -> FenceLayer<Propagated, crate::core::request::FromWithContext>
    where
        S: Service<Ask, Response = Epoch, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let builder = Self::builder(name, store).propagate(crate::core::request::FromWithContext);
        let (common, epoch, propagate) = builder.parts();
        make(common, epoch, propagate)
    }

    /// Starts to build a fence. The name goes into errors, events, metrics and the questions to the store.
    pub fn builder<S>(name: impl Into<Arc<str>>, store: S) -> Builder
    where
        S: Service<Ask, Response = Epoch, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Builder {
            name: name.into(),
            asks: Box::new(move |ask| {
                store.clone().oneshot(ask).map(|it| it.map_err(Into::into)).boxed()
            }),
            config: Config::default(),
            epoch: Propagated,
            propagate: NoPropagation,
            observers: Observers::default(),
        }
    }
}

fn make<E, K>(common: Common, epoch: E, propagate: K) -> FenceLayer<E, K> {
    let cell = Arc::new(Cell::new(Arc::new(common), None, false));
    GateLayer::make(Fenced { cell, epoch: Arc::new(epoch) }, Unclassified, propagate)
}

impl<E, K> FenceLayer<E, K> {
    /// Inspects and controls it.
    pub fn handle(&self) -> FenceHandle {
        FenceHandle::new(Arc::clone(&self.policy().cell))
    }
}

/// Builds a [`FenceLayer`], or a [`KeyedFenceLayer`](super::KeyedFenceLayer).
#[must_use = "call `build`"]
pub struct Builder<E = Propagated, K = NoPropagation> {
    name: Arc<str>,
    asks: Asks,
    config: Config,
    epoch: E,
    propagate: K,
    observers: Observers,
}

impl<E, K> Builder<E, K> {
    /// Finds the epoch in the request itself: a field of it, a header. Without this it is what is
    /// [propagated](Self::propagate).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use http::{Request, Response};
    /// use seawall::{Epoch, Error, Reason};
    /// use seawall::fence::{FenceLayer, MemoryStore};
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let store = MemoryStore::new();
    /// store.raise("ledger", Epoch::new(8));
    /// let fence = FenceLayer::builder("ledger", store)
    ///     .epoch(|request: &Request<()>| request.headers().get("leader-epoch")?.to_str().ok()?.parse().ok())
    ///     .build()?;
    /// let ledger = ServiceBuilder::new()
    ///     .layer(fence)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) }));
    ///
    /// let write = |epoch| Request::post("/book").header("leader-epoch", epoch).body(()).unwrap();
    /// assert!(ledger.clone().oneshot(write(8)).await.is_ok());
    /// let Err(Error::Rejected(why)) = ledger.oneshot(write(7)).await else { panic!("7 is over") };
    /// assert_eq!(why.reason(), Reason::Fenced);
    /// assert_eq!(why.to_string(), "fence `ledger`: refuses an epoch that is over (the highest is 8)");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn epoch<Req, F>(self, epoch: F) -> Builder<InRequest<F>, K>
    where
        F: Fn(&Req) -> Option<Epoch> + Send + Sync + 'static,
    {
        let Self { name, asks, config, propagate, observers, .. } = self;
        Builder { name, asks, config, epoch: InRequest(epoch), propagate, observers }
    }

    /// Lets calls pass that are made by no epoch, once the store has answered. By default they are refused.
    pub fn allow_without_epoch(mut self) -> Self {
        self.config.allow_without_epoch = true;
        self
    }

    /// Sets [`Config::queue`].
    pub fn queue(mut self, queue: u32) -> Self {
        self.config.queue = queue;
        self
    }

    /// Sets [`Config::max_wait`].
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.config.max_wait = max_wait;
        self
    }

    /// Sets [`Config::ask_timeout`].
    pub fn ask_timeout(mut self, ask_timeout: Duration) -> Self {
        self.config.ask_timeout = ask_timeout;
        self
    }

    /// Sets [`Config::pause`].
    pub fn pause(mut self, pause: Duration) -> Self {
        self.config.pause = pause;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Reads what is propagated with each request: the epoch, and the deadline, within which a call waits.
    pub fn propagate<K2>(self, propagate: K2) -> Builder<E, K2> {
        let Self { name, asks, config, epoch, observers, .. } = self;
        Builder { name, asks, config, epoch, propagate, observers }
    }

    /// Reports every rejection, and every later epoch, to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Everything that is wrong with the settings.
    pub(super) fn check(&self, more: Option<ConfigError>) -> Result<(), ConfigErrors> {
        let mut problems = self.config.problems();
        problems.extend(more);
        let origin = Origin::new(LAYER, Arc::clone(&self.name));
        ConfigErrors::none_of(problems).map_err(|wrong| wrong.of_policy(&origin))
    }

    pub(super) fn parts(self) -> (Common, E, K) {
        let Self { name, asks, config, epoch, propagate, observers } = self;
        let reporter = Reporter::new(Origin::new(LAYER, name), observers);
        let pauses = config.curve();
        (Common { reporter, config, pauses, asks }, epoch, propagate)
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<FenceLayer<E, K>, ConfigErrors> {
        self.check(None)?;
        let (common, epoch, propagate) = self.parts();
        Ok(make(common, epoch, propagate))
    }
}

impl<E, K> fmt::Debug for Builder<E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
