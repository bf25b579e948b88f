//! Building a retry.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Backoff, Config, OnRejection, UNLIMITED};
use super::keyed::KeyedBudget;
use super::layer::{LAYER, RetryLayer};
use super::machine::Params;
use super::numbered::Numbered;
use super::policy::{BackoffBy, Retries};
use super::purse::{BudgetByKey, Means, OneBudget};
use crate::core::classify::{Classification, Classifier, Of, OfError, OfResult};
use crate::core::config::{ConfigErrors, Written};
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::outcome::Outcome;
use crate::core::request::NoPropagation;
use crate::shell::budget::Budget;
use crate::shell::copy::{Chosen, Unsaid};
use crate::shell::reporter::Reporter;
use crate::shell::retry::RequestTools;

/// Builds a [`RetryLayer`].
#[must_use = "call `build`"]
#[derive(Clone)]
pub struct Builder<C = Classifier, R = Unsaid, K = NoPropagation, B = OneBudget> {
    name: Arc<str>,
    config: Config,
    classify: C,
    tools: RequestTools<R, K>,
    means: Means<B>,
    backoff_by: Option<BackoffBy>,
    observers: Observers,
    written: Written,
}

impl Builder {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            config: Config::default(),
            classify: Classifier::default(),
            tools: RequestTools::default(),
            means: Means::one(Budget::default()),
            backoff_by: None,
            observers: Observers::default(),
            written: Written::default(),
        }
    }
}

impl<C, R, K, B> Builder<C, R, K, B> {
    /// Sets [`Config::attempts`].
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.config.attempts = attempts;
        self
    }

    /// Makes as many attempts as time and the budget allow; see [`UNLIMITED`].
    pub fn unlimited_attempts(mut self) -> Self {
        self.config.attempts = UNLIMITED;
        self
    }

    /// Sets [`Config::backoff`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Asks a closure for the wait before the `n`-th retry, counted from 1, instead of
    /// [`Config::backoff`].
    pub fn backoff_by(mut self, wait: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        self.backoff_by = Some(Arc::new(wait));
        self
    }

    /// Sets [`Config::max_retry_after`].
    pub fn max_retry_after(mut self, max_retry_after: Duration) -> Self {
        self.config.max_retry_after = max_retry_after;
        self
    }

    /// Sets [`Config::max_elapsed`].
    pub fn max_elapsed(mut self, max_elapsed: Duration) -> Self {
        self.config.max_elapsed = max_elapsed;
        self.written.add("max_elapsed");
        self
    }

    /// Sets [`Config::min_attempt_time`].
    pub fn min_attempt_time(mut self, min_attempt_time: Duration) -> Self {
        self.config.min_attempt_time = min_attempt_time;
        self.written.add("min_attempt_time");
        self
    }

    /// Sets [`Config::on_rejection`].
    pub fn on_rejection(mut self, on_rejection: OnRejection) -> Self {
        self.config.on_rejection = on_rejection;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self.written = Written::default();
        self
    }

    /// Draws on this budget, which others may share.
    pub fn budget(self, budget: Budget) -> Builder<C, R, K> {
        self.with_means(Means::one(budget))
    }

    /// Draws on the budget of each request's key, for instance of its tenant or host. Others may share
    /// the budgets; see [`KeyedBudget`].
    pub fn keyed_budget<Req, Key>(
        self,
        budgets: KeyedBudget,
        key: Key,
    ) -> Builder<C, R, K, BudgetByKey<Key>>
    where
        Key: Fn(&Req) -> Cow<'_, str>,
    {
        self.keyed_budget_by(budgets, key)
    }

    /// The same with an [`ExtractKey`](crate::keyed::ExtractKey) of your own.
    pub fn keyed_budget_by<Key>(
        self,
        budgets: KeyedBudget,
        key: Key,
    ) -> Builder<C, R, K, BudgetByKey<Key>> {
        self.with_means(Means::keyed(budgets, key))
    }

    /// Retries without a budget: during an outage the dependency gets every call
    /// [`attempts`](Self::attempts) times.
    pub fn no_budget(self) -> Builder<C, R, K> {
        self.with_means(Means::none())
    }

    /// Reports every event to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Copies requests with a [`CloneRequest`](crate::retry::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> Builder<C, Chosen<R2>, K, B> {
        self.with_tools(|tools| RequestTools { copy: Chosen(copy), propagate: tools.propagate })
    }

    /// Reads the deadline that is propagated with each request, and writes the number of each attempt.
    /// Takes the place of an earlier `propagate` or [`number`](Self::number).
    pub fn propagate<K2>(self, propagate: K2) -> Builder<C, R, K2, B> {
        self.with_tools(|tools| RequestTools { copy: tools.copy, propagate })
    }

    /// Writes the number of each attempt, counted from 1, into its request. If there is also something
    /// to [carry](Self::propagate), say so before.
    pub fn number<Req, F>(self, number: F) -> Builder<C, R, Numbered<F, K>, B>
    where
        F: Fn(&mut Req, u32),
    {
        self.with_tools(|tools| RequestTools {
            copy: tools.copy,
            propagate: Numbered::new(number, tools.propagate),
        })
    }

    fn with_means<B2>(self, means: Means<B2>) -> Builder<C, R, K, B2> {
        let Self { name, config, classify, tools, backoff_by, observers, written, .. } = self;
        Builder { name, config, classify, tools, means, backoff_by, observers, written }
    }

    fn with_tools<R2, K2>(
        self,
        change: impl FnOnce(RequestTools<R, K>) -> RequestTools<R2, K2>,
    ) -> Builder<C, R2, K2, B> {
        let Self { name, config, classify, tools, means, backoff_by, observers, written } = self;
        let tools = change(tools);
        Builder { name, config, classify, tools, means, backoff_by, observers, written }
    }

    /// Classifies with a [`Classify`](crate::Classify) of your own.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, R, K, B> {
        self.with_classify(|_| classify)
    }

    /// Classifies whole results with one closure: responses, and the errors of the innermost service.
    /// Rejections by layers of this crate never get here.
    pub fn classify_result<Res, Err, V, J>(self, rule: J) -> Builder<OfResult<J, Res, Err>, R, K, B>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Classification>,
    {
        self.classify(OfResult::new(rule))
    }

    fn with_classify<C2>(self, change: impl FnOnce(C) -> C2) -> Builder<C2, R, K, B> {
        let Self { name, config, classify, tools, means, backoff_by, observers, written } = self;
        let classify = change(classify);
        Builder { name, config, classify, tools, means, backoff_by, observers, written }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<RetryLayer<C, R, K, B>, ConfigErrors> {
        let (retries, classify, tools, payer) = self.parts()?;
        Ok(RetryLayer::made(retries, classify, tools, payer))
    }

    /// The same, for a stack.
    pub(crate) fn parts(self) -> Result<(Retries, C, RequestTools<R, K>, B), ConfigErrors> {
        let Self { name, config, classify, tools, means, backoff_by, observers, written } = self;
        let origin = Origin::new(LAYER, name);
        let params =
            Params::from_written(&config, &written).map_err(|wrong| wrong.of_policy(&origin))?;
        let reporter = Reporter::new(origin, observers);
        let retries = Retries::new(reporter, means.budget, backoff_by, params, config.clone());
        let retries = retries.paid_by_key(means.by_key);
        retries.check_bounds(&config)?;
        Ok((retries, classify, tools, means.payer))
    }
}

impl<J1, J2, R, K, B> Builder<Classifier<J1, J2>, R, K, B> {
    /// Classifies responses, for instance by their status.
    pub fn classify_response<Res, J>(self, rule: J) -> Builder<Classifier<Of<J>, J2>, R, K, B>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with_classify(|classify| classify.with_response(rule))
    }

    /// Classifies errors of the innermost service: an [`Error<E>`](crate::Error), or the `E` in it.
    /// Rejections by layers of this crate never get here.
    pub fn classify_error<Err, J>(
        self,
        rule: J,
    ) -> Builder<Classifier<J1, OfError<J, Err>>, R, K, B>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with_classify(|classify| classify.with_error(rule))
    }
}

impl<C, R, K, B> fmt::Debug for Builder<C, R, K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
