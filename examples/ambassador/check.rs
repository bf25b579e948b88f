//! The health check of the upstream, and its hand on the breaker's switch.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall::circuit_breaker::{CircuitBreakerHandle, Position};
use seawall::health::{HealthHandle, HealthLayer, Status};
use seawall::{ConfigErrors, Observe};
use tower::ServiceExt;

use crate::proxy::Upstream;
use crate::reply;

/// One check may find a busy moment; two in a row are no accident.
const FALL: u32 = 2;
/// Whoever says that it is well is asked to prove it.
const RISE: u32 = 1;

/// How an upstream is asked whether it is well, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) upstream: Upstream,
    /// What is asked for, and is to be answered with a 2xx; without it, whether anybody listens.
    pub(crate) target: Option<Uri>,
    /// Whether it is asked over HTTP/2.
    pub(crate) http2: bool,
    pub(crate) every: Duration,
    /// An answer that takes longer is no answer.
    pub(crate) timeout: Duration,
}

/// Begins to check, until the last handle is gone.
pub(crate) fn start(
    name: &str,
    check: Check,
    observer: impl Observe + 'static,
) -> Result<HealthHandle, ConfigErrors> {
    let Check { upstream, target, http2, every, timeout } = check;
    let health = HealthLayer::builder(name)
        .interval(every)
        .timeout(timeout)
        .fall(FALL)
        .rise(RISE)
        .observe(observer);
    let health = match target {
        Some(target) => {
            // One of its own: a check does not share connections with what it is to classify.
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .http2_only(http2)
                .build_http()
                .map_err(|why| reply::root_cause(&why));
            health.check_http(client, move || {
                let mut request = Request::new(Empty::<Bytes>::new());
                request.uri_mut().clone_from(&target);
                request
            })
        }
        None => health.check(move || {
            let upstream = upstream.clone();
            async move { upstream.connect().await }
        }),
    };
    Ok(health.build()?.handle())
}

/// Holds the circuit open while the upstream is down, so that no caller has to find it out. Ends
/// with the check.
pub(crate) fn steer(health: &HealthHandle, breaker: &CircuitBreakerHandle) {
    let mut switch = breaker.switch(Position::Auto);
    tokio::spawn(health.watch().follow(move |status| {
        switch.set(if status == Status::Down { Position::Open } else { Position::Auto });
    }));
}
