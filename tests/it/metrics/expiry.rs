//! Series that an exporter let go of, and recorders that come and go.

use std::borrow::Cow;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use metrics_util::MetricKindMask;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe};
use seawall::retry::RetryLayer;
use seawall::{Error, stack};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{MS, Script, act};
use crate::exposition::{Exposition, recorder};
use crate::support::Broken;

/// A recorder that lets go of what was not touched between two scrapes.
fn forgetful() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .idle_timeout(MetricKindMask::ALL, Some(Duration::from_nanos(1)))
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &[0.01, 1.0])
        .unwrap()
        .build_recorder()
}

/// Scrapes until nothing is left.
fn forget(recorder: &PrometheusRecorder) {
    for _ in 0..100 {
        if recorder.handle().render().lines().all(|line| line.starts_with('#') || line.is_empty()) {
            return;
        }
        std::thread::yield_now(); // the exporter's clock has to move on
    }
    panic!("still there: {}", recorder.handle().render());
}

// field F8
#[tokio::test(start_paused = true)]
async fn a_call_brings_back_what_an_exporter_let_go_of() {
    let recorder = forgetful();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let client = stack::client("x").cloned().build().unwrap();
    let service = ServiceBuilder::new().layer(client).map_err(Error::Inner).service(service_fn(
        |fails: bool| async move {
            tokio::time::sleep(MS).await;
            if fails { Err(Broken) } else { Ok(()) }
        },
    ));
    let call = async |fails| {
        let _ = service.clone().oneshot(fails).await;
    };
    call(true).await;
    for round in 0..3 {
        forget(&recorder);
        call(false).await;
        let shown = Exposition::of(&recorder);
        for layer in ["timeout", "retry", "circuit_breaker", "bulkhead"] {
            let calls = [("layer", layer), ("name", "x"), ("outcome", "success")];
            assert_eq!(shown.value("seawall_calls_total", &calls), 1.0, "{layer} {round}");
        }
        for layer in ["timeout", "retry", "circuit_breaker"] {
            let calls = [("layer", layer), ("name", "x")];
            assert_eq!(shown.value("seawall_call_duration_seconds_count", &calls), 1.0, "{layer}");
        }
        assert_eq!(shown.value("seawall_retry_attempts_total", &[]), 1.0);
        assert!(shown.value("seawall_retry_budget_tokens", &[]) > 0.0);
        assert_eq!(shown.value("seawall_bulkhead_limit", &[]), 64.0);
        assert_eq!(shown.value("seawall_bulkhead_in_flight", &[]), 0.0);
        let closed = [("state", "closed")];
        assert_eq!(shown.value("seawall_circuit_breaker_state", &closed), 1.0);
        assert!(shown.helps.contains_key("seawall_calls_total"));
    }
    // What was not used again stays away.
    let shown = Exposition::of(&recorder);
    assert_eq!(shown.sum("seawall_calls_total", &[("outcome", "failure")]), 0.0);
    // And what is there is not begun again.
    forget(&recorder);
    call(false).await;
    call(false).await;
    let calls = [("layer", "retry"), ("outcome", "success")];
    assert_eq!(Exposition::of(&recorder).value("seawall_calls_total", &calls), 2.0);
}

// field F8
#[tokio::test(start_paused = true)]
async fn the_state_is_told_again_when_the_circuit_opens() {
    let recorder = forgetful();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(1)).build().unwrap();
    breaker.run(|| act(Script::Success)).await.unwrap();
    forget(&recorder);
    breaker.run(|| act(Script::Failure)).await.unwrap_err();
    let shown = Exposition::of(&recorder);
    for (state, value) in [("closed", 0.0), ("open", 1.0), ("half_open", 0.0)] {
        assert_eq!(shown.value("seawall_circuit_breaker_state", &[("state", state)]), value);
    }
    assert_eq!(shown.value("seawall_calls_total", &[("outcome", "failure")]), 1.0);
    assert_eq!(shown.value("seawall_circuit_breaker_transitions_total", &[]), 1.0);
    // Also when there is nothing to tell of but rejections.
    forget(&recorder);
    breaker.run(|| act(Script::Success)).await.unwrap_err();
    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_rejections_total", &[("reason", "circuit_open")]), 1.0);
    assert_eq!(shown.value("seawall_circuit_breaker_state", &[("state", "open")]), 1.0);
}

// field F8
#[tokio::test(start_paused = true)]
async fn keys_health_and_a_registry_come_back_too() {
    let recorder = forgetful();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let keyed = CircuitBreakerLayer::builder("x").keyed(|host: &&str| Cow::from(*host));
    let mut keyed = keyed.build().unwrap().layer(service_fn(|_: &str| act(Script::Success)));
    let check = || async { Ok::<_, std::io::Error>(()) };
    let health = HealthLayer::builder("x").check(check).build().unwrap();
    HealthRegistry::new("all").add(Probe::Readiness, Criticality::Critical, &health.handle());
    for _ in 0..2 {
        keyed.ready().await.unwrap().call("a").await.unwrap();
        health.run(|| act(Script::Success)).await.unwrap();
        let shown = Exposition::of(&recorder);
        assert_eq!(shown.value("seawall_keys", &[]), 1.0);
        assert_eq!(shown.value("seawall_health_up", &[]), 1.0);
        assert_eq!(
            shown.value("seawall_calls_total", &[("layer", "health"), ("outcome", "success")]),
            1.0
        );
        forget(&recorder);
    }
    tokio::time::sleep(Duration::from_secs(6)).await; // for a check
    let shown = Exposition::of(&recorder);
    assert!(shown.value("seawall_health_checks_total", &[("result", "success")]) >= 1.0);
    assert_eq!(shown.value("seawall_health_up", &[]), 1.0);
}

// field F8
#[tokio::test(start_paused = true)]
async fn a_recorder_at_the_address_of_one_that_is_gone_gets_its_series() {
    let breaker = CircuitBreakerLayer::new("x");
    let bulkhead = BulkheadLayer::new("x");
    let mut place = recorder();
    for _ in 0..5 {
        let recording = metrics::set_default_local_recorder(&place);
        breaker.run(|| act(Script::Success)).await.unwrap();
        bulkhead.run(|| act(Script::Success)).await.unwrap();
        drop(recording);
        let shown = Exposition::of(&place);
        let calls =
            |layer| shown.value("seawall_calls_total", &[("layer", layer), ("outcome", "success")]);
        assert_eq!((calls("circuit_breaker"), calls("bulkhead")), (1.0, 1.0));
        assert_eq!(shown.value("seawall_circuit_breaker_state", &[("state", "closed")]), 1.0);
        assert_eq!(shown.value("seawall_bulkhead_limit", &[]), 64.0);
        place = recorder(); // at the very same address
    }
}

// field F8
#[test]
fn recorders_of_several_threads_each_get_their_series() {
    let breaker = CircuitBreakerLayer::new("x");
    let all = recorder();
    let count = |recorder: &PrometheusRecorder| {
        Exposition::of(recorder).value("seawall_calls_total", &[("outcome", "success")])
    };
    let call = |recorder: &PrometheusRecorder| {
        metrics::with_local_recorder(recorder, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(breaker.run(|| act(Script::Success))).unwrap();
        });
    };
    let own: Vec<_> = (0..3).map(|_| recorder()).collect();
    for _ in 0..10 {
        call(&all);
        own.iter().for_each(call);
    }
    std::thread::scope(|scope| {
        for own in &own {
            scope.spawn(|| (0..20).for_each(|_| call(own)));
        }
        (0..20).for_each(|_| call(&all));
    });
    assert_eq!(count(&all), 30.0);
    assert_eq!(own.iter().map(count).collect::<Vec<_>>(), [30.0; 3]);
}

// field F16
#[tokio::test(start_paused = true)]
async fn what_can_never_be_counted_is_not_shown_and_rejections_have_no_duration() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(1)).build().unwrap();
    breaker.run(|| act(Script::Failure)).await.unwrap_err();
    let retry = RetryLayer::builder("x").no_budget().build().unwrap();
    let timeout = seawall::timeout::TimeoutLayer::new("x", MS);
    let bulkhead = BulkheadLayer::new("x");
    for _ in 0..10 {
        let rejected =
            retry.run(|| bulkhead.run(|| timeout.run(|| breaker.run(|| act(Script::Success)))));
        rejected.await.unwrap_err();
    }
    let shown = Exposition::of(&recorder);
    for layer in ["retry", "timeout"] {
        let count = shown.value("seawall_call_duration_seconds_count", &[("layer", layer)]);
        assert_eq!(count, 0.0, "{layer}");
        let silent = [("layer", layer), ("outcome", "ignored")];
        assert_eq!(shown.value("seawall_calls_total", &silent), 10.0, "{layer}");
    }
    let reasons = |layer: &str| shown.values("seawall_rejections_total", "reason", layer);
    assert_eq!(reasons("retry"), ["draining"]);
    assert_eq!(reasons("circuit_breaker"), ["circuit_open", "draining", "recovering"]);
    assert_eq!(reasons("timeout"), ["draining", "timed_out"]);
    assert_eq!(reasons("bulkhead"), ["draining", "full", "queue_timeout"]);
    let outcomes = |layer: &str| shown.values("seawall_calls_total", "outcome", layer);
    assert_eq!(outcomes("timeout"), ["abandoned", "failure", "ignored", "success"]);
    assert_eq!(outcomes("retry"), ["abandoned", "failure", "ignored", "pushback", "success"]);
    assert!(!shown.kinds.contains_key("seawall_retry_budget_tokens"), "there is none");
    assert!(!shown.kinds.contains_key("seawall_circuit_breaker_shadow_rejections_total"));
}
