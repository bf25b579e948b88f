//! A probe may end in any way: its slot comes back, and the circuit can still close.

use super::kit::*;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerLayer, Position, State};
use seawall::timeout::TimeoutLayer;
use seawall::{CallGuard, Completion, Error, Outcome, Reason};
use tokio::runtime;
use tokio::time::advance;
use tower::load_shed::error::Overloaded;
use tower::timeout::Timeout;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    DroppedBeforeTheFirstPoll,
    DroppedAfterTheFirstPoll,
    DroppedBeforeTheCall,
    PanicInCall,
    PanicInTheFuture,
    TimeoutAbove,
    IgnoredOutcome,
    Pushback,
    NeverReady,
    NeverReadyAndDropped,
    TaskAborted,
    Hangs,
}

const ENDINGS: [Ending; 12] = [
    Ending::DroppedBeforeTheFirstPoll,
    Ending::DroppedAfterTheFirstPoll,
    Ending::DroppedBeforeTheCall,
    Ending::PanicInCall,
    Ending::PanicInTheFuture,
    Ending::TimeoutAbove,
    Ending::IgnoredOutcome,
    Ending::Pushback,
    Ending::NeverReady,
    Ending::NeverReadyAndDropped,
    Ending::TaskAborted,
    Ending::Hangs,
];

/// Calls once, and has the call end so. Returns what must be kept for it to have ended so.
async fn end(rig: &Rig, how: Ending) -> Option<Calling> {
    let mut service = rig.service.clone();
    match how {
        Ending::DroppedBeforeTheFirstPoll => {
            drop(service.ready().await.unwrap().call(Ask::Hang));
        }
        Ending::DroppedAfterTheFirstPoll => drop(launch(&mut service, Ask::Hang)),
        Ending::DroppedBeforeTheCall => {
            service.ready().await.unwrap();
        }
        Ending::PanicInCall => {
            // A readied instance calls in `call`, a probe in its first poll: either may panic.
            let call = || drop(launch(&mut service, Ask::PanicInCall));
            assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        }
        Ending::PanicInTheFuture => {
            let call = || drop(launch(&mut service, Ask::PanicLater));
            assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        }
        Ending::TimeoutAbove => {
            let mut hasty = Timeout::new(service, Duration::from_millis(5));
            let mut call = pin!(hasty.ready().await.unwrap().call(Ask::Hang));
            assert!(poll(call.as_mut()).is_pending());
            advance(Duration::from_millis(5)).await;
            assert!(call.await.is_err());
        }
        Ending::IgnoredOutcome => {
            launch(&mut service, Ask::Now(Answer::Ignored)).await.unwrap_err();
        }
        Ending::Pushback => {
            launch(&mut service, Ask::Now(Answer::Pushback)).await.unwrap_err();
        }
        Ending::NeverReady => {
            rig.seen.set_ready(false);
            let mut call = launch(&mut service, GOOD);
            advance(Duration::from_millis(1_001)).await;
            let Poll::Ready(answer) = poll(call.as_mut()) else {
                panic!("a probe waits for ever");
            };
            assert!(is_rejected(&answer));
            rig.seen.set_ready(true);
        }
        Ending::NeverReadyAndDropped => {
            rig.seen.set_ready(false);
            drop(launch(&mut service, GOOD));
            rig.seen.set_ready(true);
        }
        Ending::TaskAborted => {
            let task = tokio::spawn(async move { service.ready().await?.call(Ask::Hang).await });
            tokio::task::yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        Ending::Hangs => return Some(launch(&mut service, Ask::Hang)),
    }
    None
}

// pitfall B2
#[tokio::test(start_paused = true)]
async fn a_probe_may_end_in_any_way() {
    for how in ENDINGS {
        for good_answers in 0..6 {
            let mut rig = Rig::new(builder());
            rig.trip().await;
            rig.break_duration().await;
            for _ in 0..good_answers {
                rig.ask(GOOD).await.unwrap();
            }
            let mut kept = Vec::new();
            for _ in 0..1 << good_answers {
                if good_answers == 0 || rig.state() == State::HalfOpen {
                    kept.extend(end(&rig, how).await);
                }
            }
            assert_eq!(rig.seen.in_flight(), kept.len(), "{how:?} leaves nothing behind");
            let longest_break = Duration::from_millis(100);
            if rig.state() == State::Open || how == Ending::Hangs {
                advance(longest_break).await;
            }
            rig.ask(GOOD).await.unwrap_or_else(|why| panic!("{how:?}: {why}"));
            for _ in 0..7 {
                if rig.state() != State::Closed {
                    advance(longest_break).await;
                    rig.ask(GOOD).await.unwrap();
                }
            }
            assert_eq!(rig.state(), State::Closed, "{how:?} after {good_answers} good answers");
            assert_eq!(rig.seen.reservations(), 0, "{how:?} holds nothing");
        }
    }
}

// pitfall B2: the runtime is shut down with the probe on it
#[test]
fn a_probe_may_end_with_its_runtime() {
    let still =
        || runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = still();
    let mut rig = first.block_on(async {
        let mut rig = Rig::new(builder());
        rig.trip().await;
        rig.break_duration().await;
        let mut probe = rig.service.clone();
        tokio::spawn(async move { probe.ready().await?.call(Ask::Hang).await });
        tokio::task::yield_now().await;
        rig
    });
    assert_eq!(rig.seen.in_flight(), 1);
    drop(first);
    assert_eq!(rig.seen.in_flight(), 0);
    still().block_on(async {
        for _ in 0..7 {
            rig.ask(GOOD).await.unwrap();
        }
    });
    assert_eq!(rig.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_call_is_a_failure_and_reaches_the_caller() {
    for how in [Ending::PanicInCall, Ending::PanicInTheFuture] {
        let rig = Rig::new(builder());
        for _ in 0..17 {
            assert_eq!(rig.state(), State::Closed);
            end(&rig, how).await;
        }
        assert_eq!(rig.state(), State::Open, "{how:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_classifier_is_a_failure_and_reaches_the_caller() {
    let layer = CircuitBreakerLayer::builder("x")
        .classify_response(|(): &()| -> Outcome { panic!("as asked") })
        .build()
        .unwrap();
    let mut service = layer.layer(Dependency::default());
    for _ in 0..17 {
        assert_eq!(layer.handle().state(), State::Closed);
        let call = || drop(launch(&mut service, GOOD));
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    }
    assert_eq!(layer.handle().state(), State::Open);
}

// pitfall B3
#[tokio::test(start_paused = true)]
async fn a_rejection_by_a_breaker_further_in_eats_no_probe_and_counts_neither_way() {
    let (outer, inner) = (builder().build().unwrap(), CircuitBreakerLayer::new("inner"));
    let mut hand = inner.handle().switch(Position::Auto);
    let dependency = Dependency::default();
    let mut service = ServiceBuilder::new().layer(outer.clone()).layer(inner).service(dependency);
    let handle = outer.handle();

    hand.set(Position::Open);
    let innocent = handle.snapshot();
    for _ in 0..1_000 {
        let rejected = service.ready().await.unwrap().call(GOOD).await;
        assert!(matches!(rejected, Err(Error::Rejected(why)) if why.origin().name() == "inner"));
    }
    assert_eq!(handle.snapshot(), innocent, "it says nothing about the dependency");

    hand.set(Position::Closed);
    for _ in 0..17 {
        let _ = service.ready().await.unwrap().call(BAD).await;
    }
    hand.set(Position::Open);
    advance(handle.snapshot().next_probe_in.unwrap()).await;
    for _ in 0..100 {
        let rejected = service.ready().await.unwrap().call(GOOD).await;
        assert!(matches!(rejected, Err(Error::Rejected(why)) if why.origin().name() == "inner"));
        assert_eq!(handle.state(), State::HalfOpen);
    }
    hand.set(Position::Closed);
    for _ in 0..7 {
        service.ready().await.unwrap().call(GOOD).await.unwrap();
    }
    assert_eq!(handle.state(), State::Closed);
}

// pitfall B3
#[tokio::test(start_paused = true)]
async fn a_rejection_by_a_layer_that_drains_counts_neither_way() {
    let inner = TimeoutLayer::new("inner", Duration::from_secs(1));
    inner.drain().await;
    let outer = builder().build().unwrap();
    let mut service =
        ServiceBuilder::new().layer(outer.clone()).layer(inner).service(Dependency::default());
    let innocent = outer.handle().snapshot();
    for _ in 0..100 {
        let rejected = service.ready().await.unwrap().call(GOOD).await;
        assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
    }
    assert_eq!(outer.handle().snapshot(), innocent);
}

// pitfall B3: tower's layers, classified by the user's own closure
#[tokio::test(start_paused = true)]
async fn a_full_service_that_sheds_load_eats_no_probe() {
    let outer =
        CircuitBreakerLayer::builder("outer")
            .classify_error(|error: &BoxError| {
                if error.is::<Overloaded>() { Outcome::IGNORE } else { Outcome::FAILURE }
            })
            .build()
            .unwrap();
    let handle = outer.handle();
    let mut service = ServiceBuilder::new().layer(outer).load_shed().concurrency_limit(1).service(
        service_fn(|good: Option<bool>| async move {
            match good {
                Some(true) => Ok(()),
                Some(false) => Err(BoxError::from("down")),
                None => std::future::pending().await,
            }
        }),
    );
    for _ in 0..17 {
        let _ = service.ready().await.unwrap().call(Some(false)).await;
    }
    assert_eq!(handle.state(), State::Open);
    advance(Duration::from_millis(51)).await;
    let mut hogging = Box::pin(service.clone().oneshot(None));
    assert!(poll(hogging.as_mut()).is_pending());
    for _ in 0..50 {
        advance(Duration::from_millis(50)).await;
        let shed = service.ready().await.unwrap().call(Some(true)).await.unwrap_err();
        assert!(shed.is::<Overloaded>(), "{shed}");
        assert_eq!(handle.state(), State::HalfOpen);
    }
    drop(hogging);
    for _ in 0..7 {
        service.ready().await.unwrap().call(Some(true)).await.unwrap();
    }
    assert_eq!(handle.state(), State::Closed);
}

/// A call is over when its body is.
#[derive(Debug, Clone)]
struct AtBodyEnd(Arc<Mutex<Vec<CallGuard>>>);

impl Completion<()> for AtBodyEnd {
    type Response = ();

    fn wrap(&self, (): (), settle: CallGuard) {
        self.0.lock().unwrap().push(settle);
    }
}

// pitfall B16
#[tokio::test(start_paused = true)]
async fn a_call_that_is_over_at_the_end_of_its_body_holds_its_slot_until_then() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let layer = builder().completion(AtBodyEnd(bodies.clone())).build().unwrap();
    let handle = layer.handle();
    let mut service = layer.layer(Dependency::default());
    while handle.state() == State::Closed {
        let _ = service.ready().await.unwrap().call(BAD).await;
    }
    advance(handle.snapshot().next_probe_in.unwrap()).await;

    service.ready().await.unwrap().call(GOOD).await.unwrap();
    assert_eq!(layer.in_flight(), 1, "the head is here, the body is not");
    assert!(is_rejected(&service.ready().await.unwrap().call(GOOD).await));
    bodies.lock().unwrap().remove(0).settle(Outcome::SUCCESS);
    for _ in 0..2 {
        service.ready().await.unwrap().call(GOOD).await.unwrap();
    }
    assert!(is_rejected(&service.ready().await.unwrap().call(GOOD).await));
    // One body breaks off, the other is never read to its end.
    bodies.lock().unwrap().remove(0).settle(Outcome::FAILURE);
    assert_eq!(handle.state(), State::HalfOpen);
    drop(bodies.lock().unwrap().remove(0));
    assert_eq!(layer.in_flight(), 0);
    service.ready().await.unwrap().call(GOOD).await.unwrap();
}
