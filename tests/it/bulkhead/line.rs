//! Those who wait, in what order they come in, and who is passed over.

use seawall::bulkhead::{BulkheadLayer, Order};
use seawall::propagate::{FromWithContext, WithContext};
use seawall::{Deadline, Reason};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceExt, service_fn};

use super::{End, filling, permit};
use crate::scene::{Calls, Fail, ms, poll_once, reason, settle, taking};

/// The order in which calls 1 to 9 come in that wait behind another.
async fn turns(order: Order) -> Vec<u32> {
    let layer = BulkheadLayer::builder("x").limit(1).queue(9).order(order).build().unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let service = layer.layer(service_fn(move |n: u32| {
        log.lock().unwrap().push(n);
        async move {
            sleep(ms(10)).await;
            Ok::<_, Fail>(n)
        }
    }));
    let mut calls = Vec::new();
    for n in 0..10 {
        calls.push(tokio::spawn(service.clone().oneshot(n)));
        settle().await;
    }
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap(), Ok(n));
    }
    let turns = seen.lock().unwrap();
    turns[1..].to_vec()
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served_or_the_newest_first() {
    assert_eq!(turns(Order::OldestFirst).await, (1..10).collect::<Vec<_>>());
    assert_eq!(turns(Order::NewestFirst).await, (1..10).rev().collect::<Vec<_>>());
}

// pitfall B11
#[tokio::test(start_paused = true)]
async fn waiters_that_gave_up_leave_no_trace() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let layer = BulkheadLayer::builder("x").limit(4).queue(100).max_wait(ms(10)).build();
        let layer = layer.unwrap();
        let handle = layer.handle();
        let (calls, inner) = filling();
        let service = layer.layer(inner);
        let mut inside: Vec<_> = (0..4).map(|_| permit(&service)).collect();
        assert!(inside.iter_mut().all(|call| call.poll().is_none()));
        // Some are dropped before they were polled, some after, some between; the rest time out.
        let mut waiters: Vec<_> = (0..100).map(|_| Some(permit(&service))).collect();
        assert_eq!(handle.queued(), 100);
        for _ in 0..3 {
            for waiter in &mut waiters {
                match (rng.u32(0..4), &mut *waiter) {
                    (0, _) => *waiter = None,
                    (1 | 2, Some(call)) => assert_eq!(call.poll(), None),
                    _ => {}
                }
            }
            advance(ms(3)).await;
        }
        advance(ms(10)).await;
        for waiter in waiters.iter_mut().flatten() {
            let ended = waiter.poll().expect("its time is over");
            assert_eq!(reason(&ended), Some(Reason::QueueTimeout));
        }
        drop(waiters);
        assert_eq!((handle.in_flight(), handle.queued(), calls.count()), (4, 0, 4));

        for mut call in inside.drain(..) {
            call.end(End::Well);
            assert_eq!(call.poll(), Some(Ok(())));
        }
        assert_eq!((handle.available(), handle.in_flight()), (4, 0));
        let mut next: Vec<_> = (0..5).map(|_| permit(&service)).collect();
        assert!(next.iter_mut().all(|call| call.poll().is_none()));
        assert_eq!((calls.alive(), handle.available(), handle.queued()), (4, 0, 1));
    }
}

// pitfall B11
#[tokio::test(start_paused = true)]
async fn one_who_was_given_a_place_and_is_dropped_hands_it_on() {
    let layer = BulkheadLayer::builder("x").limit(1).queue(5).build().unwrap();
    let handle = layer.handle();
    let (_, inner) = filling();
    let service = layer.layer(inner);
    let mut all: Vec<_> = (0..4).map(|_| permit(&service)).collect();
    assert!(all.iter_mut().all(|call| call.poll().is_none()));
    assert_eq!((handle.in_flight(), handle.queued()), (1, 3));
    // The first is over; the second has its place, and does not look.
    drop(all.remove(0));
    assert_eq!((handle.in_flight(), handle.queued()), (1, 2));
    assert!(!all[0].is_alive());
    drop(all.remove(0));
    assert_eq!((handle.in_flight(), handle.queued()), (1, 1));
    assert_eq!(all[0].poll(), None);
    assert!(all[0].is_alive(), "the place got lost");
    // Nobody overtakes: while one waits, a newcomer waits behind it.
    let mut newcomer = permit(&service);
    drop(all.remove(0));
    assert_eq!(newcomer.poll(), None);
    assert!(!newcomer.is_alive());
    assert_eq!(all[0].poll(), None);
    assert!(all[0].is_alive());
    drop((all, newcomer));
    assert_eq!((handle.in_flight(), handle.queued(), layer.in_flight()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_whose_deadline_has_passed_is_passed_over() {
    let layer =
        BulkheadLayer::builder("x").limit(1).queue(5).max_wait(ms(500)).propagate(FromWithContext);
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    let calls = Calls::default();
    let seen = calls.clone();
    let service = layer.layer(service_fn(move |request: WithContext<u32>| {
        seen.note();
        async move {
            sleep(ms(100)).await;
            Ok::<_, Fail>(request.request)
        }
    }));
    let call = |n, left| {
        let deadline = Deadline::after(ms(left));
        Box::pin(service.clone().oneshot(WithContext::new(n, deadline)))
    };
    // Four who wait behind one that takes 100 ms.
    let (mut first, mut hasty) = (call(0, 1_000), call(1, 50));
    let (mut late, mut patient, mut endless) = (call(2, 100), call(3, 1_000), call(4, 9_000));
    for one in [&mut first, &mut hasty, &mut late, &mut patient, &mut endless] {
        assert!(poll_once(one).is_pending());
    }
    advance(ms(50)).await;
    // One whose time is over is told at once, before its turn comes.
    let std::task::Poll::Ready(ended) = poll_once(&mut hasty) else { panic!("it goes on waiting") };
    assert_eq!((reason(&ended), handle.queued()), (Some(Reason::DeadlineExceeded), 3));
    advance(ms(50)).await;
    // At this very instant the place is free and its deadline is over: it is of no use to it.
    assert_eq!(first.await, Ok(0));
    assert_eq!((handle.in_flight(), handle.queued()), (1, 1));
    assert_eq!(reason(&late.await), Some(Reason::DeadlineExceeded));
    assert_eq!(patient.await, Ok(3));
    assert_eq!(endless.await, Ok(4));
    assert_eq!(calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_wait_and_each_has_its_turn_or_goes_away() {
    let layer = BulkheadLayer::builder("x").limit(10).queue(10_000);
    let layer = layer.max_wait(std::time::Duration::MAX).build().unwrap();
    let handle = layer.handle();
    let (calls, inner) = taking(ms(1));
    let service = layer.layer(inner);
    let mut waiting: Vec<_> =
        (0..10_010).map(|n| (n, Box::pin(service.clone().oneshot(n)))).collect();
    for (_, call) in &mut waiting {
        assert!(poll_once(call).is_pending());
    }
    assert_eq!((handle.in_flight(), handle.queued()), (10, 10_000));
    assert_eq!(reason(&service.clone().oneshot(0).await), Some(Reason::Full));
    // Every other one goes away, from the middle of the line.
    waiting.retain(|(n, _)| n % 2 == 1);
    assert_eq!((handle.in_flight(), handle.queued()), (10, 5_000 - 5));
    let running: Vec<_> = waiting.into_iter().map(|(n, call)| (n, tokio::spawn(call))).collect();
    for (n, call) in running {
        assert_eq!(call.await.unwrap(), Ok(n));
    }
    assert_eq!((calls.most(), handle.in_flight(), handle.queued()), (10, 0, 0));
}
