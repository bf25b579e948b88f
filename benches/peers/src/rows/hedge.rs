use std::time::Duration;

use seatbelt::ResilienceContext;
use tick::Clock;
use tower::ServiceBuilder;
use tower_resilience::hedge::HedgeLayer;

use super::retry::recovery;
use super::{Row, Target};
use crate::drive::service;
use crate::inner::{Echo, Failure};

const DELAY: Duration = Duration::from_millis(100);

// tower's hedge is no `Clone`: no contender.
pub fn not_hedged() -> Row {
    Row::new("hedge", "hedge, not hedged")
        .at_most(Target::Best(0.3))
        .peer("tower-resilience", || {
            service(ServiceBuilder::new().layer(HedgeLayer::new(DELAY)).service(Echo))
        })
        .peer("seatbelt", || {
            let context = ResilienceContext::<u64, Result<u64, Failure>>::new(Clock::new_tokio());
            let layer = seatbelt::hedging::Hedging::layer("bench", &context)
                .clone_input()
                .recovery_with(|result: &Result<u64, Failure>, _| recovery(result))
                .hedging_delay(DELAY);
            service(ServiceBuilder::new().layer(layer).service(Echo))
        })
}
