//! Calls outside a runtime, and calls that outlive the one they began on.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Position, State, Trip};
use seawall::http::body_timeout::BodyTimeoutLayer;
use seawall::http::drain::DrainLayer;
use seawall::http::{self as web, ResponseBody};
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Backoff, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{CallError, Deadline, Error, Outcome, Reason, stack};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{Boxed, Broken, Fail, broken, ms, now, reason};

// ----- without a runtime -----

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future without a runtime. A timer that is made panics.
fn alone<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut cx) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Pending once, and woken.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Answers at its second poll: with its request, or failing where that is zero.
fn pausing() -> Boxed {
    Boxed::new(service_fn(|n: u32| async move {
        pause().await;
        if n == 0 { Err(Error::Inner(broken("zero"))) } else { Ok(n) }
    }))
}

fn hanging() -> Boxed {
    Boxed::new(service_fn(|_: u32| std::future::pending::<Result<u32, Fail>>()))
}

// field F15: no timer for a wait of nothing.
#[test]
fn what_needs_no_waiting_needs_no_runtime() {
    let endless = TimeoutLayer::new("x", Duration::MAX);
    assert_eq!(alone(endless.layer(pausing()).oneshot(7)), Ok(7));
    let nothing = TimeoutLayer::new("x", Duration::ZERO);
    assert_eq!(reason(&alone(nothing.layer(hanging()).oneshot(7))), Some(Reason::TimedOut));
    let covers = TimeoutLayer::builder("x").limit(Duration::ZERO).cover_readiness(true);
    let never = ServiceBuilder::new().concurrency_limit(0).service(hanging());
    let ended = alone(covers.build().unwrap().layer(never).oneshot(7));
    assert_eq!(reason(&ended), Some(Reason::TimedOut));

    // A deadline that is no more, and one that never comes.
    let carried =
        TimeoutLayer::builder("x").limit(Duration::MAX).propagate(FromWithContext).build().unwrap();
    let inner = service_fn(|_: WithContext<()>| async {
        pause().await;
        Ok::<_, Fail>(())
    });
    let call = |deadline| alone(carried.layer(inner).oneshot(WithContext::new((), deadline)));
    assert_eq!(call(Deadline::NEVER), Ok(()));
    assert_eq!(reason(&call(Deadline::at(now()))), Some(Reason::DeadlineExceeded));

    let retry = RetryLayer::builder("x").cloned().backoff(Backoff::none()).attempts(3);
    let retry = retry.build().unwrap();
    assert_eq!(alone(retry.layer(pausing()).oneshot(7)), Ok(7));
    assert!(alone(retry.layer(pausing()).oneshot(0)).is_err());
    let ran = retry.run(|| async { Err::<(), _>(Error::Inner(broken("no"))) });
    assert!(alone(ran).is_err());

    let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(1)).build().unwrap();
    assert_eq!(alone(breaker.layer(pausing()).oneshot(7)), Ok(7));
    let mut waits = breaker.backpressure().layer(pausing());
    assert_eq!(alone(async { waits.ready().await.unwrap().call(7).await }), Ok(7));
    assert!(alone(breaker.layer(pausing()).oneshot(0)).is_err());
    let open = alone(breaker.layer(pausing()).oneshot(7));
    assert_eq!(reason(&open), Some(Reason::CircuitOpen));
    // Held open by hand: who waits does so until the hand lets go, and not for any time.
    let hand = breaker.handle().switch(Position::Open);
    let mut waits = breaker.backpressure().layer(pausing());
    let letting_go = thread::spawn(move || drop(hand));
    assert!(alone(waits.ready()).is_ok());
    letting_go.join().unwrap();

    let places = BulkheadLayer::builder("x").limit(1).queue(0).build().unwrap();
    let service = places.layer(hanging());
    let mut held = Box::pin(service.clone().oneshot(7));
    assert!(crate::scene::poll_once(&mut held).is_pending());
    assert_eq!(reason(&alone(service.oneshot(7))), Some(Reason::Full));
    let places = BulkheadLayer::builder("x").limit(1).queue(4).max_wait(Duration::MAX);
    let service = places.build().unwrap().layer(pausing());
    let mut first = Box::pin(service.clone().oneshot(7));
    assert!(crate::scene::poll_once(&mut first).is_pending());
    let mut second = Box::pin(service.oneshot(8));
    assert!(crate::scene::poll_once(&mut second).is_pending());
    assert_eq!((alone(first), alone(second)), (Ok(7), Ok(8)));
}

// A timer that cannot be made again is one whose time has come.
#[test]
fn a_call_that_outlives_its_runtime_needs_no_second_timer() {
    let layers = stack::client("x").cloned().build().unwrap();
    let mut call = Box::pin(layers.layer(pausing()).oneshot(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { assert!(crate::scene::poll_once(&mut call).is_pending()) });
    drop(runtime);
    assert!(alone(call).is_err()); // after three attempts, with two waits between them
}

// field F15: the ready-made stack, with every limit there is when nothing is waited for.
#[test]
fn a_whole_stack_needs_no_runtime_while_nobody_waits() {
    let at_once = || service_fn(|n: u32| async move { Ok::<_, Broken>(n) });
    let layers = stack::client("x").cloned().build().unwrap();
    let client = ServiceBuilder::new().layer(&layers).map_err(Error::Inner).service(at_once());
    assert_eq!(alone(client.oneshot(7)), Ok(7));
    assert_eq!(alone(layers.run(|| async { Ok::<_, Fail>(7) })), Ok(7));

    let registry = seawall::health::HealthRegistry::new("x");
    let server = web::server("x").registry(&registry).build().unwrap();
    let service = ServiceBuilder::new().layer(server.clone()).map_err(Error::Inner).service_fn(
        |_: Request<Full<Bytes>>| async {
            Ok::<_, Broken>(Response::new(Full::<Bytes>::default()))
        },
    );
    let answer: Response<ResponseBody<_>> = alone(service.oneshot(Request::default())).unwrap();
    assert_eq!(answer.status(), 200);
    alone(server.drain_after(Duration::ZERO));
}

// field F15: bodies.
#[test]
fn bodies_that_need_no_waiting_need_no_runtime() {
    // One that never comes is not waited for at all.
    let (_held, stuck) = Channel::<Bytes, Broken>::new(1);
    let stuck = std::sync::Mutex::new(Some(stuck));
    let busy = service_fn(move |()| {
        let response = Response::builder().status(503).body(stuck.lock().unwrap().take().unwrap());
        async { Ok::<_, Fail>(response.unwrap()) }
    });
    let drained = DrainLayer::new().wait(Duration::ZERO).layer(busy).oneshot(());
    assert_eq!(alone(drained).unwrap().status(), 503);

    let endless = BodyTimeoutLayer::builder("x").idle(Duration::MAX).total(Duration::MAX);
    let answers = service_fn(|()| async {
        let frames = futures::stream::once(Box::pin(async {
            pause().await;
            Ok::<_, Broken>(http_body::Frame::data(Bytes::from_static(b"hello")))
        }));
        Ok::<_, Fail>(Response::new(http_body_util::StreamBody::new(frames)))
    });
    let body = alone(endless.build().unwrap().layer(answers).oneshot(())).unwrap().into_body();
    assert_eq!(alone(body.collect()).unwrap().to_bytes(), "hello");
}

// ----- two runtimes, one after the other -----

/// Whose time is paused.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

type Waiting = Pin<Box<dyn Future<Output = Result<u32, Fail>> + Send>>;

/// What waits in each layer, with a timer, for a second.
fn waiting() -> Vec<(&'static str, Waiting, Option<Reason>)> {
    let second = ms(1_000);
    let mut waiting: Vec<(&'static str, Waiting, Option<Reason>)> = Vec::new();

    let timeout = TimeoutLayer::new("x", second).layer(hanging()).oneshot(7);
    waiting.push(("timeout", Box::pin(timeout), Some(Reason::TimedOut)));

    let run = TimeoutLayer::new("x", second).run(std::future::pending::<Result<u32, Fail>>);
    waiting.push(("timeout, run", Box::pin(run), Some(Reason::TimedOut)));

    let retry = || RetryLayer::builder("x").cloned().attempts(2).backoff(Backoff::fixed(second));
    let again = retry().build().unwrap().layer(pausing()).oneshot(0);
    waiting.push(("retry", Box::pin(again), None));
    let run = retry().build().unwrap();
    let run = async move { run.run(|| async { Err(Error::Inner(broken("no"))) }).await };
    waiting.push(("retry, run", Box::pin(run), None));

    let places = BulkheadLayer::builder("x").limit(1).queue(4).max_wait(second).build().unwrap();
    let service = places.layer(hanging());
    let mut held = Box::pin(service.clone().oneshot(7));
    assert!(crate::scene::poll_once(&mut held).is_pending());
    let queued = async move {
        let _held = held;
        service.oneshot(8).await
    };
    waiting.push(("bulkhead", Box::pin(queued), Some(Reason::QueueTimeout)));

    let breaks = CircuitBreakerLayer::builder("x")
        .trip(Trip::consecutive(1))
        .break_duration(second)
        .max_break_duration(second);
    let breaker = breaks.build().unwrap();
    let mut balanced = breaker.backpressure().layer(pausing());
    let balanced = async move {
        assert!(breaker.layer(pausing()).oneshot(0).await.is_err());
        assert_eq!(breaker.handle().state(), State::Open);
        balanced.ready().await?.call(7).await
    };
    waiting.push(("backpressure", Box::pin(balanced), None));

    let slow =
        CircuitBreakerLayer::builder("x").trip(Trip::slow_rate(0.5, second)).build().unwrap();
    let slow = TimeoutLayer::new("x", second).layer(slow.layer(hanging())).oneshot(7);
    waiting.push(("slow calls", Box::pin(slow), Some(Reason::TimedOut)));

    let client = stack::client("x").cloned().attempt_timeout(second).build().unwrap();
    let client = client.layer(hanging()).oneshot(7);
    waiting.push(("client", Box::pin(client), Some(Reason::TimedOut)));

    let body = BodyTimeoutLayer::builder("x").idle(second).build().unwrap();
    let body = async move {
        let (_held, stuck) = Channel::<Bytes, Broken>::new(1);
        let mut stuck = Some(Response::new(stuck));
        let service =
            service_fn(move |()| std::future::ready(Ok::<_, Fail>(stuck.take().unwrap())));
        let response = body.layer(service).oneshot(()).await?;
        let error = response.into_body().collect().await.unwrap_err();
        Err(Error::Rejected(seawall::Rejected::find(&*error).unwrap().clone()))
    };
    waiting.push(("body", Box::pin(body), Some(Reason::TimedOut)));

    let drain = async move {
        let (_held, stuck) = Channel::<Bytes, Broken>::new(1);
        let mut stuck = Some(Response::builder().status(503).body(stuck).unwrap());
        let service =
            service_fn(move |()| std::future::ready(Ok::<_, Fail>(stuck.take().unwrap())));
        let response = DrainLayer::new().wait(ms(1_000)).layer(service).oneshot(()).await?;
        Ok(u32::from(response.status().as_u16()))
    };
    waiting.push(("drain", Box::pin(drain), None));
    waiting
}

// field F6: a wait goes on where it is polled next, and ends where nothing can wait for it.
#[test]
fn a_wait_outlives_the_runtime_it_began_on() {
    for next in [Some(()), None] {
        for nth in 0..waiting().len() {
            let first = runtime();
            let (what, mut call, why) = first.block_on(async {
                let (what, mut call, why) = waiting().swap_remove(nth);
                for _ in 0..8 {
                    let poll = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
                    assert!(poll.is_pending(), "{what}: {poll:?}");
                }
                (what, call, why)
            });
            drop(first);
            let ended = if next.is_some() {
                runtime()
                    .block_on(async { tokio::time::timeout(ms(600_000), call).await.expect(what) })
            } else if what == "backpressure" || what == "client" {
                continue; // they go on to wait for more
            } else {
                alone(&mut call)
            };
            let told =
                ended.as_ref().err().and_then(CallError::rejected).map(seawall::Rejected::reason);
            assert_eq!(told, why, "{what}: {ended:?}");
        }
    }
}

// field F6: services, and what they hold between two calls.
#[test]
fn a_service_that_waited_on_one_runtime_is_used_on_the_next() {
    let second = ms(1_000);
    let breaks = CircuitBreakerLayer::builder("x")
        .trip(Trip::consecutive(1))
        .break_duration(second)
        .max_break_duration(second);
    let breaker = breaks.build().unwrap();
    let mut balanced = breaker.backpressure().layer(pausing());
    for round in 0..3 {
        let runtime = runtime();
        runtime.block_on(async {
            if round == 0 {
                assert!(breaker.layer(pausing()).oneshot(0).await.is_err());
            }
            // Left in the middle of the wait, with its timer armed.
            let readied = tokio::time::timeout(ms(1), balanced.ready()).await;
            assert_eq!(readied.is_err(), round < 2 || breaker.handle().state() == State::Open);
        });
        drop(runtime);
    }
    runtime().block_on(async {
        assert_eq!(balanced.ready().await.unwrap().call(7).await, Ok(7));
    });
}

// field F6: however many wait, a trip wakes them all.
#[test]
fn a_trip_wakes_more_than_a_few_thousand_services() {
    use crate::support::{CountingWaker, ready_once};
    const MANY: usize = 10_000;
    let breaker = CircuitBreakerLayer::builder("x")
        .trip(Trip::consecutive(1))
        .classify_error(|_: &Fail| Outcome::TRANSIENT)
        .build()
        .unwrap();
    let never = || ServiceBuilder::new().concurrency_limit(0).service(hanging());
    let mut parked: Vec<_> =
        (0..MANY).map(|_| (breaker.layer(never()), CountingWaker::default())).collect();
    for (service, task) in &mut parked {
        assert!(ready_once(service, task).is_pending());
    }
    let hand = breaker.handle().switch(Position::Open);
    let woken = parked.iter().filter(|(_, task)| task.wakes() > 0).count();
    assert_eq!(woken, MANY);
    drop(hand);
}
