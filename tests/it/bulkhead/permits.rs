//! Who gets a place, and when it is free again.

use seawall::bulkhead::BulkheadLayer;
use seawall::{CallGuard, Completion, Error, Measurement, Outcome, Reason};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{End, NO, filling, permit};
use crate::scene::{Fail, Log, is_ready, measurement, ms, now, poll_once, reason, taking};

const fn occupied(in_flight: u32, limit: u32, queued: u32) -> Measurement {
    Measurement::Occupied { in_flight, limit, queued }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_says_full_with_the_numbers_and_at_once() {
    let log = Log::default();
    let layer = BulkheadLayer::builder("x").limit(2).observe(log.observer()).build().unwrap();
    let handle = layer.handle();
    let (_, inner) = filling();
    let service = layer.layer(inner);
    let (mut first, mut second) = (permit(&service), permit(&service));
    assert!(first.poll().is_none() && second.poll().is_none());
    assert_eq!((handle.in_flight(), handle.available(), handle.limit()), (2, 0, 2));
    let rejected = permit(&service).poll().expect("a rejection waits for nobody");
    assert_eq!(
        (reason(&rejected), measurement(&rejected)),
        (Some(Reason::Full), Some(occupied(2, 2, 0)))
    );
    assert_eq!(log.all(), [seawall::EventKind::Rejected { reason: Reason::Full }]);

    first.end(End::Well);
    assert_eq!(first.poll(), Some(Ok(())));
    // Free at the answer, though the future of the call is still held.
    assert_eq!((handle.in_flight(), handle.available()), (1, 1));
    let mut third = permit(&service);
    assert!(third.poll().is_none());
    second.end(End::Badly);
    assert_eq!(second.poll(), Some(Err(Error::Inner(NO))));
    drop(third);
    assert_eq!((handle.in_flight(), handle.available(), layer.in_flight()), (0, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waited_too_long_is_told_so_and_never_timed_out() {
    let layer = BulkheadLayer::builder("x").limit(1).queue(2).max_wait(ms(50)).build().unwrap();
    let (calls, inner) = filling();
    let service = layer.layer(inner);
    let mut inside = permit(&service);
    assert!(inside.poll().is_none());
    let (first, second) = (permit(&service), permit(&service));
    let began = now();
    let (mut first, mut second) = (first, second);
    assert!(first.poll().is_none() && second.poll().is_none());
    let rejected = permit(&service).poll().expect("the queue is full");
    assert_eq!(
        (reason(&rejected), measurement(&rejected)),
        (Some(Reason::Full), Some(occupied(1, 1, 2)))
    );
    let (first, second) = tokio::join!(first.call, second.call);
    assert_eq!(began.elapsed(), ms(50));
    for ended in [&first, &second] {
        assert_eq!(reason(ended), Some(Reason::QueueTimeout)); // field F15
        // Whoever is told first counts itself among those who wait, and the other.
        let told = measurement(ended).unwrap();
        assert!([occupied(1, 1, 1), occupied(1, 1, 2)].contains(&told), "{told:?}");
    }
    assert_eq!((calls.count(), layer.handle().queued()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn idle_clones_and_parked_connections_hold_no_place() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let (_, inner) = taking(ms(10));
    let mut service = layer.layer(inner.clone());
    let mut parked: Vec<_> = (0..100).map(|_| service.clone()).collect();
    for one in &mut parked {
        assert!(is_ready(one), "ready");
    }
    assert_eq!((layer.handle().in_flight(), layer.in_flight()), (0, 0));
    // Every connection gets a service of its own from the layer; the bulkhead is one.
    let mut call = Box::pin(service.ready().await.unwrap().call(7));
    assert!(poll_once(&mut call).is_pending());
    for one in &mut parked {
        assert!(is_ready(one));
        assert_eq!(reason(&one.call(7).await), Some(Reason::Full));
    }
    assert_eq!(reason(&layer.layer(inner).oneshot(7).await), Some(Reason::Full));
    assert_eq!(call.await, Ok(7));
}

// pitfall B33: nobody waits with a reservation of the inner service in hand
#[tokio::test(start_paused = true)]
async fn over_a_limit_further_in_nobody_waits_for_the_place_of_one_who_waits() {
    let layer = BulkheadLayer::builder("x").limit(1).queue(10).build().unwrap();
    let (calls, inner) = taking(ms(10));
    let service = layer.layer(ConcurrencyLimitLayer::new(1).layer(inner));
    let calling: Vec<_> = (0..10)
        .map(|n| {
            let mut service = service.clone();
            tokio::spawn(async move { service.ready().await.unwrap().call(n).await })
        })
        .collect();
    for (n, call) in (0..).zip(calling) {
        assert_eq!(call.await.unwrap(), Ok(n));
    }
    assert_eq!((calls.count(), calls.most()), (10, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reservation_is_given_back_with_a_rejection() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let (_, inner) = taking(ms(10));
    let inner = ConcurrencyLimitLayer::new(2).layer(inner);
    let (mut first, mut second) = (layer.layer(inner.clone()), layer.layer(inner.clone()));
    let mut other = inner;
    first.ready().await.unwrap();
    second.ready().await.unwrap();
    assert!(!is_ready(&mut other));
    let call = first.call(1);
    assert_eq!(reason(&second.call(2).await), Some(Reason::Full));
    assert!(is_ready(&mut other), "the rejected one still holds its reservation");
    assert_eq!(call.await, Ok(1));
}

// ----- when a call is over -----

/// Ends a call with its body.
#[derive(Debug, Clone)]
struct WithBody;

#[derive(Debug)]
struct Body(Option<CallGuard>);

impl Completion<u32> for WithBody {
    type Response = Body;

    fn wrap(&self, _: u32, settle: CallGuard) -> Body {
        Body(Some(settle))
    }
}

// pitfall B16
#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_body_ends_if_asked_to() {
    let layer = BulkheadLayer::builder("x").limit(1).queue(1).completion(WithBody).build().unwrap();
    let handle = layer.handle();
    let (_, inner) = taking(ms(10));
    let service = layer.layer(inner);
    let mut body = service.clone().oneshot(1).await.unwrap();
    assert_eq!((handle.in_flight(), handle.available()), (1, 0));
    let mut next = Box::pin(service.clone().oneshot(2));
    assert!(poll_once(&mut next).is_pending());
    assert_eq!(handle.queued(), 1);
    body.0.take().unwrap().settle(Outcome::SUCCESS);
    assert_eq!((handle.in_flight(), handle.queued()), (1, 0));
    let second = next.await.unwrap();
    // Dropped unread it frees its place as well, and a drain waits for it.
    let mut draining = Box::pin(layer.drain());
    assert!(poll_once(&mut draining).is_pending());
    drop(second);
    assert!(poll_once(&mut draining).is_ready());
    assert_eq!((handle.in_flight(), layer.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_service_takes_a_place_too() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let sleep = || async {
        tokio::time::sleep(ms(10)).await;
        Ok::<_, Fail>(7)
    };
    let mut first = Box::pin(layer.run(sleep));
    assert!(poll_once(&mut first).is_pending());
    assert_eq!(reason(&layer.run(sleep).await), Some(Reason::Full));
    assert_eq!(first.await, Ok(7));
    assert_eq!(layer.run(sleep).await, Ok(7));
}

// pitfall B12
#[tokio::test(start_paused = true)]
async fn a_panic_anywhere_gives_the_place_back() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let handle = layer.handle();
    let in_call = service_fn(|(): ()| -> std::future::Ready<Result<(), Fail>> { panic!("call") });
    let in_future = service_fn(|(): ()| async { panic!("future") as Result<(), Fail> });
    let service = layer.layer(in_call);
    assert!(tokio::spawn(async move { service.oneshot(()).await }).await.is_err());
    assert_eq!((handle.in_flight(), layer.in_flight()), (0, 0));
    let service = layer.layer(in_future);
    assert!(tokio::spawn(async move { service.oneshot(()).await }).await.is_err());
    assert_eq!((handle.in_flight(), layer.in_flight()), (0, 0));
    let panicking = || async { panic!("closure") as Result<(), Fail> };
    let other = layer.clone();
    assert!(tokio::spawn(async move { other.run(panicking).await }).await.is_err());
    assert_eq!((handle.in_flight(), layer.in_flight()), (0, 0));
}
