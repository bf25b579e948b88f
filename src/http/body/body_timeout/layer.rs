//! Building a body timeout, and putting it around services.

use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::config::Config;
use super::handle::BodyTimeoutHandle;
use super::request::RequestBodyTimeoutLayer;
use super::service::BodyTimeout;
use crate::core::config::{ConfigErrors, Written};
use crate::core::error::Reason;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::shell::live::Live;
use crate::shell::meter::{Ended, Instruments, Labels};
use crate::shell::reporter::Reporter;

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
pub(super) struct BodyMeter;

impl Instruments for BodyMeter {
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[Reason::TimedOut, Reason::RequestTimeout];

    fn new(_: &Labels<'_>) -> Self {
        Self
    }
}

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) reporter: Reporter<BodyMeter>,
    pub(super) config: Live<Settings>,
}

/// The settings as their user wrote them, and as they take effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) written: Config,
    pub(super) in_force: Config,
}

impl BodyTimeoutLayer {
    /// A body timeout with every setting at its [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let config = Config::default(); // of which a test says that they agree
        let settings = Settings { written: config, in_force: config };
        Self::make(Origin::new(LAYER, name), settings, Observers::default())
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
        Builder {
            name: name.into(),
            config: Config::default(),
            written: Written::default(),
            observers: Observers::default(),
        }
    }

    fn make(origin: Origin, settings: Settings, observers: Observers) -> Self {
        let reporter = Reporter::new(origin, observers);
        Self { policy: Arc::new(Policy { reporter, config: Live::new(settings) }) }
    }

    /// The same limits for the bodies of requests: a layer for servers, proxies and clients that pass
    /// bodies on. It shares the settings and the name with this one.
    pub fn requests(&self) -> RequestBodyTimeoutLayer {
        RequestBodyTimeoutLayer::new(Arc::clone(&self.policy))
    }

    /// Inspects and controls this body timeout.
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
    written: Written,
    observers: Observers,
}

impl Builder {
    /// Sets [`Config::idle`].
    pub fn idle(mut self, idle: Duration) -> Self {
        self.config.idle = idle;
        self.written.add("idle");
        self
    }

    /// Sets [`Config::total`].
    pub fn total(mut self, total: Duration) -> Self {
        self.config.total = total;
        self.written.add("total");
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self.written = Written::default();
        self
    }

    /// Reports every event to `observer`. May be called more than once.
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
        let origin = Origin::new(LAYER, self.name);
        let in_force = self.config.in_force(&self.written);
        let in_force = in_force.map_err(|wrong| wrong.of_policy(&origin))?;
        let settings = Settings { written: self.config, in_force };
        Ok(BodyTimeoutLayer::make(origin, settings, self.observers))
    }
}
