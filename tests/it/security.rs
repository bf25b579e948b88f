//! What docs/security.md promises and nobody else tests.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use metrics::with_local_recorder;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
use seawall::retry::{Backoff, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Error, Event, Reason};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::exposition::recorder;
use crate::scene::ms;

const SECRET: &str = "hunter2";

/// Everything that four layers tell while they retry, trip, reject and end calls that hold a secret.
fn told() -> (String, Vec<Reason>) {
    let (told, reasons) = (Arc::new(Mutex::new(String::new())), Mutex::new(Vec::new()));
    let recorder = recorder();
    let hear = |told: &Arc<Mutex<String>>| {
        let told = Arc::clone(told);
        move |event: &Event| writeln!(told.lock().unwrap(), "{event:?}").unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
    with_local_recorder(&recorder, || {
        let retry = RetryLayer::builder("x").backoff(Backoff::none()).observe(hear(&told)).cloned();
        let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(4));
        let breaker = breaker.observe(hear(&told)).build().unwrap();
        let bulkhead = BulkheadLayer::builder("x").limit(1).observe(hear(&told)).build().unwrap();
        let timeout = TimeoutLayer::builder("x").limit(ms(10)).observe(hear(&told));
        let service = ServiceBuilder::new()
            .layer(retry.build().unwrap())
            .layer(breaker)
            .layer(bulkhead.clone())
            .layer(timeout.build().unwrap())
            .map_err(Error::Inner)
            .service(service_fn(|request: String| async move {
                if request.contains("hang") {
                    std::future::pending::<()>().await;
                }
                Err::<String, _>(io::Error::other("no"))
            }));
        runtime.block_on(async {
            let call = async |request: &str| {
                let answer = service.clone().oneshot(format!("{SECRET} {request}")).await;
                let error = answer.unwrap_err();
                writeln!(told.lock().unwrap(), "{error} {error:?}").unwrap();
                if let Error::Rejected(why) = error {
                    reasons.lock().unwrap().push(why.reason());
                }
            };
            let held = bulkhead.run(std::future::pending::<Result<(), Error<io::Error>>>);
            let mut held = Box::pin(held);
            assert!(held.as_mut().now_or_never().is_none());
            call("full").await;
            drop(held);
            for request in ["hang", "fails", "rejected"] {
                call(request).await;
            }
        });
    });
    let events = told.lock().unwrap().clone();
    (events + &recorder.handle().render(), reasons.into_inner().unwrap())
}

#[test]
fn nothing_of_a_request_is_told() {
    let (told, reasons) = told();
    assert_eq!(reasons, [Reason::Full, Reason::TimedOut, Reason::CircuitOpen, Reason::CircuitOpen]);
    for word in
        ["Retrying", "Stopped", "Changed", "seawall_calls_total", "seawall_rejections_total"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(!told.contains(SECRET), "{told}");
}

// pitfall B24
#[test]
fn a_thousand_keys_make_no_more_series_than_one() {
    let series = |keys: u32| {
        let recorder = recorder();
        with_local_recorder(&recorder, || {
            let breaker = CircuitBreakerLayer::builder("x")
                .trip(Trip::consecutive(1))
                .keyed(|key: &String| key.as_str().into())
                .max_keys(100)
                .build()
                .unwrap();
            let bulkhead = BulkheadLayer::builder("x").keyed(|key: &String| key.as_str().into());
            let service = ServiceBuilder::new()
                .layer(bulkhead.max_keys(100).build().unwrap())
                .layer(breaker)
                .map_err(Error::Inner)
                .service(service_fn(|_: String| async { Err::<(), _>(io::Error::other("no")) }));
            let runtime = tokio::runtime::Builder::new_current_thread();
            // No time passes, so no key gets as far as a probe.
            let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                for key in 0..keys {
                    service.clone().oneshot(format!("tenant-{key}")).await.unwrap_err();
                    service.clone().oneshot(format!("tenant-{key}")).await.unwrap_err();
                }
            });
        });
        let told = recorder.handle().render();
        assert!(!told.contains("part"), "{told}");
        let series = told.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        series.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<BTreeSet<_>>()
    };
    let (one, many) = (series(1), series(1000));
    assert!(!one.is_empty());
    assert_eq!(one, many);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_health_endpoint_tells_no_errors_unless_asked_to() {
    use http::Request;
    use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe};
    use seawall::http::HealthEndpoint;

    let registry = HealthRegistry::new("orders");
    let check = HealthLayer::builder("stock").fall(1);
    let check = check.check(|| async { Err::<(), _>(io::Error::other("no route to db-7")) });
    let check = check.build().unwrap();
    registry.add(Probe::Readiness, Criticality::Critical, &check.handle());
    tokio::time::sleep(ms(1)).await;
    let told = async |endpoint: HealthEndpoint, request: http::request::Builder| {
        let answer = endpoint.oneshot(request.body(()).unwrap()).await.unwrap();
        (answer.status().as_u16(), answer.into_body())
    };
    let public = HealthEndpoint::new(registry);
    for path in ["/healthz", "/readyz", "/a/readyz"] {
        let (status, body) = told(public.clone(), Request::get(path)).await;
        assert_eq!(status, 503, "{path}");
        assert!(body.contains("stock") && !body.contains("db-7"), "{path}: {body}");
    }
    // What is critical to readiness is nothing to liveness, and nobody hears of what was not asked for.
    let (status, body) = told(public.clone(), Request::get("/livez")).await;
    assert!(status == 200 && !body.contains("stock"), "{body}");
    for (request, expected) in [
        (Request::head("/healthz"), 503),
        (Request::post("/healthz"), 405),
        (Request::get("/healthz/stock"), 404),
        (Request::get("/etc/passwd"), 404),
    ] {
        assert_eq!(told(public.clone(), request).await, (expected, String::new()));
    }
    let (_, body) = told(public.with_errors(), Request::get("/healthz")).await;
    assert!(body.contains("no route to db-7"), "{body}");
}

#[test]
fn there_is_no_unsafe_code() {
    // The compiler holds the rest to it; a `forbid` cannot be lifted further in.
    let root = include_str!("../../src/lib.rs");
    assert!(root.lines().any(|line| line == "#![forbid(unsafe_code)]"));
}
