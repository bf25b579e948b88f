use std::time::Duration;

use seatbelt::ResilienceContext;
use seawall::Error;
use seawall::timeout::TimeoutLayer;
use tick::Clock;
use tower::{Service, ServiceBuilder};
use tower_resilience::timelimiter::TimeLimiterLayer;

use super::{Row, Target};
use crate::drive::{Fork, service};
use crate::inner::{Echo, EchoLater, Failure};

const LIMIT: Duration = Duration::from_secs(1);

pub fn at_once() -> Row {
    let row = Row::new("timeout", "timeout, inner ready at once").at_most(Target::Best(0.25));
    contenders(row, Echo).scales()
}

pub fn pending_once() -> Row {
    let row = Row::new("timeout-pending", "timeout, inner pending once");
    contenders(row.at_most(Target::Best(1.0)), EchoLater)
}

fn contenders<S>(row: Row, inner: S) -> Row
where
    S: Service<u64, Response = u64, Error = Failure> + Copy + Send + Sync + 'static,
    S::Future: Send,
{
    row.ours(move || {
        service(
            ServiceBuilder::new()
                .layer(TimeoutLayer::new("bench", LIMIT))
                .map_err(Error::Inner)
                .service(inner),
        )
    })
    .peer("tower", move || service(ServiceBuilder::new().timeout(LIMIT).service(inner)))
    .peer("tower-resilience", move || {
        let layer = TimeLimiterLayer::builder().timeout_duration(LIMIT).build();
        service(ServiceBuilder::new().layer(layer).service(inner))
    })
    .peer("seatbelt", move || seatbelt(inner))
}

fn seatbelt<S>(inner: S) -> Fork
where
    S: Service<u64, Response = u64, Error = Failure> + Copy + Send + Sync + 'static,
    S::Future: Send,
{
    let context = ResilienceContext::<u64, Result<u64, Failure>>::new(Clock::new_tokio());
    let layer = seatbelt::timeout::Timeout::layer("bench", &context)
        .timeout(LIMIT)
        .timeout_error(|_| Failure);
    service(ServiceBuilder::new().layer(layer).service(inner))
}
