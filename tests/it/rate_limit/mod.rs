//! Rate limit, through the public API.

mod keyed;
mod oracle;
mod passing;
mod steering;
mod waiting;

use std::pin::Pin;
use std::time::Duration;

use seawall::rate_limit::{self, RateLimitLayer};
use seawall::{Error, Reason};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{Boxed, Fail, now, reason};

/// Calls whose requests are what they cost, and that answer at once.
fn costing(builder: rate_limit::Builder) -> (rate_limit::RateLimitHandle, Boxed) {
    let layer = builder.cost(|cost: &u32| *cost).build().unwrap();
    let service = service_fn(|cost: u32| async move { Ok::<_, Fail>(cost) });
    (layer.handle(), ServiceBuilder::new().layer(layer).service(service).boxed_clone())
}

/// A call in flight, and when it passed.
type Passing = Pin<Box<dyn Future<Output = Result<Duration, Fail>>>>;

/// Calls that tell how long after `began` they passed.
fn timing(layer: &RateLimitLayer, began: Instant) -> impl Fn() -> Passing {
    let layer = layer.clone();
    move || {
        let passed = layer.run(move || async move { Ok(now() - began) });
        Box::pin(passed)
    }
}

/// How long a call that came too early is to stay away.
fn too_early<T>(result: &Result<T, Fail>) -> Option<Duration> {
    match result {
        Err(Error::Rejected(why)) if why.reason() == Reason::RateLimited => why.retry_after(),
        other => {
            assert_eq!(reason(other), None);
            None
        }
    }
}

async fn call(service: &mut Boxed, cost: u32) -> Result<u32, Fail> {
    service.ready().await?.call(cost).await
}
