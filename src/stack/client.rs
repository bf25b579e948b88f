//! The stack around a client.

use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use crate::bulkhead::{self, Bulkhead, BulkheadHandle, BulkheadLayer};
use crate::circuit_breaker::{self, CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer};
use crate::classify::{Classifier, Of, OfError, OfResult, Verdict};
use crate::config::{ConfigError, ConfigErrors, Side, Written, agree_strictly};
use crate::event::{Event, Observe, Observers};
use crate::finish::AtHead;
use crate::outcome::Outcome;
use crate::request::{Cloned, NoCarry};
use crate::retry::{
    self, Budget, Chosen, CopyBy, CopyIsChosen, Retry, RetryHandle, RetryLayer, Unsaid,
};
use crate::source::Source;
use crate::timeout::{Fixed, Timeout, TimeoutLayer};

/// Default of [`ClientBuilder::deadline`].
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Default of [`ClientBuilder::attempt_timeout`].
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Default of the attempts in all. More than a retry makes by itself: here a breaker, a budget and a
/// deadline bound what they may cost.
pub const ATTEMPTS: u32 = 5;

/// Starts to build the stack around a client. The name labels all its layers.
pub fn client(name: impl Into<Arc<str>>) -> ClientBuilder {
    ClientBuilder {
        name: name.into(),
        deadline: DEADLINE,
        written: Written::default(),
        attempt_timeout: ATTEMPT_TIMEOUT,
        retry: retry::Config { attempts: ATTEMPTS, ..retry::Config::default() },
        breaker: circuit_breaker::Config::default(),
        bulkhead: bulkhead::Config::default(),
        budget: Budget::default(),
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
    deadline: Duration,
    written: Written,
    attempt_timeout: Duration,
    retry: retry::Config,
    breaker: circuit_breaker::Config,
    bulkhead: bulkhead::Config,
    budget: Budget,
    classify: C,
    copy: R,
    carry: K,
    finish: F,
    hold: H,
    observers: Observers,
}

impl<C, R, K, F, H> ClientBuilder<C, R, K, F, H> {
    /// How long a call may take, the waits between attempts and all attempts included. Waiting in
    /// `poll_ready` is not part of the call.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self.written.add("deadline");
        self
    }

    /// How long one attempt may take.
    pub fn attempt_timeout(mut self, attempt_timeout: Duration) -> Self {
        self.attempt_timeout = attempt_timeout;
        self.written.add("attempt_timeout");
        self
    }

    /// Sets the settings of the retry. Its total is cut to the deadline.
    pub fn retry(mut self, config: retry::Config) -> Self {
        self.retry = config;
        self
    }

    /// Sets the settings of the circuit breaker.
    pub fn breaker(mut self, config: circuit_breaker::Config) -> Self {
        self.breaker = config;
        self
    }

    /// Sets the settings of the bulkhead.
    pub fn bulkhead(mut self, config: bulkhead::Config) -> Self {
        self.bulkhead = config;
        self
    }

    /// Draws on this budget, which others may share.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
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
            deadline: self.deadline,
            written: self.written,
            attempt_timeout: self.attempt_timeout,
            retry: self.retry,
            breaker: self.breaker,
            bulkhead: self.bulkhead,
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
    /// Everything that is wrong with the settings of any layer; an attempt timeout that is not shorter
    /// than the deadline, so that no second attempt could ever follow one that hangs.
    pub fn build(mut self) -> Result<ClientLayer<C, R::Strategy, K, F, H>, ConfigErrors> {
        let mut problems = Vec::new();
        let attempt = Side::new(self.attempt_timeout, ATTEMPT_TIMEOUT)
            .or_written(self.written.has("attempt_timeout"));
        let whole = Side::new(self.deadline, DEADLINE).or_written(self.written.has("deadline"));
        match agree_strictly(attempt, whole) {
            Some(agreed) => (self.attempt_timeout, self.deadline) = agreed,
            None => {
                let accepted = format!("less than deadline = {:?}", self.deadline);
                problems.push(ConfigError::new("attempt_timeout", self.attempt_timeout, accepted));
            }
        }
        self.retry.total = self.retry.total.min(self.deadline);
        let name = || Arc::clone(&self.name);
        let retry = RetryLayer::builder(name())
            .config(self.retry)
            .budget(self.budget)
            .classify(self.classify.clone())
            .carry(self.carry.clone())
            .copy_with(self.copy.strategy());
        let breaker = CircuitBreakerLayer::builder(name())
            .config(self.breaker)
            .classify(self.classify)
            .carry(self.carry.clone())
            .finish(self.finish);
        let bulkhead = BulkheadLayer::builder(name())
            .config(self.bulkhead)
            .carry(self.carry.clone())
            .finish(self.hold);
        // The metrics of the two timeouts must not run into one.
        let whole = TimeoutLayer::builder(format!("{} deadline", self.name))
            .limit(self.deadline)
            .carry(self.carry.clone())
            .of_whole_call();
        let attempt = TimeoutLayer::builder(name())
            .limit(self.attempt_timeout)
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
        let (retry, breaker, bulkhead) = (build!(retry), build!(breaker), build!(bulkhead));
        let (whole, attempt) = (build!(whole), build!(attempt));
        match (retry, breaker, bulkhead, whole, attempt) {
            (Ok(retry), Ok(breaker), Ok(bulkhead), Ok(whole), Ok(attempt))
                if problems.is_empty() =>
            {
                Ok(ClientLayer { whole, retry, breaker, bulkhead, attempt })
            }
            (retry, breaker, bulkhead, whole, attempt) => {
                let within = |outer: &'static str, wrong: Option<ConfigErrors>| {
                    wrong.into_iter().flat_map(move |wrong| wrong.within(outer).into_problems())
                };
                problems.extend(within("retry", retry.err()));
                problems.extend(within("breaker", breaker.err()));
                problems.extend(within("bulkhead", bulkhead.err()));
                problems.extend(within("deadline", whole.err()));
                problems.extend(within("attempt_timeout", attempt.err()));
                Err(ConfigErrors::of(problems).of_policy(&Source::new("client", self.name)))
            }
        }
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
}

/// The service that a [`ClientLayer`] makes of another.
pub type Client<S, C, R, K, F = AtHead, H = AtHead> = Timeout<
    Retry<CircuitBreaker<Bulkhead<Timeout<S, Fixed, K>, H, K>, C, F, K>, C, R, K>,
    Fixed,
    K,
>;

impl<C: Send + Sync + 'static, R, K, F, H> ClientLayer<C, R, K, F, H> {
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

    /// Takes no further calls, and returns when those under way are over. There is no way back.
    pub async fn drain(&self) {
        self.whole.drain().await;
    }
}

impl<S, C, R: Clone, K: Clone, F: Clone, H: Clone> Layer<S> for ClientLayer<C, R, K, F, H> {
    type Service = Client<S, C, R, K, F, H>;

    fn layer(&self, inner: S) -> Self::Service {
        let attempt = self.bulkhead.layer(self.attempt.layer(inner));
        self.whole.layer(self.retry.layer(self.breaker.layer(attempt)))
    }
}
