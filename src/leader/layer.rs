//! Building a layer of a leader, and putting it around services.

use std::fmt;
use std::sync::Arc;

use super::leadership::Leadership;
use super::policy::Led;
use super::standing::Standing;
use super::store::Durable;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::shell::gate::{self, Gate, GateLayer, Unclassified};
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "leader";

/// Admits calls while this process leads, and ends them with the term.
pub type LeaderLayer<K = NoPropagation> = GateLayer<Led, Unclassified, K>;

/// The service that a leader's layer makes of another.
pub type Leader<S, K = NoPropagation> = Gate<S, Led, Unclassified, K>;

/// The future of a call through it. When the term is over, the inner future is dropped before it is polled again.
pub type ResponseFuture<S, Req, K = NoPropagation> =
    gate::ResponseFuture<S, Req, Led, Unclassified, K>;

impl LeaderLayer {
    /// Admits calls while this candidate leads.
    pub fn new<T: Durable>(name: impl Into<Arc<str>>, leadership: &Leadership<T>) -> Self {
        Self::builder(name, leadership).build()
    }

    /// Starts to build such a layer.
    pub fn builder<T: Durable>(name: impl Into<Arc<str>>, leadership: &Leadership<T>) -> Builder {
        Builder {
            name: name.into(),
            standing: Arc::clone(&leadership.standing),
            finish: false,
            propagate: NoPropagation,
            observers: Observers::default(),
        }
    }
}

/// Builds a [`LeaderLayer`].
#[must_use = "call `build`"]
pub struct Builder<K = NoPropagation> {
    name: Arc<str>,
    standing: Arc<Standing>,
    finish: bool,
    propagate: K,
    observers: Observers,
}

impl<K> Builder<K> {
    /// Lets calls go on when their term is over. For resources that compare epochs by themselves, and refuse what
    /// comes late.
    pub fn finish(mut self) -> Self {
        self.finish = true;
        self
    }

    /// Writes the epoch of the term into [what is propagated](crate::propagate::CallContext::epoch) with each request, for
    /// a resource that refuses those of terms before.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::leader::{Candidate, LeaderLayer, MemoryStore};
    /// use seawall::propagate::{FromWithContext, WithContext};
    /// use seawall::{Epoch, Error};
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let candidate = Candidate::builder("jobs", MemoryStore::new()).build()?;
    /// let leadership = candidate.leadership();
    /// tokio::spawn(candidate.campaign());
    /// leadership.watch().changed().await;
    /// let writes = ServiceBuilder::new()
    ///     .layer(LeaderLayer::builder("jobs", &leadership).propagate(FromWithContext).build())
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|write: WithContext<&str>| async move { Ok::<_, Infallible>(write.call.epoch) }));
    /// assert_eq!(writes.oneshot("x = 1".into()).await?, Epoch::new(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn propagate<K2>(self, propagate: K2) -> Builder<K2> {
        let Self { name, standing, finish, observers, .. } = self;
        Builder { name, standing, finish, propagate, observers }
    }

    /// Reports every rejection to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// The layer.
    pub fn build(self) -> LeaderLayer<K> {
        let reporter = Reporter::new(Origin::new(LAYER, self.name), self.observers);
        let policy = Led { reporter, standing: self.standing, finish: self.finish };
        GateLayer::make(policy, Unclassified, self.propagate)
    }
}

impl<K> fmt::Debug for Builder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).finish_non_exhaustive()
    }
}
