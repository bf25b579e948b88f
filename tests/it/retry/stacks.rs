//! A retry over what others have built, while it is steered, and without a service.

use std::sync::atomic::{AtomicU32, Ordering};

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::retry::{Backoff, Budget, Config, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{CallError, Reason};
use tokio::time::sleep;
use tower::buffer::BufferLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};

use super::retry;
use crate::scene::{Fail, Log, answering, broken, fields, ms, now, poll_once, reason, taking};

// pitfall B33
#[tokio::test(start_paused = true)]
async fn over_a_limit_of_one_no_attempt_waits_for_the_place_of_another() {
    let second = std::time::Duration::from_secs(1);
    for budget in [Some(Budget::builder().cap(4.0).per_second(0.0).build().unwrap()), None] {
        let (calls, inner) = answering(|_| Err(broken("no")));
        let inner = ConcurrencyLimitLayer::new(1).layer(inner);
        let builder = retry(&Log::default()).backoff(Backoff::fixed(ms(1)));
        let rationed = budget.is_some();
        let builder = match budget {
            Some(budget) => builder.budget(budget),
            None => builder,
        };
        let mut service = builder.cloned().build().unwrap().layer(inner);
        for _ in 0..20 {
            let call = service.ready().await.unwrap().call(7);
            let ended = tokio::time::timeout(second, call).await.expect("it hangs");
            assert!(ended.is_err());
        }
        // With a budget of four, four are repeated and the rest are rejected their retry.
        assert_eq!(calls.count(), if rationed { 24 } else { 60 });
    }
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn over_a_buffer_every_attempt_gets_through() {
    let (calls, inner) = answering(|nth| if nth % 3 == 0 { Ok(nth) } else { Err(broken("no")) });
    let layer = RetryLayer::builder("x").no_budget().backoff(Backoff::fixed(ms(1))).cloned();
    let mut service = ServiceBuilder::new()
        .layer(layer.build().unwrap())
        .layer(BufferLayer::new(1))
        .service(inner.map_err(BoxError::from));
    for nth in 1..=20 {
        assert_eq!(service.ready().await.unwrap().call(7).await.unwrap(), nth * 3);
    }
    assert_eq!(calls.count(), 60);
}

#[tokio::test(start_paused = true)]
async fn the_recommended_stack_gets_over_a_dependency_that_hangs_twice() {
    let (calls, slow) = taking(ms(1_000));
    let quick = calls.clone();
    let inner = tower::service_fn(move |n: u32| {
        let slow = slow.clone();
        let quick = quick.clone();
        async move { if quick.count() < 2 { slow.oneshot(n).await } else { Ok::<_, Fail>(n) } }
    });
    let mut stack = ServiceBuilder::new()
        .layer(RetryLayer::new("x").cloned())
        .layer(CircuitBreakerLayer::new("x"))
        .layer(BulkheadLayer::new("x"))
        .layer(TimeoutLayer::new("x", ms(100)))
        .concurrency_limit(1)
        .service(inner);
    for n in 0..5 {
        assert_eq!(stack.ready().await.unwrap().call(n).await, Ok(n));
    }
    assert_eq!((calls.count(), calls.alive()), (2, 0));
}

// ----- steering -----

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_counts_from_the_next_failure_on() {
    let layer = retry(&Log::default()).attempts(5).backoff(Backoff::fixed(ms(50))).cloned();
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    let (calls, inner) = answering(|_| Err(broken("no")));
    let mut call = Box::pin(layer.layer(inner).oneshot(7));
    assert!(poll_once(&mut call).is_pending());
    let mut config = handle.config();
    config.attempts = 2;
    handle.reload(config.clone()).unwrap();
    assert!(call.await.is_err());
    assert_eq!(calls.count(), 2);

    let mut bad = config.clone();
    bad.attempts = 0;
    assert_eq!(fields(handle.reload(bad)), ["attempts"]);
    assert_eq!(handle.config(), config);
    // After a bad one a good one is taken all the same.
    handle.reload(Config::default()).unwrap();
    assert_eq!(handle.config(), Config::default());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_service_is_tried_again_too() {
    let layer = RetryLayer::builder("x").attempts(5).backoff(Backoff::fixed(ms(50))).build();
    let layer = layer.unwrap(); // never told how to copy: a closure is called again as it is
    let tries = AtomicU32::new(0);
    let begun = now();
    let answer = layer.run(|| async {
        sleep(ms(10)).await;
        let nth = tries.fetch_add(1, Ordering::SeqCst) + 1;
        if nth < 4 { Err(Fail::Inner(broken("no"))) } else { Ok(nth) }
    });
    assert_eq!(answer.await, Ok(4));
    assert_eq!(begun.elapsed(), ms(4 * 10 + 3 * 50));

    // With a boxed error as well.
    let failed = layer.run(|| async { Err::<(), BoxError>("no".into()) }).await.unwrap_err();
    assert!(failed.rejected().is_none());
    layer.drain().await;
    let rejected = layer.run(|| async { Ok::<_, BoxError>(()) }).await;
    assert_eq!(reason(&rejected), Some(Reason::Draining));
}
