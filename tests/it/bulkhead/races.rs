//! Many threads at one bulkhead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::time::Duration;

use seawall::bulkhead::{BulkheadLayer, Order};
use tower::{Layer, ServiceExt, service_fn};

use super::{End, Placed, filling, permit};
use crate::scene::{Calls, Fail, poll_once};

// pitfall B10
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn released_all_at_once_no_more_than_the_limit_get_in() {
    for round in 0..20 {
        let layer = BulkheadLayer::builder("x").limit(8).queue(64).max_wait(Duration::MAX);
        let layer = layer.build().unwrap();
        let calls = Calls::default();
        let seen = calls.clone();
        let service = layer.layer(service_fn(move |_: u32| {
            seen.note();
            let alive = seen.enter();
            async move {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                drop(alive);
                Ok::<_, Fail>(())
            }
        }));
        let barrier = Arc::new(tokio::sync::Barrier::new(64));
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let (service, barrier) = (service.clone(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    service.oneshot(n).await
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()), "round {round}");
        }
        let handle = layer.handle();
        assert!(calls.most() <= 8, "{} at a time", calls.most());
        assert_eq!((calls.count(), handle.in_flight(), handle.queued()), (64, 0, 0));
    }
}

/// The most that came in between joining the line and coming in, over 64 tasks on 4 threads that
/// each call 50 times.
async fn most_overtaken(order: Order) -> u64 {
    let layer = BulkheadLayer::builder("x").limit(1).queue(64).max_wait(Duration::MAX);
    let layer = layer.order(order).build().unwrap();
    let admitted = Arc::new(AtomicU64::new(0));
    let count = admitted.clone();
    let service = layer.layer(service_fn(move |_: u32| {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Fail>(nth)
        }
    }));
    // Somebody is inside until all of them are in the queue.
    let mut first = permit(&layer.layer(filling().1));
    assert!(first.poll().is_none());
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let (service, admitted) = (service.clone(), admitted.clone());
            tokio::spawn(async move {
                let mut most = 0;
                for _ in 0..50 {
                    let mut call = std::pin::pin!(service.clone().oneshot(n));
                    let first = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx)));
                    if first.await.is_ready() {
                        continue;
                    }
                    let joined = admitted.load(Ordering::SeqCst);
                    let nth = call.await.unwrap();
                    most = most.max(nth.saturating_sub(joined));
                }
                most
            })
        })
        .collect();
    while layer.handle().queued() < 64 {
        tokio::task::yield_now().await;
    }
    drop(first);
    let mut most = 0;
    for task in tasks {
        most = most.max(task.await.unwrap());
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_overtaken_by_more_than_stood_before_it() {
    // 63 may stand before it, and one that had its place may not have begun yet.
    let most = most_overtaken(Order::OldestFirst).await;
    assert!(most <= 64, "overtaken by {most}");
    // The measure can tell: with the newest first some wait long.
    let most = most_overtaken(Order::NewestFirst).await;
    assert!(most > 64, "overtaken by {most} only");
}

/// Does two things at once, on two threads.
fn at_once(one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            other();
        });
        barrier.wait();
        one();
    });
}

// pitfall B26: a call that ends, or comes, while the limit is raised
#[test]
fn a_limit_that_is_raised_in_a_race_leaves_nobody_waiting_beside_a_free_place() {
    for round in 0..3_000 {
        let layer = BulkheadLayer::builder("x").limit(1).queue(9).max_wait(Duration::MAX);
        let layer = layer.build().unwrap();
        let handle = layer.handle();
        let (_, inner) = filling();
        let service = layer.layer(inner);
        let mut all: Vec<Placed> = (0..4).map(|_| permit(&service)).collect();
        assert!(all.iter_mut().all(|call| call.poll().is_none()));
        let mut first = all.remove(0);
        let mut config = handle.config();
        config.limit = 3;
        let reload = || handle.reload(config).unwrap();
        if round % 2 == 0 {
            first.end(End::Well);
            at_once(reload, || assert!(first.poll().is_some()));
            assert_eq!((handle.in_flight(), handle.queued()), (3, 0), "round {round}");
        } else {
            drop(all);
            let (mut newcomer, other) = (None, service.clone());
            let come = &mut newcomer;
            at_once(reload, move || *come = Some(permit(&other)));
            assert_eq!((handle.in_flight(), handle.queued()), (2, 0), "round {round}");
        }
    }
}

#[test]
fn two_reloads_in_a_race_leave_one_of_them_in_force() {
    let layer = BulkheadLayer::builder("x").queue(9).max_wait(Duration::MAX).build().unwrap();
    let handle = layer.handle();
    for round in 0..3_000 {
        let (mut one, mut other) = (handle.config(), handle.config());
        (one.limit, other.limit) = (1, 3);
        at_once(|| handle.reload(one).unwrap(), || handle.reload(other).unwrap());
        let (_, inner) = filling();
        let service = layer.layer(inner);
        let mut all: Vec<Placed> = (0..5).map(|_| permit(&service)).collect();
        assert!(all.iter_mut().all(|call| call.poll().is_none()));
        let alive = all.iter().filter(|call| call.is_alive()).count();
        assert_eq!(alive, handle.limit() as usize, "round {round}");
        assert_eq!(handle.config().limit, handle.limit());
    }
}

// pitfall B10: what threads kept for themselves while they met is there for all
#[test]
fn after_threads_have_met_there_are_as_many_places_as_before() {
    const LIMIT: usize = 64;
    for round in 0..20 {
        let layer = BulkheadLayer::builder("x").limit(LIMIT as u32).queue(0).build().unwrap();
        let handle = layer.handle();
        let echo = layer.layer(service_fn(async |_: u32| Ok::<_, Fail>(())));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..2_000 {
                        let mut call = Box::pin(echo.clone().oneshot(n));
                        assert_eq!(poll_once(&mut call), Poll::Ready(Ok(())), "there are enough");
                    }
                });
            }
        });
        assert_eq!((handle.in_flight(), handle.available()), (0, LIMIT as u32), "round {round}");
        let (_, inner) = filling();
        let service = layer.layer(inner);
        let mut all: Vec<Placed> = (0..LIMIT).map(|_| permit(&service)).collect();
        assert!(all.iter_mut().all(|call| call.poll().is_none() && call.is_alive()));
        assert_eq!(handle.in_flight() as usize, LIMIT);
        let mut further = permit(&service);
        assert!(matches!(further.poll(), Some(Err(_))), "one more than there are");
        drop(all);
        assert_eq!(handle.in_flight(), 0);
    }
}
