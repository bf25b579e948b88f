//! What the ambassador says of itself, and what the health check does to the circuit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use crate::port::Port;
use crate::support::{Ambassador, Answer, Upstream, answer, ask_until, get};

const OFTEN: [&str; 2] = ["--check-every", "20ms"];

fn read(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_str(&answer.text).unwrap()
}

async fn well(_: Request<hyper::body::Incoming>) -> hyper::Response<crate::support::Body> {
    answer(StatusCode::OK, "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_dies_opens_the_circuit_before_a_caller_finds_out() {
    let port = Port::hold(); // nobody else may get it while the upstream is dead
    let address = port.address();
    let upstream = Upstream::on(port.listen(), well);
    let ambassador = Ambassador::of(address, &OFTEN);
    let [health, ready, alive] =
        ["healthz", "readyz", "livez"].map(|path| format!("{}/{path}", ambassador.admin));

    // Not ready before the first check.
    let report = ask_until(&health, |answer| answer.status == StatusCode::OK).await;
    assert_eq!(report.header("cache-control"), Some("no-store"));
    let report = read(&report);
    assert_eq!(report["status"], "up");
    assert_eq!(report["checks"][0]["name"], address.to_string());
    assert_eq!(report["checks"][0]["criticality"], "critical");

    drop(upstream);
    let report = ask_until(&health, |answer| answer.status != StatusCode::OK).await;
    assert_eq!(report.status, StatusCode::SERVICE_UNAVAILABLE);
    let report = read(&report);
    assert_eq!(report["status"], "down");
    assert_eq!(report["checks"][0]["status"], "down");
    let error = report["checks"][0]["error"].as_str().unwrap();
    assert!(error.contains("refused"), "{error}");
    assert_eq!(get(&ready).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let report = get(&alive).await;
    assert_eq!(report.status, StatusCode::OK, "a restart would not help");
    assert_eq!(read(&report), json!({"status": "up", "checks": []}));

    // Nobody has called yet, so this is the health check's doing.
    let log = [ambassador.says(), ambassador.says()];
    assert!(
        log.iter().any(|line| line.contains("health") && line.contains("up → down (check)")),
        "{log:?}"
    );
    let forced = "closed → forced_open (switch)";
    assert!(log.iter().any(|line| line.contains(forced)), "{log:?}");
    let rejection = get(&ambassador.url("/")).await;
    assert_eq!(rejection.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rejection.header("proxy-status"), Some("ambassador; error=destination_unavailable"));
    assert_eq!(rejection.header("retry-after"), None, "nobody knows when it is back");
    assert!(rejection.text.contains("circuit is open"), "{}", rejection.text);

    let upstream = Upstream::on(port.listen(), well);
    ask_until(&health, |answer| answer.status == StatusCode::OK).await;
    ask_until(&ambassador.url("/"), |answer| answer.status == StatusCode::OK).await;
    assert!(upstream.asked() >= 1);
    assert_eq!(get(&ready).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_that_it_is_not_well_is_believed() {
    let ill = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&ill);
    let upstream = Upstream::answering(move |request: Request<_>| {
        let asked_how_it_is = request.uri().path() == "/api/how-are-you";
        let ill = asked_how_it_is && state.load(Ordering::Relaxed);
        let status = if ill { StatusCode::NOT_FOUND } else { StatusCode::OK };
        async move { answer(status, "") }
    })
    .await;
    let below = format!("http://{}/api", upstream.address);
    let check = ["--check", "/how-are-you"];
    let ambassador = Ambassador::of_url(&below, &[&OFTEN[..], &check].concat());

    let rejected = |answer: &Answer| answer.status == StatusCode::SERVICE_UNAVAILABLE;
    let health = format!("{}/healthz", ambassador.admin);
    // It is not ready before the first check has spoken, either, and then there is no error yet.
    let why = |answer: &Answer| rejected(answer) && answer.text.contains("answered");
    let report = read(&ask_until(&health, why).await);
    assert_eq!(report["checks"][0]["error"], "answered 404 Not Found");
    ask_until(&ambassador.url("/"), rejected).await;

    ill.store(false, Ordering::Relaxed);
    ask_until(&ambassador.url("/"), |answer| answer.status == StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_tells_of_every_layer() {
    let upstream = Upstream::answering(well).await;
    let ambassador = Ambassador::of(upstream.address, &[&OFTEN[..], &["--limit", "7"]].concat());
    assert_eq!(get(&ambassador.url("/")).await.status, StatusCode::OK);

    let name = format!("name=\"{}\"", upstream.address);
    let whole = format!("name=\"{} deadline\"", upstream.address);
    let good = "outcome=\"success\"";
    let series: [(&[&str], f64); 9] = [
        (&["seawall_calls_total", "layer=\"timeout\"", &whole, good], 1.0),
        (&["seawall_calls_total", "layer=\"timeout\"", &name, good], 1.0),
        (&["seawall_calls_total", "layer=\"retry\"", &name, good], 1.0),
        (&["seawall_retry_attempts_total", &name], 1.0),
        (&["seawall_bulkhead_limit", &name], 7.0),
        (&["seawall_bulkhead_in_flight", &name], 0.0),
        (&["seawall_bulkhead_queued", &name], 0.0),
        (&["seawall_health_up", &name], 1.0),
        (&["seawall_health_overall", "probe=\"readiness\"", "status=\"up\""], 1.0),
    ];
    for (words, value) in series {
        assert_eq!(ambassador.metric(words).await, value, "{words:?}");
    }
    let checks = ["seawall_health_checks_total", &name, "result=\"success\""];
    assert!(ambassador.metric(&checks).await >= 1.0);
    assert_eq!(get(&format!("{}/", ambassador.admin)).await.status, StatusCode::NOT_FOUND);
}
