//! The stack around a client.

use std::sync::Arc;
use std::time::Duration;

use super::client_layer::ClientLayer;
use super::config::ClientConfig;
use super::tell::AsErrors;
use crate::bulkhead::{self, BulkheadLayer};
use crate::circuit_breaker::{self, CircuitBreakerLayer};
use crate::classify::{Classifier, Of, OfError, OfResult, Verdict};
use crate::config::{ConfigErrors, Written};
use crate::event::{Event, Observe, Observers};
use crate::finish::AtHead;
use crate::outcome::Outcome;
use crate::request::{Cloned, NoCarry};
use crate::retry::{self, Budget, Chosen, CopyBy, CopyIsChosen, RetryLayer, Unsaid};
use crate::shell::live::Live;
use crate::source::Source;
use crate::timeout::TimeoutLayer;

/// Starts to build the stack around a client. The name labels all its layers.
pub fn client(name: impl Into<Arc<str>>) -> ClientBuilder {
    ClientBuilder {
        name: name.into(),
        config: ClientConfig::default(),
        written: Written::default(),
        budget: None,
        classify: Classifier::default(),
        copy: Unsaid,
        carry: NoCarry,
        finish: AtHead,
        hold: AtHead,
        tell: AsErrors,
        observers: Observers::default(),
    }
}

/// Builds a [`ClientLayer`]; see [`client`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct ClientBuilder<
    C = Classifier,
    R = Unsaid,
    K = NoCarry,
    F = AtHead,
    H = AtHead,
    A = AsErrors,
> {
    pub(super) name: Arc<str>,
    pub(super) config: ClientConfig,
    pub(super) written: Written,
    /// One that others may draw on too.
    pub(super) budget: Option<Budget>,
    pub(super) classify: C,
    pub(super) copy: R,
    pub(super) carry: K,
    pub(super) finish: F,
    pub(super) hold: H,
    pub(super) tell: A,
    pub(super) observers: Observers,
}

impl<C, R, K, F, H, A> ClientBuilder<C, R, K, F, H, A> {
    /// Sets [`ClientConfig::deadline`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = deadline;
        self.written.add("deadline");
        self
    }

    /// Sets [`ClientConfig::attempt_timeout`].
    pub fn attempt_timeout(mut self, attempt_timeout: Duration) -> Self {
        self.config.attempt_timeout = attempt_timeout;
        self.written.add("attempt_timeout");
        self
    }

    /// Sets [`ClientConfig::retry`].
    pub fn retry(mut self, config: retry::Config) -> Self {
        self.config.retry = config;
        self
    }

    /// Sets [`ClientConfig::breaker`].
    pub fn breaker(mut self, config: circuit_breaker::Config) -> Self {
        self.config.breaker = config;
        self
    }

    /// Sets [`ClientConfig::bulkhead`].
    pub fn bulkhead(mut self, config: bulkhead::Config) -> Self {
        self.config.bulkhead = config;
        self
    }

    /// Sets all settings at once, for instance from a file.
    pub fn config(mut self, config: ClientConfig) -> Self {
        (self.config, self.written) = (config, Written::default());
        self
    }

    /// Draws on this budget, which others may share. It keeps its own settings, whatever those of the
    /// stack say of a budget, until they are [reloaded](super::ClientHandle::reload).
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Retries without a budget: during an outage only the circuit breaker spares the dependency.
    pub fn no_budget(mut self) -> Self {
        (self.config.budget, self.budget) = (None, None);
        self
    }

    /// Reads the deadline that travels with each request, and writes what is left for each layer.
    pub fn carry<K2>(self, carry: K2) -> ClientBuilder<C, R, K2, F, H, A> {
        self.with(|classify, copy, _| (classify, copy, carry))
    }

    /// Says when the breaker judges an attempt: when its answer [arrives](AtHead), by default. A retry,
    /// and both timeouts, look at heads alone.
    pub fn finish<F2>(self, finish: F2) -> ClientBuilder<C, R, K, F2, H, A> {
        self.with_all(|classify, copy, carry, _, hold| (classify, copy, carry, finish, hold))
    }

    /// Says how long an attempt holds its place in the bulkhead: until its answer [arrives](AtHead), by
    /// default. Streams that go on for hours would leave no place for others if they held theirs to
    /// the end.
    pub fn hold<H2>(self, hold: H2) -> ClientBuilder<C, R, K, F, H2, A> {
        self.with_all(|classify, copy, carry, finish, _| (classify, copy, carry, finish, hold))
    }

    /// Tells `observer` of the events of every layer. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Classifies with a [`Classify`](crate::Classify) of your own, the same for retry and breaker.
    pub fn classify<C2>(self, classify: C2) -> ClientBuilder<C2, R, K, F, H, A> {
        self.with(|_, copy, carry| (classify, copy, carry))
    }

    /// Judges whole results with one closure, responses and the errors of the innermost service; the
    /// same for retry and breaker. Rejections by layers of this crate never get here.
    pub fn classify_result<Res, Err, V, J>(
        self,
        judge: J,
    ) -> ClientBuilder<OfResult<J, Res, Err>, R, K, F, H, A>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classify(OfResult::new(judge))
    }

    /// Copies requests through their `Clone`. Only you can know that repeating them is safe.
    pub fn cloned(self) -> ClientBuilder<C, Chosen<Cloned>, K, F, H, A> {
        self.copy_with(Cloned)
    }

    /// Copies requests with a closure; one for which it returns `None` is not repeated.
    pub fn copy<Req, J>(self, copy: J) -> ClientBuilder<C, Chosen<CopyBy<J>>, K, F, H, A>
    where
        J: Fn(&Req) -> Option<Req>,
    {
        self.copy_with(CopyBy::new(copy))
    }

    /// Copies requests with a [`CloneRequest`](crate::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> ClientBuilder<C, Chosen<R2>, K, F, H, A> {
        self.with(|classify, _, carry| (classify, Chosen::new(copy), carry))
    }

    fn with<C2, R2, K2>(
        self,
        change: impl FnOnce(C, R, K) -> (C2, R2, K2),
    ) -> ClientBuilder<C2, R2, K2, F, H, A> {
        self.with_all(|classify, copy, carry, finish, hold| {
            let (classify, copy, carry) = change(classify, copy, carry);
            (classify, copy, carry, finish, hold)
        })
    }

    fn with_all<C2, R2, K2, F2, H2>(
        self,
        change: impl FnOnce(C, R, K, F, H) -> (C2, R2, K2, F2, H2),
    ) -> ClientBuilder<C2, R2, K2, F2, H2, A> {
        let (classify, copy, carry, finish, hold) =
            change(self.classify, self.copy, self.carry, self.finish, self.hold);
        ClientBuilder {
            name: self.name,
            config: self.config,
            written: self.written,
            budget: self.budget,
            classify,
            copy,
            carry,
            finish,
            hold,
            tell: self.tell,
            observers: self.observers,
        }
    }
}

impl<J1, J2, R, K, F, H, A> ClientBuilder<Classifier<J1, J2>, R, K, F, H, A> {
    /// Judges responses, for instance by their status; the same for retry and breaker.
    pub fn classify_response<Res, J>(
        self,
        judge: J,
    ) -> ClientBuilder<Classifier<Of<J>, J2>, R, K, F, H, A>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with(|classify, copy, carry| (classify.with_response(judge), copy, carry))
    }

    /// Judges errors of the innermost service, an [`Error<E>`](crate::Error) or the `E` in it; the
    /// same for retry and breaker. Rejections by layers of this crate never get here.
    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    pub fn classify_error<Err, J>(
        self,
        judge: J,
    ) -> ClientBuilder<Classifier<J1, OfError<J, Err>>, R, K, F, H, A>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with(|classify, copy, carry| (classify.with_error(judge), copy, carry))
    }
}

impl<C: Clone, R: CopyIsChosen, K: Clone, F, H, A> ClientBuilder<C, R, K, F, H, A> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings of any layer, each by its
    /// [path](crate::ConfigError::path); an attempt timeout that is not shorter than the deadline, so
    /// that no second attempt could ever follow one that hangs.
    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    pub fn build(self) -> Result<ClientLayer<C, R::Strategy, K, F, H, A>, ConfigErrors> {
        let source = Source::new("client", Arc::clone(&self.name));
        self.make(&source).map_err(|wrong| wrong.of_policy(&source))
    }

    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    fn make(
        self,
        source: &Source,
    ) -> Result<ClientLayer<C, R::Strategy, K, F, H, A>, ConfigErrors> {
        let mut written = self.config;
        if let Some(shared) = &self.budget {
            written.budget = (!shared.is_endless()).then(|| shared.config());
        }
        let force = written.in_force(&self.written)?;
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
            .carry(self.carry.clone())
            .copy_with(self.copy.strategy());
        let breaker = CircuitBreakerLayer::builder(name())
            .config(force.breaker)
            .classify(self.classify)
            .carry(self.carry.clone())
            .finish(self.finish);
        let bulkhead = BulkheadLayer::builder(name())
            .config(force.bulkhead)
            .carry(self.carry.clone())
            .finish(self.hold);
        // The metrics of the two timeouts must not run into one.
        let whole = TimeoutLayer::builder(format!("{} deadline", self.name))
            .limit(force.deadline)
            .carry(self.carry.clone())
            .of_whole_call();
        let attempt = TimeoutLayer::builder(name())
            .limit(force.attempt_timeout)
            .carry(self.carry)
            .per_attempt();
        let observers = self.observers;
        // Events that nobody hears are not made, so nobody is told of them either.
        macro_rules! build {
            ($builder:expr) => {
                if observers.is_empty() {
                    $builder.build()
                } else {
                    let observers = observers.clone();
                    $builder.observe(move |event: &Event| observers.tell(event)).build()
                }
            };
        }
        Ok(ClientLayer {
            whole: build!(whole)?,
            retry: build!(retry)?,
            breaker: build!(breaker)?,
            bulkhead: build!(bulkhead)?,
            attempt: build!(attempt)?,
            tell: self.tell,
            budget,
            written: Arc::new(Live::new(written)),
            source: source.clone(),
        })
    }
}
