//! A window over time must not cost more when there are more calls in it.

use std::time::{Duration, Instant};

use seawall::Measurement;
use seawall::circuit_breaker::{CircuitBreakerLayer, State, Trip};
use tokio::runtime::Builder;
use tower::{Service, ServiceBuilder};

use crate::measure::{grouped, held};
use crate::{call, nine_in_ten};

const SIZES: [u32; 4] = [100, 1_000, 10_000, 50_000];
const SPAN: Duration = Duration::from_secs(10);
/// Time passes so many times in a span, and a burst of calls comes in between.
const BURSTS: u32 = 10;
/// Spans that go by before anything is measured, and calls that are.
const WARM_UP: u32 = 2;
const CALLS: u32 = 400_000;

pub(crate) fn table() {
    println!(
        "| a window with so many calls in it | over 10 s: ns a call | bytes | over calls: ns a call | bytes |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for size in SIZES {
        let (over_time, time_bytes) = cost(size, Trip::failure_rate(0.5).over_time(SPAN));
        let (over_calls, calls_bytes) = cost(size, Trip::failure_rate(0.5).over_calls(size));
        let (time_bytes, calls_bytes) = (grouped(time_bytes), grouped(calls_bytes));
        println!(
            "| {} | {over_time:.1} | {time_bytes} | {over_calls:.1} | {calls_bytes} |",
            grouped(size as usize)
        );
    }
}

/// The median time of a call with so many others in the window, and the bytes that the breaker
/// holds. One call in ten fails, so that the window is never quiet.
fn cost(size: u32, trip: Trip) -> (f64, usize) {
    // Time stands still, and passes when we say so.
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be built");
    runtime.block_on(async {
        let before = held();
        let layer = CircuitBreakerLayer::builder("bench").trip(trip).build().expect("it is valid");
        let handle = layer.handle();
        let mut service = ServiceBuilder::new().layer(layer).service_fn(nine_in_ten);
        let laps = WARM_UP + CALLS.div_ceil(size);
        let (mut times, mut clock) = (Vec::new(), Vec::new());
        for lap in 0..laps {
            for _ in 0..BURSTS {
                tokio::time::advance(SPAN / BURSTS).await;
                let time = burst(&mut service, size / BURSTS);
                if lap >= WARM_UP {
                    times.push(time);
                    clock.push(burst(&mut service, 0));
                }
            }
        }
        let burst = median(&mut times).saturating_sub(median(&mut clock));
        drop((times, clock));
        let bytes = held() - before;
        let gathered = handle.snapshot();
        assert_eq!(gathered.state, State::Closed, "it never tripped");
        assert!(
            matches!(gathered.gathered, Measurement::FailureRate { observed: 100_000, .. }),
            "it saw them all: {gathered:?}"
        );
        (burst.as_nanos() as f64 / f64::from(size / BURSTS), bytes)
    })
}

fn burst(service: &mut impl Service<u64, Response = u64>, calls: u32) -> Duration {
    let started = Instant::now();
    let sum: u64 = (0..calls.into()).map(|request| call(service, request)).sum();
    let time = started.elapsed();
    assert!(calls == 0 || sum > 0, "the work was done");
    time
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
