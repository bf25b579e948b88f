//! Building a retry, and putting it around services.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::budget::Budget;
use super::config::{Backoff, Config, OnRefusal, UNLIMITED};
use super::copy::{Chosen, CopyBy, CopyIsChosen, Numbered, Unsaid};
use super::handle::RetryHandle;
use super::keyed::KeyedBudget;
use super::machine::Law;
use super::policy::{BackoffBy, Policy};
use super::purse::{BudgetByKey, Means, OneBudget};
use super::service::Retry;
use super::travels::Kit;
use crate::classify::{Classifier, Of, OfError, OfResult, Verdict};
use crate::config::{ConfigError, ConfigErrors, Written};
use crate::event::{Observe, Observers};
use crate::outcome::Outcome;
use crate::request::{Cloned, Never, NoCarry};
use crate::shell::gate::Gate;
use crate::shell::reporter::Reporter;
use crate::source::Source;

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "retry";

/// Calls services again where that may help.
///
/// It must be told how to copy a request, for repeating one is a promise that only its author can
/// make: [`cloned`](Self::cloned), [`copy`](Self::copy), [`copy_with`](Self::copy_with), or
/// [`never`](Self::never) on second thoughts. Until then it is no layer.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RetryLayer<C = Classifier, R = Unsaid, K = NoCarry, B = OneBudget> {
    gate: Arc<Gate<Policy<C>>>,
    kit: Kit<R, K>,
    payer: B,
}

impl RetryLayer {
    /// A retry with every setting at its [default](super#defaults) and a budget of its own.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let (law, config) = (Law::of_defaults(), Config::default());
        let reporter = Reporter::new(Source::new(LAYER, name), Observers::default());
        let budget = Some(Budget::default());
        let policy = Policy::new(Classifier::default(), reporter, budget, None, law, config);
        Self { gate: Arc::new(Gate::new(policy)), kit: Kit::default(), payer: OneBudget }
    }

    /// A retry with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        Self::builder(name).config(config).build()
    }

    /// Starts to build a retry.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder {
            name: name.into(),
            config: Config::default(),
            classify: Classifier::default(),
            kit: Kit::default(),
            means: Means::one(Budget::default()),
            backoff_by: None,
            observers: Observers::default(),
            written: Written::default(),
        }
    }
}

/// The ways to say how a request is copied, for the layer and for its builder.
macro_rules! copies {
    ($Target:ident) => {
        impl<C, R, K, B> $Target<C, R, K, B> {
            /// Copies requests through their `Clone`. Only you can know that repeating them is safe.
            pub fn cloned(self) -> $Target<C, Chosen<Cloned>, K, B> {
                self.copy_with(Cloned)
            }

            /// Copies requests with a closure; one for which it returns `None` is not repeated.
            pub fn copy<Req, F>(self, copy: F) -> $Target<C, Chosen<CopyBy<F>>, K, B>
            where
                F: Fn(&Req) -> Option<Req>,
            {
                self.copy_with(CopyBy(copy))
            }

            /// Repeats nothing: counts and reports only.
            pub fn never(self) -> $Target<C, Chosen<Never>, K, B> {
                self.copy_with(Never)
            }
        }
    };
}

copies!(RetryLayer);
copies!(Builder);

impl<C, R, K, B> RetryLayer<C, R, K, B> {
    /// Copies requests with a [`CloneRequest`](crate::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> RetryLayer<C, Chosen<R2>, K, B> {
        let kit = Kit { copy: Chosen(copy), carry: self.kit.carry };
        RetryLayer { gate: self.gate, kit, payer: self.payer }
    }

    pub(super) const fn gate(&self) -> &Arc<Gate<Policy<C>>> {
        &self.gate
    }

    pub(super) const fn payer(&self) -> &B {
        &self.payer
    }

    /// Sees and steers this retry.
    pub fn handle(&self) -> RetryHandle
    where
        C: Send + Sync + 'static,
    {
        RetryHandle::new(Arc::clone(&self.gate) as Arc<_>)
    }

    /// The calls that are under way.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Takes no further calls, ends the waits of those that are between two attempts or wait for the
    /// inner service to be ready, and returns when those under way are over. An attempt that fails
    /// from now on is the last one of its call. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The refusing goes on if the future of
    /// this is dropped.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::retry::{Backoff, RetryLayer};
    /// use seawall::{Error, Reason};
    /// use std::{io, time::Duration};
    /// use tokio::time::Instant;
    ///
    /// let wait = Backoff::fixed(Duration::from_secs(20));
    /// let search = RetryLayer::builder("search").backoff(wait).build()?;
    /// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
    /// let began = Instant::now();
    /// let (call, ()) = tokio::join!(search.run(down), search.drain());
    /// assert!(matches!(call, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
    /// assert!(began.elapsed().is_zero()); // the wait for the second attempt was over at once
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn drain(&self) {
        self.stop();
        self.gate.emptied().await;
    }

    /// Takes no further calls, and returns when those under way are over, with all the attempts they
    /// would have made anyway. [`drain`](Self::drain) still ends the waits.
    pub async fn drain_to_completion(&self) {
        self.gate.close();
        self.gate.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.gate.stop();
    }
}

impl<S, C, R: CopyIsChosen, K: Clone, B: Clone> Layer<S> for RetryLayer<C, R, K, B> {
    type Service = Retry<S, C, R::Strategy, K, B>;

    fn layer(&self, inner: S) -> Self::Service {
        let kit = Kit { copy: self.kit.copy.strategy(), carry: self.kit.carry.clone() };
        Retry::new(inner, Arc::clone(&self.gate), kit, self.payer.clone())
    }
}

impl<C, R: Clone, K: Clone, B: Clone> Clone for RetryLayer<C, R, K, B> {
    fn clone(&self) -> Self {
        let (kit, payer) = (self.kit.clone(), self.payer.clone());
        Self { gate: Arc::clone(&self.gate), kit, payer }
    }
}

impl<C, R, K, B> fmt::Debug for RetryLayer<C, R, K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("policy", &**self.gate).finish_non_exhaustive()
    }
}

// ===== impl Builder =====

/// Builds a [`RetryLayer`].
#[must_use = "call `build`"]
#[derive(Clone)]
pub struct Builder<C = Classifier, R = Unsaid, K = NoCarry, B = OneBudget> {
    name: Arc<str>,
    config: Config,
    classify: C,
    kit: Kit<R, K>,
    means: Means<B>,
    backoff_by: Option<BackoffBy>,
    observers: Observers,
    written: Written,
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

    /// Asks a closure for the wait before the `n`-th repetition, counted from 1, instead of
    /// [`Config::backoff`].
    pub fn backoff_by(mut self, wait: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        self.backoff_by = Some(Arc::new(wait));
        self
    }

    /// Sets [`Config::hint_cap`].
    pub fn hint_cap(mut self, hint_cap: Duration) -> Self {
        self.config.hint_cap = hint_cap;
        self
    }

    /// Sets [`Config::total`].
    pub fn total(mut self, total: Duration) -> Self {
        self.config.total = total;
        self.written.add("total");
        self
    }

    /// Sets [`Config::least_time`].
    pub fn least_time(mut self, least_time: Duration) -> Self {
        self.config.least_time = least_time;
        self.written.add("least_time");
        self
    }

    /// Sets [`Config::on_refusal`].
    pub fn on_refusal(mut self, on_refusal: OnRefusal) -> Self {
        self.config.on_refusal = on_refusal;
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

    /// The same with an [`ExtractKey`](crate::ExtractKey) of your own.
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

    /// Tells `observer` of every event. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Copies requests with a [`CloneRequest`](crate::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> Builder<C, Chosen<R2>, K, B> {
        self.with_kit(|kit| Kit { copy: Chosen(copy), carry: kit.carry })
    }

    /// Reads the deadline that travels with each request, and writes the number of each attempt.
    /// Takes the place of an earlier `carry` or [`number`](Self::number).
    pub fn carry<K2>(self, carry: K2) -> Builder<C, R, K2, B> {
        self.with_kit(|kit| Kit { copy: kit.copy, carry })
    }

    /// Writes the number of each attempt, counted from 1, into its request. If there is also something
    /// to [carry](Self::carry), say so before.
    pub fn number<Req, F>(self, number: F) -> Builder<C, R, Numbered<F, K>, B>
    where
        F: Fn(&mut Req, u32),
    {
        self.with_kit(|kit| Kit { copy: kit.copy, carry: Numbered::new(number, kit.carry) })
    }

    fn with_means<B2>(self, means: Means<B2>) -> Builder<C, R, K, B2> {
        let Self { name, config, classify, kit, backoff_by, observers, written, .. } = self;
        Builder { name, config, classify, kit, means, backoff_by, observers, written }
    }

    fn with_kit<R2, K2>(
        self,
        change: impl FnOnce(Kit<R, K>) -> Kit<R2, K2>,
    ) -> Builder<C, R2, K2, B> {
        let Self { name, config, classify, kit, means, backoff_by, observers, written } = self;
        let kit = change(kit);
        Builder { name, config, classify, kit, means, backoff_by, observers, written }
    }

    /// Classifies with a [`Classify`](crate::Classify) of your own.
    pub fn classify<C2>(self, classify: C2) -> Builder<C2, R, K, B> {
        self.with_classify(|_| classify)
    }

    /// Judges whole results with one closure: responses, and the errors of the innermost service.
    /// Rejections by layers of this crate never get here.
    pub fn classify_result<Res, Err, V, J>(
        self,
        judge: J,
    ) -> Builder<OfResult<J, Res, Err>, R, K, B>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classify(OfResult::new(judge))
    }

    fn with_classify<C2>(self, change: impl FnOnce(C) -> C2) -> Builder<C2, R, K, B> {
        let Self { name, config, classify, kit, means, backoff_by, observers, written } = self;
        let classify = change(classify);
        Builder { name, config, classify, kit, means, backoff_by, observers, written }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn build(self) -> Result<RetryLayer<C, R, K, B>, ConfigErrors> {
        let Self { name, config, classify, kit, means, backoff_by, observers, written } = self;
        let source = Source::new(LAYER, name);
        let law = Law::from_written(&config, &written).map_err(|wrong| wrong.of_policy(&source))?;
        if config.attempts == UNLIMITED && config.total == Duration::MAX && !means.are_bounded {
            let accepted = "shorter than for ever, for unlimited attempts without a budget";
            let problems = vec![ConfigError::new("total", config.total, accepted)];
            return Err(ConfigErrors::of(problems).of_policy(&source));
        }
        let reporter = Reporter::new(source, observers);
        let policy = Policy::new(classify, reporter, means.budget, backoff_by, law, config);
        Ok(RetryLayer { gate: Arc::new(Gate::new(policy)), kit, payer: means.payer })
    }
}

impl<J1, J2, R, K, B> Builder<Classifier<J1, J2>, R, K, B> {
    /// Judges responses, for instance by their status.
    pub fn classify_response<Res, J>(self, judge: J) -> Builder<Classifier<Of<J>, J2>, R, K, B>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with_classify(|classify| classify.with_response(judge))
    }

    /// Judges errors of the innermost service: an [`Error<E>`](crate::Error), or the `E` in it.
    /// Rejections by layers of this crate never get here.
    pub fn classify_error<Err, J>(
        self,
        judge: J,
    ) -> Builder<Classifier<J1, OfError<J, Err>>, R, K, B>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with_classify(|classify| classify.with_error(judge))
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
