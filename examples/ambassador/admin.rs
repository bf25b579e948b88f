//! `/metrics`, for Prometheus, on a port of its own.

use std::future::pending;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::time::interval;

use crate::reply::{self, Body};
use crate::server;

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
    PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|why| format!("cannot record metrics: {why}"))
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, recorder: PrometheusHandle) {
    let answers = recorder.clone();
    let handler = move |request: Request<Incoming>, _| {
        let response = answer(&request, &answers);
        async { response }
    };
    let upkeep = async {
        let mut ticks = interval(UPKEEP);
        loop {
            ticks.tick().await;
            recorder.run_upkeep();
        }
    };
    tokio::select! {
        _ = server::serve(listener, handler, pending()) => {}
        () = upkeep => {}
    }
}

fn answer(request: &Request<Incoming>, recorder: &PrometheusHandle) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            reply::text_of_type(TEXT_FORMAT, StatusCode::OK, recorder.render())
        }
        (_, "/metrics") => reply::line(StatusCode::METHOD_NOT_ALLOWED, "metrics are for reading"),
        _ => reply::line(StatusCode::NOT_FOUND, "there is /metrics here"),
    }
}
