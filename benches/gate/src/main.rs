//! Makes calls through one layer or stack, for callgrind to count; see `run`.
//!
//! Alone it lists the cases; `seawall-gate CASE` makes its calls.

use std::borrow::Cow;
use std::future::{Pending, Ready, pending, poll_fn, ready};
use std::hint::black_box;
use std::mem::{forget, replace};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::bulkhead::{self, BulkheadLayer};
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::fallback::FallbackLayer;
use seawall::fence::{self, FenceLayer, InRequest};
use seawall::hedge::HedgeLayer;
use seawall::endpoints::Endpoints;
use seawall::health::HealthLayer;
use seawall::leader::{Candidate, LeaderLayer, MemoryStore};
use seawall::propagate::{FromWithContext, WithContext};
use seawall::rate_limit::RateLimitLayer;
use seawall::retry::RetryLayer;
use seawall::shards::{Key, Map, Shards};
use seawall::timeout::TimeoutLayer;
use seawall::{Deadline, Epoch, Error, stack};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// Calls that are counted; `run` divides by it.
const CALLS: u64 = 1_000;
/// Calls before them, so that nothing is made for the first time among them.
const WARM_UP: u64 = 200;
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be built");
    let _entered = runtime.enter();
    let wanted = std::env::args().nth(1);
    let mut cases = Cases { wanted, found: false };
    all(&mut cases);
    assert!(cases.found || cases.wanted.is_none(), "no such case: {:?}", cases.wanted);
}

fn all(cases: &mut Cases) {
    let timeout = || TimeoutLayer::new("gate", LIMIT);
    cases.answers("timeout", || timeout().layer(service_fn(echo)));
    cases.answers("timeout, pending once", || timeout().layer(service_fn(echo_later)));

    let retry = || RetryLayer::new("gate").cloned();
    cases.answers("retry", || retry().layer(service_fn(echo)));
    cases.answers("retry, pending once", || retry().layer(service_fn(echo_later)));

    let breaker = || CircuitBreakerLayer::new("gate");
    cases.answers("breaker", || breaker().layer(service_fn(echo)));
    cases.answers("breaker, pending once", || breaker().layer(service_fn(echo_later)));
    cases.answers("breaker, cloned per call", || Cloned(breaker().layer(service_fn(echo))));
    cases.answers("breaker of a key", keyed);
    cases.rejects("breaker, open", tripped);

    let bulkhead = || BulkheadLayer::new("gate");
    cases.answers("bulkhead", || bulkhead().layer(service_fn(echo)));
    cases.answers("bulkhead, pending once", || bulkhead().layer(service_fn(echo_later)));
    cases.answers("bulkhead of a key", || {
        let keyed = BulkheadLayer::builder("gate").keyed(|_: &u64| Cow::Borrowed("acme"));
        keyed.build().expect("it is valid").layer(service_fn(echo))
    });
    cases.rejects("bulkhead, full", filled);

    let limit =
        |limit| RateLimitLayer::new("gate", limit, Duration::from_secs(1)).expect("it is valid");
    cases.answers("rate limit", || limit(1_000_000).layer(service_fn(echo)));
    cases.answers("rate limit, pending once", || limit(1_000_000).layer(service_fn(echo_later)));
    cases.rejects("rate limit, too early", || {
        let mut service = limit(1).layer(service_fn(hung));
        let mut first = Box::pin(service.call(0));
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        service
    });

    let fallback = || FallbackLayer::new("gate", 0);
    cases.answers("timeout, with a deadline", || {
        let timeout = TimeoutLayer::builder("gate").propagate(FromWithContext);
        carrying(timeout.build().expect("it is valid").layer(service_fn(echo_carried)))
    });
    cases.answers("breaker, with a deadline", || {
        let breaker = CircuitBreakerLayer::builder("gate").propagate(FromWithContext);
        carrying(breaker.build().expect("it is valid").layer(service_fn(echo_carried)))
    });
    cases.answers("four layers", || {
        let layers = ServiceBuilder::new().layer(retry()).layer(breaker()).layer(bulkhead());
        layers.layer(timeout()).service(service_fn(|request| echo(request)))
    });
    cases.answers("four layers, with a deadline", || {
        let retry = RetryLayer::builder("gate").cloned().propagate(FromWithContext);
        let breaker = CircuitBreakerLayer::builder("gate").propagate(FromWithContext);
        let bulkhead = BulkheadLayer::builder("gate").propagate(FromWithContext);
        let timeout = TimeoutLayer::builder("gate").propagate(FromWithContext);
        let layers = ServiceBuilder::new()
            .layer(retry.build().expect("it is valid"))
            .layer(breaker.build().expect("it is valid"))
            .layer(bulkhead.build().expect("it is valid"))
            .layer(timeout.build().expect("it is valid"));
        carrying(layers.service(service_fn(echo_carried)))
    });

    let hedge = || HedgeLayer::builder("gate").cloned().build().expect("it is valid");
    cases.answers("hedge, not hedged", || hedge().layer(service_fn(echo)));
    cases.answers("hedge, pending once", || hedge().layer(service_fn(echo_later)));
    cases.answers("fallback, unused", || fallback().layer(service_fn(echo)));
    cases.rejects("fallback", || fallback().layer(service_fn(fail)));

    let health = || HealthLayer::new("gate");
    cases.answers("health", || health().layer(service_fn(echo)));
    cases.answers("health, pending once", || health().layer(service_fn(echo_later)));
    cases.rejects("health, down", down);

    cases.answers("leader", || led(true).layer(service_fn(echo)));
    cases.rejects("leader, not leading", || led(false).layer(service_fn(echo)));
    cases.answers("fence", || fence(7).layer(service_fn(echo)));
    cases.rejects("fence, an epoch that is over", || fence(6).layer(service_fn(echo)));

    cases.answers("endpoints, 10", endpoints);
    cases.answers("endpoints, 10, cloned per call", || Cloned(endpoints()));
    cases.answers("shards, 100", shards);
    cases.answers("shards, 100, cloned per call", || Cloned(shards()));

    let client = || stack::client("gate").cloned().build().expect("it is valid");
    cases.answers("client stack", || client().layer(service_fn(echo)));
    cases.answers("client stack, pending once", || client().layer(service_fn(echo_later)));
    cases.answers("client stack of keys", || {
        let keyed = stack::client("gate").keyed(|_: &u64| Cow::Borrowed("a.example:443"));
        keyed.cloned().build().expect("it is valid").layer(service_fn(echo))
    });
    cases.answers("client stack, with a deadline", || {
        let client = stack::client("gate").cloned().propagate(FromWithContext);
        carrying(client.build().expect("it is valid").layer(service_fn(echo_carried)))
    });
    cases.rejects("client stack, full", || {
        // Without the queue that a stack has by default: whoever waits is not rejected yet.
        let config = bulkhead::Config { queue: 0, ..bulkhead::Config::default() };
        let layer = stack::client("gate").bulkhead(config).cloned().build().expect("it is valid");
        let mut service = layer.layer(service_fn(hung));
        fill(&mut service);
        service
    });
}

// ===== cases =====

struct Cases {
    /// `None`: they are only listed.
    wanted: Option<String>,
    found: bool,
}

impl Cases {
    fn answers<S: Service<u64, Response = u64>>(&mut self, name: &str, make: impl Fn() -> S) {
        // Each request is answered with the number after it.
        self.case(name, make, |calls| calls * (calls + 1) / 2);
    }

    fn rejects<S: Service<u64, Response = u64>>(&mut self, name: &str, make: impl Fn() -> S) {
        self.case(name, make, |_| 0);
    }

    fn case<S: Service<u64, Response = u64>>(
        &mut self,
        name: &str,
        make: impl Fn() -> S,
        sum: impl Fn(u64) -> u64,
    ) {
        match &self.wanted {
            None => println!("{name}"),
            Some(wanted) if wanted == name => {
                self.found = true;
                let mut service = make();
                assert_eq!(counted(&mut service, WARM_UP), sum(WARM_UP), "the work was done");
                assert_eq!(measurement(&mut service), sum(CALLS), "the work was done");
            }
            Some(_) => {}
        }
    }
}

/// callgrind counts in here, and nowhere else.
#[inline(never)]
fn measurement<S: Service<u64, Response = u64>>(service: &mut S) -> u64 {
    counted(service, CALLS)
}

fn counted<S: Service<u64, Response = u64>>(service: &mut S, calls: u64) -> u64 {
    (0..calls).map(|request| call(service, request)).sum()
}

/// The answer; zero if it was rejected.
fn call<S: Service<u64, Response = u64>>(service: &mut S, request: u64) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready(), "always ready");
    let mut future = pin!(service.call(black_box(request)));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(answer) => return answer.unwrap_or(0),
            Poll::Pending => {}
        }
    }
}

// ===== services =====

#[derive(Debug)]
struct Broken;

type Fail = Error<Broken>;

fn echo(request: u64) -> Ready<Result<u64, Fail>> {
    ready(Ok(request + 1))
}

async fn echo_later(request: u64) -> Result<u64, Fail> {
    let mut asked = false;
    poll_fn(|_| if replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    Ok(request + 1)
}

fn echo_carried(request: WithContext<u64>) -> Ready<Result<u64, Fail>> {
    echo(request.request)
}

/// Calls that bring the deadline of their caller.
fn carrying<S>(inner: S) -> impl Service<u64, Response = u64>
where
    S: Service<WithContext<u64>, Response = u64>,
{
    let deadline = Deadline::after(Duration::from_secs(3_600));
    inner.map_request(move |request| WithContext::new(request, deadline))
}

fn fail(_: u64) -> Ready<Result<u64, Fail>> {
    ready(Err(Error::Inner(Broken)))
}

fn hung(_: u64) -> Pending<Result<u64, Fail>> {
    pending()
}

/// Called through a clone for each call, as servers do it.
struct Cloned<S>(S);

impl<S: Service<u64> + Clone> Service<u64> for Cloned<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> S::Future {
        let mut clone = self.0.clone();
        assert!(clone.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        clone.call(request)
    }
}

fn keyed() -> impl Service<u64, Response = u64> {
    let keyed = CircuitBreakerLayer::builder("gate").keyed(|_: &u64| Cow::Borrowed("a.example"));
    ServiceBuilder::new().layer(keyed.build().expect("it is valid")).service_fn(echo)
}

/// Ten services, of which each request is given the one with less load of two.
fn endpoints() -> impl Service<u64, Response = u64> + Clone {
    let endpoints = Endpoints::builder("gate").members((0..10).map(|nth| format!("host-{nth}")));
    endpoints.seed(7).over(|_| Ok(service_fn(echo))).expect("they can be made")
}

/// A hundred services, of which each request finds its owner.
fn shards() -> impl Service<u64, Response = u64> + Clone {
    let map = Map::hashed(1, (0..100).map(|nth| format!("shard-{nth}"))).expect("it is valid");
    let key: for<'r> fn(&'r u64) -> Key<'r> = |request| Key::from(*request);
    let shards = Shards::builder("gate").key(key).map(map);
    shards.over(|_| Ok(service_fn(echo))).expect("they can be made")
}

/// A breaker that its failures opened.
fn tripped() -> impl Service<u64, Response = u64> {
    let hour = Duration::from_secs(3_600);
    let breaker =
        CircuitBreakerLayer::builder("gate").break_duration(hour).max_break_duration(hour);
    broken(breaker.build().expect("it is valid").layer(service_fn(fail)), 17)
}

/// A dependency whose failures were noticed.
fn down() -> impl Service<u64, Response = u64> {
    let health = HealthLayer::builder("gate").passive(true).probe_one_in(1_000_000);
    broken(health.build().expect("it is valid").layer(service_fn(fail)), 3)
}

fn broken<S: Service<u64, Response = u64>>(mut service: S, failures: u64) -> S {
    assert_eq!(counted(&mut service, failures), 0, "they fail");
    service
}

/// A fence at the epoch 7, whose calls are made by this one.
fn fence(by: u64) -> FenceLayer<InRequest<impl Fn(&u64) -> Option<Epoch>>> {
    let store = fence::MemoryStore::new();
    store.raise("gate", Epoch::new(7));
    let layer = FenceLayer::builder("gate", store)
        .epoch(move |_: &u64| Some(Epoch::new(by)))
        .allow_without_epoch()
        .build()
        .expect("it is valid");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("threads have room");
    let opens = layer.run(|| async { Ok::<_, Error<std::convert::Infallible>>(()) });
    runtime.block_on(opens).expect("the store answers");
    layer
}

/// A layer of one who leads for longer than this runs, or of one who does not.
fn led(leads: bool) -> LeaderLayer {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let candidate = Candidate::builder("gate", MemoryStore::new()).ttl(DAY).build();
    let candidate = candidate.expect("it is valid");
    let leadership = candidate.leadership();
    let mut campaign = Box::pin(candidate.campaign());
    if leads {
        assert!(campaign.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(leadership.term().is_some());
    }
    forget(campaign);
    LeaderLayer::new("gate", &leadership)
}

/// A bulkhead whose places are all taken, for good.
fn filled() -> impl Service<u64, Response = u64> {
    let mut service = BulkheadLayer::new("gate").layer(service_fn(hung));
    fill(&mut service);
    service
}

fn fill<S: Service<u64>>(service: &mut S) {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..bulkhead::Config::default().limit {
        let mut future = Box::pin(service.call(0));
        assert!(future.as_mut().poll(&mut cx).is_pending());
        forget(future);
    }
}
