use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::MonotonicClock;
use governor::{Quota, RateLimiter};
use seawall::Error;
use seawall::rate_limit::RateLimitLayer;
use tower::{Service, ServiceBuilder};
use tower_resilience::ratelimiter::RateLimiterLayer;

use super::{Row, Target};
use crate::drive::{service, wrapper};
use crate::inner::{Echo, Failure};

/// Calls a second, and the burst: more than any contender can ask for.
const RATE: NonZeroU32 = NonZeroU32::new(1_000_000_000).expect("not zero");

/// governor on the clock that everybody else uses.
const GOVERNOR: &str = "governor, std clock";

// tower's rate limit is no `Clone`, so that it can be shared only behind a buffer: no contender.
pub fn within() -> Row {
    Row::new("rate-limit", "rate limit, within it")
        .at_most(Target::Of(1.2, GOVERNOR))
        .scales()
        .ours(|| {
            let limit = RateLimitLayer::new("bench", RATE.get(), Duration::from_secs(1));
            service(ServiceBuilder::new().layer(limit.expect("valid")).map_err(Error::Inner).service(Echo))
        })
        .peer("tower-resilience", || {
            let builder = RateLimiterLayer::builder().limit_for_period(RATE.get() as usize);
            let layer = builder.refresh_period(Duration::from_secs(1)).build().expect("valid");
            service(ServiceBuilder::new().layer(layer).service(Echo))
        })
        .peer("governor", || {
            let limiter = Arc::new(RateLimiter::direct(Quota::per_second(RATE)));
            wrapper(limiter, Echo, |limiter, inner, request| {
                let call = limiter.check().map_err(|_| Failure).map(|()| inner.call(request));
                async move { call?.await }
            })
        })
        .peer(GOVERNOR, || {
            let quota = Quota::per_second(RATE);
            let limiter = Arc::new(RateLimiter::direct_with_clock(quota, MonotonicClock));
            wrapper(limiter, Echo, |limiter, inner, request| {
                let call = limiter.check().map_err(|_| Failure).map(|()| inner.call(request));
                async move { call?.await }
            })
        })
}
