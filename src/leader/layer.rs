//! Building a layer of a leader, and putting it around services.

use std::sync::Arc;

use super::leadership::Leadership;
use super::policy::Led;
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
            observers: Observers::default(),
        }
    }
}

/// Builds a [`LeaderLayer`].
#[must_use = "call `build`"]
pub struct Builder {
    name: Arc<str>,
    standing: Arc<super::standing::Standing>,
    finish: bool,
    observers: Observers,
}

impl Builder {
    /// Lets calls go on when their term is over. For resources that compare epochs by themselves, and refuse what
    /// comes late.
    pub fn finish(mut self) -> Self {
        self.finish = true;
        self
    }

    /// Reports every rejection to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// The layer.
    pub fn build(self) -> LeaderLayer {
        let reporter = Reporter::new(Origin::new(LAYER, self.name), self.observers);
        let policy = Led { reporter, standing: self.standing, finish: self.finish };
        GateLayer::make(policy, Unclassified, NoPropagation)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).finish_non_exhaustive()
    }
}
