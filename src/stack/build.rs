//! Building the stack around a client.

use std::sync::Arc;

use super::client::ClientBuilder;
use super::client_layer::ClientLayer;
use super::config::ClientConfig;
use super::division::{PerKey, Undivided};
use super::frame::Frame;
use super::keyed_config::KeyedClientConfig;
use super::keyed_layer::KeyedClientLayer;
use crate::bulkhead::{self, BulkheadLayer};
use crate::circuit_breaker::{self, CircuitBreakerLayer};
use crate::core::config::ConfigErrors;
use crate::core::event::{Event, Observe, Observers};
use crate::core::origin::Origin;
use crate::retry::{self, Budget, Chosen, CopyIsChosen, OneBudget, RetryLayer};
use crate::shell::in_flight::InFlight;
use crate::shell::live::Live;
use crate::shell::retry::{Core, RequestTools};
use crate::timeout::{self, Fixed, TimeoutLayer};

/// Events that nobody hears are not made, so nobody is told of them either.
macro_rules! observed {
    ($observers:expr, $builder:expr) => {
        match observer($observers) {
            Some(observer) => $builder.observe(observer),
            None => $builder,
        }
    };
}

fn observer(observers: &Observers) -> Option<impl Observe + 'static> {
    let observers = (!observers.is_empty()).then(|| observers.clone())?;
    Some(move |event: &Event| observers.tell(event))
}

/// All of it, still to be built.
struct Parts<C, R, K, F, H, A, Q> {
    whole: timeout::Builder<Fixed, K>,
    retry: retry::Builder<C, Chosen<R>, K>,
    attempt: timeout::Builder<Fixed, K>,
    budget: Budget,
    origin: Origin,
    breaker: circuit_breaker::Builder<C, F, K>,
    bulkhead: bulkhead::Builder<H, K>,
    tell: A,
    division: Q,
}

impl<C: Clone, R: CopyIsChosen, K: Clone, F, H, A, Q> ClientBuilder<C, R, K, F, H, A, Q> {
    fn origin(&self) -> Origin {
        Origin::new("client", Arc::clone(&self.name))
    }

    /// The settings as they were written; of a budget that others share, its own.
    fn written(&self) -> ClientConfig {
        let mut written = self.config.clone();
        if let Some(shared) = &self.budget {
            written.budget = (!shared.is_endless()).then(|| shared.config());
        }
        written
    }

    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    fn parts(
        self,
        force: ClientConfig,
    ) -> Result<Parts<C, R::Strategy, K, F, H, A, Q>, ConfigErrors> {
        let origin = self.origin();
        let budget = match self.budget {
            Some(shared) => shared,
            None => Budget::from_config(force.budget.unwrap_or_default())?,
        };
        budget.set_endless(force.budget.is_none());
        let name = || Arc::clone(&self.name);
        let retry = RetryLayer::builder(name())
            .config(force.retry)
            .budget(budget.clone())
            .classify(self.classify.clone())
            .propagate(self.propagate.clone())
            .copy_with(self.copy.strategy());
        let breaker = CircuitBreakerLayer::builder(name())
            .config(force.breaker)
            .classify(self.classify)
            .propagate(self.propagate.clone())
            .completion(self.completion);
        let bulkhead = BulkheadLayer::builder(name())
            .config(force.bulkhead)
            .propagate(self.propagate.clone())
            .completion(self.permit_completion);
        // The metrics of the two timeouts must not run into one.
        let whole = TimeoutLayer::builder(format!("{} deadline", self.name))
            .limit(force.deadline)
            .propagate(self.propagate.clone())
            .of_whole_call();
        let attempt = TimeoutLayer::builder(name())
            .limit(force.attempt_timeout)
            .propagate(self.propagate)
            .per_attempt();
        let observers = &self.observers;
        Ok(Parts {
            whole: observed!(observers, whole),
            retry: observed!(observers, retry),
            attempt: observed!(observers, attempt),
            budget,
            origin,
            breaker: observed!(observers, breaker),
            bulkhead: observed!(observers, bulkhead),
            tell: self.tell,
            division: self.division,
        })
    }
}

impl<C, R, K, F, H, A> ClientBuilder<C, R, K, F, H, A, Undivided>
where
    C: Clone,
    R: CopyIsChosen,
    K: Clone,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
{
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings of any layer, each by its
    /// [path](crate::ConfigError::path); an attempt timeout that is not shorter than the deadline, so
    /// that no second attempt could ever follow one that hangs.
    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    pub fn build(self) -> Result<ClientLayer<C, R::Strategy, K, F, H, A>, ConfigErrors> {
        let origin = self.origin();
        let written = self.written();
        let made = || {
            let force = written.in_force(&self.written)?;
            let Parts { whole, retry, attempt, breaker, bulkhead, budget, origin, tell, .. } =
                self.parts(force)?;
            let (retry, classify, tools, OneBudget) = retry.parts()?;
            let ((whole, _), (attempt, _)) = (whole.parts(), attempt.parts());
            let ((breaker, ..), (bulkhead, _)) = (breaker.parts()?, bulkhead.parts()?);
            let each = (breaker, (bulkhead, attempt));
            let tools = RequestTools { copy: tools.copy.strategy(), propagate: tools.propagate };
            let gate = Arc::new(InFlight::new(Core { retry, whole, each, classify }));
            let written = Arc::new(Live::new(written));
            Ok(ClientLayer { gate, tools, budget, origin, tell, written })
        };
        made().map_err(|wrong: ConfigErrors| wrong.of_policy(&origin))
    }
}

impl<C, R, K, F, H, A, X> ClientBuilder<C, R, K, F, H, A, PerKey<X>>
where
    C: Clone + Send + Sync + 'static,
    R: CopyIsChosen,
    K: Clone,
    F: Send + Sync + 'static,
{
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings of any layer or key, each by its
    /// [path](crate::ConfigError::path); a key with settings of its own that no request can have.
    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    pub fn build(self) -> Result<KeyedClientLayer<X, C, R::Strategy, K, F, H, A>, ConfigErrors> {
        let origin = self.origin();
        let written = KeyedClientConfig {
            default: self.written(),
            max_keys: self.division.max_keys,
            overrides: self.division.overrides.clone(),
        };
        let made = || {
            let spelling = self.division.spelling;
            let force = written.in_force(&self.written, spelling, None)?;
            let parts = self.parts(force)?;
            let frame = Frame {
                whole: parts.whole.build()?,
                retry: parts.retry.build()?,
                attempt: parts.attempt.build()?,
                budget: parts.budget,
                origin: parts.origin,
            };
            let Parts { breaker, bulkhead, tell, division, .. } = parts;
            let key = Arc::new(division.key);
            let breaker = breaker.keyed_as(Arc::clone(&key)).config(written.breakers()).build()?;
            let bulkhead = bulkhead.keyed_as(key).config(written.bulkheads()).build()?;
            let written = Arc::new(Live::new(written));
            Ok(KeyedClientLayer { frame, breaker, bulkhead, tell, written, spelling })
        };
        made().map_err(|wrong: ConfigErrors| wrong.of_policy(&origin))
    }
}
