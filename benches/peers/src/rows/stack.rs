use std::time::Duration;

use recloser::Recloser;
use seatbelt::{RecoveryInfo, ResilienceContext};
use seawall::Error;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;
use tick::Clock;
use tower::layer::layer_fn;
use tower::{Service, ServiceBuilder};
use tower_resilience::timelimiter::TimeLimiterLayer;
use tower_resilience::{bulkhead, circuitbreaker, retry};

use super::breaker::Reclosed;
use super::bulkhead::PERMITS;
use super::retry::{ThreeTimes, recovery};
use super::{Row, Target};
use crate::drive::{Fork, service};
use crate::inner::{Echo, EchoLater, Failure};
use crate::recorder::recorded;

const LIMIT: Duration = Duration::from_secs(1);

pub fn four() -> Row {
    Row::new("stack", "**timeout + retry + breaker + bulkhead**")
        .at_most(Target::Best(0.45))
        .scales()
        .ours(ours)
        .peer("tower + recloser", || tower(Echo))
        .peer("tower-resilience", resilience)
        .peer("seatbelt", seatbelt)
}

pub fn four_recorded() -> Row {
    Row::new("stack-recorded", "the same, metrics with a recorder")
        .at_most(Target::Of(2.0, "seawall, unrecorded"))
        .ours(|| recorded(ours))
        .peer("seawall, unrecorded", ours)
        .peer_if(cfg!(feature = "peer-metrics"), "tower-resilience", || recorded(resilience))
}

/// The ready-made stack, which has a time limit for each attempt besides.
pub fn client() -> Row {
    Row::new("client", "**the same, ready-made, with a limit for each attempt**")
        .at_most(Target::Best(0.55))
        .scales()
        .ours(ready_made)
        .peer("tower + recloser", || tower(Echo))
}

pub fn client_pending() -> Row {
    Row::new("client-pending", "the same, pending once")
        .at_most(Target::Best(1.2))
        .ours(|| client_of(EchoLater))
        .peer("tower + recloser", || tower(EchoLater))
}

pub fn client_recorded() -> Row {
    Row::new("client-recorded", "the same, metrics with a recorder")
        .at_most(Target::Of(2.5, "seawall, unrecorded"))
        .ours(|| recorded(ready_made))
        .peer("seawall, unrecorded", ready_made)
}

fn ready_made() -> Fork {
    client_of(Echo)
}

fn client_of<S>(inner: S) -> Fork
where
    S: Service<u64, Response = u64, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let stack = seawall::stack::client("bench").cloned().build().expect("valid");
    service(ServiceBuilder::new().layer(stack).map_err(Error::Inner).service(inner))
}

fn tower<S>(inner: S) -> Fork
where
    S: Service<u64, Response = u64, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let builder = ServiceBuilder::new()
        .retry(ThreeTimes(3))
        .layer(layer_fn(|inner| Reclosed { policy: Recloser::default().into(), inner }));
    service(builder.timeout(LIMIT).concurrency_limit(PERMITS).service(inner))
}

fn ours() -> Fork {
    service(
        ServiceBuilder::new()
            .layer(RetryLayer::new("bench").cloned())
            .layer(CircuitBreakerLayer::new("bench"))
            .layer(BulkheadLayer::new("bench"))
            .layer(TimeoutLayer::new("bench", LIMIT))
            .map_err(Error::Inner)
            .service(Echo),
    )
}

fn resilience() -> Fork {
    let bulkhead = bulkhead::BulkheadLayer::builder().max_concurrent_calls(PERMITS).build();
    let breaker = circuitbreaker::CircuitBreakerLayer::builder().build();
    service(
        ServiceBuilder::new()
            .layer(retry::RetryLayer::<u64, u64, _>::builder().max_attempts(3).build())
            .layer(breaker.expect("valid"))
            .layer(TimeLimiterLayer::builder().timeout_duration(LIMIT).build())
            .layer(bulkhead.expect("valid"))
            .service(Echo),
    )
}

/// It has no bulkhead.
fn seatbelt() -> Fork {
    let context = ResilienceContext::<u64, Result<u64, Failure>>::new(Clock::new_tokio());
    let recover = |result: &Result<u64, Failure>| -> RecoveryInfo { recovery(result) };
    service(
        ServiceBuilder::new()
            .layer(
                seatbelt::retry::Retry::layer("bench", &context)
                    .clone_input()
                    .recovery_with(move |result, _| recover(result)),
            )
            .layer(
                seatbelt::breaker::Breaker::layer("bench", &context)
                    .recovery_with(move |result, _| recover(result))
                    .rejected_input_error(|_, _| Failure),
            )
            .layer(
                seatbelt::timeout::Timeout::layer("bench", &context)
                    .timeout(LIMIT)
                    .timeout_error(|_| Failure),
            )
            .service(Echo),
    )
}
