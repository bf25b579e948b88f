//! `/metrics`, for Prometheus, and `/healthz`, for whoever wants to know how the ambassador is, on a
//! port of their own.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use seawall::health::HealthRegistry;
use seawall::http::HealthEndpoint;
use tokio::net::TcpListener;
use tokio::time::interval;
use tower::ServiceExt;

use crate::reply::{self, Body};
use crate::server;
use crate::tunnel;
use crate::workers::Workers;

/// The text format of Prometheus, in the version that everybody reads.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// From a call on the same host to one that nobody waits for any more.
const BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Between two scrapes the recorder keeps every duration it is told; this makes buckets of them.
const UPKEEP: Duration = Duration::from_secs(5);

/// From now on every layer's metrics are recorded.
pub(crate) fn record() -> Result<PrometheusHandle, String> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|why| format!("cannot record metrics: {why}"))?;
    tunnel::describe();
    Ok(recorder)
}

/// Serves until it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    recorder: PrometheusHandle,
    health: HealthRegistry,
) {
    // Whoever gets at this port is one of us, and may know what the checks found.
    let health = HealthEndpoint::new(health).with_errors();
    let metrics = recorder.clone();
    let handler = move |request, _| answer(request, metrics.clone(), health.clone());
    let upkeep = async {
        let mut ticks = interval(UPKEEP);
        loop {
            ticks.tick().await;
            recorder.run_upkeep();
        }
    };
    tokio::select! {
        _ = server::serve(listener, Workers::none(), handler, pending()) => {}
        () = upkeep => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    metrics: PrometheusHandle,
    health: HealthEndpoint,
) -> Result<Response<Body>, Infallible> {
    match (request.method(), request.uri().path()) {
        (_, "/healthz" | "/readyz" | "/livez") => {
            let response = health.oneshot(request).await?;
            Ok(response.map(Body::of_ours))
        }
        (&Method::GET | &Method::HEAD, "/metrics") => {
            Ok(reply::text_of_type(TEXT_FORMAT, StatusCode::OK, metrics.render()))
        }
        (_, "/metrics") => Ok(reply::line(StatusCode::METHOD_NOT_ALLOWED, "it is for reading")),
        _ => {
            let there_is = "there are /metrics, /healthz, /readyz and /livez here";
            Ok(reply::line(StatusCode::NOT_FOUND, there_is))
        }
    }
}
