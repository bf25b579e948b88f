//! Building a health check, and putting it around services.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::Stream;
use tower::{Service, ServiceExt};

use super::check::Checking;
use super::checker::{Known, tend};
use super::config::{Config, PROBE_ONE_IN};
use super::handle::HealthHandle;
use super::listen::{HealthUpdate, Listening};
use super::machine::Params;
use super::monitor::Monitor;
use super::policy::Monitored;
use crate::core::classify::{Classification, Classifier, Of, OfError, OfResult};
use crate::core::config::{ConfigErrors, Written};
use crate::core::event::{Event, Observe, Observers};
use crate::core::origin::Origin;
use crate::core::outcome::Outcome;
use crate::core::request::NoPropagation;
use crate::health::status::Status;
use crate::shell::gate::{self, Gate, GateLayer};
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "health";

/// Rejects calls while a dependency is known to be down.
///
/// All services that a layer and its clones make share one health. The checks go on while it is drained.
pub type HealthLayer<C = Classifier, K = NoPropagation> = GateLayer<Monitored, C, K>;

/// The service that a health check makes of another: it calls the inner service while its dependency is up,
/// and rejects at once while it is down.
pub type Health<S, C = Classifier, K = NoPropagation> = Gate<S, Monitored, C, K>;

/// The future of a call through a health check. Dropping it drops the inner call.
pub type ResponseFuture<S, Req, C = Classifier, K = NoPropagation> =
    gate::ResponseFuture<S, Req, Monitored, C, K>;

impl HealthLayer {
    /// A health that learns from live calls alone ([`Config::passive`]), with every other setting at
    /// its [default](super#defaults) and one call in ten let through while it is down. For active
    /// checks, [build](Self::builder) one with a [check](Builder::check).
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let config = Config { passive: true, probe_one_in: PROBE_ONE_IN, ..Config::default() };
        Self::unchecked(Origin::new(LAYER, name), Params::of(&config, false), config)
    }

    /// A health that learns from live calls alone, with these settings, for instance from a configuration
    /// file. For active checks, hand them to a [builder](Builder::config).
    ///
    /// Without a check it learns from live calls whatever [`Config::passive`] says, and where
    /// [`Config::probe_one_in`] is left at zero it lets one call in ten through while it is
    /// down.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    ///
    /// ```
    /// use seawall::health::{Config, HealthLayer};
    ///
    /// let config: Config = serde_json::from_str(r#"{ "fall": 5, "probe_interval": "2s" }"#)?;
    /// let payments = HealthLayer::from_config("payments", config)?;
    /// assert_eq!(payments.handle().config().fall, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        let origin = Origin::new(LAYER, name);
        let params =
            Params::from_config(&config, false).map_err(|wrong| wrong.of_policy(&origin))?;
        Ok(Self::unchecked(origin, params, config))
    }

    fn unchecked(origin: Origin, params: Params, config: Config) -> Self {
        let reporter = Reporter::new(origin, Observers::default());
        let monitor = Arc::new(Monitor::new(reporter, params, config, None));
        Self::make(Monitored(monitor), Classifier::default(), NoPropagation)
    }

    /// Starts to build a health check.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            written: Written::default(),
            classify: Classifier::default(),
            propagate: NoPropagation,
            origin: None,
            observers: Observers::default(),
        }
    }
}

impl<C, K> HealthLayer<C, K> {
    /// Sees this health.
    pub fn handle(&self) -> HealthHandle {
        let monitor = &self.policy().0;
        tend(monitor);
        HealthHandle { monitor: Arc::clone(monitor) }
    }
}

// ===== impl Builder =====

/// Builds a [`HealthLayer`].
#[must_use = "call `build`"]
#[derive(Clone)]
pub struct Builder<C = Classifier, K = NoPropagation> {
    name: Arc<str>,
    config: Config,
    written: Written,
    classify: C,
    propagate: K,
    origin: Option<Known>,
    observers: Observers,
}

/// A setter for each setting of the same name.
macro_rules! setters {
    ($($setting:ident: $ty:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`Config::", stringify!($setting), "`].")]
            pub fn $setting(mut self, $setting: $ty) -> Self {
                self.config.$setting = $setting;
                self.written.add(stringify!($setting));
                self
            }
        )*
    };
}

impl<C, K> Builder<C, K> {
    setters! {
        interval: Duration,
        jitter: f64,
        timeout: Duration,
        rise: u32,
        initial_rise: u32,
        fall: u32,
        initial: Status,
        probe_one_in: u32,
        probe_interval: Duration,
        passive: bool,
    }

    /// Sets [`Config::down_interval`].
    pub fn down_interval(mut self, down_interval: impl Into<Option<Duration>>) -> Self {
        self.config.down_interval = down_interval.into();
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self.written = Written::default();
        self
    }

    /// Checks with an async function: all is well, or an error says what is not.
    ///
    /// The checks run one at a time on a background task, the first at once. One that panics or
    /// takes longer than [`Config::timeout`] has failed.
    pub fn check<F, Fut, E>(mut self, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let check = move || -> Checking {
            let checking = check();
            Box::pin(async { checking.await.map_err(|error| error.to_string()) })
        };
        self.origin = Some(Known::ByAsking(Arc::new(check)));
        self
    }

    /// Listens to what the dependency says of itself, instead of asking: `listen` makes a stream of
    /// it, and makes another when that has ended.
    ///
    /// A word of the dependency itself is believed at once, both ways. A stream that is
    /// [lost](HealthUpdate::Lost), panics, or brings no first word within [`Config::timeout`] is a failed check,
    /// of which it takes [`Config::fall`] in a row to be down. Between two streams there is a pause of
    /// 100 ms that doubles, up to the interval, while streams end sooner than that. A stream that
    /// hangs is taken for one that has nothing to say: let its transport find out.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use futures::stream::{self, StreamExt};
    /// use seawall::health::{HealthLayer, HealthUpdate, Status};
    ///
    /// let say = || stream::iter([HealthUpdate::Up, HealthUpdate::Down("for repair".into())]).chain(stream::pending());
    /// let health = HealthLayer::builder("database").subscribe(say).build()?;
    /// assert_eq!(health.handle().watch().changed().await, Some(Status::Down));
    /// assert_eq!(health.handle().last_error().as_deref(), Some("for repair"));
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn subscribe<F, St>(mut self, listen: F) -> Self
    where
        F: Fn() -> St + Send + Sync + 'static,
        St: Stream<Item = HealthUpdate> + Send + 'static,
    {
        let listen = move || -> Listening { Box::pin(listen()) };
        self.origin = Some(Known::ByListening(Arc::new(listen)));
        self
    }

    /// Checks with a call of a tower service: any `Ok` answer is good.
    pub fn check_service<S, Req, F>(self, service: S, request: F) -> Self
    where
        S: Service<Req, Error: fmt::Display, Future: Send> + Clone + Send + Sync + 'static,
        Req: Send + 'static,
        F: Fn() -> Req + Send + Sync + 'static,
    {
        self.check(move || {
            let call = service.clone().oneshot(request());
            async { call.await.map(drop) }
        })
    }

    /// Reports every event to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Calls `tell` when the dependency goes down: once, however many checks fail after that. For alerts;
    /// what was found wrong is in [`HealthHandle::last_error`]. Rules as for an [`observer`](Observe).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::health::HealthLayer;
    /// use std::io;
    /// use std::sync::mpsc::channel;
    ///
    /// let (page, pages) = channel();
    /// let health = HealthLayer::builder("database")
    ///     .check(|| async { Err(io::Error::other("no route")) })
    ///     .on_down(move |event| drop(page.send(format!("{} is down", event.origin.name()))))
    ///     .on_up(|event| println!("{} is up again", event.origin.name()))
    ///     .build()?;
    /// tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
    /// assert_eq!(pages.try_iter().collect::<Vec<_>>(), ["database is down"]);
    /// # drop(health);
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn on_down(self, tell: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_change(Status::Down, tell)
    }

    /// Calls `tell` when the dependency is up again: once. Rules as for an [`observer`](Observe).
    pub fn on_up(self, tell: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_change(Status::Up, tell)
    }

    fn on_change(self, to: Status, tell: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observe(move |event: &Event| {
            if Status::of(&event.kind) == Some(to) {
                tell(event);
            }
        })
    }

    /// Classifies live calls with a [`Classify`](crate::Classify) of your own.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, K> {
        self.with_classify(|_| classify)
    }

    /// Classifies whole results of live calls with one closure: responses, and the errors of the
    /// innermost service. Rejections by layers of this crate never get here.
    pub fn classify_result<Res, Err, V, J>(self, rule: J) -> Builder<OfResult<J, Res, Err>, K>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Classification>,
    {
        self.classify(OfResult::new(rule))
    }

    /// Reads the caller's deadline from each request, so that it is not held against the
    /// dependency when its time is up.
    pub fn propagate<K2>(self, propagate: K2) -> Builder<C, K2> {
        self.with(|classify, _| (classify, propagate))
    }

    fn with_classify<C2>(self, change: impl FnOnce(C) -> C2) -> Builder<C2, K> {
        self.with(|classify, propagate| (change(classify), propagate))
    }

    fn with<C2, K2>(self, change: impl FnOnce(C, K) -> (C2, K2)) -> Builder<C2, K2> {
        let Self { name, config, written, classify, propagate, origin, observers } = self;
        let (classify, propagate) = change(classify, propagate);
        Builder { name, config, written, classify, propagate, origin, observers }
    }

    /// Builds the layer, and begins to check on the tokio runtime of the caller. Outside a runtime it
    /// begins where the layer, a service or a handle of it is first used inside one.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; no check and nothing to [learn](Config::passive) from
    /// either, or [nothing to learn from](Config::probe_one_in) while down.
    pub fn build(self) -> Result<HealthLayer<C, K>, ConfigErrors> {
        let (config, mut written, checked) = (self.config, self.written, self.origin.is_some());
        if !checked {
            written.add("passive"); // without a check it is said, not guessed
        }
        let origin = Origin::new(LAYER, self.name);
        let params = Params::from_written(&config, checked, &written)
            .map_err(|wrong| wrong.of_policy(&origin))?;
        let reporter = Reporter::new(origin, self.observers);
        let monitor = Arc::new(Monitor::new(reporter, params, config, self.origin));
        tend(&monitor);
        Ok(GateLayer::make(Monitored(monitor), self.classify, self.propagate))
    }
}

impl<R, E, K> Builder<Classifier<R, E>, K> {
    /// Classifies responses of live calls, for instance by their status.
    pub fn classify_response<Res, J>(self, rule: J) -> Builder<Classifier<Of<J>, E>, K>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with_classify(|classify| classify.with_response(rule))
    }

    /// Classifies errors of the innermost service: an [`Error<E>`](crate::Error), or the `E` in it.
    /// Rejections by layers of this crate never get here.
    pub fn classify_error<Err, J>(self, rule: J) -> Builder<Classifier<R, OfError<J, Err>>, K>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with_classify(|classify| classify.with_error(rule))
    }
}

impl<C, K> fmt::Debug for Builder<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
