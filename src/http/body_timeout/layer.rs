//! Building a body timeout, and putting it around services.

use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::config::Config;
use super::handle::BodyTimeoutHandle;
use super::service::BodyTimeout;
use crate::config::ConfigErrors;
use crate::event::{Observe, Observers};
use crate::shell::live::Live;
use crate::shell::reporter::Reporter;
use crate::source::Source;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "body_timeout";

/// Puts time limits on the bodies of responses.
///
/// All services that a layer and its clones make share its settings.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BodyTimeoutLayer {
    policy: Arc<Policy>,
}

/// What all bodies of a layer share.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) reporter: Reporter<()>,
    pub(super) config: Live<Config>,
}

impl BodyTimeoutLayer {
    /// A body timeout with every setting at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self::make(name.into(), Config::default(), Observers::default())
    }

    /// A body timeout with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        Self::builder(name).config(config).build()
    }

    /// Starts to build a body timeout.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder { name: name.into(), config: Config::default(), observers: Observers::default() }
    }

    fn make(name: Arc<str>, config: Config, observers: Observers) -> Self {
        let reporter = Reporter::new(Source::new(LAYER, name), observers);
        Self { policy: Arc::new(Policy { reporter, config: Live::new(config) }) }
    }

    /// Sees and steers this body timeout.
    pub fn handle(&self) -> BodyTimeoutHandle {
        BodyTimeoutHandle::new(Arc::clone(&self.policy))
    }
}

impl<S> Layer<S> for BodyTimeoutLayer {
    type Service = BodyTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyTimeout::new(inner, Arc::clone(&self.policy))
    }
}

// ===== impl Builder =====

/// Builds a [`BodyTimeoutLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder {
    name: Arc<str>,
    config: Config,
    observers: Observers,
}

impl Builder {
    /// Sets [`Config::idle`].
    pub fn idle(mut self, idle: Duration) -> Self {
        self.config.idle = idle;
        self
    }

    /// Sets [`Config::total`].
    pub fn total(mut self, total: Duration) -> Self {
        self.config.total = total;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Tells `observer` of every event. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A limit of nothing, and an idle limit above the total, which would never be reached.
    pub fn build(self) -> Result<BodyTimeoutLayer, ConfigErrors> {
        self.config.check()?;
        Ok(BodyTimeoutLayer::make(self.name, self.config, self.observers))
    }
}
