//! Health over the wire: `/livez`, `/readyz`, `/healthz`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tower::Service;

use super::health_response::health_response;
use crate::health::{HealthRegistry, Probe};

/// Answers how a [`HealthRegistry`] is: a tower service that mounts in axum (`nest_service`,
/// `fallback_service`) and on bare hyper alike.
///
/// `/livez` tells of liveness, `/readyz` and `/healthz` of readiness; a prefix before them does not
/// matter. GET and HEAD only. Answers are 200 while up or degraded and 503 while down, with the
/// report as JSON. What the checks found wrong is left out unless [asked for](Self::with_errors).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use http::Request;
/// use seawall::{health::HealthRegistry, http::HealthEndpoint};
/// use tower::ServiceExt;
///
/// let health = HealthEndpoint::new(HealthRegistry::new("orders"));
/// let answer = health.oneshot(Request::get("/healthz").body(())?).await?;
/// assert_eq!(answer.status(), 200);
/// assert_eq!(answer.body(), r#"{"status":"up","checks":[]}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct HealthEndpoint {
    registry: HealthRegistry,
    errors: bool,
}

impl HealthEndpoint {
    /// Answers for this registry.
    pub fn new(registry: HealthRegistry) -> Self {
        Self { registry, errors: false }
    }

    /// Tells what the checks found wrong too. For those inside: errors name hosts and more.
    #[must_use]
    pub fn with_errors(mut self) -> Self {
        self.errors = true;
        self
    }

    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        let probe = match path.rsplit('/').next() {
            Some("livez") => Probe::Liveness,
            Some("readyz" | "healthz" | "") => Probe::Readiness,
            _ => return empty(StatusCode::NOT_FOUND),
        };
        if method != Method::GET && method != Method::HEAD {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let report = self.registry.report(probe);
        let report = if self.errors { report } else { report.without_errors() };
        let mut response = health_response(&report);
        if method == Method::HEAD {
            response.body_mut().clear();
        }
        response
    }
}

fn empty(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

impl<B> Service<Request<B>> for HealthEndpoint {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }
}
