//! What a call allocates: nothing, except the one box of a rejection that is a `BoxError`.
//!
//! A binary of its own, for it brings its own allocator.
#![allow(unsafe_code)] // an allocator cannot be written without
#![allow(clippy::unwrap_used)]
#![allow(clippy::needless_pass_by_value)] // what is expected of an answer takes the answer

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;
use std::future::{Ready, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Position, Trip};
use seawall::fallback::FallbackLayer;
use seawall::health::HealthLayer;
use seawall::hedge::HedgeLayer;
#[cfg(feature = "http")]
use seawall::http::PerHost;
#[cfg(feature = "http")]
use seawall::keyed::ExtractKey;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::rate_limit::RateLimitLayer;
use seawall::retry::{Backoff, Budget, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Deadline, Error, Event, stack};
use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn};

// ===== counting =====

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes asked for and not given back.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

fn count(more: usize, less: usize) {
    // A thread that is ending has nothing left to count with.
    let _ = HELD.try_with(|held| held.set(held.get().wrapping_add(more).wrapping_sub(less)));
    if more > 0 {
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }
}

// SAFETY: every method hands its arguments on to the system's allocator, as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// So many calls are counted, after a few that may fill caches.
const CALLS: u64 = 100;
const WARM_UP: u64 = 20;

/// The allocations of `CALLS` turns.
fn allocations(mut turn: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| turn());
    let before = ALLOCATIONS.get();
    (0..CALLS).for_each(|_| turn());
    ALLOCATIONS.get() - before
}

// ===== calling =====

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("broken")]
struct Broken;

type Fail = Error<Broken>;
type Answer<E> = Ready<Result<u32, E>>;

fn echo(request: u32) -> Answer<Fail> {
    ready(Ok(request))
}

fn fail(_: u32) -> Answer<Fail> {
    ready(Err(Error::Inner(Broken)))
}

fn boxing(request: u32) -> Answer<BoxError> {
    ready(Ok(request))
}

/// One that is pending once, as everything is that comes over a network.
async fn soon(request: u32) -> Result<u32, Fail> {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
    Ok(request)
}

async fn never(_: u32) -> Result<u32, Fail> {
    pending().await
}

/// Polls until it is ready. Nothing that is asked here waits for a wake.
fn run<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("pending")
}

/// Readies a service and calls it.
fn call<S: Service<Req>, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error> {
    run(pin!(poll_fn(|cx| service.poll_ready(cx))))?;
    run(pin!(service.call(request)))
}

/// The allocations of calls that end as `expected` says: on one service, on a clone each, and on a
/// clone that nobody readied.
fn of_calls<S, E>(mut service: S, expected: impl Fn(Result<u32, E>) -> bool) -> [u64; 3]
where
    S: Service<u32, Response = u32, Error = E> + Clone,
{
    let original = service.clone();
    [
        allocations(|| assert!(expected(call(&mut service, 7)))),
        allocations(|| assert!(expected(call(&mut original.clone(), 7)))),
        allocations(|| assert!(expected(run(pin!(original.clone().call(7)))))),
    ]
}

fn is_ok<E>(answer: Result<u32, E>) -> bool {
    answer.is_ok()
}

fn is_broken(answer: Result<u32, Fail>) -> bool {
    answer == Err(Error::Inner(Broken))
}

fn is_rejected<T, E: seawall::CallError>(answer: Result<T, E>) -> bool {
    answer.is_err_and(|error| error.rejected().is_some())
}

const NONE: [u64; 3] = [0; 3];
const ONE_EACH: [u64; 3] = [CALLS; 3];
const SECOND: Duration = Duration::from_secs(1);

// ===== the cases =====

fn successes_and_failures_allocate_nothing() {
    let breaker = || CircuitBreakerLayer::new("a");
    let timeout = || TimeoutLayer::new("a", SECOND);
    let windows = Trip::failure_rate(0.9).or(Trip::slow_rate(0.9, SECOND).over_time(SECOND));
    let windowed = CircuitBreakerLayer::builder("a").trip(windows).build().unwrap();
    let keyed =
        CircuitBreakerLayer::builder("a").keyed(|_: &u32| Cow::Borrowed("k")).build().unwrap();
    let covering = TimeoutLayer::builder("a").cover_readiness(true).build().unwrap();
    let heard = CircuitBreakerLayer::builder("a").observe(|_: &Event| ()).build().unwrap();

    assert_eq!(of_calls(breaker().layer(service_fn(echo)), is_ok), NONE, "breaker");
    assert_eq!(of_calls(breaker().layer(service_fn(soon)), is_ok), NONE, "breaker, pending");
    assert_eq!(of_calls(windowed.layer(service_fn(soon)), is_ok), NONE, "breaker with windows");
    assert_eq!(of_calls(keyed.layer(service_fn(soon)), is_ok), NONE, "keyed breaker");
    assert_eq!(of_calls(timeout().layer(service_fn(echo)), is_ok), NONE, "timeout");
    assert_eq!(of_calls(timeout().layer(service_fn(soon)), is_ok), NONE, "timeout, pending");
    assert_eq!(of_calls(covering.layer(service_fn(soon)), is_ok), NONE, "timeout over readiness");

    let bulkhead = || BulkheadLayer::new("a");
    let tenants = BulkheadLayer::builder("a").keyed(|_: &u32| Cow::Borrowed("k")).build().unwrap();
    let retry = || RetryLayer::new("a").cloned();
    let budgets = Budget::builder().keyed("a").build().unwrap();
    let keyed_retry = RetryLayer::builder("a").keyed_budget(budgets, |_: &u32| Cow::Borrowed("k"));
    let keyed_retry = keyed_retry.cloned().build().unwrap();
    let health = || HealthLayer::new("a");
    assert_eq!(of_calls(bulkhead().layer(service_fn(echo)), is_ok), NONE, "bulkhead");
    assert_eq!(of_calls(bulkhead().layer(service_fn(soon)), is_ok), NONE, "bulkhead, pending");
    assert_eq!(of_calls(tenants.layer(service_fn(soon)), is_ok), NONE, "keyed bulkhead");
    assert_eq!(of_calls(health().layer(service_fn(soon)), is_ok), NONE, "health");
    assert_eq!(of_calls(retry().layer(service_fn(echo)), is_ok), NONE, "retry");
    assert_eq!(of_calls(retry().layer(service_fn(soon)), is_ok), NONE, "retry, pending");
    assert_eq!(of_calls(keyed_retry.layer(service_fn(soon)), is_ok), NONE, "keyed retry");
    let at_once = RetryLayer::builder("a").backoff(Backoff::none()).cloned().build().unwrap();
    assert_eq!(of_calls(at_once.layer(service_fn(fail)), is_broken), NONE, "retries");

    let limit = || RateLimitLayer::builder("a").limit(1_000_000_000);
    let limits = limit().keyed(|_: &u32| Cow::Borrowed("k")).build().unwrap();
    let limit = limit().build().unwrap();
    assert_eq!(of_calls(limit.layer(service_fn(soon)), is_ok), NONE, "rate limit");
    assert_eq!(of_calls(limits.layer(service_fn(soon)), is_ok), NONE, "keyed rate limit");
    let hedge = HedgeLayer::builder("a").cloned().build().unwrap();
    assert_eq!(of_calls(hedge.layer(service_fn(soon)), is_ok), NONE, "hedge, not hedged");
    let fallback = || FallbackLayer::new("a", 1);
    assert_eq!(of_calls(fallback().layer(service_fn(soon)), is_ok), NONE, "fallback, unused");
    assert_eq!(of_calls(fallback().layer(service_fn(fail)), is_ok), NONE, "fallback");

    let lenient =
        CircuitBreakerLayer::builder("a").trip(Trip::consecutive(u32::MAX)).build().unwrap();
    assert_eq!(of_calls(lenient.layer(service_fn(fail)), is_broken), NONE, "failures");

    let stack = ServiceBuilder::new()
        .layer(timeout())
        .layer(retry())
        .layer(breaker())
        .layer(heard)
        .layer(health())
        .layer(bulkhead())
        .layer(timeout())
        .service(service_fn(soon));
    assert_eq!(of_calls(stack, is_ok), NONE, "a stack");

    // field S3
    let divided = stack::client("a").keyed(|_: &u32| Cow::Borrowed("k")).cloned().build().unwrap();
    assert_eq!(of_calls(divided.layer(service_fn(soon)), is_ok), NONE, "a stack for each key");
    #[cfg(feature = "http")]
    {
        let request = http::Request::get("https://Example.com/orders").body(()).unwrap();
        let told = || PerHost.with_key(&request, |host| assert_eq!(host, "example.com:443"));
        assert_eq!(allocations(told), 0, "to tell a host");
    }

    let breaker = breaker();
    let closure = || assert!(run(pin!(breaker.run(|| soon(7)))).is_ok());
    assert_eq!(allocations(closure), 0, "a closure through a breaker");
    let timeout = timeout();
    let closure = || assert!(run(pin!(timeout.run(|| soon(7)))).is_ok());
    assert_eq!(allocations(closure), 0, "a closure through a timeout");
}

#[cfg(feature = "leader")]
fn calls_by_the_present_epoch_allocate_nothing() {
    use seawall::Epoch;
    use seawall::fence::{FenceLayer, MemoryStore};

    let store = MemoryStore::new();
    store.raise("ledger", Epoch::new(7));
    let fence = FenceLayer::builder("ledger", store)
        .epoch(|_: &u32| Some(Epoch::new(7)))
        .allow_without_epoch()
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(fence.run(|| async { Ok::<(), Fail>(()) })).unwrap(); // its store is asked
    assert_eq!(fence.handle().highest(), Some(Epoch::new(7)));
    assert_eq!(of_calls(fence.layer(service_fn(echo)), is_ok), NONE, "fence");
    assert_eq!(of_calls(fence.layer(service_fn(soon)), is_ok), NONE, "fence, pending");
}

#[cfg(feature = "shards")]
fn calls_to_shards_allocate_nothing() {
    use seawall::shards::{Key, Map, Member, Shards};

    let key: for<'r> fn(&'r u32) -> Key<'r> = |request| Key::from(*request);
    let map = Map::hashed(1, (0..100).map(|nth| format!("shard-{nth}"))).unwrap();
    let over = |_: &Member| Ok(service_fn(echo));
    let mut shards = Shards::builder("x").key(key).map(map).over(over).unwrap();
    assert_eq!(of_calls(shards.clone(), is_ok), [0; 3]);
    for request in 0..100 {
        assert_eq!(allocations(|| assert!(call(&mut shards, request).is_ok())), 0);
    }
}

#[cfg(feature = "endpoints")]
fn calls_to_endpoints_allocate_nothing() {
    use seawall::endpoints::{Balance, Endpoint, Endpoints};

    for way in [Balance::PeakEwma, Balance::LeastLoad, Balance::RoundRobin] {
        let set = Endpoints::builder("x").members((0..10).map(|nth| format!("host-{nth}")));
        let over = |_: &Endpoint| Ok(service_fn(echo));
        let mut set = set.balance(way).over(over).unwrap();
        assert_eq!(of_calls(set.clone(), is_ok), [0; 3]);
        assert_eq!(allocations(|| assert!(call(&mut set, 7).is_ok())), 0);
        assert_eq!(allocations(|| assert!(call(&mut set.clone(), 7).is_ok())), 0);
    }
}

fn abandoned_calls_allocate_nothing() {
    let layer = CircuitBreakerLayer::builder("a").observe(|_: &Event| ()).build().unwrap();
    let mut service = layer.layer(service_fn(never));
    let mut abandon = || {
        let mut future = pin!(service.call(7));
        let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    };
    assert_eq!(allocations(&mut abandon), 0);
}

fn waiting_in_line_allocates_nothing() {
    let layer = BulkheadLayer::builder("a").limit(1).queue(1).build().unwrap();
    let mut service = layer.layer(service_fn(soon));
    let mut turn = || {
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pin!(service.call(7));
        let mut second = pin!(service.call(8));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(run(first).is_ok() && run(second).is_ok());
    };
    assert_eq!(allocations(&mut turn), 0);
}

fn rejections_allocate_nothing() {
    let bulkhead = BulkheadLayer::builder("a").limit(1).build().unwrap();
    let mut full = bulkhead.layer(service_fn(never));
    let _inside = full.call(7);
    assert_eq!(of_calls(full.clone(), is_rejected), NONE, "full");

    let health = HealthLayer::builder("a").passive(true).probe_one_in(1_000_000).build().unwrap();
    let mut failing = health.layer(service_fn(fail));
    (0..3).for_each(|_| assert!(is_broken(call(&mut failing, 7))));
    assert_eq!(of_calls(failing, is_rejected), NONE, "down");

    let breaker = CircuitBreakerLayer::builder("a").observe(|_: &Event| ()).build().unwrap();
    let mut switch = breaker.handle().switch(Position::Auto);
    switch.set(Position::Open);
    assert_eq!(of_calls(breaker.layer(service_fn(echo)), is_rejected), NONE, "held open");

    let breaker = CircuitBreakerLayer::builder("a")
        .break_duration(SECOND * 3600)
        .max_break_duration(SECOND * 3600);
    let breaker = breaker.build().unwrap();
    let mut failing = breaker.layer(service_fn(fail));
    (0..17).for_each(|_| assert!(is_broken(call(&mut failing, 7))));
    assert_eq!(of_calls(failing, is_rejected), NONE, "tripped");

    let timeout = TimeoutLayer::new("a", Duration::ZERO);
    assert_eq!(of_calls(timeout.layer(service_fn(never)), is_rejected), NONE, "timed out");
    run(pin!(timeout.drain()));
    assert_eq!(of_calls(timeout.layer(service_fn(never)), is_rejected), NONE, "drained");

    let timeout = TimeoutLayer::builder("a").propagate(FromWithContext).build().unwrap();
    let mut late = timeout.layer(service_fn(|request: WithContext<u32>| echo(request.request)));
    let deadline = Deadline::after(Duration::ZERO);
    let turn = || assert!(is_rejected(call(&mut late, WithContext::new(7, deadline))));
    assert_eq!(allocations(turn), 0, "past its deadline");
}

fn a_rejection_that_is_boxed_allocates_its_box() {
    let breaker = CircuitBreakerLayer::new("a");
    let mut switch = breaker.handle().switch(Position::Auto);
    switch.set(Position::Open);
    assert_eq!(of_calls(breaker.layer(service_fn(boxing)), is_rejected), ONE_EACH);
    let stack = (TimeoutLayer::new("a", SECOND), breaker);
    assert_eq!(of_calls(stack.layer(service_fn(boxing)), is_rejected), ONE_EACH, "a stack");
    let timeout = TimeoutLayer::new("a", SECOND);
    assert_eq!(of_calls(timeout.layer(service_fn(boxing)), is_ok), NONE, "success");
}

fn all_cases() {
    successes_and_failures_allocate_nothing();
    #[cfg(feature = "endpoints")]
    calls_to_endpoints_allocate_nothing();
    #[cfg(feature = "leader")]
    calls_by_the_present_epoch_allocate_nothing();
    #[cfg(feature = "shards")]
    calls_to_shards_allocate_nothing();
    abandoned_calls_allocate_nothing();
    waiting_in_line_allocates_nothing();
    rejections_allocate_nothing();
    a_rejection_that_is_boxed_allocates_its_box();
}

// ===== a recorder that allocates only to register =====

#[derive(Default)]
struct Tally {
    registrations: AtomicU64,
    records: Arc<AtomicU64>,
}

struct Samples(Arc<AtomicU64>);

impl HistogramFn for Samples {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Tally {
    fn handle(&self) -> Arc<AtomicU64> {
        self.registrations.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.records)
    }
}

impl Recorder for Tally {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.handle();
        Gauge::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Samples(self.handle())))
    }
}

// ===== tests =====

fn with_a_timer(test: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    test();
}

// pitfall B34
#[test]
fn without_a_recorder() {
    with_a_timer(all_cases);
}

// pitfall B34
#[test]
fn with_a_recorder() {
    let tally = Tally::default();
    metrics::with_local_recorder(&tally, || with_a_timer(all_cases));
    let records = tally.records.load(Ordering::Relaxed);
    assert!(records > 20 * CALLS, "{records} records");
    let registrations = tally.registrations.load(Ordering::Relaxed);
    assert!(registrations < 1_000, "{registrations} registrations");
}

/// One breaker for each of so many hosts that are well, each with a name of 24 bytes.
#[test]
fn a_hundred_thousand_keys_fit_in_twenty_one_mebibytes() {
    const KEYS: u32 = 100_000;
    const MOST: u64 = 21 << 20;
    let start = HELD.get();
    let layer = CircuitBreakerLayer::builder("a")
        .keyed(|host: &u32| Cow::Owned(format!("host-{host:07}.example.com")))
        .max_keys(KEYS as usize);
    let layer = layer.build().unwrap();
    let mut service = layer.layer(service_fn(echo));
    let before = HELD.get();
    for host in 0..KEYS {
        run(pin!(service.call(host))).unwrap();
    }
    let held = HELD.get() - before;
    assert_eq!(layer.handle().len(), KEYS as usize);
    assert!(held as u64 <= MOST, "{held} bytes");
    drop((service, layer));
    assert!(HELD.get().wrapping_sub(start).cast_signed() <= 0, "it gives everything back");
}

/// The count counts.
#[test]
fn an_allocation_is_noticed() {
    assert_eq!(allocations(|| drop(Box::new(7_u32))), CALLS);
}
