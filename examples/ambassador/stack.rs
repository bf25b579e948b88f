//! The layers that stand between callers and the upstream. The rest of this program knows nothing
//! of them: it sees a service whose error is [`Failure`], and the gauges on its live table.
//!
//! ```text
//! caller → edge → deadline → retry → breaker → bulkhead → timeout → HTTP client → upstream
//!                                      ▲                                             ▲
//!                                      └────────────── health check ─────────────────┘
//! ```
//!
//! The edge takes out what callers say about deadlines, attempts, idempotency and priority, or
//! believes it within bounds if it was told to.
//! The deadline bounds the whole call and travels with it, so that nobody further in waits or tries
//! again for longer than the caller does. Retry is outside the breaker: every attempt is evidence,
//! and an open circuit ends the trying. The bulkhead is inside both: a pause between two attempts
//! holds no place, and "full" is no evidence against the upstream. The timeout is innermost, so
//! that waiting for a place is not taken for a slow upstream. All end when the head of an answer
//! arrives, and a body may take as long as it needs; but the breaker waits for the trailers of a gRPC
//! answer, which say what came of the call.

use std::time::Duration;

use hyper::header::HeaderName;
use hyper::{Request, Response};
use seawall::bulkhead::{self, BulkheadHandle};
use seawall::circuit_breaker::{CircuitBreakerHandle, State};
use seawall::grpc::{GrpcClassifier, PREVIOUS_ATTEMPTS, StatusInTrailers, at_trailers};
use seawall::health::{Criticality, HealthHandle, HealthRegistry, Probe, Status};
use seawall::http::{
    GuardedBody, Http2Classifier, HttpClassifier, REPLAY_CAP, ReadDeadlineLayer, RecordBodyLayer,
    Replay, TimeoutHeader, UntrustedHeadersLayer,
};
use seawall::retry::{self, Backoff, RetryHandle};
use seawall::{Classification, Classify, ConfigErrors, Error, Observe, Outcome, stack};
use tower::{Service, ServiceBuilder};

use crate::body::Asked;
use crate::check::{self, Check};
use crate::client::{Arrival, Broken, Client, is_grpc};
use crate::outbound::{Copies, InOutbound, Sealer};

/// Why a call has no answer of the upstream: a layer ended it, or the client failed.
pub(crate) type Failure = Error<Broken>;

/// The body of an answer when it leaves the stack.
pub(crate) type Answer = GuardedBody<Arrival, StatusInTrailers>;

/// Attempts per call. Four, because half a percent of the callers of an upstream that fails every
/// fourth time should notice, and not one and a half; the budget sees to it that this stays rare.
const ATTEMPTS: u32 = 4;

/// Calls that may wait for a place, at least; as many as there are places, if these are more: enough for
/// the bursts of a good day, and too few to keep a slow upstream busy with callers who are about to give
/// up.
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
    /// How many calls may be in flight at the upstream at a time.
    pub(crate) limit: u32,
    /// How the upstream is asked whether it is well.
    pub(crate) check: Check,
    pub(crate) manners: Manners,
}

/// How to deal with callers and the upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// Speak HTTP/2 to the upstream, and not only for gRPC.
    pub(crate) http2: bool,
    /// Believe what callers say about their calls.
    pub(crate) trust: bool,
    /// The header in which the upstream is told how many attempts there were before.
    pub(crate) tell_attempts: Option<HeaderName>,
    /// Whether gRPC calls may be repeated.
    pub(crate) repeat_grpc: bool,
}

impl Manners {
    fn edge(&self, deadline: Duration) -> Result<UntrustedHeadersLayer, ConfigErrors> {
        if !self.trust {
            return Ok(UntrustedHeadersLayer::new());
        }
        let attempts = self.tell_attempts.clone().unwrap_or(PREVIOUS_ATTEMPTS);
        let told = ReadDeadlineLayer::new(TimeoutHeader::Grpc).bounds(Duration::ZERO, deadline)?;
        let key = Replay::IDEMPOTENCY_KEY;
        UntrustedHeadersLayer::new().deadline(told).attempts(attempts).key(key).priority(0)
    }
}

/// What the proxy asks of a stack.
pub(crate) trait Stack:
    Service<Request<Asked>, Response = Response<Answer>, Error = Failure, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Stack for S where
    S: Service<Request<Asked>, Response = Response<Answer>, Error = Failure, Future: Send>
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
    let Settings { name, deadline, timeout, limit, check, manners } = settings;
    let name = name.as_str();

    let layers = stack::client(name)
        .deadline(deadline)
        .attempt_timeout(timeout)
        .retry(retry::Config {
            attempts: ATTEMPTS,
            backoff: Backoff::exponential(timeout / 30, timeout / 3),
            max_elapsed: Duration::MAX, // the deadline that travels with the call is the bound
            min_attempt_time: timeout / 10,
            ..retry::Config::default()
        })
        .bulkhead(bulkhead::Config {
            limit,
            queue: QUEUE.max(limit),
            max_wait: timeout / 4, // who is turned away has most of the time left to go elsewhere
            ..bulkhead::Config::default()
        })
        .classify(Meaning)
        .completion(at_trailers())
        .copy_with(Copies)
        .propagate(InOutbound)
        .observe(observer.clone())
        .build()?;

    let sealer = Sealer::new(manners.repeat_grpc, manners.tell_attempts.clone());
    let client = Client::of(&check.upstream, manners.http2, manners.tell_attempts.clone());
    let health = check::start(name, check, observer)?;
    check::steer(&health, &layers.breaker());

    let gauges = Gauges {
        retry: layers.retry(),
        breaker: layers.breaker(),
        bulkhead: layers.bulkhead(),
        health,
    };
    let stack = ServiceBuilder::new()
        .layer(RecordBodyLayer::new(REPLAY_CAP)) // tells the timeouts whether the caller is still sending, too
        .layer(manners.edge(deadline)?)
        .map_request(move |request| sealer.seal(request))
        .layer(layers)
        .map_err(Error::Inner)
        .map_request(move |request| {
            on_attempt();
            request
        })
        .service(client);
    Ok((seawall::check_service(stack), gauges))
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
    /// Calls in flight at the upstream, of so many.
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

/// What an answer, or the lack of one, says about the upstream: as everywhere with gRPC and HTTP, but
/// whoever can break off an upload must not be able to open the circuit for everyone.
#[derive(Debug, Clone, Copy)]
struct Meaning;

impl<B> Classify<Response<B>, Failure> for Meaning {
    fn classify(&self, result: Result<&Response<B>, &Failure>) -> Classification {
        match result {
            Err(Error::Inner(Broken::Caller)) => Outcome::IGNORE.into(),
            Err(Error::Inner(Broken::Connect(_))) => Outcome::TRANSIENT.unsent().into(),
            Ok(response) if is_grpc(response.headers()) => GrpcClassifier.classify(result),
            // Over HTTP/2 the upstream may promise that it did nothing yet.
            result => Http2Classifier(HttpClassifier).classify(result),
        }
    }
}
