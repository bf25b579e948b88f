//! Building a set of endpoints.

use std::fmt;
use std::sync::Arc;

use super::common::Common;
use super::config::{Balance, Config};
use super::endpoint::Endpoint;
use super::error::AdoptError;
use super::roster::Roster;
use super::service::{Endpoints, check_members, checked};
use super::subset::Subset;
use crate::core::classify::{Classification, Classifier, OfResult};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::core::rng;
use crate::shell::reporter::Reporter;
use crate::shell::set::Shared;

/// The kind of this set: the metric label `layer`.
const LAYER: &str = "endpoints";

/// Builds [`Endpoints`]: first the [list](Self::members), then the endpoints' [services](Self::over).
#[must_use = "call `over`"]
#[derive(Clone)]
pub struct Builder<C = Classifier, K = NoPropagation> {
    name: Arc<str>,
    members: Vec<Endpoint>,
    config: Config,
    classify: C,
    propagate: K,
    zone: Option<Arc<str>>,
    subset: Option<Subset>,
    seed: Option<u64>,
    observers: Observers,
}

impl Builder {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            members: Vec::new(),
            config: Config::default(),
            classify: Classifier::default(),
            propagate: NoPropagation,
            zone: None,
            subset: None,
            seed: None,
            observers: Observers::default(),
        }
    }
}

impl<C, K> Builder<C, K> {
    /// The endpoints, at first.
    pub fn members<E: Into<Endpoint>>(mut self, members: impl IntoIterator<Item = E>) -> Self {
        self.members = members.into_iter().map(Into::into).collect();
        self
    }

    /// All settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How an endpoint is chosen.
    pub fn balance(mut self, balance: Balance) -> Self {
        self.config.balance = balance;
        self
    }

    /// Where the client is: endpoints in the same [zone](Endpoint::zone) are preferred. As long as 72 % of them are up
    /// they get all calls; below that, the others get what is missing.
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Uses so many endpoints of the list and no more, for large fleets: a thousand clients of a thousand endpoints would
    /// keep a million connections. 1 to 16,384; where a [zone](Self::zone) is set, as many there and as many elsewhere.
    ///
    /// Which ones follows from `id`, which each client has for itself (a host name, the name of a pod), and from the
    /// names of the endpoints, by rendezvous hashing (Thaler, Ravishankar): the same after a restart, and of a list that
    /// changes by one endpoint, a subset changes by one at most. Over many clients each endpoint is in as many
    /// subsets as the others, give or take what is chance. Weights do not change who is in a subset. Not too few: 20 or
    /// more leave a choice when some are bad.
    ///
    /// ```
    /// use seawall::endpoints::Endpoints;
    /// use seawall::Error;
    /// use std::convert::Infallible;
    /// use tower::service_fn;
    ///
    /// let fleet = (0..1000).map(|nth| format!("10.0.{}.{}:80", nth / 250, nth % 250));
    /// let search = Endpoints::builder("search")
    ///     .members(fleet)
    ///     .subset(20, "frontend-7f9c")
    ///     .over(|_| Ok(service_fn(|query: u64| async move { Ok::<_, Error<Infallible>>(query) })))?;
    /// assert_eq!(search.handle().endpoints().len(), 20);
    /// # Ok::<(), seawall::endpoints::AdoptError>(())
    /// ```
    pub fn subset(mut self, size: usize, id: impl Into<Arc<str>>) -> Self {
        self.subset = Some(Subset::new(size, id.into()));
        self
    }

    /// Classifies answers with a [`Classify`](crate::Classify) of your own, by their heads: what counts as a failure of
    /// an endpoint.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, K> {
        self.with(|_, propagate| (classify, propagate))
    }

    /// Reads from the context of each request [which attempt](crate::propagate::CallContext::attempt) it is: a further one
    /// is kept from endpoints that failed in the last second, as the one of the attempt before did, and goes to the one
    /// that failed the longest ago if all of them have.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::endpoints::Endpoints;
    /// use seawall::propagate::{FromWithContext, WithContext};
    /// use seawall::{Error, retry::RetryLayer};
    /// use std::io;
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// let search = Endpoints::builder("search")
    ///     .members(["bad", "good"])
    ///     .propagate(FromWithContext)
    ///     .over(|endpoint| {
    ///         let is_bad = endpoint.name() == "bad";
    ///         Ok(service_fn(move |_: WithContext<u64>| async move {
    ///             if is_bad { Err(Error::Inner(io::Error::other("down"))) } else { Ok(()) }
    ///         }))
    ///     })?;
    /// let retry = RetryLayer::builder("search").cloned().propagate(FromWithContext).attempts(2).build()?;
    /// let search = retry.layer(search);
    /// for query in 0..100 {
    ///     search.clone().oneshot(WithContext::from(query)).await?; // a second attempt goes to the good one
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn propagate<K2>(self, propagate: K2) -> Builder<C, K2> {
        self.with(|classify, _| (classify, propagate))
    }

    fn with<C2, K2>(self, change: impl FnOnce(C, K) -> (C2, K2)) -> Builder<C2, K2> {
        let (classify, propagate) = change(self.classify, self.propagate);
        Builder {
            name: self.name,
            members: self.members,
            config: self.config,
            classify,
            propagate,
            zone: self.zone,
            subset: self.subset,
            seed: self.seed,
            observers: self.observers,
        }
    }

    /// Classifies whole results with one closure: answers, and the errors of the innermost service. Rejections by layers
    /// of this crate never get here.
    ///
    /// ```
    /// use seawall::endpoints::Endpoints;
    /// use seawall::{Error, Outcome};
    /// use std::io;
    /// use tower::service_fn;
    ///
    /// let search = Endpoints::builder("search")
    ///     .members(["10.0.0.1:80", "10.0.0.2:80"])
    ///     .classify_result(|result: Result<&String, &io::Error>| match result {
    ///         Ok(line) if line.starts_with("BUSY") => Outcome::PUSHBACK, // fewer calls, and no ejection
    ///         Ok(_) => Outcome::SUCCESS,
    ///         Err(_) => Outcome::TRANSIENT,
    ///     })
    ///     .over(|_| Ok(service_fn(|_: u64| async { Ok::<_, Error<io::Error>>("BUSY".to_owned()) })))?;
    /// # fn is_a_service<S: tower::Service<u64>>(_: S) {}
    /// # is_a_service(search);
    /// # Ok::<(), seawall::endpoints::AdoptError>(())
    /// ```
    pub fn classify_result<Res, Err, V, J>(self, rule: J) -> Builder<OfResult<J, Res, Err>, K>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Classification>,
    {
        self.classify(OfResult::new(rule))
    }

    /// Makes choices repeatable, for tests. By default each set has a seed of its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Reports events to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// The service of each endpoint, which `make` makes when it is first in a list: a client of its address with layers
    /// of its own around it, so that each has a circuit breaker, a limit and metrics for itself. It is cloned for
    /// calls, under a lock of this endpoint's, so a clone of it should be cheap.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the list and the settings; or the service of an endpoint could not be made.
    pub fn over<S, F>(self, make: F) -> Result<Endpoints<S, C, K>, AdoptError>
    where
        F: Fn(&Endpoint) -> Result<S, tower::BoxError> + Send + Sync + 'static,
    {
        let origin = Origin::new(LAYER, self.name);
        let mut problems = Vec::new();
        self.config.check(&mut problems);
        if let Some(subset) = &self.subset {
            subset.check(&mut problems);
        }
        let members = checked(&origin, self.members, problems)?;
        let reporter = Arc::new(Reporter::new(origin, self.observers));
        let seed = self.seed.unwrap_or_else(rng::seed);
        let common = Common::new(
            Arc::clone(&reporter),
            (self.classify, self.propagate),
            &self.config,
            (self.zone, self.subset),
            seed,
        );
        let roster = Roster::new(Arc::new(common), members, None);
        roster.compare_first(roster.common.now());
        Ok(Endpoints::new(Shared::new(reporter, Box::new(make), roster)?))
    }
}

impl<C, K> Builder<C, K> {
    /// The list.
    pub(crate) fn list(&self) -> &[Endpoint] {
        &self.members
    }

    /// Everything that is wrong with the list and the settings, those of the [`Config`] within `endpoints`.
    pub(crate) fn check(&self, problems: &mut Vec<ConfigError>) {
        let mut settings = Vec::new();
        self.config.check(&mut settings);
        problems.extend(ConfigErrors::of(settings).within("endpoints").into_problems());
        if let Some(subset) = &self.subset {
            subset.check(problems);
        }
        check_members(&self.members, problems);
    }
}

impl<C, K> fmt::Debug for Builder<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("members", &self.members)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
