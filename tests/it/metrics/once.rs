//! A call is counted once by each layer it went through, however it ends there.

use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
use seawall::{Error, Reason};
use tower::{Layer, Service, ServiceExt};

use super::{MS, Script, abandon, act};
use crate::exposition::{Exposition, recorder};
use crate::support::{Ready, Reply, scripted};

/// What was counted as let through, by outcome, and as rejected.
fn counted(shown: &Exposition) -> [f64; 3] {
    let calls = |outcome| shown.sum("seawall_calls_total", &[("outcome", outcome)]);
    [calls("failure"), calls("abandoned"), shown.sum("seawall_rejections_total", &[])]
}

// Found by tests/fuzz: it was counted nowhere.
#[tokio::test(start_paused = true)]
async fn who_goes_away_while_it_waits_for_a_place_is_abandoned() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let bulkhead = BulkheadLayer::builder("b").limit(1).queue(1).max_wait(MS).build().unwrap();
    let mut inside = Box::pin(bulkhead.run(|| act(Script::Never)));
    abandon(&mut inside).await; // only polled: it stays inside
    abandon(bulkhead.run(|| act(Script::Never))).await;
    assert_eq!(counted(&Exposition::of(&recorder)), [0.0, 1.0, 0.0]);
    // Who is rejected after a wait is counted as that, and not once more when it is dropped.
    bulkhead.run(|| act(Script::Never)).await.unwrap_err();
    assert_eq!(counted(&Exposition::of(&recorder)), [0.0, 1.0, 1.0]);
    drop(inside);
    assert_eq!(counted(&Exposition::of(&recorder)), [0.0, 2.0, 1.0]);
}

// Found by tests/fuzz: it was counted as rejected, and as abandoned too.
#[tokio::test(start_paused = true)]
async fn a_probe_that_waited_in_vain_is_rejected_and_nothing_else() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let breaker = CircuitBreakerLayer::builder("b").trip(Trip::consecutive(1)).build().unwrap();
    let (handle, probe) = scripted(Ready::Yes, Reply::Fails);
    let mut service = breaker.layer(probe);
    service.ready().await.unwrap().call(1).await.unwrap_err();
    assert_eq!(counted(&Exposition::of(&recorder)), [1.0, 0.0, 0.0]);
    handle.set_ready(Ready::No);
    tokio::time::sleep(Duration::from_secs(1)).await; // the break is over
    let waited = service.ready().await.unwrap().call(2).await;
    let Err(Error::Rejected(why)) = waited else { panic!("{waited:?}") };
    assert_eq!((why.reason(), handle.calls()), (Reason::CircuitOpen, 1));
    assert_eq!(counted(&Exposition::of(&recorder)), [1.0, 0.0, 1.0]);
}
