//! Whose deadline it was: whoever is told that time ran out is told who had set the limit.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full};
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
use seawall::http::{
    self as web, InExtensions, ReadDeadlineLayer, TimeoutHeader, WriteDeadlineLayer,
};
use seawall::propagate::{CallContext, FromWithContext, WithContext};
use seawall::retry::{Backoff, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Deadline, Error, Measurement, Outcome, Reason, SetBy};
use tokio::time::{advance, sleep};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{Fail, broken, measurement, ms, now, poll_once, reason};

type Stack = BoxCloneService<WithContext<()>, (), Fail>;

fn hanging() -> Stack {
    Stack::new(service_fn(|_: WithContext<()>| std::future::pending::<Result<(), Fail>>()))
}

fn whole(limit: u64, inner: Stack) -> Stack {
    let layer =
        TimeoutLayer::builder("whole").limit(ms(limit)).propagate(FromWithContext).build().unwrap();
    Stack::new(layer.layer(inner))
}

fn attempt(limit: u64, inner: Stack) -> Stack {
    let layer = TimeoutLayer::builder("attempt").limit(ms(limit)).propagate(FromWithContext);
    Stack::new(layer.per_attempt().build().unwrap().layer(inner))
}

fn retry(attempts: u32, inner: Stack) -> Stack {
    let layer = RetryLayer::builder("retry").cloned().propagate(FromWithContext).attempts(attempts);
    Stack::new(layer.backoff(Backoff::none()).build().unwrap().layer(inner))
}

/// A bulkhead whose only place is taken, for ever.
async fn full(inner: Stack) -> Stack {
    let layer = BulkheadLayer::builder("places").limit(1).queue(8).max_wait(Duration::MAX);
    let service = layer.propagate(FromWithContext).build().unwrap().layer(inner);
    tokio::spawn(service.clone().oneshot(WithContext::from(())));
    crate::scene::settle().await;
    Stack::new(service)
}

/// What the caller is told who waits for so long.
async fn told(stack: Stack, deadline: Option<u64>) -> (String, Option<Measurement>, Duration) {
    let deadline = deadline.map_or(Deadline::NEVER, |after| Deadline::after(ms(after)));
    let began = now();
    let ended = stack.oneshot(WithContext::new((), deadline)).await;
    let told = ended.as_ref().unwrap_err().to_string();
    (told, measurement(&ended), began.elapsed())
}

/// That `told` speaks of the first of these limits, and of no other: 0 is the caller's, the others are
/// of layers.
#[track_caller]
fn assert_whose(told: &str, limits: &[u64]) {
    let first = limits.iter().min().unwrap();
    assert_eq!(told.contains("the caller's"), limits[0] == *first, "{told}: {limits:?}");
    for limit in &limits[1..] {
        let named = told.contains(&format!("{:?}", ms(*limit)));
        assert_eq!(named, limit == first && limit != &limits[0], "{told}: {limits:?}");
    }
}

/// Every order in which four limits can pass, and absent ones.
fn orders() -> Vec<[u64; 4]> {
    const TIMES: [u64; 4] = [200, 300, 500, 700];
    let mut orders = Vec::new();
    for nth in 0..256 {
        let order = [0, 2, 4, 6].map(|shift| TIMES[(nth >> shift) % 4]);
        let mut sorted = order;
        sorted.sort_unstable();
        if sorted == TIMES {
            orders.push(order);
        }
    }
    assert_eq!(orders.len(), 24);
    orders
}

// field F16: two stacks, one in the other, in one process.
#[tokio::test(start_paused = true)]
async fn a_hang_is_put_down_to_the_limit_that_passed_first() {
    for [caller, outer, inner, each] in orders() {
        // The outer stack's retry tells the inner one that it is a first attempt.
        for retries in [false, true] {
            let below = attempt(each, hanging());
            let below = whole(inner, if retries { retry(1, below) } else { below });
            let stack = whole(outer, if retries { retry(1, below) } else { below });
            let limits = [caller, outer, inner, each];
            let (told, measurement, took) = told(stack, Some(caller)).await;
            assert_whose(&told, &limits);
            assert_eq!(took, ms(*limits.iter().min().unwrap()), "{told}");
            let by_caller =
                matches!(measurement, Some(Measurement::Deadline { set_by: SetBy::Caller, .. }));
            assert_eq!(by_caller, caller == 200, "{told}");
        }
        // Nobody told of a deadline.
        let stack = whole(outer, whole(inner, attempt(each, hanging())));
        let (told, _, _) = told(stack, None).await;
        assert_whose(&told, &[u64::MAX, outer, inner, each]);
    }
}

// field F16: a queue, and one within a stack within a stack.
#[tokio::test(start_paused = true)]
async fn who_waits_in_line_is_told_whose_time_was_up() {
    for [caller, outer, inner, _] in orders() {
        let limits = [caller, outer, inner];
        let stack = whole(outer, whole(inner, full(hanging()).await));
        let (told, _, took) = told(stack, Some(caller)).await;
        assert_whose(&told, &limits);
        assert_eq!(took, ms(*limits.iter().min().unwrap()), "{told}");
    }
    // The bulkhead itself is outermost.
    let carried = |deadline| WithContext::new((), Deadline::after(ms(deadline)));
    let ended = full(hanging()).await.oneshot(carried(200)).await;
    assert_eq!(reason(&ended), Some(Reason::DeadlineExceeded));
    assert_eq!(
        ended.unwrap_err().to_string(),
        "bulkhead `places`: the caller's deadline has passed"
    );
}

// field F16: what a layer says whose rejection nobody overrules, as events and breakers hear it.
#[tokio::test(start_paused = true)]
async fn further_in_it_is_said_too() {
    // A future that was made long before it is polled.
    let service = whole(200, full(hanging()).await);
    let mut call = Box::pin(service.oneshot(WithContext::from(())));
    assert!(poll_once(&mut call).is_pending());
    let ended = call.await;
    assert_eq!(measurement(&ended), Some(Measurement::Elapsed { limit: 200_000_000 }));

    let layer =
        TimeoutLayer::builder("whole").limit(ms(200)).propagate(FromWithContext).build().unwrap();
    let mut service = layer.layer(full(hanging()).await);
    let mut call = Box::pin(service.ready().await.unwrap().call(WithContext::from(())));
    advance(ms(150)).await; // the deadline was told when it was called
    assert!(poll_once(&mut call).is_pending());
    let ended = call.await;
    assert_eq!(ended.unwrap_err().to_string(), "timeout `whole`: timed out (the limit is 200ms)");
}

// field F16: a retry that gives up when all it had was an answer, which is gone.
#[tokio::test(start_paused = true)]
async fn a_retry_that_ran_out_of_time_says_of_whose() {
    for (max_elapsed, caller, outer, whose) in [
        (ms(300), Some(500), None, "retry `retry`: timed out (the limit is 300ms)"),
        (ms(500), Some(300), None, "retry `retry`: the caller's deadline has passed"),
        (ms(500), None, Some(300), "timeout `whole`: timed out (the limit is 300ms)"),
        (ms(500), Some(300), Some(400), "retry `retry`: the caller's deadline has passed"),
    ] {
        let busy = service_fn(|request: WithContext<()>| async move {
            if request.call.attempt == 1 {
                Ok::<_, Fail>(())
            } else {
                Err(Error::Inner(broken("no")))
            }
        });
        // The second attempt waits to be ready for as long as it may.
        let places = tower::limit::ConcurrencyLimitLayer::new(1);
        let busy = ServiceBuilder::new().layer(places).service(busy);
        let held = busy.clone();
        let layer = RetryLayer::builder("retry")
            .cloned()
            .propagate(FromWithContext)
            .max_elapsed(max_elapsed)
            .min_attempt_time(Duration::ZERO)
            .backoff(Backoff::fixed(ms(100)))
            .classify_response(|(): &()| Outcome::TRANSIENT)
            .build()
            .unwrap();
        let mut stack = Stack::new(layer.layer(busy));
        if let Some(outer) = outer {
            stack = whole(outer, stack);
        }
        let deadline = caller.map_or(Deadline::NEVER, |after| Deadline::after(ms(after)));
        let call = tokio::spawn(stack.oneshot(WithContext::new((), deadline)));
        sleep(ms(50)).await;
        let mut held = held;
        held.ready().await.unwrap(); // the only place
        assert_eq!(call.await.unwrap().unwrap_err().to_string(), whose);
    }
}

// ----- the tie -----

// field F3: the dependency had all the time that the layer gives it.
#[tokio::test(start_paused = true)]
async fn at_a_tie_it_was_the_limit_and_a_hang() {
    // (limit, deadline of the caller, whether that is a tie)
    for (limit, caller, tie) in [
        (1000, 1000, true),
        (1000, 995, true),
        (1000, 990, true),
        (1000, 989, false),
        (100, 99, true),
        (100, 98, false),
        (10, 9, true),
        (10, 8, false),
        (10_000, 9_990, true),
        (10_000, 9_980, false),
    ] {
        let why = if tie { Reason::TimedOut } else { Reason::DeadlineExceeded };
        let end = ms(limit.min(caller));
        for stack in [
            attempt(limit, hanging()),
            whole(limit, hanging()),
            whole(60_000, retry(1, attempt(limit, hanging()))),
            whole(limit, retry(1, attempt(60_000, hanging()))),
            whole(limit, whole(60_000, hanging())),
            whole(60_000, whole(limit, hanging())),
        ] {
            let began = now();
            let deadline = Deadline::after(ms(caller));
            let ended = stack.oneshot(WithContext::new((), deadline)).await;
            let told = ended.as_ref().unwrap_err().to_string();
            assert_eq!(reason(&ended), Some(why), "{told}: {limit} {caller}");
            assert_eq!(told.contains(&format!("{:?}", ms(limit))), tie, "{told}: {limit} {caller}");
            assert_eq!(began.elapsed(), end, "{told}");
        }
    }
}

// field F3: so callers whose deadline is our limit do open the circuit of a dependency that hangs.
#[tokio::test(start_paused = true)]
async fn a_hang_that_gets_exactly_the_deadline_is_evidence_at_both_nestings() {
    for whole_is_tied in [false, true] {
        let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(3));
        let breaker = breaker.propagate(FromWithContext).build().unwrap();
        let inner = Stack::new(breaker.layer(attempt(1000, hanging())));
        let limit = if whole_is_tied { 1000 } else { 60_000 };
        let stack = whole(limit, retry(1, inner));
        for _ in 0..3 {
            let deadline = Deadline::after(ms(1000));
            stack.clone().oneshot(WithContext::new((), deadline)).await.unwrap_err();
        }
        assert_eq!(
            breaker.handle().state(),
            seawall::circuit_breaker::State::Open,
            "{whole_is_tied}"
        );
    }
}

// ----- over headers -----

const LEFT: HeaderName = HeaderName::from_static("x-timeout-ms");

fn header() -> TimeoutHeader {
    TimeoutHeader::Millis(LEFT)
}

fn hangs(_: Request<String>) -> impl Future<Output = Result<Response<String>, Infallible>> {
    std::future::pending()
}

/// The word in the answer of a server to a caller who says that it waits so long.
async fn word(caller: Option<&str>, server: Duration) -> String {
    let layers = web::server("orders").deadline(server).deadline_from(header()).build().unwrap();
    let service = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service_fn(hangs);
    let mut request = Request::new(String::new());
    if let Some(left) = caller {
        request.headers_mut().insert(LEFT, left.parse().unwrap());
    }
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 504);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

// field F16: what a server's caller is told. What is cut to the server's own limit is that limit.
#[tokio::test(start_paused = true)]
async fn an_answer_says_whose_time_was_up() {
    for (caller, server, reason) in [
        (None, 5_000, "timed_out"),
        (Some("200"), 5_000, "deadline_exceeded"),
        (Some("60000"), 5_000, "timed_out"),
        (Some("5000"), 5_000, "timed_out"), // a tie
    ] {
        let told = word(caller, ms(server)).await;
        assert!(told.contains(&format!(r#""reason":"{reason}""#)), "{caller:?}: {told}");
    }
}

// field F16: the cap of a layer of one's own is no word of the caller's.
#[tokio::test(start_paused = true)]
async fn the_most_that_a_server_believes_is_its_own_limit() {
    let read = || ReadDeadlineLayer::new(header()).bounds(ms(100), ms(1_000)).unwrap();
    for (caller, whose) in [
        (
            "60000",
            "timeout `orders`: timed out (a layer further out had set the deadline, with a limit of 1s)",
        ),
        ("500", "timeout `orders`: the caller's deadline has passed"),
        ("1", "timeout `orders`: the caller's deadline has passed"), // raised to the floor
    ] {
        let limit = TimeoutLayer::builder("orders").limit(ms(30_000)).propagate(InExtensions);
        let service = ServiceBuilder::new()
            .layer(read())
            .layer(limit.build().unwrap())
            .map_err(Error::Inner)
            .service_fn(hangs);
        let request = Request::builder().header(LEFT, caller).body(String::new()).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap_err().to_string(), whose);
    }
}

// field F16: from one process to the next, the limit of our stack is the deadline of a caller.
#[tokio::test(start_paused = true)]
async fn our_limit_is_the_callers_deadline_to_the_next_process() {
    for (caller, ours, theirs) in [
        (None, 1_000, "deadline_exceeded"),
        (Some(500), 1_000, "deadline_exceeded"),
        (None, 9_000, "timed_out"),
        (Some(9_000), 9_000, "timed_out"),
    ] {
        let there =
            web::server("stock").deadline(ms(5_000)).deadline_from(header()).build().unwrap();
        let there = ServiceBuilder::new().layer(there).map_err(Error::Inner).service_fn(hangs);
        let words: Arc<Mutex<Vec<String>>> = Arc::default();
        let read = words.clone();
        let there = service_fn(move |request: Request<String>| {
            let (call, words) = (there.clone().oneshot(request), read.clone());
            async move {
                let (head, body) = call.await.unwrap().into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                words.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
                Ok::<_, io::Error>(Response::from_parts(head, Full::new(body)))
            }
        });
        let stack = web::client("stock").deadline(ms(ours)).attempt_timeout(ms(ours - 1));
        let stack = stack.copy_with(seawall::retry::Never).build().unwrap();
        let client = ServiceBuilder::new()
            .layer(stack)
            .map_err(Error::Inner)
            // So that the answer comes first.
            .layer(WriteDeadlineLayer::new(header()).margin(ms(50)))
            .service(there);
        let mut request = Request::new(String::new());
        if let Some(caller) = caller {
            let mut call = CallContext::default();
            call.deadline = Some(Deadline::after(ms(caller)));
            request.extensions_mut().insert(call);
        }
        assert_eq!(client.oneshot(request).await.unwrap().status(), 504);
        let words = words.lock().unwrap();
        let [word] = &words[..] else { panic!("{words:?}") };
        assert!(word.contains(&format!(r#""reason":"{theirs}""#)), "{word}");
    }
}

// field F3: what a handler has left of its own time is no measure of whom it asks then.
#[tokio::test(start_paused = true)]
async fn a_call_that_had_little_of_a_limit_is_no_evidence_when_it_ends() {
    for (spent, is_evidence) in [(0, true), (1_000, true), (4_900, false)] {
        let breaker = CircuitBreakerLayer::builder("stock").trip(Trip::consecutive(1));
        let breaker = breaker.propagate(FromWithContext).build().unwrap();
        let stock = Stack::new(breaker.layer(attempt(20_000, hanging())));
        let handler = Stack::new(service_fn(move |request: WithContext<()>| {
            let stock = stock.clone();
            async move {
                sleep(ms(spent)).await;
                stock.oneshot(request).await
            }
        }));
        let ended = whole(5_000, handler).oneshot(WithContext::from(())).await;
        assert!(ended.is_err());
        let opened = breaker.handle().state() == seawall::circuit_breaker::State::Open;
        assert_eq!(opened, is_evidence, "after {spent} ms");
    }
}
