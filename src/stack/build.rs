//! Building the stack around a client.

use std::sync::Arc;
use std::time::Duration;

use super::client::ClientBuilder;
use super::client_layer::{ClientLayer, KeyedClientLayer, StackLayer};
use super::config::ClientConfig;
use super::division::{PerKey, Undivided};
use super::keyed_config::{KeyedClientConfig, Spelling};
use crate::bulkhead::{self, BulkheadLayer};
use crate::circuit_breaker::{self, CircuitBreakerLayer};
use crate::core::config::{ConfigErrors, KeyedConfig};
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

/// What each attempt asks, still to be built.
pub(super) struct AttemptBuilders<'a, K> {
    pub(super) name: Arc<str>,
    pub(super) observers: &'a Observers,
    pub(super) propagate: K,
}

impl<K: Clone> AttemptBuilders<'_, K> {
    pub(super) fn breaker<C, F>(
        &self,
        config: circuit_breaker::Config,
        classify: C,
        completion: F,
    ) -> circuit_breaker::Builder<C, F, K> {
        let breaker = CircuitBreakerLayer::builder(Arc::clone(&self.name))
            .config(config)
            .classify(classify)
            .propagate(self.propagate.clone())
            .completion(completion);
        observed!(self.observers, breaker)
    }

    pub(super) fn bulkhead<H>(
        &self,
        config: bulkhead::Config,
        completion: H,
    ) -> bulkhead::Builder<H, K> {
        let bulkhead = BulkheadLayer::builder(Arc::clone(&self.name))
            .config(config)
            .propagate(self.propagate.clone())
            .completion(completion);
        observed!(self.observers, bulkhead)
    }

    pub(super) fn attempt(self, limit: Duration) -> timeout::Builder<Fixed, K> {
        let attempt =
            TimeoutLayer::builder(self.name).limit(limit).propagate(self.propagate).per_attempt();
        observed!(self.observers, attempt)
    }
}

/// All of it, still to be built.
struct Parts<C, R, K, F, H, A, Q> {
    frame: Frame<C, R, K, A>,
    breaker: circuit_breaker::Builder<C, F, K>,
    bulkhead: bulkhead::Builder<H, K>,
    attempt: timeout::Builder<Fixed, K>,
    division: Q,
}

/// What is one for all calls.
struct Frame<C, R, K, A> {
    whole: timeout::Builder<Fixed, K>,
    retry: retry::Builder<C, Chosen<R>, K>,
    budget: Budget,
    origin: Origin,
    tell: A,
}

impl<C, R: Clone, K, A> Frame<C, R, K, A> {
    /// The layer, of these and of what else each attempt asks.
    fn layer<P, D>(
        self,
        written: D,
        spelling: Spelling,
        each: P,
    ) -> Result<StackLayer<P, D, C, R, K, A>, ConfigErrors> {
        let (retry, classify, tools, OneBudget) = self.retry.parts()?;
        let (whole, _) = self.whole.parts();
        let tools = RequestTools { copy: tools.copy.strategy(), propagate: tools.propagate };
        let gate = Arc::new(InFlight::new(Core { retry, whole, each, classify }));
        let (budget, origin, tell) = (self.budget, self.origin, self.tell);
        Ok(StackLayer {
            gate,
            tools,
            budget,
            origin,
            tell,
            written: Arc::new(Live::new(written)),
            spelling,
        })
    }
}

impl<C: Clone, R: CopyIsChosen, K: Clone, F, H, A, Q> ClientBuilder<C, R, K, F, H, A, Q> {
    pub(super) fn origin(&self) -> Origin {
        Origin::new("client", Arc::clone(&self.name))
    }

    /// The settings as they were written; of a budget that others share, its own.
    pub(super) fn written(&self) -> ClientConfig {
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
        // The metrics of the two timeouts must not run into one.
        let whole = TimeoutLayer::builder(format!("{} deadline", self.name))
            .limit(force.deadline)
            .propagate(self.propagate.clone())
            .of_whole_call();
        let observers = &self.observers;
        let each = AttemptBuilders { name: name(), observers, propagate: self.propagate };
        Ok(Parts {
            frame: Frame {
                whole: observed!(observers, whole),
                retry: observed!(observers, retry),
                budget,
                origin,
                tell: self.tell,
            },
            breaker: each.breaker(force.breaker, self.classify, self.completion),
            bulkhead: each.bulkhead(force.bulkhead, self.permit_completion),
            attempt: each.attempt(force.attempt_timeout),
            division: self.division,
        })
    }
}

#[cfg(feature = "endpoints")]
impl<C: Clone, R: CopyIsChosen, K: Clone, F, H, A, Q> ClientBuilder<C, R, K, F, H, A, Q> {
    /// What is one for all calls, whatever each attempt asks.
    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    pub(super) fn frame(
        self,
        written: ClientConfig,
        force: ClientConfig,
    ) -> Result<StackLayer<(), ClientConfig, C, R::Strategy, K, A>, ConfigErrors> {
        self.parts(force)?.frame.layer(written, Spelling::ANY, ())
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
            let Parts { frame, breaker, bulkhead, attempt, .. } = self.parts(force)?;
            let ((breaker, ..), (bulkhead, _)) = (breaker.parts()?, bulkhead.parts()?);
            frame.layer(written, Spelling::ANY, (breaker, (bulkhead, attempt.parts().0)))
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
    H: Send + Sync + 'static,
    X: Send + Sync + 'static,
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
            let Parts { frame, breaker, bulkhead, attempt, division } = self.parts(force)?;
            let key = Arc::new(division.key);
            let KeyedConfig { max_keys, overrides, .. } = written.breakers();
            let (breakers, ..) = breaker.by_key(Arc::clone(&key), max_keys, overrides)?;
            let KeyedConfig { max_keys, overrides, .. } = written.bulkheads();
            let (bulkheads, _) = bulkhead.by_key(key, max_keys, overrides)?;
            frame.layer(written, spelling, (breakers, (bulkheads, attempt.parts().0)))
        };
        made().map_err(|wrong: ConfigErrors| wrong.of_policy(&origin))
    }
}
