//! The contenders.

use std::task::{Context, Poll};
use std::time::Duration;

use seawall::bulkhead::{self, Adaptive, BulkheadLayer};
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::endpoints::Endpoints;
use seawall::hedge::HedgeLayer;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Cloned, RetryLayer};
use seawall::stack::{self, ClientConfig, ClientLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{CallError, Classification, Classifier, Classify, Error, Outcome, Reason};
use tokio::time::timeout;
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::fault::Fault;
use crate::load::End;
use crate::whatif::Settings;
use crate::world::{Failure, Request, Server};

/// How long an attempt may take: the one thing that a stack is told, beside the deadline.
const ATTEMPT: Duration = Duration::from_millis(300);
/// Attempts of the one who retries blindly.
const BLIND_ATTEMPTS: usize = 4;

type CallContext = WithContext<Request>;
/// What the requests of a run go through.
pub(crate) type Client = BoxCloneService<CallContext, (), End>;
/// A server, or a whole stack in front of one that answers as a server would.
type Upstream = BoxCloneService<CallContext, (), Failure>;

/// Who is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Calls, and waits.
    NoPolicy,
    /// A timeout per attempt, and three retries at once whatever happens.
    Blind,
    /// `stack::client`, every setting at its default.
    ReadyMade,
    /// hedge → `stack::client` with an adaptive limit and a short line; no attempt is cancelled.
    ReadyMadeHedged,
    /// deadline → retry → breaker → timeout, every setting at its default.
    Seawall,
    /// The same with a bulkhead between breaker and timeout.
    SeawallBulkhead,
    /// deadline → retry → hedge → breaker → bulkhead with an adaptive limit; no attempt is cancelled.
    SeawallHedged,
    /// Where there are several backends: deadline → retry → the next backend whose circuit is
    /// closed, each with a breaker and a timeout of its own.
    SeawallEach,
    /// The same through a set of endpoints: deadline → retry → endpoints, each with a breaker and a timeout.
    SeawallEndpoints,
}

impl Contender {
    pub(crate) const ALL: [Self; 9] = [
        Self::NoPolicy,
        Self::Blind,
        Self::ReadyMade,
        Self::ReadyMadeHedged,
        Self::Seawall,
        Self::SeawallBulkhead,
        Self::SeawallHedged,
        Self::SeawallEach,
        Self::SeawallEndpoints,
    ];

    /// Whether it can be compared in this fault.
    pub(crate) fn fits(self, fault: Fault) -> bool {
        !matches!(self, Self::SeawallEach | Self::SeawallEndpoints) || fault == Fault::BadBackend
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoPolicy => "no policy",
            Self::Blind => "timeout + 3 retries",
            Self::ReadyMade => "stack::client",
            Self::ReadyMadeHedged => "hedge, stack::client, adaptive limit",
            Self::Seawall => "seawall",
            Self::SeawallBulkhead => "seawall + bulkhead",
            Self::SeawallHedged => "seawall + hedge, adaptive limit",
            Self::SeawallEach => "seawall, a breaker for each",
            Self::SeawallEndpoints => "seawall, endpoints",
        }
    }

    pub(crate) const fn is_ours(self) -> bool {
        !matches!(self, Self::NoPolicy | Self::Blind)
    }

    /// The client of these servers; or of a chain of `hops` services of which each is a client of
    /// the next, the lowest one of these servers.
    pub(crate) fn client(self, servers: Vec<Server>, hops: usize, seed: u64) -> Client {
        match self {
            Self::SeawallEach => return one_for_each(servers, seed),
            Self::SeawallEndpoints => return endpoints(servers, seed),
            _ => {}
        }
        let mut upstream = BoxCloneService::new(InTurn::new(servers));
        for hop in 1..hops {
            let client = self.around(upstream, seed + hop as u64);
            upstream = BoxCloneService::new(client.map_err(|_| Failure::Failed));
        }
        self.around(upstream, seed)
    }

    fn around(self, upstream: Upstream, seed: u64) -> Client {
        match self {
            Self::NoPolicy => BoxCloneService::new(upstream.map_err(|_| End::Failed)),
            Self::Blind => {
                BoxCloneService::new(service_fn(move |call| blind(upstream.clone(), call)))
            }
            Self::ReadyMade => {
                let stack = ready_made(&Settings::get().client);
                BoxCloneService::new(
                    ServiceBuilder::new()
                        .map_err(|error: Error<Failure>| end_of(&error))
                        .layer(stack)
                        .map_err(Error::Inner)
                        .service(upstream),
                )
            }
            Self::ReadyMadeHedged => {
                let mut config = Settings::get().client.clone();
                config.attempt_timeout = Duration::MAX;
                config.bulkhead.max_wait = Duration::from_millis(50);
                config.bulkhead.adaptive.get_or_insert_default();
                let stack = ready_made(&config);
                let places = stack.bulkhead();
                let hedge = HedgeLayer::builder("storm")
                    .only_if(move || places.in_flight() * 2 < places.limit())
                    .classify(Judge)
                    .cloned();
                BoxCloneService::new(
                    ServiceBuilder::new()
                        .map_err(|error: Error<Failure>| end_of(&error))
                        .layer(hedge.build().expect("valid settings"))
                        .layer(stack)
                        .map_err(Error::Inner)
                        .service(upstream),
                )
            }
            Self::Seawall | Self::SeawallEach | Self::SeawallEndpoints => {
                let stack = ServiceBuilder::new()
                    .layer(breaker(seed))
                    .layer(TimeoutLayer::new("attempt", Settings::get().attempt))
                    .map_err(Error::Inner)
                    .service(upstream);
                BoxCloneService::new(outside(stack))
            }
            Self::SeawallBulkhead => {
                let bulkhead = Settings::get().bulkhead.clone();
                let bulkhead = BulkheadLayer::from_config("storm", bulkhead);
                let stack = ServiceBuilder::new()
                    .layer(breaker(seed))
                    .layer(bulkhead.expect("valid settings"))
                    .layer(TimeoutLayer::new("attempt", Settings::get().attempt))
                    .map_err(Error::Inner)
                    .service(upstream);
                BoxCloneService::new(outside(stack))
            }
            Self::SeawallHedged => {
                let bulkhead = Settings::get().bulkhead.clone();
                let bulkhead = bulkhead::Config { adaptive: Some(Adaptive::default()), ..bulkhead };
                let bulkhead =
                    BulkheadLayer::from_config("storm", bulkhead).expect("valid settings");
                let places = bulkhead.handle();
                let hedge = HedgeLayer::builder("storm")
                    .only_if(move || places.in_flight() * 2 < places.limit())
                    .classify(Judge)
                    .cloned();
                let stack = ServiceBuilder::new()
                    .layer(hedge.build().expect("valid settings"))
                    .layer(breaker(seed))
                    .layer(bulkhead)
                    .map_err(Error::Inner)
                    .service(upstream);
                BoxCloneService::new(outside(stack))
            }
        }
    }
}

/// Several backends: each has a breaker and a timeout of its own, and one whose circuit is open is
/// passed over.
fn one_for_each(servers: Vec<Server>, seed: u64) -> Client {
    let guarded = servers.into_iter().zip(seed..).map(|(server, seed)| {
        ServiceBuilder::new()
            .layer(breaker(seed).backpressure())
            .layer(TimeoutLayer::new("attempt", Settings::get().attempt))
            .map_err(Error::Inner)
            .service(server)
    });
    BoxCloneService::new(outside(InTurn::new(guarded.collect())))
}

/// Several backends as a set of endpoints, each with a breaker and a timeout of its own.
fn endpoints(servers: Vec<Server>, seed: u64) -> Client {
    let names = (0..servers.len()).map(|nth| format!("{nth}"));
    let servers = std::sync::Mutex::new(servers);
    let set = Endpoints::builder("storm")
        .members(names)
        .classify(Judge)
        .propagate(FromWithContext)
        .seed(seed)
        .over(move |endpoint| {
            let nth: usize = endpoint.name().parse()?;
            let server = crate::world::lock(&servers)[nth].clone();
            let stack = ServiceBuilder::new()
                .layer(breaker(seed + nth as u64))
                .layer(TimeoutLayer::new("attempt", Settings::get().attempt))
                .map_err(Error::Inner)
                .service(server);
            Ok(BoxCloneSyncService::new(stack))
        });
    BoxCloneService::new(outside(set.expect("valid settings")))
}

/// What is the same for all of ours: the caller's deadline, and inside it the retries.
fn outside<S>(
    stack: S,
) -> impl Service<CallContext, Response = (), Error = End, Future: Send> + Clone + Send + 'static
where
    S: Service<CallContext, Response = (), Error = Error<Failure>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let deadline =
        TimeoutLayer::builder("deadline").limit(Duration::MAX).propagate(FromWithContext).build();
    let retry = RetryLayer::builder("storm")
        .config(Settings::get().retry.clone())
        .budget(Settings::get().budget.build().expect("a valid budget"))
        .classify(Judge)
        .propagate(FromWithContext)
        .cloned()
        .build();
    ServiceBuilder::new()
        .map_err(|error: Error<Failure>| end_of(&error))
        .layer(deadline.expect("every limit is valid"))
        .layer(retry.expect("valid settings"))
        .service(stack)
}

fn ready_made(config: &ClientConfig) -> ClientLayer<Judge, Cloned, FromWithContext> {
    stack::client("storm")
        .config(config.clone())
        .classify(Judge)
        .propagate(FromWithContext)
        .cloned()
        .build()
        .expect("valid settings")
}

fn breaker(seed: u64) -> CircuitBreakerLayer<Judge> {
    CircuitBreakerLayer::builder("storm")
        .config(Settings::get().breaker.clone())
        .seed(seed)
        .classify(Judge)
        .build()
        .expect("valid settings")
}

/// Reads a `Retry-After` as a client of HTTP would read `Retry-After`; everything else as by default.
#[derive(Debug, Clone, Copy)]
struct Judge;

impl Classify<(), Error<Failure>> for Judge {
    fn classify(&self, result: Result<&(), &Error<Failure>>) -> Classification {
        match result {
            Err(Error::Inner(Failure::Busy(after))) => Outcome::PUSHBACK.after(*after).into(),
            other => <Classifier>::default().classify(other),
        }
    }
}

fn end_of(error: &Error<Failure>) -> End {
    match error.rejected().map(seawall::Rejected::reason) {
        None | Some(Reason::TimedOut | Reason::DeadlineExceeded) => End::Failed,
        Some(_) => End::Rejected,
    }
}

async fn blind(upstream: Upstream, call: CallContext) -> Result<(), End> {
    for _ in 0..BLIND_ATTEMPTS {
        if let Ok(Ok(())) = timeout(ATTEMPT, upstream.clone().oneshot(call.clone())).await {
            return Ok(());
        }
    }
    Err(End::Failed)
}

// ===== impl InTurn =====

/// Several services as one: takes them in turn, and passes over those that are not ready.
struct InTurn<S> {
    services: Vec<S>,
    turn: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    chosen: Option<usize>,
}

impl<S> InTurn<S> {
    fn new(services: Vec<S>) -> Self {
        Self { services, turn: std::sync::Arc::default(), chosen: None }
    }
}

impl<S: Clone> Clone for InTurn<S> {
    fn clone(&self) -> Self {
        let turn = std::sync::Arc::clone(&self.turn);
        Self { services: self.services.clone(), turn, chosen: None }
    }
}

impl<S: Service<CallContext>> Service<CallContext> for InTurn<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let first = self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let count = self.services.len();
        for nth in (first..first + count).map(|nth| nth % count) {
            if self.services[nth].poll_ready(cx)?.is_ready() {
                self.chosen = Some(nth);
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    fn call(&mut self, call: CallContext) -> S::Future {
        let chosen = self.chosen.take().expect("a service is called after it was ready");
        self.services[chosen].call(call)
    }
}
