//! Many checks, and what they mean together.

use seawall::health::{Criticality, HealthRegistry, Probe, Status};
use tokio::time::sleep;

use super::Patient;
use crate::scene::{in_time, ms, settle};

const PROBES: [Probe; 2] = [Probe::Liveness, Probe::Readiness];

#[tokio::test(start_paused = true)]
async fn the_worst_of_what_the_checks_mean_is_the_whole() {
    use Criticality::{Critical, Degrading, Informational};
    use Status::{Degraded, Down, Up};
    let table: [(&[(Criticality, bool)], Status); 8] = [
        (&[], Up),
        (&[(Critical, true), (Degrading, true), (Informational, true)], Up),
        (&[(Critical, true), (Informational, false)], Up),
        (&[(Critical, true), (Degrading, false)], Degraded),
        (&[(Degrading, false), (Informational, false)], Degraded),
        (&[(Critical, false)], Down),
        (&[(Degrading, false), (Critical, false), (Critical, true)], Down),
        (&[(Critical, false), (Critical, false)], Down),
    ];
    for (checks, whole) in table {
        // Liveness and readiness do not mix.
        for (probe, other) in [(PROBES[0], PROBES[1]), (PROBES[1], PROBES[0])] {
            let registry = HealthRegistry::new("x");
            for (criticality, well) in checks {
                let check = Patient::new(*well).checked().fall(1).build().unwrap();
                registry.add(probe, *criticality, &check.handle());
            }
            settle().await;
            assert_eq!(registry.status(probe), whole, "{checks:?}");
            assert_eq!(registry.report(probe).status, whole);
            assert_eq!(registry.report(probe).checks.len(), checks.len());
            assert_eq!(registry.status(other), Up);
            assert!(registry.report(other).checks.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_of_each_check() {
    let registry = HealthRegistry::new("orders");
    let patient = Patient::new(false);
    let check = patient.checked().fall(2).rise(1).build().unwrap();
    registry.add(Probe::Readiness, Criticality::Degrading, &check.handle());
    sleep(ms(3_100)).await;
    let report = registry.report(Probe::Readiness);
    let told = &report.checks[0];
    assert_eq!((told.name.as_str(), told.status), ("x", Status::Down));
    assert_eq!((told.criticality, told.since), (Criticality::Degrading, ms(3_000)));
    assert_eq!(told.error.as_deref(), Some("it does not feel well"));
    let public = report.without_errors();
    assert_eq!((public.status, public.checks[0].error.as_deref()), (Status::Degraded, None));
    patient.set(true);
    sleep(ms(100)).await;
    let report = registry.report(Probe::Readiness);
    assert_eq!((report.status, report.checks[0].error.as_deref()), (Status::Up, None));
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn it_is_the_json_that_people_expect_of_healthz() {
    let registry = HealthRegistry::new("orders");
    let json = || serde_json::to_string(&registry.report(Probe::Readiness)).unwrap();
    assert_eq!(json(), r#"{"status":"up","checks":[]}"#);
    let check = Patient::new(true).checked().build().unwrap();
    registry.add(Probe::Readiness, Criticality::Critical, &check.handle());
    sleep(ms(2_500)).await;
    assert_eq!(
        json(),
        r#"{"status":"up","checks":[{"name":"x","status":"up","criticality":"critical","since_seconds":2}]}"#
    );
    let check = Patient::new(false).checked().fall(1).build().unwrap();
    registry.add(Probe::Readiness, Criticality::Degrading, &check.handle());
    let check = Patient::new(true).checked().build().unwrap();
    registry.add(Probe::Readiness, Criticality::Informational, &check.handle());
    settle().await;
    let value: serde_json::Value = serde_json::from_str(&json()).unwrap();
    assert_eq!(value["status"], "degraded");
    assert_eq!(value["checks"][1]["status"], "down");
    assert_eq!(value["checks"][1]["criticality"], "degrading");
    assert_eq!(value["checks"][1]["error"], "it does not feel well");
    assert_eq!(value["checks"][2]["criticality"], "informational");
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_hears_of_changes_of_the_whole_alone() {
    let registry = HealthRegistry::new("orders");
    let (critical, lesser) = (Patient::new(true), Patient::new(true));
    let add = |patient: &Patient, probe, criticality| {
        let check = patient.checked().rise(1).fall(1).build().unwrap();
        registry.add(probe, criticality, &check.handle());
    };
    let watch = registry.watch(Probe::Readiness);
    let mut liveness = registry.watch(Probe::Liveness);
    add(&critical, Probe::Readiness, Criticality::Critical);
    add(&lesser, Probe::Readiness, Criticality::Degrading);
    settle().await; // they were not known yet, and are well
    let mut watch = watch.clone();
    assert!(tokio::time::timeout(ms(300), watch.changed()).await.is_err(), "nothing changed");
    lesser.set(false);
    assert_eq!(in_time(watch.changed()).await, Some(Status::Degraded));
    critical.set(false);
    assert_eq!(in_time(watch.changed()).await, Some(Status::Down));
    lesser.set(true);
    assert!(tokio::time::timeout(ms(300), watch.changed()).await.is_err(), "as bad as before");
    critical.set(true);
    assert_eq!(in_time(watch.changed()).await, Some(Status::Up));
    assert_eq!((watch.status(), registry.status(Probe::Readiness)), (Status::Up, Status::Up));
    // A check that is down already when it is added changes the whole at once.
    let ill = Patient::new(false).checked().initial(Status::Down).build().unwrap();
    registry.add(Probe::Liveness, Criticality::Critical, &ill.handle());
    assert_eq!(in_time(liveness.changed()).await, Some(Status::Down));
    assert!(tokio::time::timeout(ms(300), watch.changed()).await.is_err());
}
