//! The stack around a client.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::config::ClientConfig;
use super::division::{PerKey, Undivided};
use super::tell::AsErrors;
use crate::bulkhead;
use crate::circuit_breaker;
use crate::core::classify::{Classification, Classifier, Of, OfError, OfResult};
use crate::core::completion::OnResponse;
use crate::core::config::Written;
use crate::core::event::{Observe, Observers};
use crate::core::outcome::Outcome;
use crate::core::request::{Cloned, NoPropagation};
use crate::retry::{self, Budget, Chosen, CopyBy, Unsaid};

/// Starts to build the stack around a client. The name labels all its layers.
pub fn client(name: impl Into<Arc<str>>) -> ClientBuilder {
    ClientBuilder {
        name: name.into(),
        config: ClientConfig::default(),
        written: Written::default(),
        budget: None,
        classify: Classifier::default(),
        copy: Unsaid,
        propagate: NoPropagation,
        completion: OnResponse,
        permit_completion: OnResponse,
        tell: AsErrors,
        observers: Observers::default(),
        division: Undivided,
    }
}

/// Builds a [`ClientLayer`](super::ClientLayer); see [`client`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct ClientBuilder<
    C = Classifier,
    R = Unsaid,
    K = NoPropagation,
    F = OnResponse,
    H = OnResponse,
    A = AsErrors,
    Q = Undivided,
> {
    pub(super) name: Arc<str>,
    pub(super) config: ClientConfig,
    pub(super) written: Written,
    /// A budget that others may share.
    pub(super) budget: Option<Budget>,
    pub(super) classify: C,
    pub(super) copy: R,
    pub(super) propagate: K,
    pub(super) completion: F,
    pub(super) permit_completion: H,
    pub(super) tell: A,
    pub(super) observers: Observers,
    pub(super) division: Q,
}

impl<C, R, K, F, H, A, Q> ClientBuilder<C, R, K, F, H, A, Q> {
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

    /// Uses this budget, which other layers may share. It keeps its own settings, not those of the stack, until they are
    /// [reloaded](super::ClientHandle::reload).
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Retries without a budget: during an outage only the circuit breaker spares the dependency.
    pub fn no_budget(mut self) -> Self {
        (self.config.budget, self.budget) = (None, None);
        self
    }

    /// Reads the deadline of each request, and writes the remaining time for inner layers.
    pub fn propagate<K2>(self, propagate: K2) -> ClientBuilder<C, R, K2, F, H, A, Q> {
        self.with(|classify, copy, _| (classify, copy, propagate))
    }

    /// When the breaker classifies an attempt: at its [response head](OnResponse) by default. Retry and timeouts look at
    /// heads only.
    pub fn completion<F2>(self, completion: F2) -> ClientBuilder<C, R, K, F2, H, A, Q> {
        self.with_all(|classify, copy, propagate, _, permit_completion| {
            (classify, copy, propagate, completion, permit_completion)
        })
    }

    /// How long an attempt holds its permit of the bulkhead: until its [response head](OnResponse) by default. Streams that last
    /// for hours would use up all permits if they held them to the end.
    pub fn permit_completion<H2>(
        self,
        permit_completion: H2,
    ) -> ClientBuilder<C, R, K, F, H2, A, Q> {
        self.with_all(|classify, copy, propagate, completion, _| {
            (classify, copy, propagate, completion, permit_completion)
        })
    }

    /// Reports the events of every layer to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Classifies with a [`Classify`](crate::Classify) of your own, the same for retry and breaker.
    pub fn classify<C2>(self, classify: C2) -> ClientBuilder<C2, R, K, F, H, A, Q> {
        self.with(|_, copy, propagate| (classify, copy, propagate))
    }

    /// Classifies whole results with one closure, responses and the errors of the innermost service; the
    /// same for retry and breaker. Rejections by layers of this crate never get here.
    pub fn classify_result<Res, Err, V, J>(
        self,
        rule: J,
    ) -> ClientBuilder<OfResult<J, Res, Err>, R, K, F, H, A, Q>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Classification>,
    {
        self.classify(OfResult::new(rule))
    }

    /// Copies requests through their `Clone`. Only you know that they are idempotent.
    pub fn cloned(self) -> ClientBuilder<C, Chosen<Cloned>, K, F, H, A, Q> {
        self.copy_with(Cloned)
    }

    /// Copies requests with a closure; a request for which it returns `None` is not retried.
    pub fn copy<Req, J>(self, copy: J) -> ClientBuilder<C, Chosen<CopyBy<J>>, K, F, H, A, Q>
    where
        J: Fn(&Req) -> Option<Req>,
    {
        self.copy_with(CopyBy::new(copy))
    }

    /// Copies requests with a [`CloneRequest`](crate::retry::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> ClientBuilder<C, Chosen<R2>, K, F, H, A, Q> {
        self.with(|classify, _, propagate| (classify, Chosen::new(copy), propagate))
    }

    /// One circuit breaker and one bulkhead for each key of a request, for instance for each tenant. The retry with its
    /// budget, and both timeouts, are shared by all keys.
    ///
    /// For hosts there is [`per_host`](Self::per_host), for the methods of gRPC
    /// [`per_method`](Self::per_method).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, stack};
    /// use std::borrow::Cow;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// #[derive(Clone)]
    /// struct Query { shard: String }
    ///
    /// # async fn ask(query: Query) -> Result<String, std::io::Error> { Ok(query.shard) }
    /// let layer = stack::client("store").keyed(|query: &Query| Cow::from(&query.shard)).cloned().build()?;
    /// let shards = layer.handle();
    /// let store = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(ask));
    /// store.oneshot(Query { shard: "eu-1".into() }).await?;
    /// assert_eq!(shards.breakers().keys(), ["eu-1".into()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn keyed<Req, X>(self, key: X) -> ClientBuilder<C, R, K, F, H, A, PerKey<X>>
    where
        X: Fn(&Req) -> Cow<'_, str>,
    {
        self.keyed_by(key)
    }

    /// The same with an [`ExtractKey`](crate::keyed::ExtractKey) of your own.
    pub fn keyed_by<X>(self, key: X) -> ClientBuilder<C, R, K, F, H, A, PerKey<X>> {
        self.divided(PerKey::new(key))
    }

    fn with<C2, R2, K2>(
        self,
        change: impl FnOnce(C, R, K) -> (C2, R2, K2),
    ) -> ClientBuilder<C2, R2, K2, F, H, A, Q> {
        self.with_all(|classify, copy, propagate, completion, permit_completion| {
            let (classify, copy, propagate) = change(classify, copy, propagate);
            (classify, copy, propagate, completion, permit_completion)
        })
    }

    fn with_all<C2, R2, K2, F2, H2>(
        self,
        change: impl FnOnce(C, R, K, F, H) -> (C2, R2, K2, F2, H2),
    ) -> ClientBuilder<C2, R2, K2, F2, H2, A, Q> {
        let (classify, copy, propagate, completion, permit_completion) = change(
            self.classify,
            self.copy,
            self.propagate,
            self.completion,
            self.permit_completion,
        );
        ClientBuilder {
            name: self.name,
            config: self.config,
            written: self.written,
            budget: self.budget,
            classify,
            copy,
            propagate,
            completion,
            permit_completion,
            tell: self.tell,
            observers: self.observers,
            division: self.division,
        }
    }
}

impl<J1, J2, R, K, F, H, A, Q> ClientBuilder<Classifier<J1, J2>, R, K, F, H, A, Q> {
    /// Classifies responses, for instance by their status; the same for retry and breaker.
    pub fn classify_response<Res, J>(
        self,
        rule: J,
    ) -> ClientBuilder<Classifier<Of<J>, J2>, R, K, F, H, A, Q>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with(|classify, copy, propagate| (classify.with_response(rule), copy, propagate))
    }

    /// Classifies errors of the innermost service, an [`Error<E>`](crate::Error) or the `E` in it; the
    /// same for retry and breaker. Rejections by layers of this crate never get here.
    #[expect(clippy::type_complexity, reason = "a layer of as many hooks")]
    pub fn classify_error<Err, J>(
        self,
        rule: J,
    ) -> ClientBuilder<Classifier<J1, OfError<J, Err>>, R, K, F, H, A, Q>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with(|classify, copy, propagate| (classify.with_error(rule), copy, propagate))
    }
}
