//! What a call through each layer costs, beside a bare service and a floor: the least code that
//! does the bare job. Prints Markdown. Ours beside its peers is the package in `benches/peers`.
#![allow(unsafe_code)] // an allocator cannot be written without
#![allow(clippy::cast_precision_loss, clippy::expect_used)]
#![allow(clippy::disallowed_methods)] // a bench reads the clock

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Pending, Ready, pending, ready};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pin_project::pin_project;
use seawall::Error;
use seawall::bulkhead::{self, BulkheadLayer};
use seawall::circuit_breaker::{CircuitBreakerLayer, Position};
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;
use tokio::time::{Sleep, sleep};
use tower::{Service, ServiceBuilder, service_fn};

/// Calls in a batch.
const CALLS: u64 = 2000;
/// Batches of everybody, in turns.
const ROUNDS: usize = 400;
const LIMIT: Duration = Duration::from_secs(1);

/// Runs a batch, and returns the sum of its answers.
type Batch = Box<dyn FnMut() -> u64>;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be built");
    let _entered = runtime.enter();

    let mut contenders = contenders();
    let mut times = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for round in 0..ROUNDS {
        for turn in 0..contenders.len() {
            let turn = (turn + round) % contenders.len(); // nobody always follows the same other
            let started = Instant::now();
            contenders[turn].run();
            times[turn].push(started.elapsed().as_nanos() as f64 / CALLS as f64);
        }
    }

    println!("| call through | ns, median | ns, best tenth | allocations |");
    println!("| --- | --- | --- | --- |");
    for (contender, times) in contenders.iter_mut().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (median, tenth) = (times[ROUNDS / 2], times[ROUNDS / 10]);
        let before = ALLOCATIONS.get();
        contender.run();
        let allocations = (ALLOCATIONS.get() - before) as f64 / CALLS as f64;
        println!("| {} | {median:.1} | {tenth:.1} | {allocations} |", contender.name);
    }
}

/// Everybody. A row is a name, a service, and whether its calls are answered.
fn contenders() -> Vec<Contender> {
    let (bulkhead, breaker) = (BulkheadLayer::new("bench"), CircuitBreakerLayer::new("bench"));
    let (retry, timeout) = (RetryLayer::new("bench").cloned(), TimeoutLayer::new("bench", LIMIT));
    let layers = || ServiceBuilder::new();
    vec![
        Contender::new("nothing: a bare service", service_fn(echo)),
        Contender::new("a floor of a timeout", service_fn(|request| bounded(echo(request)))),
        Contender::new("timeout", layers().layer(&timeout).service_fn(echo)),
        Contender::new("timeout, pending once", layers().layer(&timeout).service_fn(echo_later)),
        Contender::new("a floor of a breaker", counting(Arc::default())),
        Contender::new("breaker", layers().layer(&breaker).service_fn(echo)),
        Contender::cloned("breaker, cloned per call", layers().layer(&breaker).service_fn(echo)),
        Contender::rejected("breaker, open", tripped()),
        Contender::new("retry", layers().layer(&retry).service_fn(echo)),
        Contender::new("bulkhead", layers().layer(&bulkhead).service_fn(echo)),
        Contender::rejected("bulkhead, full", filled()),
        Contender::new(
            "retry + breaker + bulkhead + timeout",
            layers()
                .layer(&retry)
                .layer(&breaker)
                .layer(&bulkhead)
                .layer(&timeout)
                .service_fn(echo),
        ),
    ]
}

// ===== services =====

type Fail = Error<Infallible>;

fn echo(request: u64) -> Ready<Result<u64, Fail>> {
    ready(Ok(request + 1))
}

async fn echo_later(request: u64) -> Result<u64, Fail> {
    let mut polled = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Ok(request + 1)
}

fn hung(_: u64) -> Pending<Result<u64, Fail>> {
    pending()
}

/// A breaker that somebody holds open.
fn tripped() -> impl Service<u64, Response = u64, Error = Fail> + Clone + 'static {
    let breaker = CircuitBreakerLayer::new("bench");
    let mut switch = breaker.handle().switch(Position::Auto);
    switch.set(Position::Open);
    std::mem::forget(switch); // it lets go when dropped
    ServiceBuilder::new().layer(breaker).service_fn(echo)
}

/// A bulkhead whose places are all taken, for good.
fn filled() -> impl Service<u64, Response = u64, Error = Fail> + Clone + 'static {
    let mut service = ServiceBuilder::new().layer(BulkheadLayer::new("bench")).service_fn(hung);
    for request in 0..bulkhead::Config::default().limit {
        std::mem::forget(service.call(request.into()));
    }
    service
}

// ===== floors =====

/// Nothing but a timer that is made when it is needed.
#[pin_project]
struct Bounded<F> {
    #[pin]
    inner: F,
    #[pin]
    timer: Option<Sleep>,
}

fn bounded<F>(inner: F) -> Bounded<F> {
    Bounded { inner, timer: None }
}

impl<F: Future> Future for Bounded<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.inner.poll(cx) {
            return Poll::Ready(output);
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep(LIMIT)));
        }
        let rang = this.timer.as_pin_mut().is_some_and(|timer| timer.poll(cx).is_ready());
        assert!(!rang, "the bench takes too long");
        Poll::Pending
    }
}

/// Nothing but a count of failures in a row, which is read, and written when it changes.
fn counting(
    failures: Arc<AtomicU32>,
) -> impl Service<u64, Response = u64, Error = Fail> + Clone + 'static {
    service_fn(move |request| {
        let failures = Arc::clone(&failures);
        async move {
            assert!(failures.load(Ordering::Acquire) < 5, "it is open");
            let result = echo(request).await;
            match result {
                Ok(_) if failures.load(Ordering::Relaxed) == 0 => {}
                Ok(_) => failures.store(0, Ordering::Release),
                Err(_) => drop(failures.fetch_add(1, Ordering::AcqRel)),
            }
            result
        }
    })
}

// ===== calling =====

struct Contender {
    name: &'static str,
    batch: Batch,
    /// What the answers of a batch add up to.
    sum: u64,
}

impl Contender {
    fn new<S>(name: &'static str, mut service: S) -> Self
    where
        S: Service<u64, Response = u64> + 'static,
    {
        let batch = move || (0..CALLS).map(|request| call(&mut service, request)).sum();
        // Requests are 0, 1, 2, …, and each is answered with the number after it.
        Self { name, batch: Box::new(batch), sum: CALLS * (CALLS + 1) / 2 }
    }

    /// With a clone of the service for each call, as servers do it.
    fn cloned<S>(name: &'static str, service: S) -> Self
    where
        S: Service<u64, Response = u64> + Clone + 'static,
    {
        let batch = move || (0..CALLS).map(|request| call(&mut service.clone(), request)).sum();
        Self { batch: Box::new(batch), ..Self::new(name, service_fn(echo)) }
    }

    /// Every call is rejected.
    fn rejected<S>(name: &'static str, service: S) -> Self
    where
        S: Service<u64, Response = u64> + 'static,
    {
        Self { sum: 0, ..Self::new(name, service) }
    }

    fn run(&mut self) {
        assert_eq!((self.batch)(), self.sum, "{}: the work was not done", self.name);
    }
}

/// The answer; zero if it was rejected.
#[inline]
fn call<S: Service<u64, Response = u64>>(service: &mut S, request: u64) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready(), "always ready");
    let mut future = pin!(service.call(black_box(request)));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(answer)) => return answer,
            Poll::Ready(Err(_)) => return 0,
            Poll::Pending => {}
        }
    }
}

// ===== counting =====

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: both methods hand their arguments on to the system's allocator as they are; the others
// are made of these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has nothing left to count with.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}
