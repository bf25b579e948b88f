//! The numbers of scripted runs.

use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Position, Trip};
use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe, Status};
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Backoff, Budget, OnRejection, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{CallError, Deadline, Reason, Rejected};
use tokio::time::{advance, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{MS, Script, abandon, act, classify};
use crate::exposition::{Exposition, recorder};

#[tokio::test(start_paused = true)]
async fn a_breaker_counts_calls_by_outcome_rejections_states_late_and_abandoned() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let breaker = CircuitBreakerLayer::builder("b")
        .trip(Trip::consecutive(2))
        .break_duration(Duration::from_secs(10))
        .max_break_duration(Duration::from_secs(10))
        .classify_error(classify)
        .build()
        .unwrap();
    let state =
        |shown: &Exposition, of| shown.value("seawall_circuit_breaker_state", &[("state", of)]);

    for script in [Script::Success, Script::Pushback, Script::Ignored, Script::After(20 * MS)] {
        let _ = breaker.run(|| act(script)).await;
    }
    abandon(breaker.run(|| act(Script::Never))).await;
    breaker.run(|| act(Script::Success)).await.unwrap(); // it lives: the abandoned call is forgiven
    let shown = Exposition::of(&recorder);
    assert_eq!((state(&shown, "closed"), state(&shown, "open")), (1.0, 0.0));

    let late = breaker.run(|| act(Script::After(30 * MS)));
    tokio::pin!(late);
    abandon(&mut late).await; // only polled: it goes on
    for _ in 0..2 {
        breaker.run(|| act(Script::Failure)).await.unwrap_err();
    }
    late.await.unwrap();
    for _ in 0..3 {
        let rejected = breaker.run(|| act(Script::Success)).await.unwrap_err();
        assert_eq!(rejected.rejected().map(Rejected::reason), Some(Reason::CircuitOpen));
    }

    let shown = Exposition::of(&recorder);
    let calls = |outcome| shown.value("seawall_calls_total", &[("outcome", outcome)]);
    let outcomes = ["success", "failure", "pushback", "ignored", "abandoned"].map(calls);
    assert_eq!(outcomes, [4.0, 2.0, 1.0, 1.0, 1.0]);
    assert_eq!(shown.value("seawall_rejections_total", &[("reason", "circuit_open")]), 3.0);
    assert_eq!(shown.sum("seawall_rejections_total", &[]), 3.0);
    assert_eq!(shown.value("seawall_late_answers_total", &[("name", "b")]), 1.0);
    assert_eq!((state(&shown, "closed"), state(&shown, "open")), (0.0, 1.0));
    assert_eq!(shown.sum("seawall_circuit_breaker_state", &[]), 1.0);
    let tripped = [("from", "closed"), ("to", "open"), ("reason", "consecutive")];
    assert_eq!(shown.value("seawall_circuit_breaker_transitions_total", &tripped), 1.0);
    // All but the abandoned one were answered, two of them after 20 and 30 ms.
    assert_eq!(shown.value("seawall_call_duration_seconds_count", &[]), 8.0);
    assert!((shown.value("seawall_call_duration_seconds_sum", &[]) - 0.05).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn the_states_of_a_breaker_sum_to_one_and_those_of_a_keyed_one_to_its_keys() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let state = |name, state| {
        let labels = [("name", name), ("state", state)];
        Exposition::of(&recorder).value("seawall_circuit_breaker_state", &labels)
    };
    let sum = || Exposition::of(&recorder).sum("seawall_circuit_breaker_state", &[("name", "b")]);

    let breaker = CircuitBreakerLayer::builder("b").trip(Trip::consecutive(1)).build().unwrap();
    assert_eq!((state("b", "closed"), sum()), (1.0, 1.0));
    breaker.run(|| act(Script::Failure)).await.unwrap_err();
    assert_eq!((state("b", "open"), sum()), (1.0, 1.0));
    advance(Duration::from_secs(1)).await;
    breaker.run(|| act(Script::Success)).await.unwrap();
    assert_eq!((state("b", "half_open"), sum()), (1.0, 1.0));
    let mut switch = breaker.handle().switch(Position::Auto);
    switch.set(Position::Open);
    assert_eq!((state("b", "forced_open"), sum()), (1.0, 1.0));
    switch.set(Position::Closed);
    assert_eq!((state("b", "forced_closed"), sum()), (1.0, 1.0));
    drop((switch, breaker));
    assert_eq!(sum(), 0.0, "a breaker that is gone is in no state");

    let keyed = CircuitBreakerLayer::builder("k").trip(Trip::consecutive(1));
    let keyed = keyed.keyed(|(key, _): &(String, Script)| key.into()).max_keys(2).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(keyed)
        .service(service_fn(|(_, script): (String, Script)| act(script)));
    for (key, script) in
        [("a", Script::Success), ("b", Script::Failure), (&*"c".repeat(300), Script::Success)]
    {
        let _ = service.clone().oneshot((key.to_owned(), script)).await;
    }
    // The overflow breaker is in a state too, and is no key.
    assert_eq!((state("k", "closed"), state("k", "open")), (2.0, 1.0));
    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_keys", &[("name", "k")]), 2.0);
    assert_eq!(shown.value("seawall_key_overflow_total", &[("name", "k")]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_in_shadow_counts_what_it_would_have_rejected() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let breaker =
        CircuitBreakerLayer::builder("s").trip(Trip::consecutive(1)).shadow(true).build().unwrap();
    for _ in 0..4 {
        breaker.run(|| act(Script::Failure)).await.unwrap_err();
    }
    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_circuit_breaker_shadow_rejections_total", &[]), 3.0);
    assert_eq!(shown.sum("seawall_rejections_total", &[]), 0.0);
    assert_eq!(shown.value("seawall_calls_total", &[("outcome", "failure")]), 4.0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_counts_attempts_retries_and_why_it_stopped() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let budget = Budget::builder().cap(10.0).per_second(0.0).per_success(0.0).build().unwrap();
    let retry = RetryLayer::builder("r")
        .attempts(2)
        .backoff(Backoff::none())
        .on_rejection(OnRejection::Wait)
        .max_elapsed(Duration::from_millis(18)) // one wait for a rejection
        .budget(budget.clone())
        .classify_error(classify)
        .build()
        .unwrap();
    let timeout = TimeoutLayer::new("t", MS);
    let full = BulkheadLayer::builder("full").limit(1).build().unwrap();
    let place = full.run(|| act(Script::Never));
    tokio::pin!(place);
    abandon(&mut place).await; // only polled: it stays inside

    // Two attempts each, and no success: the budget pays four retries, of which the one after
    // the attempt that ran out of time costs two tokens. What was rejected further in costs time alone.
    for script in [Script::Failure, Script::Pushback, Script::Unsent] {
        retry.run(|| act(script)).await.unwrap_err();
    }
    retry.run(|| timeout.run(|| act(Script::Never))).await.unwrap_err();
    retry.run(|| full.run(|| act(Script::Success))).await.unwrap_err();
    retry.run(|| act(Script::Ignored)).await.unwrap_err(); // final
    retry.run(|| act(Script::Success)).await.unwrap();
    abandon(retry.run(|| act(Script::Never))).await;

    let shown = Exposition::of(&recorder);
    let of = |metric, label, value| shown.value(metric, &[("name", "r"), (label, value)]);
    assert_eq!(shown.value("seawall_retry_attempts_total", &[]), 12.0);
    let retries = ["failure", "timeout", "pushback", "rejected", "unsent"];
    assert_eq!(retries.map(|why| of("seawall_retry_retries_total", "reason", why)), [1.0; 5]);
    assert_eq!(of("seawall_retry_stopped_total", "reason", "exhausted"), 4.0);
    assert_eq!(of("seawall_retry_stopped_total", "reason", "deadline"), 1.0);
    assert_eq!(of("seawall_retry_stopped_total", "reason", "final"), 1.0);
    assert_eq!(shown.value("seawall_retry_budget_tokens", &[]), 5.0);
    assert_eq!(budget.balance(), 5.0);
    let outcomes = ["success", "failure", "pushback", "ignored", "abandoned"];
    let calls = outcomes.map(|outcome| of("seawall_calls_total", "outcome", outcome));
    assert_eq!(calls, [1.0, 3.0, 1.0, 2.0, 1.0]);

    // The other reasons to stop, each once.
    let copies = |retry: RetryLayer<_, _>| {
        ServiceBuilder::new().layer(retry).service(service_fn(act)).oneshot(Script::Failure)
    };
    let once = || RetryLayer::builder("o").attempts(2);
    copies(once().copy(|_: &Script| None).build().unwrap()).await.unwrap_err();
    let broke = Budget::builder().cap(0.0).build().unwrap();
    once().budget(broke).build().unwrap().run(|| act(Script::Failure)).await.unwrap_err();
    let late =
        once().backoff(Backoff::fixed(2 * MS)).min_attempt_time(Duration::ZERO).max_elapsed(MS);
    late.build().unwrap().run(|| act(Script::Failure)).await.unwrap_err();
    once().build().unwrap().run(|| full.run(|| act(Script::Success))).await.unwrap_err();
    let shown = Exposition::of(&recorder);
    for why in ["no_copy", "budget", "deadline", "rejected"] {
        let labels = [("name", "o"), ("reason", why)];
        assert_eq!(shown.value("seawall_retry_stopped_total", &labels), 1.0, "{why}");
    }
}

// keys: as many series as of one
#[tokio::test(start_paused = true)]
async fn a_keyed_bulkhead_shows_the_levels_of_all_its_keys_together() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let keyed = BulkheadLayer::builder("k").limit(2).queue(5).keyed(|key: &String| key.into());
    let own = seawall::bulkhead::Overrides { limit: Some(1), ..Default::default() };
    let keyed = keyed.max_keys(2).overrides([("a", own)]).build().unwrap();
    let levels = || {
        let shown = Exposition::of(&recorder);
        ["bulkhead_in_flight", "bulkhead_limit", "bulkhead_queued", "keys"]
            .map(|level| shown.value(&format!("seawall_{level}"), &[("name", "k")]))
    };
    let calls = async {
        let call = |key, after: u32| keyed.run(key, move || act(Script::After(after * MS)));
        tokio::join!(call("a", 30), call("a", 30), call("b", 90), call("more", 10))
    };
    let watching = async {
        sleep(5 * MS).await;
        assert_eq!(levels(), [3.0, 2.0, 1.0, 2.0], "of two keys, and one that shares");
        sleep(10 * MS).await;
        assert_eq!(levels(), [2.0, 2.0, 1.0, 2.0]);
        sleep(25 * MS).await;
        assert_eq!(levels(), [2.0, 2.0, 0.0, 2.0], "the one that waited is in");
    };
    let ((one, two, three, four), ()) = tokio::join!(calls, watching);
    one.and(two).and(three).and(four).unwrap();
    assert_eq!(levels(), [0.0, 2.0, 0.0, 2.0]);
    let config = seawall::bulkhead::Config { limit: 7, ..keyed.handle().config() };
    keyed.handle().reload(config).unwrap();
    assert_eq!(levels()[1], 7.0);

    let shown = Exposition::of(&recorder);
    let of = |metric, labels: &[(&str, &str)]| shown.sum(metric, labels);
    assert_eq!(of("seawall_calls_total", &[("name", "k"), ("outcome", "success")]), 4.0);
    assert_eq!(of("seawall_bulkhead_wait_seconds_count", &[("name", "k")]), 1.0);
    assert_eq!(of("seawall_key_overflow_total", &[("name", "k")]), 1.0);

    // Answered later than its head, it is in flight for that long.
    let streams = BulkheadLayer::builder("s").completion(AtTheEnd).keyed(|_: &u32| "".into());
    let streams = streams.build().unwrap();
    let answer = streams.run("a", || act(Script::Success)).await.unwrap();
    let in_flight = || {
        let shown = Exposition::of(&recorder);
        shown.value("seawall_bulkhead_in_flight", &[("name", "s")])
    };
    assert_eq!(in_flight(), 1.0);
    drop(answer);
    assert_eq!(in_flight(), 0.0);
}

/// The call is over when its answer is dropped.
#[derive(Clone)]
struct AtTheEnd;

impl<Res> seawall::Completion<Res> for AtTheEnd {
    type Response = seawall::CallGuard;

    fn wrap(&self, _: Res, settle: seawall::CallGuard) -> seawall::CallGuard {
        settle
    }
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_shows_its_levels_and_its_waits() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let bulkhead = BulkheadLayer::builder("k").limit(1).queue(1).build().unwrap();
    let levels = || {
        let shown = Exposition::of(&recorder);
        ["in_flight", "limit", "queued"]
            .map(|level| shown.value(&format!("seawall_bulkhead_{level}"), &[("name", "k")]))
    };
    assert_eq!(levels(), [0.0, 1.0, 0.0]);
    let calls = async {
        tokio::join!(
            bulkhead.run(|| act(Script::After(30 * MS))),
            bulkhead.run(|| act(Script::After(10 * MS))),
            bulkhead.run(|| act(Script::Success)),
        )
    };
    tokio::pin!(calls);
    abandon(&mut calls).await; // only polled
    assert_eq!(levels(), [1.0, 1.0, 1.0]);
    let (first, second, third) = calls.await;
    assert!(first.is_ok() && second.is_ok() && third.is_err());
    assert_eq!(levels(), [0.0, 1.0, 0.0]);

    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_rejections_total", &[("reason", "full")]), 1.0);
    assert_eq!(shown.value("seawall_calls_total", &[("outcome", "success")]), 2.0);
    assert_eq!(shown.value("seawall_bulkhead_wait_seconds_count", &[]), 1.0);
    assert!((shown.value("seawall_bulkhead_wait_seconds_sum", &[]) - 0.03).abs() < 1e-9);

    let mut alone = Box::pin(bulkhead.run(|| act(Script::Never)));
    abandon(&mut alone).await; // only polled
    assert_eq!(levels(), [1.0, 1.0, 0.0]);
    drop(alone);
    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_calls_total", &[("outcome", "abandoned")]), 1.0);
    assert_eq!(levels(), [0.0, 1.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_tells_its_limit_from_the_deadline_of_the_caller() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let timeout =
        TimeoutLayer::builder("t").limit(100 * MS).propagate(FromWithContext).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(timeout.clone())
        .service(service_fn(|call: WithContext<Script>| act(call.request)));
    let within =
        |script, time| service.clone().oneshot(WithContext::new(script, Deadline::after(time)));
    within(Script::After(40 * MS), 50 * MS).await.unwrap();
    within(Script::Failure, 50 * MS).await.unwrap_err();
    within(Script::Never, 50 * MS).await.unwrap_err();
    within(Script::Never, 500 * MS).await.unwrap_err();
    within(Script::Success, Duration::ZERO).await.unwrap_err();
    abandon(within(Script::Never, 50 * MS)).await;
    timeout.drain().await;
    within(Script::Success, 50 * MS).await.unwrap_err();

    let shown = Exposition::of(&recorder);
    let rejections = |reason| shown.sum("seawall_rejections_total", &[("reason", reason)]);
    let reasons = ["timed_out", "deadline_exceeded", "draining", "full"];
    assert_eq!(reasons.map(rejections), [1.0, 2.0, 1.0, 0.0]);
    let calls = |outcome| shown.value("seawall_calls_total", &[("outcome", outcome)]);
    assert_eq!(["success", "failure", "ignored", "abandoned"].map(calls), [1.0, 1.0, 0.0, 1.0]);
    assert_eq!(shown.value("seawall_call_duration_seconds_count", &[]), 2.0);
    assert!((shown.value("seawall_call_duration_seconds_sum", &[]) - 0.04).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_health_check_shows_whether_it_is_up_and_a_registry_the_whole() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (say, said) = tokio::sync::watch::channel(Script::Success);
    let health = HealthLayer::builder("h")
        .check(move || act(*said.borrow()))
        .rise(1)
        .fall(1)
        .timeout(MS)
        .classify_error(classify)
        .build()
        .unwrap();
    let registry = HealthRegistry::new("whole");
    registry.add(Probe::Readiness, Criticality::Degrading, &health.handle());
    let overall = |status| {
        let labels = [("name", "whole"), ("probe", "readiness"), ("status", status)];
        Exposition::of(&recorder).value("seawall_health_overall", &labels)
    };
    let up = || Exposition::of(&recorder).value("seawall_health_up", &[("name", "h")]);
    assert_eq!((up(), overall("up"), overall("degraded")), (1.0, 0.0, 1.0)); // not checked yet
    assert_eq!(registry.watch(Probe::Readiness).changed().await, Some(Status::Up));
    assert_eq!((up(), overall("up"), overall("degraded")), (1.0, 1.0, 0.0));
    health.run(|| act(Script::Success)).await.unwrap();
    health.run(|| act(Script::Pushback)).await.unwrap_err();

    let mut watch = health.handle().watch();
    for (script, status) in [
        (Script::Failure, Status::Down),
        (Script::Success, Status::Up),
        (Script::Never, Status::Down),
    ] {
        say.send_replace(script);
        assert_eq!(watch.changed().await, Some(status));
    }
    assert_eq!((up(), overall("up"), overall("degraded")), (0.0, 0.0, 1.0));
    health.run(|| act(Script::Success)).await.unwrap_err();

    let shown = Exposition::of(&recorder);
    assert_eq!(shown.value("seawall_rejections_total", &[("reason", "unhealthy")]), 1.0);
    let calls = |outcome| shown.value("seawall_calls_total", &[("outcome", outcome)]);
    assert_eq!(["success", "failure", "pushback"].map(calls), [1.0, 0.0, 1.0]);
    let checks = |result| shown.value("seawall_health_checks_total", &[("result", result)]);
    assert_eq!(["failure", "timed_out", "panicked"].map(checks), [1.0, 1.0, 0.0]);
    let all = ["success", "failure", "timed_out"].map(checks).iter().sum::<f64>();
    assert_eq!(shown.value("seawall_health_check_seconds_count", &[]), all);
}
