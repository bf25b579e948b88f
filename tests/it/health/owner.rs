//! Who keeps the checks going, and who only looks on.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use seawall::Reason;
use seawall::circuit_breaker::{CircuitBreakerLayer, Position, State};
use seawall::health::{Criticality, HealthRegistry, Probe, Status};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use super::{Patient, every_100_ms};
use crate::scene::{Calls, Fail, answering, in_time, ms, reason, settle};

/// Whether anybody still checks.
async fn is_checked(patient: &Patient) -> bool {
    let before = patient.calls.count();
    sleep(ms(1_000)).await;
    patient.calls.count() > before
}

// pitfall B24
#[tokio::test(start_paused = true)]
async fn the_checks_end_with_the_last_layer_service_or_handle() {
    let patient = Patient::new(true);
    let held = Arc::strong_count(&patient.well);
    let layer = patient.checked().build().unwrap();
    let (other, handle) = (layer.clone(), layer.handle());
    let service = layer.layer(answering(Ok).1);
    let copy = service.clone();
    let mut watch = handle.watch();
    assert!(Arc::strong_count(&patient.well) > held);
    drop(layer);
    assert!(is_checked(&patient).await);
    drop(other);
    assert!(is_checked(&patient).await);
    drop(handle);
    assert!(is_checked(&patient).await);
    drop(service);
    assert!(is_checked(&patient).await);
    drop(copy);
    assert!(!is_checked(&patient).await);
    assert_eq!(Arc::strong_count(&patient.well), held, "what the check captured is still held");
    // One who only watches does not keep it going, and hears that it is over.
    assert_eq!(in_time(watch.changed()).await, None);
    assert_eq!(watch.status(), Status::Up);
}

// pitfall B24
#[tokio::test(start_paused = true)]
async fn a_check_under_way_is_dropped_with_the_last_handle() {
    let calls = Calls::default();
    let seen = calls.clone();
    let layer = every_100_ms()
        .timeout(Duration::from_secs(60))
        .check(move || {
            seen.note();
            let alive = seen.enter();
            async move {
                std::future::pending::<()>().await;
                drop(alive);
                Ok::<_, Fail>(())
            }
        })
        .build()
        .unwrap();
    settle().await;
    assert_eq!(calls.alive(), 1);
    drop(layer);
    settle().await;
    assert_eq!(calls.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_registry_keeps_its_checks_going_and_ends_with_its_last_clone() {
    let patient = Patient::new(true);
    let registry = HealthRegistry::new("x");
    registry.add(
        Probe::Readiness,
        Criticality::Critical,
        &patient.checked().build().unwrap().handle(),
    );
    let mut watch = registry.watch(Probe::Readiness);
    assert_eq!(in_time(watch.changed()).await, Some(Status::Up));
    let copy = registry.clone();
    drop(registry);
    assert!(is_checked(&patient).await);
    drop(copy);
    assert!(!is_checked(&patient).await);
    assert_eq!(in_time(watch.changed()).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_drop_the_last_handle() {
    let patient = Patient::new(false);
    let last = Arc::new(Mutex::new(None));
    let taken = last.clone();
    let layer = patient
        .checked()
        .fall(1)
        .observe(move |_: &seawall::Event| {
            drop(taken.lock().unwrap_or_else(PoisonError::into_inner).take());
        })
        .build()
        .unwrap();
    *last.lock().unwrap() = Some(layer.handle());
    drop(layer);
    settle().await;
    assert!(last.lock().unwrap().is_none(), "it was told");
    assert!(!is_checked(&patient).await);
}

// ----- watching -----

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_by_every_watch_even_if_nobody_waited_for_it() {
    let patient = Patient::new(true);
    let layer = patient.checked().rise(1).fall(1).build().unwrap();
    let handle = layer.handle();
    let (mut early, mut lazy) = (handle.watch(), handle.watch());
    // Cancelled: what happens meanwhile is seen by the next call.
    assert!(tokio::time::timeout(ms(50), early.changed()).await.is_err());
    patient.set(false);
    sleep(ms(200)).await;
    assert_eq!((early.status(), handle.status()), (Status::Down, Status::Down));
    assert_eq!(in_time(early.changed()).await, Some(Status::Down));
    patient.set(true);
    assert_eq!(in_time(early.changed()).await, Some(Status::Up));
    assert_eq!(in_time(lazy.changed()).await, Some(Status::Up));
    assert!(tokio::time::timeout(ms(500), lazy.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn it_steers_the_switch_of_a_breaker_that_does_not_know_it() {
    let patient = Patient::new(false);
    let health = patient.checked().rise(1).fall(2).build().unwrap();
    let breaker = CircuitBreakerLayer::new("payments");
    let (calls, inner) = answering(Ok);
    let service = breaker.layer(inner);
    let handle = breaker.handle();
    let mut switch = handle.switch(Position::Auto);
    let following = tokio::spawn(health.handle().watch().follow(move |status| {
        switch.set(if status == Status::Up { Position::Auto } else { Position::Open });
    }));
    settle().await;
    assert_eq!(handle.state(), State::Closed);
    assert!(service.clone().oneshot(7).await.is_ok());
    sleep(ms(150)).await;
    assert_eq!(handle.state(), State::ForcedOpen);
    assert_eq!(reason(&service.clone().oneshot(7).await), Some(Reason::CircuitOpen));
    patient.set(true);
    sleep(ms(100)).await;
    assert_eq!(handle.state(), State::Closed);
    assert!(service.clone().oneshot(7).await.is_ok());
    patient.set(false);
    sleep(ms(300)).await;
    assert_eq!(handle.state(), State::ForcedOpen);
    // The follower ends with the check, and the switch is let go of.
    drop(health);
    in_time(following).await.unwrap();
    assert_eq!((handle.state(), calls.count()), (State::Closed, 2));
}
