//! Telling others how we are.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use crate::health::Report;
use crate::health::Status;

/// A health report as an HTTP answer: 200 while up or degraded, 503 while down, with the report as
/// JSON, not to be cached.
///
/// ```json
/// {"status":"down","checks":[
///   {"name":"database","status":"down","criticality":"critical","since_seconds":12,
///    "error":"connection refused"}]}
/// ```
///
/// Errors tell of your inside; [`Report::without_errors`] leaves them out for strangers.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use axum::{Router, extract::State, routing::get};
/// use http::Request;
/// use seawall::health::{HealthRegistry, Probe};
/// use seawall::http::health_response;
/// use tower::ServiceExt;
///
/// // At a path of your own; `HealthEndpoint` serves the usual ones.
/// let app = Router::<HealthRegistry>::new()
///     .route("/status", get(|State(registry): State<HealthRegistry>| async move {
///         health_response(&registry.report(Probe::Readiness).without_errors())
///     }))
///     .with_state(HealthRegistry::new("orders"));
/// let answer = app.oneshot(Request::get("/status").body(axum::body::Body::empty())?).await?;
/// assert_eq!(answer.status(), 200);
/// assert_eq!(answer.headers()["content-type"], "application/json");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn health_response(report: &Report) -> Response<String> {
    // A report is made of strings, numbers and words: nothing that has no JSON.
    let body = serde_json::to_string(report).unwrap_or_default();
    let mut response = Response::new(body);
    if report.status == Status::Down {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
