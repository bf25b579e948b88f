use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::retry::{Budget, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Error, Reason};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn whole_stack() {
    let count = Arc::new(AtomicU32::new(0));
    let seen = count.clone();
    let mut stack = ServiceBuilder::new()
        .layer(RetryLayer::new("x").cloned())
        .layer(CircuitBreakerLayer::new("x"))
        .layer(BulkheadLayer::new("x"))
        .layer(TimeoutLayer::new("x", Duration::from_millis(100)))
        .map_err(Error::Inner)
        .concurrency_limit(1)
        .service(service_fn(move |n: u32| {
            let nth = seen.fetch_add(1, Ordering::Relaxed);
            async move {
                if nth < 2 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok::<_, std::io::Error>(n)
            }
        }));
    for n in 0..5 {
        assert_eq!(stack.ready().await.unwrap().call(n).await.unwrap(), n);
    }
    assert_eq!(count.load(Ordering::Relaxed), 7);
}

#[tokio::test(start_paused = true)]
async fn budget_runs_out() {
    let count = Arc::new(AtomicU32::new(0));
    let seen = count.clone();
    let budget = Budget::builder().cap(10.0).per_second(0.0).build().unwrap();
    let retry = RetryLayer::builder("x").budget(budget.clone()).cloned().build().unwrap();
    let stack = ServiceBuilder::new().layer(retry).map_err(Error::Inner).service(service_fn(
        move |_: u32| {
            seen.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(std::io::Error::other("no")) }
        },
    ));
    for n in 0..100 {
        stack.clone().oneshot(n).await.unwrap_err();
    }
    assert_eq!(count.load(Ordering::Relaxed), 110);
    assert!(budget.balance() < 1.0);
}

#[tokio::test(start_paused = true)]
async fn bulkhead_queues_in_order() {
    let layer = BulkheadLayer::builder("x").limit(2).queue(3).build().unwrap();
    let handle = layer.handle();
    let service = ServiceBuilder::new().layer(layer.clone()).map_err(Error::Inner).service(
        service_fn(|n: u32| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, std::io::Error>(n)
        }),
    );
    let mut calls: Vec<_> = (0..6).map(|n| tokio::spawn(service.clone().oneshot(n))).collect();
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((handle.in_flight(), handle.queued()), (2, 3));
    let refused = calls.pop().unwrap().await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Rejected(why) if why.reason() == Reason::Full));
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), n);
    }
    assert_eq!((handle.in_flight(), handle.queued(), layer.in_flight()), (0, 0, 0));
    layer.drain().await;
}
