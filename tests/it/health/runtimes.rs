//! Checks that outlive the runtime they were begun on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use seawall::Reason;
use seawall::health::{
    Criticality, HealthHandle, HealthLayer, HealthRegistry, HealthUpdate, Probe, Status,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use super::Patient;
use crate::scene::{answering, fields, in_time, ms, reason, settle};

/// Whose time is paused.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// A check that was built on a runtime that is gone.
fn orphaned(patient: &Patient) -> HealthLayer {
    let gone = runtime();
    let layer = gone.block_on(async {
        let layer = patient.checked().rise(2).fall(2).build().unwrap();
        sleep(ms(1_050)).await;
        layer
    });
    drop(gone);
    layer
}

// field F6
#[test]
fn a_check_whose_runtime_is_gone_is_begun_again_by_whoever_uses_it() {
    type Use = (&'static str, fn(&HealthLayer, &HealthRegistry));
    let uses: [Use; 7] = [
        ("layer", |layer, _| drop(layer.layer(answering(Ok).1))),
        ("handle", |layer, _| drop(layer.handle())),
        ("report", |_, registry| drop(registry.report(Probe::Readiness))),
        ("status of the whole", |_, registry| _ = registry.status(Probe::Liveness)),
        ("check", |_, registry| _ = registry.check("x")),
        ("watch", |_, registry| _ = registry.watch(Probe::Readiness).status()),
        ("last error", |layer, _| drop(layer.handle().last_error())),
    ];
    for before in [false, true] {
        for (what, uses) in uses {
            let patient = Patient::new(before);
            let layer = orphaned(&patient);
            let registry = HealthRegistry::new("all");
            registry.add(Probe::Readiness, Criticality::Critical, &layer.handle());
            let checks = patient.calls.count();
            patient.set(!before);
            runtime().block_on(async {
                uses(&layer, &registry);
                sleep(ms(1_050)).await;
                assert_eq!(patient.calls.count() - checks, 11, "{what}");
                assert_eq!(layer.handle().status() == Status::Up, !before, "{what}");
            });
        }
    }
}

// field F6
#[test]
fn a_call_begins_it_again_too() {
    let patient = Patient::new(false);
    let layer = orphaned(&patient);
    let service = layer.layer(answering(Ok).1);
    patient.set(true);
    runtime().block_on(async {
        let rejected = service.clone().oneshot(7).await;
        assert_eq!(reason(&rejected), Some(Reason::Unhealthy));
        sleep(ms(150)).await;
        assert!(service.clone().oneshot(7).await.is_ok());
    });
    // And one that waits for a service that is not ready.
    let checks = patient.calls.count();
    runtime().block_on(async {
        let inner = tower::limit::ConcurrencyLimitLayer::new(0).layer(answering(Ok).1);
        let call = layer.layer(inner).oneshot(7);
        patient.set(false);
        assert_eq!(reason(&in_time(call).await), Some(Reason::Unhealthy));
        assert!(patient.calls.count() >= checks + 2);
    });
}

// field F6
#[test]
fn whoever_watches_lends_its_runtime_when_that_of_the_checks_goes() {
    let (theirs, ours) = (runtime(), runtime());
    let patient = Patient::new(true);
    let layer = theirs.block_on(async { patient.checked().fall(2).build().unwrap() });
    theirs.block_on(settle());
    let registry = HealthRegistry::new("all");
    registry.add(Probe::Readiness, Criticality::Critical, &layer.handle());
    let (mut one, mut whole) = (layer.handle().watch(), registry.watch(Probe::Readiness));
    let mut check = registry.watch_check("x");
    let watching = ours.spawn(async move { one.changed().await });
    let all = ours.spawn(async move { whole.changed().await });
    let named = ours.spawn(async move { check.changed().await });
    ours.block_on(settle());
    patient.set(false);
    drop(theirs);
    ours.block_on(async {
        assert_eq!(in_time(watching).await.unwrap(), Some(Status::Down));
        assert_eq!(in_time(all).await.unwrap(), Some(Status::Down));
        assert_eq!(in_time(named).await.unwrap(), Some(Status::Down));
    });
}

// field F6
#[test]
fn outside_a_runtime_it_begins_with_its_first_use_inside_one() {
    let patient = Patient::new(false);
    let layer = patient.checked().fall(2).build().unwrap();
    let handle = layer.handle();
    let registry = HealthRegistry::new("all");
    registry.add(Probe::Readiness, Criticality::Critical, &handle);
    // Nobody can check yet, and it says so.
    assert_eq!(handle.status(), Status::Up);
    let report = registry.report(Probe::Readiness);
    assert_eq!((report.status, report.checks[0].status), (Status::Down, Status::Unknown));
    assert_eq!(patient.calls.count(), 0);
    runtime().block_on(async {
        assert_eq!(in_time(handle.watch().changed()).await, Some(Status::Down));
    });
    assert_eq!(fields(patient.checked().rise(0).build()), ["rise"]);
}

// field F6
#[test]
fn one_that_listens_is_begun_again_too() {
    let made = Arc::new(AtomicU32::new(0));
    let nth = Arc::clone(&made);
    let say = move || {
        let told = if nth.fetch_add(1, Ordering::SeqCst) == 0 {
            HealthUpdate::Down("for repair".to_owned())
        } else {
            HealthUpdate::Up
        };
        stream::iter([told]).chain(stream::pending())
    };
    let layer = runtime().block_on(async {
        let layer = HealthLayer::builder("x").subscribe(say).build().unwrap();
        settle().await;
        layer
    });
    assert_eq!(layer.handle().status(), Status::Down);
    let mut watch = layer.handle().watch();
    assert_eq!(runtime().block_on(in_time(watch.changed())), Some(Status::Up));
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

/// How a registry of this one check sees it.
fn reported(handle: &HealthHandle) -> Status {
    let registry = HealthRegistry::new("all");
    registry.add(Probe::Readiness, Criticality::Critical, handle);
    registry.report(Probe::Readiness).checks[0].status
}

// field F6: on a runtime that is there, and that nobody drives.
#[test]
fn a_word_expires_after_three_intervals_and_another_runtime_takes_over() {
    let (idle, other) = (runtime(), runtime());
    let patient = Patient::new(true);
    let (layer, listener) = idle.block_on(async {
        let listen = || stream::iter([HealthUpdate::Up]).chain(stream::pending());
        let layer = patient.checked().interval(Duration::from_secs(1)).build().unwrap();
        let listener = HealthLayer::builder("y").interval(Duration::from_secs(1));
        let listener = listener.subscribe(listen).build().unwrap();
        // Who is silent because nothing changes is believed.
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(reported(&layer.handle()), Status::Up);
        assert_eq!(reported(&listener.handle()), Status::Up);
        (layer, listener)
    });
    let checks = patient.calls.count();
    other.block_on(async {
        // The clock of another runtime stands elsewhere when time is paused: an hour behind here.
        sleep(Duration::from_secs(3_600)).await;
        for (after, word) in [(4, Status::Up), (4, Status::Unknown)] {
            assert_eq!(patient.calls.count(), checks);
            sleep(Duration::from_secs(after)).await;
            if word == Status::Unknown {
                // Now looked at: begun again at once.
                assert_eq!(reported(&layer.handle()), word);
                assert_eq!(reported(&listener.handle()), word);
                settle().await;
                assert_eq!(patient.calls.count(), checks + 1);
            }
        }
        assert_eq!(reported(&layer.handle()), Status::Up);
        assert_eq!(reported(&listener.handle()), Status::Up);
        // Taken over once: the one that was given up does not check beside the new one.
        sleep(ms(10_500)).await;
        assert_eq!(patient.calls.count(), checks + 11);
    });
    idle.block_on(async { sleep(Duration::from_secs(10)).await });
    assert_eq!(patient.calls.count(), checks + 11);
}

// A task that cannot run does not begin anew without end.
#[test]
fn a_runtime_without_timers_is_not_asked_again_and_again() {
    let patient = Patient::new(true);
    let layer = patient.checked().build().unwrap();
    let timeless = Builder::new_current_thread().build().unwrap();
    timeless.block_on(async {
        for _ in 0..20 {
            let _ = layer.handle().status();
            settle().await;
        }
    });
    assert!(patient.calls.count() <= 1, "{} checks", patient.calls.count());
    drop(timeless);
    runtime().block_on(async { drop(layer) });
}
