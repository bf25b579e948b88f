use tower::ServiceBuilder;
use tower_resilience::bulkhead::BulkheadLayer;

use super::{Row, Target};
use crate::drive::{driven, filled, service};
use crate::inner::{Echo, Hung};

const PERMITS: usize = 64;

pub fn free() -> Row {
    Row::new("bulkhead", "bulkhead")
        .at_most(Target::Best(0.7))
        .scales()
        .peer("tower", || service(ServiceBuilder::new().concurrency_limit(PERMITS).service(Echo)))
        .peer("tower-resilience", || {
            let layer = BulkheadLayer::builder().max_concurrent_calls(PERMITS).build();
            service(ServiceBuilder::new().layer(layer.expect("valid")).service(Echo))
        })
}

pub fn full() -> Row {
    Row::new("bulkhead-full", "bulkhead, full: a refusal")
        .at_most(Target::Best(0.5))
        .refuses()
        .peer("tower", || {
            let builder = ServiceBuilder::new().load_shed().concurrency_limit(PERMITS);
            service(filled(builder.service(Hung), PERMITS))
        })
        .peer("tower-resilience", || {
            let builder = BulkheadLayer::builder().max_concurrent_calls(PERMITS);
            let layer = builder.reject_when_full().build().expect("valid");
            driven(filled(ServiceBuilder::new().layer(layer).service(Hung), PERMITS))
        })
        // Its refusal waits for a timer to ring.
        .in_batches_of(2)
}
