//! Building a fallback, and putting it around services.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::answer::{Marked, Nothing, Other, Part, Unsaid, Value, When, With};
use super::config::Config;
use super::handle::FallbackHandle;
use super::last_good::LastGood;
use super::service::{Fallback, Shared};
use super::terms::{FellBack, Terms};
use crate::core::classify::{Classification, Classifier, OfResult};
use crate::core::config::ConfigErrors;
use crate::core::error::Reason;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::shell::clone_source::CloneSource;
use crate::shell::in_flight::InFlight;
use crate::shell::reporter::Reporter;

/// The kind of this layer: the metric label `layer`.
const LAYER: &str = "fallback";

/// Answers failed calls of services in another way.
///
/// All services that a layer and its clones make share what was kept, and the settings.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct FallbackLayer<A, C = Classifier> {
    gate: Arc<InFlight<Shared<A, C>>>,
}

impl<T> FallbackLayer<Value<T>> {
    /// Answers failures and rejections with clones of `value`, and has everything else at its
    /// [default](super#defaults).
    pub fn new(name: impl Into<Arc<str>>, value: T) -> Self {
        let Builder { name, config, answer, classify, shown, observers } =
            FallbackLayer::builder(name).value(value);
        let reporter = Reporter::new(Origin::new(LAYER, name), observers);
        let terms = Terms::new(reporter, config, shown);
        Self { gate: Arc::new(InFlight::new(Shared { terms, answer, classify })) }
    }
}

impl FallbackLayer<Unsaid> {
    /// Starts to build a fallback.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            answer: Unsaid,
            classify: Classifier::default(),
            shown: Vec::new(),
            observers: Observers::default(),
        }
    }
}

impl<A, C> FallbackLayer<A, C> {
    /// Inspects and controls this fallback.
    pub fn handle(&self) -> FallbackHandle
    where
        A: Send + Sync + 'static,
        C: Send + Sync + 'static,
    {
        FallbackHandle::new(Arc::clone(self.gate.policy()))
    }

    /// The calls that were made and are not over.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }
}

impl<S, A, C> Layer<S> for FallbackLayer<A, C> {
    type Service = Fallback<S, A, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback::new(inner, Arc::clone(&self.gate))
    }
}

impl<A, C> Clone for FallbackLayer<A, C> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate) }
    }
}

impl<A, C> fmt::Debug for FallbackLayer<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("terms", &self.gate.terms).finish_non_exhaustive()
    }
}

// ===== impl Builder =====

/// Builds a [`FallbackLayer`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct Builder<A = Unsaid, C = Classifier> {
    name: Arc<str>,
    config: Config,
    answer: A,
    classify: C,
    shown: Vec<Reason>,
    observers: Observers,
}

impl<C> Builder<Unsaid, C> {
    /// Answers with clones of a value.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, fallback::FallbackLayer};
    /// use std::io;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let likes = ServiceBuilder::new()
    ///     .layer(FallbackLayer::builder("likes").value(0).build()?)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: &str| async { Err::<u32, _>(io::Error::other("down")) }));
    /// assert_eq!(likes.oneshot("a page").await?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn value<T>(self, value: T) -> Builder<Value<T>, C> {
        self.with_answer(|_| Value(value))
    }

    /// Answers with what `answer` makes of the failure: of a response that was classified as one, or of an
    /// error.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{CallError, Error, fallback::FallbackLayer, bulkhead::BulkheadLayer};
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let sorry = |failed: Result<&String, &Error<Infallible>>| match failed {
    ///     Err(error) if error.rejected().is_some() => "we are busy".to_owned(),
    ///     _ => "something went wrong".to_owned(),
    /// };
    /// let renderers = BulkheadLayer::new("renderers");
    /// let page = ServiceBuilder::new()
    ///     .layer(FallbackLayer::builder("page").with(sorry).build()?)
    ///     .layer(renderers.clone())
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: &str| async { Ok::<_, Infallible>("page".to_owned()) }));
    /// renderers.drain().await;
    /// assert_eq!(page.oneshot("/").await?, "we are busy");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn with<Res, Err, F>(self, answer: F) -> Builder<With<Nothing, F, Res, Err>, C>
    where
        F: Fn(Result<&Res, &Err>) -> Res + Send + Sync + 'static,
    {
        self.with_answer(|_| With::new(Nothing, answer))
    }

    /// The same for answers that depend on the request. `part` keeps what they need of each request, so
    /// that nobody has to clone all of it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, fallback::FallbackLayer};
    /// use std::io;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// struct Query { user: u32, text: String }
    ///
    /// let greet = |user: u32, _: Result<&String, &Error<io::Error>>| format!("hello, {user}");
    /// let search = ServiceBuilder::new()
    ///     .layer(FallbackLayer::builder("search").with_part(|it: &Query| it.user, greet).build()?)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|it: Query| async move { Err::<String, _>(io::Error::other(it.text)) }));
    /// assert_eq!(search.oneshot(Query { user: 7, text: "x".into() }).await?, "hello, 7");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn with_part<Req, K, Res, Err, P, F>(
        self,
        part: P,
        answer: F,
    ) -> Builder<With<Part<P>, F, Res, Err>, C>
    where
        P: Fn(&Req) -> K + Send + Sync + 'static,
        F: Fn(K, Result<&Res, &Err>) -> Res + Send + Sync + 'static,
    {
        self.with_answer(|_| With::new(Part(part), answer))
    }

    /// Answers with what another service says to a clone of the request: a second region, a cache.
    ///
    /// A clone of it is driven to readiness and called when a call has failed, not before. What it says is
    /// the answer, also if it fails.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, fallback::FallbackLayer};
    /// use std::io;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let replica = ServiceBuilder::new()
    ///     .map_err(Error::Inner)
    ///     .service_fn(|key: u32| async move { Ok::<_, io::Error>(key + 1) });
    /// let store = ServiceBuilder::new()
    ///     .layer(FallbackLayer::builder("store").service(replica).build()?)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: u32| async { Err::<u32, _>(io::Error::other("down")) }));
    /// assert_eq!(store.oneshot(6).await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn service<V: Clone>(self, service: V) -> Builder<Other<V>, C> {
        self.with_answer(|_| Other(CloneSource::new(service)))
    }

    /// Answers with the last successful response to a request with the same key, if it is no older than
    /// [`Config::max_age`]. Every successful response is cloned and kept, one for each key, of at most
    /// [`Config::max_keys`] keys.
    ///
    /// The key has to tell apart whatever is answered differently: the caller too, if answers are
    /// meant for one.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, fallback::FallbackLayer};
    /// use std::{borrow::Cow, io};
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use tower::{Service, ServiceBuilder, service_fn};
    ///
    /// static UP: AtomicBool = AtomicBool::new(true);
    /// let last = FallbackLayer::builder("rates").last_good(|it: &&'static str| Cow::from(*it));
    /// let mut rates = ServiceBuilder::new()
    ///     .layer(last.build()?)
    ///     .map_err(Error::Inner)
    ///     .service(service_fn(|_: &'static str| async {
    ///         if UP.load(Ordering::Relaxed) { Ok(1.08) } else { Err(io::Error::other("down")) }
    ///     }));
    /// assert_eq!(rates.call("eur").await?, 1.08);
    /// UP.store(false, Ordering::Relaxed);
    /// assert_eq!(rates.call("eur").await?, 1.08);
    /// assert!(rates.call("gbp").await.is_err()); // nothing was kept of it
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn last_good<Req, Res, X>(self, key: X) -> Builder<LastGood<X, Res>, C>
    where
        X: Fn(&Req) -> Cow<'_, str>,
        Res: Send + Sync + 'static,
    {
        self.last_good_by(key)
    }

    /// The same with an [`ExtractKey`](crate::keyed::ExtractKey) of your own.
    pub fn last_good_by<Res, X>(self, key: X) -> Builder<LastGood<X, Res>, C>
    where
        Res: Send + Sync + 'static,
    {
        self.with_answer(|_| LastGood::new(key))
    }
}

impl<A, C> Builder<A, C> {
    /// Answers only those failures of which this says so; the others are passed on.
    pub fn when<Res, Err, W>(self, when: W) -> Builder<When<A, W, Res, Err>, C>
    where
        W: Fn(Result<&Res, &Err>) -> bool + Send + Sync + 'static,
    {
        self.with_answer(|answer| When { answer, when, of: PhantomData })
    }

    /// Passes rejections with these reasons on, so that the caller sees them. May be called more than
    /// once.
    ///
    /// ```
    /// use seawall::{Reason, fallback::FallbackLayer};
    ///
    /// // A caller who asks too often is to know it.
    /// let layer = FallbackLayer::builder("search")
    ///     .value(0)
    ///     .show([Reason::RateLimited, Reason::CostTooHigh])
    ///     .build()?;
    /// # drop(layer);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn show(mut self, reasons: impl IntoIterator<Item = Reason>) -> Self {
        self.shown.extend(reasons);
        self
    }

    /// Marks each response that was given instead of a failure, for whoever reads it.
    ///
    /// ```
    /// use http::Response;
    /// use seawall::fallback::{FallbackLayer, FellBack};
    ///
    /// let layer = FallbackLayer::builder("page")
    ///     .value(Response::new("sorry"))
    ///     .mark(|response: &mut Response<&str>, told: &FellBack| {
    ///         response.extensions_mut().insert(told.clone());
    ///     })
    ///     .build()?;
    /// # drop(layer);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn mark<Res, M>(self, mark: M) -> Builder<Marked<A, M, Res>, C>
    where
        M: Fn(&mut Res, &FellBack) + Send + Sync + 'static,
    {
        self.with_answer(|answer| Marked { answer, mark, of: PhantomData })
    }

    /// Classifies answers with a [`Classify`](crate::Classify) of your own: what it calls bad or pushback is
    /// answered otherwise. Rejections by layers of this crate are answered whatever it says.
    pub fn classify<C2>(self, classify: C2) -> Builder<A, C2> {
        let Self { name, config, answer, shown, observers, .. } = self;
        Builder { name, config, answer, classify, shown, observers }
    }

    /// The same with one closure for responses and errors.
    pub fn classify_result<Res, Err, V, J>(self, rule: J) -> Builder<A, OfResult<J, Res, Err>>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Classification>,
    {
        self.classify(OfResult::new(rule))
    }

    /// Sets [`Config::enabled`].
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.config.enabled = enabled;
        self
    }

    /// Sets [`Config::max_age`].
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.config.max_age = max_age;
        self
    }

    /// Sets [`Config::max_keys`].
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.config.max_keys = max_keys;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Reports every event to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    fn with_answer<A2>(self, change: impl FnOnce(A) -> A2) -> Builder<A2, C> {
        let Self { name, config, answer, classify, shown, observers } = self;
        Builder { name, config, answer: change(answer), classify, shown, observers }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<FallbackLayer<A, C>, ConfigErrors> {
        let Self { name, config, answer, classify, shown, observers } = self;
        let origin = Origin::new(LAYER, name);
        config.validate().map_err(|wrong| wrong.of_policy(&origin))?;
        let terms = Terms::new(Reporter::new(origin, observers), config, shown);
        Ok(FallbackLayer { gate: Arc::new(InFlight::new(Shared { terms, answer, classify })) })
    }
}
