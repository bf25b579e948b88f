//! The face for balancers: not ready, instead of rejecting.

use super::kit::*;

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::circuit_breaker::{Backpressure, Builder, CircuitBreakerHandle, Position, State};
use seawall::{EventKind, OnResponse};
use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceExt};

type Lent = Backpressure<Dependency, ByFault, OnResponse>;

/// Instances that share one breaker.
fn instances<const N: usize>(builder: Builder<ByFault>) -> ([Lent; N], CircuitBreakerHandle) {
    let layer = builder.build().unwrap();
    let dependency = Dependency::default();
    let lent = std::array::from_fn(|_| layer.backpressure().layer(dependency.clone()));
    (lent, layer.handle())
}

fn is_ready(service: &mut Lent) -> bool {
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.is_ok(),
        Poll::Pending => false,
    }
}

async fn trip(service: &mut Lent, handle: &CircuitBreakerHandle) {
    while handle.state() != State::Open {
        let _ = service.ready().await.unwrap().call(BAD).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_not_ready_while_the_circuit_is_open_and_woken_when_the_rest_ends() {
    let ([mut service, mut other], handle) = instances(builder());
    trip(&mut service, &handle).await;
    assert!(!is_ready(&mut service) && !is_ready(&mut other));
    let break_duration = handle.snapshot().next_probe_in.unwrap();

    let waiting = tokio::spawn(async move {
        service.ready().await.unwrap();
        service
    });
    tokio::task::yield_now().await;
    advance(break_duration - Duration::from_millis(2)).await;
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    advance(Duration::from_millis(3)).await;
    let mut service = timeout(Duration::from_millis(1), waiting).await.expect("woken").unwrap();
    assert_eq!(handle.state(), State::HalfOpen);
    assert!(!is_ready(&mut other), "the one probe is spoken for");
    service.call(GOOD).await.unwrap();
    assert!(is_ready(&mut other));
}

#[tokio::test(start_paused = true)]
async fn it_is_woken_when_the_circuit_closes_by_hand() {
    let ([mut service], handle) = instances(builder());
    let mut hand = handle.switch(Position::Auto);
    hand.set(Position::Open);
    let waiting = tokio::spawn(async move { service.ready().await.map(|_| ()) });
    tokio::task::yield_now().await;
    advance(Duration::from_secs(3600)).await;
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    hand.set(Position::Auto);
    timeout(Duration::from_millis(1), waiting).await.expect("woken").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_woken_when_new_config_let_calls_through() {
    let ([mut service], handle) = instances(builder());
    let mut hand = handle.switch(Position::Auto);
    hand.set(Position::Open);
    let waiting = tokio::spawn(async move { service.ready().await.map(|_| ()) });
    tokio::task::yield_now().await;
    let mut config = handle.config();
    config.shadow = true;
    handle.reload(config).unwrap();
    timeout(Duration::from_secs(1), waiting).await.expect("woken").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ticket_comes_back_when_its_instance_is_dropped_and_nobody_gave_up_a_call() {
    let diary = Diary::default();
    let ([mut service, mut other], handle) = instances(builder().observe(diary.observer()));
    trip(&mut service, &handle).await;
    advance(handle.snapshot().next_probe_in.unwrap()).await;
    assert!(is_ready(&mut service));
    assert!(is_ready(&mut service), "it is the same ticket");
    assert!(!is_ready(&mut other));
    drop(service);
    assert!(is_ready(&mut other));
    assert_eq!(diary.count(EventKind::Abandoned), 0);
    drop(other);
    assert_eq!(handle.state(), State::HalfOpen, "an unused ticket is no call");
    assert_eq!(diary.count(EventKind::Abandoned) + diary.count(EventKind::Late), 0);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_is_never_used_holds_up_the_others_for_one_rest_only() {
    let ([mut hoarder, mut other], handle) = instances(builder());
    trip(&mut hoarder, &handle).await;
    advance(handle.snapshot().next_probe_in.unwrap()).await;
    assert!(is_ready(&mut hoarder));
    let other = tokio::spawn(async move { other.ready().await.map(|_| ()) });
    tokio::task::yield_now().await;
    timeout(Duration::from_millis(52), other).await.expect("let through").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ticket_of_an_earlier_state_has_lapsed() {
    let diary = Diary::default();
    let ([mut service, mut other], handle) = instances(builder().observe(diary.observer()));
    assert!(is_ready(&mut other));
    trip(&mut service, &handle).await;
    assert!(is_rejected(&other.call(GOOD).await), "it asks again, and is rejected");
    assert!(!is_ready(&mut other));
    advance(handle.snapshot().next_probe_in.unwrap()).await;
    assert!(is_ready(&mut other));
    other.call(GOOD).await.unwrap();
    assert_eq!(diary.count(EventKind::Late), 0, "a ticket is not an answer");
    assert_eq!(diary.count(EventKind::Abandoned), 0);
}

#[tokio::test(start_paused = true)]
async fn in_the_ramp_it_waits_for_a_slot_without_spinning() {
    let ([mut a, mut b, mut c, mut d], handle) = instances(builder().probes(1));
    trip(&mut a, &handle).await;
    advance(handle.snapshot().next_probe_in.unwrap()).await;
    while handle.state() != State::Closed {
        a.ready().await.unwrap().call(GOOD).await.unwrap();
    }
    assert!(is_ready(&mut a) && is_ready(&mut b));
    assert!(!is_ready(&mut c), "two at a time, right after closing");
    let waiting = tokio::spawn(async move { c.ready().await.map(|_| ()) });
    tokio::task::yield_now().await;
    a.call(GOOD).await.unwrap();
    timeout(Duration::from_millis(1), waiting).await.expect("woken").unwrap().unwrap();
    assert!(is_ready(&mut d));
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_keeps_instances_waiting_too() {
    let slow = builder().slow_start(Duration::from_secs(60)).ramp(Duration::ZERO);
    let ([mut service], handle) = instances(slow);
    trip(&mut service, &handle).await;
    advance(handle.snapshot().next_probe_in.unwrap()).await;
    while handle.state() != State::Closed {
        service.ready().await.unwrap().call(GOOD).await.unwrap();
    }
    let looks = (0..100).filter(|_| {
        let ready = is_ready(&mut service);
        if ready {
            // Used up, so that the next look asks anew.
            drop(service.call(Ask::Hang));
        }
        ready
    });
    let ready = looks.count();
    assert!((1..25).contains(&ready), "{ready} of 100 looks, at a share of a sixteenth");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_clone_will_do() {
    struct Single(Dependency);
    impl Service<Ask> for Single {
        type Response = ();
        type Error = seawall::Error<Fault>;
        type Future = Calling;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, ask: Ask) -> Calling {
            self.0.call(ask)
        }
    }
    let layer = builder().build().unwrap();
    // As a ready cache does: several instances are kept ready, and whichever is needed is called.
    let mut pool: Vec<_> =
        (0..4).map(|_| layer.backpressure().layer(Single(Dependency::default()))).collect();
    for round in 0..17 {
        for service in &mut pool {
            service.ready().await.unwrap();
        }
        pool[round % 4].call(BAD).await.unwrap_err();
    }
    assert_eq!(layer.handle().state(), State::Open);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pool.iter_mut().all(|service| service.poll_ready(&mut cx).is_pending()));
    advance(Duration::from_millis(51)).await;
    let ready = pool
        .iter_mut()
        .filter_map(|service| service.poll_ready(&mut cx).is_ready().then_some(service));
    let ready: Vec<_> = ready.collect();
    assert_eq!(ready.len(), 1);
    for service in ready {
        service.call(GOOD).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn drained_it_is_ready_to_say_so() {
    let layer = builder().build().unwrap();
    let mut service = layer.backpressure().layer(Dependency::default());
    layer.drain().await;
    let rejected = service.ready().await.unwrap().call(GOOD).await;
    let Err(seawall::Error::Rejected(why)) = rejected else { panic!("let through") };
    assert_eq!(why.reason(), seawall::Reason::Draining);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_kept_ready_does_not_hold_up_a_drain() {
    let layer = builder().build().unwrap();
    let mut service = layer.backpressure().layer(Dependency::default());
    service.ready().await.unwrap();
    timeout(Duration::from_secs(1), layer.drain()).await.expect("no call is in flight");
}
