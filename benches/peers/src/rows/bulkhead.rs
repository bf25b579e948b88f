use seawall::Error;
use seawall::bulkhead::BulkheadLayer;
use tower::ServiceBuilder;
use tower_resilience::bulkhead;

use super::{Row, Target};
use crate::drive::{driven, filled, service};
use crate::inner::{Echo, Hung};

/// Our default, for everybody.
pub const PERMITS: usize = 64;

pub fn free() -> Row {
    Row::new("bulkhead", "bulkhead")
        .at_most(Target::Best(0.7))
        .scales()
        .ours(|| {
            let layer = BulkheadLayer::new("bench");
            service(ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(Echo))
        })
        .peer("tower", || service(ServiceBuilder::new().concurrency_limit(PERMITS).service(Echo)))
        .peer("tower-resilience", || {
            let layer = bulkhead::BulkheadLayer::builder().max_concurrent_calls(PERMITS).build();
            service(ServiceBuilder::new().layer(layer.expect("valid")).service(Echo))
        })
}

pub fn full() -> Row {
    Row::new("bulkhead-full", "bulkhead, full: a rejection")
        .at_most(Target::Best(0.5))
        .rejects()
        .ours(|| {
            let layer = BulkheadLayer::new("bench");
            let builder = ServiceBuilder::new().layer(layer).map_err(Error::Inner);
            service(filled(builder.service(Hung), PERMITS))
        })
        .peer("tower", || {
            let builder = ServiceBuilder::new().load_shed().concurrency_limit(PERMITS);
            service(filled(builder.service(Hung), PERMITS))
        })
        .peer("tower-resilience", || {
            let builder = bulkhead::BulkheadLayer::builder().max_concurrent_calls(PERMITS);
            let layer = builder.reject_when_full().build().expect("valid");
            driven(filled(ServiceBuilder::new().layer(layer).service(Hung), PERMITS))
        })
        // Its rejection waits for a timer to ring.
        .in_batches_of(2)
}
