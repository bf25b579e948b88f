//! Whether it should get traffic: not before it was well, and not while it drains.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use seawall::health;
use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe, Report, Status};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use super::{Patient, every_100_ms};
use crate::scene::{Fail, answering, broken, in_time, ms, settle};

const READINESS: Probe = Probe::Readiness;

/// The status of the whole, and of its one check.
fn told(report: &Report) -> (Status, Status) {
    (report.status, report.checks[0].status)
}

fn never() -> health::Builder {
    every_100_ms().timeout(ms(60_000)).check(std::future::pending::<Result<(), Fail>>)
}

// field: readiness
#[tokio::test(start_paused = true)]
async fn it_is_not_ready_before_each_critical_check_was_good_once() {
    use Criticality::{Critical, Degrading, Informational};
    use Status::{Degraded, Down, Unknown, Up};
    // Whatever is said of it until it is known.
    for initial in [Up, Down] {
        let registry = HealthRegistry::new("orders");
        let patient = Patient::new(true);
        let layer = patient.checked().initial(initial).build().unwrap();
        registry.add(READINESS, Critical, &layer.handle());
        registry.add(Probe::Liveness, Critical, &layer.handle());
        let mut watch = registry.watch(READINESS);
        assert_eq!(told(&registry.report(READINESS)), (Down, Unknown));
        assert_eq!(registry.report(READINESS).checks[0].name, "x");
        assert_eq!((registry.status(READINESS), watch.status()), (Down, Down));
        assert_eq!(registry.check("x"), Some(Unknown));
        // Nobody is restarted for want of an answer.
        assert_eq!(told(&registry.report(Probe::Liveness)), (Up, Unknown));
        assert_eq!(in_time(watch.changed()).await, Some(Up));
        assert_eq!(told(&registry.report(READINESS)), (Up, Up));
        assert_eq!(registry.check("x"), Some(Up));
    }
    for (criticality, whole) in [(Critical, Down), (Degrading, Degraded), (Informational, Up)] {
        let registry = HealthRegistry::new("orders");
        let layer = never().build().unwrap();
        registry.add(READINESS, criticality, &layer.handle());
        sleep(ms(30_000)).await;
        assert_eq!(told(&registry.report(READINESS)), (whole, Unknown), "{criticality:?}");
    }
}

// field: readiness
#[tokio::test(start_paused = true)]
async fn bad_checks_before_the_first_good_one_do_not_make_it_ready() {
    let registry = HealthRegistry::new("orders");
    let patient = Patient::new(false);
    let layer = patient.checked().fall(100).build().unwrap();
    registry.add(READINESS, Criticality::Critical, &layer.handle());
    sleep(ms(1_000)).await;
    let report = registry.report(READINESS);
    assert_eq!(told(&report), (Status::Down, Status::Unknown));
    assert_eq!(report.checks[0].error.as_deref(), Some("it does not feel well"));
    patient.set(true);
    sleep(ms(100)).await;
    assert_eq!(told(&registry.report(READINESS)), (Status::Up, Status::Up));
    // From then on only what the checks say in a row counts.
    patient.set(false);
    sleep(ms(5_000)).await;
    assert_eq!(told(&registry.report(READINESS)), (Status::Up, Status::Up));
}

// field: readiness
#[tokio::test(start_paused = true)]
async fn the_first_good_check_may_be_enough_at_the_start() {
    let checks = |builder: health::Builder, good: &'static [bool]| async move {
        let nth = AtomicUsize::new(0);
        let layer = builder
            .initial(Status::Down)
            .check(move || {
                let nth = nth.fetch_add(1, Ordering::SeqCst);
                let good = good.get(nth).copied().unwrap_or(true);
                async move { if good { Ok(()) } else { Err(io::Error::other("no")) } }
            })
            .build()
            .unwrap();
        let mut course = String::new();
        for _ in good {
            settle().await;
            course.push(if layer.handle().status() == Status::Up { 'U' } else { 'D' });
            sleep(ms(100)).await;
        }
        course
    };
    let builder = || every_100_ms().rise(3).fall(1);
    assert_eq!(checks(builder(), &[true, true]).await, "UU");
    assert_eq!(checks(builder(), &[false, false, true]).await, "DDU");
    // Later on it takes three.
    let relapse = &[true, false, true, true, true];
    assert_eq!(checks(builder(), relapse).await, "UDDDU");
    assert_eq!(checks(builder().initial_rise(2), relapse).await, "DDDUU");
    // A live call is no check.
    let layer = HealthLayer::builder("x").passive(true).probe_one_in(1).initial(Status::Down);
    let layer = layer.rise(2).build().unwrap();
    let service = layer.layer(answering(Ok).1);
    for status in [Status::Down, Status::Up] {
        assert!(service.clone().oneshot(7).await.is_ok());
        assert_eq!(layer.handle().status(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_learns_is_not_waited_for() {
    let registry = HealthRegistry::new("orders");
    let layer = HealthLayer::new("x");
    registry.add(READINESS, Criticality::Critical, &layer.handle());
    assert_eq!(told(&registry.report(READINESS)), (Status::Up, Status::Up));
    let service = layer.layer(answering(|_| Err(broken("no"))).1);
    for _ in 0..3 {
        assert!(service.clone().oneshot(7).await.is_err());
    }
    assert_eq!(told(&registry.report(READINESS)), (Status::Down, Status::Down));
    sleep(ms(3_600_000)).await;
    assert_eq!(told(&registry.report(READINESS)), (Status::Down, Status::Down));
}

// field: readiness
#[tokio::test(start_paused = true)]
async fn once_it_drains_it_is_not_ready_and_lives_on() {
    let registry = HealthRegistry::new("orders");
    let patient = Patient::new(true);
    let layer = patient.checked().build().unwrap();
    for probe in [READINESS, Probe::Liveness] {
        registry.add(probe, Criticality::Critical, &layer.handle());
    }
    settle().await;
    let mut watch = registry.watch(READINESS);
    let mut liveness = registry.watch(Probe::Liveness);
    assert!(!registry.is_draining() && !registry.report(READINESS).draining);
    registry.clone().drain();
    registry.drain();
    assert_eq!(in_time(watch.changed()).await, Some(Status::Down));
    let report = registry.report(READINESS);
    assert_eq!((told(&report), report.draining), ((Status::Down, Status::Up), true));
    assert!(!registry.report(Probe::Liveness).draining);
    assert_eq!(registry.status(Probe::Liveness), Status::Up);
    sleep(ms(10_000)).await;
    assert!(registry.is_draining());
    assert_eq!(registry.status(READINESS), Status::Down);
    assert!(tokio::time::timeout(ms(300), liveness.changed()).await.is_err());
    let empty = HealthRegistry::new("empty");
    empty.drain();
    assert_eq!(empty.status(READINESS), Status::Down);
}

/// What a server and its health endpoint answer, and the calls in flight.
#[cfg(feature = "http")]
mod servers {
    use http::{Request, Response, StatusCode};
    use seawall::http::{HealthEndpoint, server};
    use seawall::{Error, health::HealthRegistry};
    use std::convert::Infallible;
    use std::time::Duration;
    use tokio::time::sleep;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use crate::scene::{in_time, ms, now};

    async fn serve(_: Request<String>) -> Result<Response<String>, Infallible> {
        sleep(Duration::from_secs(3)).await;
        Ok(Response::default())
    }

    // field: readiness. Readiness goes first, requests are served until the balancer has heard of it,
    // those in flight end, and liveness stays.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_shuts_down_is_unready_before_it_rejects() {
        let registry = HealthRegistry::new("orders");
        let layer = server("orders").registry(&registry).build().unwrap();
        let service = ServiceBuilder::new()
            .layer(layer.clone())
            .map_err(Error::Inner)
            .service(service_fn(serve));
        let ask = || service.clone().oneshot(Request::new(String::new()));
        let probe = async |path: &str| {
            let request = Request::get(path).body(()).unwrap();
            HealthEndpoint::new(registry.clone()).oneshot(request).await.unwrap().status()
        };
        assert_eq!(probe("/readyz").await, StatusCode::OK);
        let began = now();
        let draining = layer.clone();
        let draining = tokio::spawn(async move { draining.drain_after(ms(5_000)).await });
        sleep(ms(1)).await;
        assert_eq!(probe("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(probe("/livez").await, StatusCode::OK);
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
        sleep(ms(1_000)).await;
        let under_way = tokio::spawn(ask());
        sleep(ms(1_500)).await;
        assert_eq!(ask().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!draining.is_finished());
        assert_eq!(in_time(under_way).await.unwrap().unwrap().status(), StatusCode::OK);
        in_time(draining).await.unwrap();
        assert!(began.elapsed() >= ms(7_000), "{:?}", began.elapsed());
        assert_eq!(probe("/livez").await, StatusCode::OK);
        // One call does it without a balancer too.
        let registry = HealthRegistry::new("other");
        let layer = server("other").registry(&registry).build().unwrap();
        in_time(layer.drain()).await;
        assert!(registry.is_draining());
    }
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn it_says_so_as_json() {
    let registry = HealthRegistry::new("orders");
    let layer = never().build().unwrap();
    registry.add(READINESS, Criticality::Critical, &layer.handle());
    let json = |probe| serde_json::to_string(&registry.report(probe)).unwrap();
    let check = r#"{"name":"x","status":"unknown","criticality":"critical","since_seconds":0}"#;
    assert_eq!(json(READINESS), format!(r#"{{"status":"down","checks":[{check}]}}"#));
    registry.drain();
    assert_eq!(
        json(READINESS),
        format!(r#"{{"status":"down","draining":true,"checks":[{check}]}}"#)
    );
    assert_eq!(json(Probe::Liveness), r#"{"status":"up","checks":[]}"#);
}

// field: a check can be removed. pitfall B24
#[tokio::test(start_paused = true)]
async fn a_check_that_is_removed_counts_no_more_and_ends() {
    let registry = HealthRegistry::new("orders");
    let patient = Patient::new(false);
    let others = HealthLayer::builder("other").check(|| async { Ok::<_, Fail>(()) });
    let others = others.build().unwrap();
    for probe in [READINESS, Probe::Liveness] {
        let check = patient.checked().fall(1).build().unwrap();
        registry.add(probe, Criticality::Critical, &check.handle());
    }
    registry.add(READINESS, Criticality::Critical, &others.handle());
    let (mut whole, mut one) = (registry.watch(READINESS), registry.watch_check("x"));
    settle().await;
    assert_eq!(in_time(one.changed()).await, Some(Status::Down));
    assert_eq!(registry.remove("nobody"), 0);
    assert_eq!(registry.remove("x"), 2);
    assert_eq!(in_time(whole.changed()).await, Some(Status::Up));
    assert_eq!(in_time(one.changed()).await, None);
    assert_eq!((registry.check("x"), registry.remove("x")), (None, 0));
    assert_eq!(registry.report(READINESS).checks.len(), 1);
    settle().await;
    let checks = patient.calls.count();
    sleep(ms(1_000)).await;
    assert_eq!(patient.calls.count(), checks, "it goes on");
    assert_eq!(registry.remove("other"), 1);
    assert_eq!(
        (registry.status(READINESS), registry.report(READINESS).checks.len()),
        (Status::Up, 0)
    );
}
