//! The bulkhead that is not ready instead of rejecting.

use seawall::bulkhead::BulkheadLayer;
use seawall::{Error, Reason};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scene::{Fail, broken, is_ready, ms, now, poll_once, reason, settle, taking};

/// A service that cannot be cloned.
struct Single(u32);

impl Service<u32> for Single {
    type Response = u32;
    type Error = Fail;
    type Future = std::future::Ready<Result<u32, Fail>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Fail>> {
        match self.0 {
            0 => std::task::Poll::Ready(Err(Error::Inner(broken("worn out")))),
            _ => std::task::Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, n: u32) -> Self::Future {
        self.0 -= 1;
        std::future::ready(Ok(n))
    }
}

#[tokio::test(start_paused = true)]
async fn it_needs_no_clone_and_its_place_comes_back() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let handle = layer.handle();
    let mut service = layer.backpressure().layer(Single(2));
    assert_eq!(service.ready().await.unwrap().call(7).await, Ok(7));
    assert_eq!(handle.in_flight(), 0);
    // Ready, it holds a place; called or dropped, it gives it back.
    assert!(is_ready(&mut service));
    assert!(is_ready(&mut service));
    assert_eq!(handle.in_flight(), 1);
    assert_eq!(service.call(7).await, Ok(7));
    // Where the inner service fails to be ready, it holds none.
    assert!(service.ready().await.is_err());
    assert_eq!(handle.in_flight(), 0);
    let mut other = layer.backpressure().layer(Single(1));
    assert!(is_ready(&mut other));
    drop(other);
    assert_eq!((handle.in_flight(), layer.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn it_waits_in_the_one_line_in_turn() {
    let layer = BulkheadLayer::builder("x").limit(1).queue(5).build().unwrap();
    let handle = layer.handle();
    let (calls, inner) = taking(ms(10));
    let rejecting = layer.layer(inner.clone());
    let waiting = |n| {
        let mut service = layer.backpressure().layer(inner.clone());
        tokio::spawn(async move {
            let call = service.ready().await.unwrap().call(n);
            drop(service);
            (call.await, now())
        })
    };
    let began = now();
    let first = waiting(0);
    settle().await;
    let second = tokio::spawn(async move { (rejecting.oneshot(1).await, now()) });
    settle().await;
    let third = waiting(2);
    settle().await;
    assert_eq!((handle.in_flight(), handle.queued()), (1, 2));
    for (n, call) in (0..).zip([first, second, third]) {
        let (answer, at) = call.await.unwrap();
        assert_eq!((answer, at - began), (Ok(n), ms(u64::from(n + 1) * 10)));
    }
    assert_eq!((calls.most(), handle.in_flight(), handle.queued()), (1, 0, 0));
}

// pitfall B11
#[tokio::test(start_paused = true)]
async fn one_that_goes_away_gives_up_its_turn_or_hands_its_place_on() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let handle = layer.handle();
    let (_, inner) = taking(ms(10));
    let mut all: Vec<_> = (0..4).map(|_| layer.backpressure().layer(inner.clone())).collect();
    let ready: Vec<_> = all.iter_mut().map(is_ready).collect();
    assert_eq!((ready, handle.queued()), (vec![true, false, false, false], 3));
    drop(all.remove(1)); // it waited
    assert_eq!(handle.queued(), 2);
    drop(all.remove(0)); // it held the place; the next has it now, and does not know
    assert_eq!((handle.in_flight(), handle.queued()), (1, 1));
    drop(all.remove(0));
    assert_eq!((handle.in_flight(), handle.queued()), (1, 0));
    assert!(is_ready(&mut all[0]));
    drop(all);
    assert_eq!((handle.in_flight(), handle.queued(), layer.in_flight()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn called_without_having_been_ready_it_is_rejected_unless_there_is_room() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let echo = service_fn(|n: u32| async move {
        tokio::time::sleep(ms(10)).await;
        Ok::<_, Fail>(n)
    });
    let (mut first, mut second) =
        (layer.backpressure().layer(echo), layer.backpressure().layer(echo));
    let mut call = Box::pin(first.call(1));
    assert!(poll_once(&mut call).is_pending());
    assert!(!is_ready(&mut second));
    assert_eq!(reason(&second.call(2).await), Some(Reason::Full));
    assert_eq!(call.await, Ok(1));
    // It kept its turn all the same.
    assert!(is_ready(&mut second));
    assert_eq!(layer.handle().in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn drained_it_is_ready_to_say_so() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let (_, inner) = taking(ms(10));
    let mut holding = layer.backpressure().layer(inner.clone());
    let mut waiting = layer.backpressure().layer(inner.clone());
    assert!(is_ready(&mut holding) && !is_ready(&mut waiting));
    // A place that is held for a call to come, and a turn in the queue, are no calls yet.
    assert!(poll_once(&mut Box::pin(layer.drain())).is_ready());
    let mut new = layer.backpressure().layer(inner);
    for service in [&mut holding, &mut waiting, &mut new] {
        assert!(is_ready(service));
        assert_eq!(reason(&service.call(1).await), Some(Reason::Draining));
    }
    assert_eq!((layer.handle().in_flight(), layer.handle().queued()), (0, 0));
}
