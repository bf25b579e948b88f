//! The stack around a client.

use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use super::config::ClientConfig;
use super::handle::ClientHandle;
use crate::bulkhead::{self, Bulkhead, BulkheadHandle, BulkheadLayer};
use crate::circuit_breaker::{self, CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer};
use crate::classify::{Classifier, Classify, Of, OfError, OfResult, Verdict};
use crate::config::{ConfigErrors, Written};
use crate::error::CallError;
use crate::event::{Event, Observe, Observers};
use crate::finish::{AtHead, Finish};
use crate::outcome::Outcome;
use crate::request::{Cloned, NoCarry};
use crate::retry::{
    self, Budget, Chosen, CopyBy, CopyIsChosen, Retry, RetryHandle, RetryLayer, Unsaid,
};
use crate::shell::again::Again;
use crate::shell::live::Live;
use crate::source::Source;
use crate::timeout::{Fixed, Timeout, TimeoutLayer};

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
        observers: Observers::default(),
    }
}

/// Builds a [`ClientLayer`]; see [`client`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct ClientBuilder<C = Classifier, R = Unsaid, K = NoCarry, F = AtHead, H = AtHead> {
    name: Arc<str>,
    config: ClientConfig,
    written: Written,
    /// One that others may draw on too.
    budget: Option<Budget>,
    classify: C,
    copy: R,
    carry: K,
    finish: F,
    hold: H,
    observers: Observers,
}

impl<C, R, K, F, H> ClientBuilder<C, R, K, F, H> {
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
    /// stack say of a budget, until they are [reloaded](ClientHandle::reload).
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
    pub fn carry<K2>(self, carry: K2) -> ClientBuilder<C, R, K2, F, H> {
        self.with(|classify, copy, _| (classify, copy, carry))
    }

    /// Says when the breaker judges an attempt: when its answer [arrives](AtHead), by default. A retry,
    /// and both timeouts, look at heads alone.
    pub fn finish<F2>(self, finish: F2) -> ClientBuilder<C, R, K, F2, H> {
        self.with_all(|classify, copy, carry, _, hold| (classify, copy, carry, finish, hold))
    }

    /// Says how long an attempt holds its place in the bulkhead: until its answer [arrives](AtHead), by
    /// default. Streams that go on for hours would leave no place for others if they held theirs to
    /// the end.
    pub fn hold<H2>(self, hold: H2) -> ClientBuilder<C, R, K, F, H2> {
        self.with_all(|classify, copy, carry, finish, _| (classify, copy, carry, finish, hold))
    }

    /// Tells `observer` of the events of every layer. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// Classifies with a [`Classify`](crate::Classify) of your own, the same for retry and breaker.
    pub fn classify<C2>(self, classify: C2) -> ClientBuilder<C2, R, K, F, H> {
        self.with(|_, copy, carry| (classify, copy, carry))
    }

    /// Judges whole results with one closure, responses and the errors of the innermost service; the
    /// same for retry and breaker. Rejections by layers of this crate never get here.
    pub fn classify_result<Res, Err, V, J>(
        self,
        judge: J,
    ) -> ClientBuilder<OfResult<J, Res, Err>, R, K, F, H>
    where
        J: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classify(OfResult::new(judge))
    }

    /// Copies requests through their `Clone`. Only you can know that repeating them is safe.
    pub fn cloned(self) -> ClientBuilder<C, Chosen<Cloned>, K, F, H> {
        self.copy_with(Cloned)
    }

    /// Copies requests with a closure; one for which it returns `None` is not repeated.
    pub fn copy<Req, J>(self, copy: J) -> ClientBuilder<C, Chosen<CopyBy<J>>, K, F, H>
    where
        J: Fn(&Req) -> Option<Req>,
    {
        self.copy_with(CopyBy::new(copy))
    }

    /// Copies requests with a [`CloneRequest`](crate::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> ClientBuilder<C, Chosen<R2>, K, F, H> {
        self.with(|classify, _, carry| (classify, Chosen::new(copy), carry))
    }

    fn with<C2, R2, K2>(
        self,
        change: impl FnOnce(C, R, K) -> (C2, R2, K2),
    ) -> ClientBuilder<C2, R2, K2, F, H> {
        self.with_all(|classify, copy, carry, finish, hold| {
            let (classify, copy, carry) = change(classify, copy, carry);
            (classify, copy, carry, finish, hold)
        })
    }

    fn with_all<C2, R2, K2, F2, H2>(
        self,
        change: impl FnOnce(C, R, K, F, H) -> (C2, R2, K2, F2, H2),
    ) -> ClientBuilder<C2, R2, K2, F2, H2> {
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
            observers: self.observers,
        }
    }
}

impl<J1, J2, R, K, F, H> ClientBuilder<Classifier<J1, J2>, R, K, F, H> {
    /// Judges responses, for instance by their status; the same for retry and breaker.
    pub fn classify_response<Res, J>(
        self,
        judge: J,
    ) -> ClientBuilder<Classifier<Of<J>, J2>, R, K, F, H>
    where
        J: Fn(&Res) -> Outcome,
    {
        self.with(|classify, copy, carry| (classify.with_response(judge), copy, carry))
    }

    /// Judges errors of the innermost service, an [`Error<E>`](crate::Error) or the `E` in it; the
    /// same for retry and breaker. Rejections by layers of this crate never get here.
    pub fn classify_error<Err, J>(
        self,
        judge: J,
    ) -> ClientBuilder<Classifier<J1, OfError<J, Err>>, R, K, F, H>
    where
        J: Fn(&Err) -> Outcome,
    {
        self.with(|classify, copy, carry| (classify.with_error(judge), copy, carry))
    }
}

impl<C: Clone, R: CopyIsChosen, K: Clone, F, H> ClientBuilder<C, R, K, F, H> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings of any layer, each by its
    /// [path](crate::ConfigError::path); an attempt timeout that is not shorter than the deadline, so
    /// that no second attempt could ever follow one that hangs.
    pub fn build(self) -> Result<ClientLayer<C, R::Strategy, K, F, H>, ConfigErrors> {
        let source = Source::new("client", Arc::clone(&self.name));
        self.make(&source).map_err(|wrong| wrong.of_policy(&source))
    }

    fn make(self, source: &Source) -> Result<ClientLayer<C, R::Strategy, K, F, H>, ConfigErrors> {
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
            budget,
            written: Arc::new(Live::new(written)),
            source: source.clone(),
        })
    }
}

/// The recommended stack around a client; see [`client`].
///
/// All services that it and its clones make share one state.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ClientLayer<C, R, K, F = AtHead, H = AtHead> {
    whole: TimeoutLayer<Fixed, K>,
    retry: RetryLayer<C, Chosen<R>, K>,
    breaker: CircuitBreakerLayer<C, F, K>,
    bulkhead: BulkheadLayer<H, K>,
    attempt: TimeoutLayer<Fixed, K>,
    budget: Budget,
    written: Arc<Live<ClientConfig>>,
    source: Source,
}

/// The service that a [`ClientLayer`] makes of another.
pub type Client<S, C, R, K, F = AtHead, H = AtHead> = Timeout<
    Retry<CircuitBreaker<Bulkhead<Timeout<S, Fixed, K>, H, K>, C, F, K>, C, R, K>,
    Fixed,
    K,
>;

impl<C: Send + Sync + 'static, R, K, F, H> ClientLayer<C, R, K, F, H> {
    /// Sees and steers the whole stack: reads and reloads [all its settings](ClientConfig).
    pub fn handle(&self) -> ClientHandle {
        ClientHandle {
            source: self.source.clone(),
            written: Arc::clone(&self.written),
            whole: self.whole.handle(),
            retry: self.retry.handle(),
            budget: self.budget.clone(),
            breaker: self.breaker.handle(),
            bulkhead: self.bulkhead.handle(),
            attempt: self.attempt.handle(),
        }
    }

    /// Sees and steers the retry.
    pub fn retry(&self) -> RetryHandle {
        self.retry.handle()
    }

    /// Sees and steers the circuit breaker.
    pub fn breaker(&self) -> CircuitBreakerHandle {
        self.breaker.handle()
    }

    /// Sees and steers the bulkhead.
    pub fn bulkhead(&self) -> BulkheadHandle {
        self.bulkhead.handle()
    }

    /// The calls that are under way.
    pub fn in_flight(&self) -> usize {
        self.whole.in_flight()
    }

    /// Runs an async call through the whole stack, for callers without a service: retried, guarded and
    /// timed like a request.
    ///
    /// The closure is called for each attempt. What the stack was told of copying requests and of what
    /// travels with them does not matter here. Dropping the future drops the attempt that is under way,
    /// and no other follows.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::{Error, stack};
    /// use std::io;
    ///
    /// # async fn query(_: &str, nth: u32) -> io::Result<u32> { if nth < 2 { Err(io::Error::other("reset")) } else { Ok(7) } }
    /// let database = stack::client("orders-db").cloned().build()?;
    /// let mut attempts = 0;
    /// let orders = database
    ///     .run(|| {
    ///         attempts += 1;
    ///         let asked = query("SELECT count(*) FROM orders", attempts);
    ///         async { asked.await.map_err(Error::Inner) }
    ///     })
    ///     .await?;
    /// assert_eq!((orders, attempts), (7, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Call, Fut, T, E>(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<F::Response, E>> + use<Call, Fut, T, E, C, R, K, F, H>
    where
        Call: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<F::Response, E> + Classify<H::Response, E>,
        R: Clone,
        K: Clone,
        H: Finish<T> + Clone,
        F: Finish<H::Response> + Clone + Send + Sync + 'static,
    {
        let call = Again::new(call);
        let Self { retry, breaker, bulkhead, attempt, .. } = self;
        let (breaker, bulkhead, attempt) = (breaker.clone(), bulkhead.clone(), attempt.clone());
        let guarded = move || {
            let (bulkhead, attempt, call) = (bulkhead.clone(), attempt.clone(), call.clone());
            breaker.run(move || bulkhead.run(move || attempt.run(move || call.call())))
        };
        let retry = retry.clone();
        self.whole.run(move || retry.run(guarded))
    }

    /// Takes no further calls, ends all waits that have no attempt under way (between two attempts,
    /// for a place, for the client to be ready), and returns when the attempts under way are over: no
    /// call makes another. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The refusing goes on if the future of
    /// this is dropped.
    pub async fn drain(&self) {
        self.whole.stop();
        self.retry.stop();
        self.breaker.stop();
        self.bulkhead.stop();
        self.attempt.stop();
        self.whole.drain().await;
    }

    /// Takes no further calls, and returns when those under way are over, with all the waits and
    /// attempts they would have made anyway. [`drain`](Self::drain) still ends these.
    pub async fn drain_to_completion(&self) {
        self.whole.drain_to_completion().await;
    }
}

impl<S, C, R: Clone, K: Clone, F: Clone, H: Clone> Layer<S> for ClientLayer<C, R, K, F, H> {
    type Service = Client<S, C, R, K, F, H>;

    fn layer(&self, inner: S) -> Self::Service {
        let attempt = self.bulkhead.layer(self.attempt.layer(inner));
        self.whole.layer(self.retry.layer(self.breaker.layer(attempt)))
    }
}
