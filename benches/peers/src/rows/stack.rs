use std::time::Duration;

use recloser::Recloser;
use seatbelt::{RecoveryInfo, ResilienceContext};
use seawall::Error;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;
use tick::Clock;
use tower::ServiceBuilder;
use tower::layer::layer_fn;
use tower_resilience::timelimiter::TimeLimiterLayer;
use tower_resilience::{bulkhead, circuitbreaker, retry};

use super::breaker::Reclosed;
use super::bulkhead::PERMITS;
use super::retry::{ThreeTimes, recovery};
use super::{Row, Target};
use crate::drive::{Fork, service};
use crate::inner::{Echo, Failure};
use crate::recorder::recorded;

const LIMIT: Duration = Duration::from_secs(1);

pub fn four() -> Row {
    Row::new("stack", "**timeout + retry + breaker + bulkhead**")
        .at_most(Target::Best(0.45))
        .scales()
        .ours(ours)
        .peer("tower + recloser", || {
            let builder = ServiceBuilder::new()
                .retry(ThreeTimes(3))
                .layer(layer_fn(|inner| Reclosed { policy: Recloser::default().into(), inner }));
            service(builder.timeout(LIMIT).concurrency_limit(PERMITS).service(Echo))
        })
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
