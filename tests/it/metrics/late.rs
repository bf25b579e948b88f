//! A recorder that is installed when the layers are there already.

use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe};
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;
use tokio::time::sleep;

use super::{Failed, MS, Script, abandon, act};
use crate::exposition::{Exposition, recorder};

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_installed_after_the_layers_were_built_is_noticed() {
    let retry = RetryLayer::new("late");
    let breaker = CircuitBreakerLayer::new("late");
    let bulkhead = BulkheadLayer::new("late");
    let timeout = TimeoutLayer::new("late", MS);
    let health = HealthLayer::new("late");
    let check = HealthLayer::builder("late-check").check(|| async { Ok::<_, Failed>(()) });
    let check = check.build().unwrap();
    let registry = HealthRegistry::new("late");
    registry.add(Probe::Liveness, Criticality::Critical, &check.handle());
    let call = || async {
        let call = || timeout.run(|| health.run(|| act(Script::Success)));
        retry.run(|| breaker.run(|| bulkhead.run(call))).await
    };
    call().await.unwrap();

    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    call().await.unwrap();
    let shown = Exposition::of(&recorder);
    for layer in ["retry", "circuit_breaker", "bulkhead", "timeout", "health"] {
        let good = [("layer", layer), ("outcome", "success")];
        assert_eq!(shown.value("seawall_calls_total", &good), 1.0, "{layer}");
    }
    // Levels are right from the first, whoever looks.
    assert_eq!(shown.value("seawall_circuit_breaker_state", &[("state", "closed")]), 1.0);
    assert_eq!(shown.value("seawall_bulkhead_limit", &[]), 64.0);
    assert_eq!(shown.value("seawall_retry_budget_tokens", &[]), 50.0);
    assert_eq!(shown.value("seawall_health_up", &[("name", "late")]), 1.0);

    sleep(Duration::from_secs(6)).await; // a check later
    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_health_up", &[("name", "late-check")]), 1.0);
    let overall = [("probe", "liveness"), ("status", "up")];
    assert_eq!(shown.value("seawall_health_overall", &overall), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_first_thing_a_late_recorder_sees_may_be_a_rejection() {
    let bulkhead = BulkheadLayer::builder("late").limit(1).build().unwrap();
    let place = bulkhead.run(|| act(Script::Never));
    tokio::pin!(place);
    abandon(&mut place).await; // only polled: it stays inside
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    bulkhead.run(|| act(Script::Success)).await.unwrap_err();
    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_bulkhead_in_flight", &[]), 1.0);
    assert_eq!(shown.value("seawall_bulkhead_limit", &[]), 1.0);
}
