//! The layers that stand between callers and the upstream. The rest of this program knows nothing
//! of them: it sees a service whose error is [`Failure`], and the gauges on its live table.
//!
//! ```text
//! caller → deadline → retry → breaker → bulkhead → timeout → HTTP client → upstream
//!                               ▲                                             ▲
//!                               └────────────── health check ─────────────────┘
//! ```
//!
//! The deadline bounds the whole call and travels with it, so that nobody further in waits or tries
//! again for longer than the caller does. Retry is outside the breaker: every attempt is evidence,
//! and an open circuit ends the trying. The bulkhead is inside both: a pause between two attempts
//! holds no place, and "full" is no evidence against the upstream. The timeout is innermost, so
//! that waiting for a place is not taken for a slow upstream. All end when the head of an answer
//! arrives: a body may take as long as it needs.

use std::error::Error as StdError;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::{self, Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall::bulkhead::{BulkheadHandle, BulkheadLayer};
use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer};
use seawall::health::{Criticality, HealthHandle, HealthRegistry, Probe};
use seawall::http::{HttpClassifier, InExtensions};
use seawall::retry::{Backoff, RetryHandle, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Classify, ConfigErrors, Error, Observe, Outcome, State, Status, Verdict};
use tower::{Service, ServiceBuilder};

use crate::body::{self, Outgoing};
use crate::check::{self, Check};

/// Why a call has no answer of the upstream: a layer ended it, or the client failed.
pub(crate) type Failure = Error<legacy::Error>;

/// The body of an answer when it leaves the stack.
pub(crate) type Answer = Incoming;

/// Attempts per call. Four, because half a percent of the callers of an upstream that fails every
/// fourth time should notice, and not one and a half; the budget sees to it that this stays rare.
const ATTEMPTS: u32 = 4;

/// Calls that may wait for a place: enough for the bursts of a good day, and too few to keep a slow
/// upstream busy with callers who are about to give up.
const QUEUE: u32 = 16;

/// What a user decides about the layers.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The name in metrics and messages.
    pub(crate) name: String,
    /// How long a whole call may take, until the head of its answer.
    pub(crate) deadline: Duration,
    /// How long one attempt may take. The layers' small times are fractions of it.
    pub(crate) timeout: Duration,
    /// How many calls may be under way at the upstream at a time.
    pub(crate) limit: u32,
    /// How the upstream is asked whether it is well.
    pub(crate) check: Check,
}

/// What the proxy asks of a stack.
pub(crate) trait Stack:
    Service<Request<Outgoing>, Response = Response<Answer>, Error = Failure, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Stack for S where
    S: Service<Request<Outgoing>, Response = Response<Answer>, Error = Failure, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Puts the layers around a client, on the runtime of the caller. `observer` is told of what they
/// do, and `on_attempt` is called for each attempt that goes to the upstream.
pub(crate) fn build(
    settings: Settings,
    observer: impl Observe + Clone + 'static,
    on_attempt: impl Fn() + Clone + Send + Sync + 'static,
) -> Result<(impl Stack, Gauges), ConfigErrors> {
    let Settings { name, deadline, timeout, limit, check } = settings;
    let name = name.as_str();

    let whole = TimeoutLayer::builder(format!("{name} deadline"))
        .limit(deadline)
        .carry(InExtensions)
        .build()?;
    let retry = RetryLayer::builder(name)
        .attempts(ATTEMPTS)
        .backoff(Backoff::exponential(timeout / 30, timeout / 3))
        .total(Duration::MAX) // the deadline that travels with the call is the bound
        .least_time(timeout / 10)
        .classify(Meaning)
        .copy_with(body::copy)
        .carry(InExtensions)
        .build()?;
    let breaker =
        CircuitBreakerLayer::builder(name).classify(Meaning).observe(observer.clone()).build()?;
    let bulkhead = BulkheadLayer::builder(name)
        .limit(limit)
        .queue(QUEUE)
        .max_wait(timeout / 4) // who is turned away has most of the time left to go elsewhere
        .carry(InExtensions)
        .build()?;
    let attempt = TimeoutLayer::builder(name).limit(timeout).carry(InExtensions).build()?;

    let health = check::start(name, check, observer)?;
    check::steer(&health, &breaker.handle());

    let gauges = Gauges {
        retry: retry.handle(),
        breaker: breaker.handle(),
        bulkhead: bulkhead.handle(),
        health,
    };
    let stack = ServiceBuilder::new()
        .layer(whole)
        .layer(retry)
        .layer(breaker)
        .layer(bulkhead)
        .layer(attempt)
        .map_err(Error::Inner)
        .map_request(move |request| {
            on_attempt();
            request
        })
        .service(client());
    Ok((seawall::check(stack), gauges))
}

fn client() -> Client<HttpConnector, Outgoing> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
}

// ===== impl Gauges =====

/// What is worth seeing of a stack while it works. Keeps its health check going.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    retry: RetryHandle,
    breaker: CircuitBreakerHandle,
    bulkhead: BulkheadHandle,
    health: HealthHandle,
}

/// The gauges at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) breaker: State,
    pub(crate) health: Status,
    /// Calls under way at the upstream, of so many.
    pub(crate) in_flight: u32,
    pub(crate) limit: u32,
    /// Calls that wait for a place.
    pub(crate) queued: u32,
    /// What is left to pay for retries.
    pub(crate) budget: f64,
}

impl Gauges {
    pub(crate) fn read(&self) -> Reading {
        Reading {
            breaker: self.breaker.state(),
            health: self.health.status(),
            in_flight: self.bulkhead.in_flight(),
            limit: self.bulkhead.limit(),
            queued: self.bulkhead.queued(),
            budget: self.retry.budget().map_or(0.0, seawall::retry::Budget::balance),
        }
    }

    /// What the ambassador answers when it is asked how it is: it is of no use while the upstream is
    /// down, and restarting it would not help, so nothing counts for liveness.
    pub(crate) fn registry(&self) -> HealthRegistry {
        let registry = HealthRegistry::new("ambassador");
        registry.add(Probe::Readiness, Criticality::Critical, &self.health);
        registry
    }
}

// ===== impl Meaning =====

/// What an answer, or the lack of one, says about the upstream: as everywhere with HTTP, but whoever
/// can break off an upload must not be able to open the circuit for everyone.
#[derive(Debug, Clone, Copy)]
struct Meaning;

impl Classify<Response<Answer>, Failure> for Meaning {
    fn classify(&self, result: Result<&Response<Answer>, &Failure>) -> Verdict {
        match result {
            Err(Error::Inner(error)) if is_of_the_caller(error) => Outcome::IGNORE.into(),
            result => HttpClassifier.classify(result),
        }
    }
}

/// Whether the client failed for want of the rest of the request's body.
///
/// hyper then names its user as the culprit, and what befell the caller's own connection as the
/// cause, which is an error of hyper's too.
pub(crate) fn is_of_the_caller(error: &legacy::Error) -> bool {
    cause_in_http(error).is_some_and(|client| client.is_user() && cause_in_http(client).is_some())
}

fn cause_in_http(error: &dyn StdError) -> Option<&hyper::Error> {
    error.source()?.downcast_ref()
}
