//! User code inside a layer: classifiers, finishes and observers that panic, or call back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::Poll;
use std::time::Duration;

use seawall::bulkhead::{self, BulkheadLayer};
use seawall::circuit_breaker::{
    CircuitBreakerHandle, CircuitBreakerLayer, Config, Position, State, Trip,
};
use seawall::propagate::{CallContext, Propagate};
use seawall::timeout::TimeoutLayer;
use seawall::{CallGuard, Completion, Event, EventKind, Outcome, Reason, stack};
use tower::{Layer, Service};

use crate::support::{
    Broken, CountingWaker, Fail, Ready, Reply, caught, now, poll_once, probe, ready_once, scripted,
};

/// One call, and what comes of it.
fn ask<S>(service: &mut S) -> Option<Result<u32, Fail>>
where
    S: Service<u32, Response = u32, Error = Fail>,
{
    caught(|| {
        let task = CountingWaker::new();
        now(ready_once(service, &task))?;
        let mut future = Box::pin(service.call(7));
        now(poll_once(&mut future, &task))
    })
}

/// The ordinary number of straight failures that opens a breaker.
const FAILURES: usize = 17;

// ===== panics =====

// pitfall B2
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_call_or_its_future_is_a_failure() {
    for (ready, reply) in [(Ready::Yes, Reply::PanicsInCall), (Ready::Yes, Reply::PanicsInFuture)] {
        let (_, probe) = scripted(ready, reply);
        let layer = CircuitBreakerLayer::new("hooks");
        let mut service = layer.layer(probe);
        for nth in 0..FAILURES {
            assert_eq!(layer.handle().state(), State::Closed, "{reply:?}: after {nth}");
            assert_eq!(ask(&mut service), None);
        }
        assert_eq!(layer.handle().state(), State::Open, "{reply:?}");
        assert_eq!(layer.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_that_panics_fails_the_call_and_nothing_else() {
    let (handle, probe) = probe();
    let layer = CircuitBreakerLayer::builder("hooks")
        .classify_response(|_: &u32| -> Outcome { panic!("scripted: response") })
        .classify_error(|_: &Fail| -> Outcome { panic!("scripted: error") })
        .build()
        .unwrap();
    let mut service = layer.layer(probe);
    for nth in 0..FAILURES {
        handle.set_reply(if nth % 2 == 0 { Reply::Answers } else { Reply::Fails });
        assert_eq!(ask(&mut service), None);
        handle.assert_at_rest();
        assert_eq!(layer.in_flight(), 0);
    }
    assert_eq!(layer.handle().state(), State::Open);
}

#[derive(Debug, Clone)]
struct Panics;

impl Completion<u32> for Panics {
    type Response = u32;

    fn wrap(&self, _: u32, _settle: CallGuard) -> u32 {
        panic!("scripted: finish")
    }
}

#[tokio::test(start_paused = true)]
async fn a_finish_that_panics_ends_the_call() {
    let (handle, probe) = probe();
    let layer = CircuitBreakerLayer::builder("hooks").completion(Panics).build().unwrap();
    let mut service = layer.layer(probe);
    for _ in 0..3 {
        assert_eq!(ask(&mut service), None);
        handle.assert_at_rest();
        assert_eq!(layer.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_panics_fails_the_call_and_nothing_else() {
    let (handle, probe) = probe();
    let layer = TimeoutLayer::builder("hooks")
        .limit_by(|request: &u32| {
            assert_ne!(*request, 7, "scripted: limit");
            None
        })
        .build()
        .unwrap();
    let mut service = layer.layer(probe);
    assert_eq!(ask(&mut service), None);
    assert_eq!(layer.in_flight(), 0);
    assert_eq!(now(poll_once(&mut Box::pin(service.call(8)), &CountingWaker::new())), Ok(8));
    drop(service);
    handle.assert_at_rest();
}

/// A task that cannot be woken.
struct Asleep;

impl std::task::Wake for Asleep {
    fn wake(self: Arc<Self>) {
        panic!("scripted: wake");
    }
}

// pitfall B2: a place is freed once, though telling the next in the queue panics
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_frees_no_place_twice() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let layer = BulkheadLayer::builder("hooks").limit(2).queue(4).build().unwrap();
    let (held, opens) = (layer.handle(), Arc::clone(&gate));
    let service = layer.layer(tower::service_fn(move |nth: u32| {
        let gate = Arc::clone(&opens);
        async move {
            if nth == 0 {
                gate.notified().await;
            } else {
                std::future::pending::<()>().await;
            }
            Ok::<_, Fail>(nth)
        }
    }));
    let task = CountingWaker::new();
    let mut calls: Vec<_> = (0..3).map(|nth| Box::pin(service.clone().call(nth))).collect();
    assert!(poll_once(&mut calls[0], &task).is_pending());
    assert!(poll_once(&mut calls[1], &task).is_pending());
    let asleep = std::task::Waker::from(Arc::new(Asleep));
    let mut cx = std::task::Context::from_waker(&asleep);
    assert!(calls[2].as_mut().poll(&mut cx).is_pending());
    assert_eq!(held.in_flight(), 2);

    gate.notify_one();
    assert!(caught(|| poll_once(&mut calls[0], &task)).is_none(), "the waker of the queue panics");
    drop(calls.remove(0));
    assert_eq!(held.in_flight(), 2, "the second, and the third, to whom the place was given");
    drop(calls);
    assert_eq!((held.in_flight(), layer.in_flight()), (0, 0));
}

/// Where nobody has written what belongs to a seven.
#[derive(Clone)]
struct Torn;

impl Propagate<u32> for Torn {
    fn extract(&self, _: &u32) -> CallContext {
        CallContext::default()
    }

    fn inject(&self, request: &mut u32, _: &CallContext) {
        assert_ne!(*request, 7, "scripted: inject");
    }
}

// pitfall B2: written when the call has its permits, and before it has a future
#[tokio::test(start_paused = true)]
async fn what_writes_the_facts_may_panic_and_no_permit_is_lost() {
    let places = BulkheadLayer::builder("hooks").limit(1).build().unwrap();
    let held = places.handle();
    let timeout = TimeoutLayer::builder("hooks").propagate(Torn).build().unwrap();
    let both = places.and(timeout);
    let (_probed, probed) = probe();
    let mut service = both.layer(probed);
    for _ in 0..3 {
        assert_eq!(ask(&mut service), None);
        assert_eq!((held.in_flight(), both.in_flight()), (0, 0));
    }
    assert_eq!(now(poll_once(&mut Box::pin(service.call(8)), &CountingWaker::new())), Ok(8));

    let one = bulkhead::Config { limit: 1, queue: 0, ..bulkhead::Config::default() };
    let client = stack::client("hooks").bulkhead(one).cloned().propagate(Torn).build().unwrap();
    let (_probed, probed) = probe();
    let mut service = client.layer(probed);
    for _ in 0..3 {
        assert_eq!(ask(&mut service), None);
        assert_eq!((client.bulkhead().in_flight(), client.in_flight()), (0, 0));
    }
    assert_eq!(now(poll_once(&mut Box::pin(service.call(8)), &CountingWaker::new())), Ok(8));
}

// ===== observers =====

// pitfall B25
#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_harms_neither_the_call_nor_the_next_observer() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let layer = CircuitBreakerLayer::builder("hooks")
        .observe(|_: &Event| panic!("scripted: observer"))
        .observe(move |event: &Event| told.lock().unwrap().push(event.kind))
        .build()
        .unwrap();
    let (handle, probe) = scripted(Ready::Yes, Reply::Fails);
    let mut service = layer.layer(probe);
    for _ in 0..FAILURES {
        assert_eq!(ask(&mut service), Some(Err(Fail::Inner(Broken))));
    }
    assert!(matches!(ask(&mut service), Some(Err(Fail::Rejected(_)))));
    // While the call itself is panicking, too: two panics at once must not end the process.
    layer.handle().reset();
    handle.set_reply(Reply::PanicsInFuture);
    for _ in 0..FAILURES {
        assert_eq!(ask(&mut service), None);
    }
    assert_eq!((layer.handle().state(), layer.in_flight()), (State::Open, 0));
    let changes = seen
        .lock()
        .unwrap()
        .iter()
        .filter(|kind| matches!(kind, EventKind::Changed { .. }))
        .count();
    assert_eq!(changes, 3, "open, closed by hand, and open again");
    assert!(seen.lock().unwrap().contains(&EventKind::Rejected { reason: Reason::CircuitOpen }));
}

/// Everything an observer may do to the policy that it hears of.
fn meddle(handle: &CircuitBreakerHandle, nth: usize) {
    assert_eq!(handle.snapshot().state, handle.state());
    match nth % 4 {
        0 => handle.reset(),
        1 => drop(handle.switch(Position::Open)),
        2 => drop(handle.switch(Position::Closed)),
        _ => handle.reload(Config::default()).unwrap(),
    }
    assert!(format!("{handle:?}").contains("hooks"));
}

// pitfall B25
#[test]
fn an_observer_that_calls_back_does_not_deadlock() {
    // A deadlock cannot be asserted from within.
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(call_back()));
    let told = wait.recv_timeout(Duration::from_secs(30)).expect("a deadlock");
    assert!(told > 100, "told of {told} events");
}

fn call_back() -> usize {
    let steered = Arc::new(OnceLock::<CircuitBreakerHandle>::new());
    let told = Arc::new(AtomicUsize::new(0));
    let (handle, count) = (Arc::clone(&steered), Arc::clone(&told));
    let builder = CircuitBreakerLayer::builder("hooks").trip(Trip::consecutive(2));
    let layer = builder
        .observe(move |_: &Event| {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            // Each change that an observer makes is an event of its own.
            if nth < 500 {
                meddle(handle.get().expect("set before the first call"), nth);
            }
        })
        .build()
        .unwrap();
    steered.set(layer.handle()).unwrap();
    let (handle, probe) = probe();
    let mut service = layer.layer(probe);
    for nth in 0..200 {
        handle.set_reply(
            [Reply::Answers, Reply::Fails, Reply::Fails, Reply::PanicsInFuture][nth % 4],
        );
        let _ = ask(&mut service);
        let mut abandoned = Box::pin(service.call(7));
        handle.set_reply(Reply::Never);
        let _: Poll<_> = poll_once(&mut abandoned, &CountingWaker::new());
    }
    assert_eq!(layer.in_flight(), 0);
    told.load(Ordering::Relaxed)
}

// pitfall B25
#[tokio::test(start_paused = true)]
async fn an_observer_that_calls_the_service_is_told_of_that_call_too() {
    let (_, probe) = scripted(Ready::Yes, Reply::Fails);
    let inside = Arc::new(OnceLock::new());
    let nested = Arc::new(Mutex::new(Vec::new()));
    let (caller, answers) = (Arc::clone(&inside), Arc::clone(&nested));
    let builder = CircuitBreakerLayer::builder("hooks").trip(Trip::consecutive(1));
    let layer = builder
        .observe(move |event: &Event| {
            if matches!(event.kind, EventKind::Changed { .. }) {
                let service: &Mutex<Box<dyn FnMut() -> bool + Send>> = caller.get().unwrap();
                let rejected = service.lock().unwrap()();
                answers.lock().unwrap().push(rejected);
            }
        })
        .build()
        .unwrap();
    let mut service = layer.layer(probe);
    let mut clone = service.clone();
    let rejected = move || matches!(ask(&mut clone), Some(Err(Fail::Rejected(_))));
    inside.set(Mutex::new(Box::new(rejected) as Box<dyn FnMut() -> bool + Send>)).ok().unwrap();
    assert_eq!(ask(&mut service), Some(Err(Fail::Inner(Broken))));
    assert_eq!(*nested.lock().unwrap(), [true]);
}
