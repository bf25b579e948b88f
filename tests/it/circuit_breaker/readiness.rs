//! Readiness: whose is asked, who holds it, and who is woken.

use super::kit::*;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use seawall::Error;
use seawall::circuit_breaker::{Position, State};
use tokio::time::{advance, timeout};
use tower::buffer::Buffer;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

// pitfall B33
#[tokio::test(start_paused = true)]
async fn an_open_breaker_rejects_within_one_poll_whether_or_not_its_service_is_ready() {
    let mut rig = Rig::new(builder());
    rig.trip().await;
    rig.seen.set_ready(false);
    let polls = rig.seen.polls();
    for mut service in [rig.service.clone(), rig.service] {
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))));
        let mut call = Box::pin(service.call(GOOD));
        let Poll::Ready(rejected) = poll(call.as_mut()) else { panic!("hangs") };
        assert!(is_rejected(&rejected));
    }
    assert_eq!(rig.seen.polls(), polls, "a rejection does not ask the service");
}

// pitfall B33, class (a)
#[tokio::test(start_paused = true)]
async fn what_was_reserved_for_a_call_that_does_not_come_is_given_back() {
    let mut rig = Rig::new(builder());
    let mut readied = rig.service.clone();
    readied.ready().await.unwrap();
    assert_eq!(rig.seen.reservations(), 1);
    drop(readied);
    assert_eq!(rig.seen.reservations(), 0, "dropped after poll_ready");

    let mut rejected = rig.service.clone();
    rejected.ready().await.unwrap();
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open);
    assert!(is_rejected(&rejected.call(GOOD).await));
    assert_eq!(rig.seen.reservations(), 0, "rejected after poll_ready");
    hand.set(Position::Auto);

    // A clone of a readied service is not ready, and may be called all the same.
    rig.service.ready().await.unwrap();
    let mut clone = rig.service.clone();
    clone.call(GOOD).await.unwrap();
    rig.service.call(GOOD).await.unwrap();
    assert_eq!(rig.seen.reservations(), 0);
}

/// Trips, breaks, probes and closes over a service that is called at most one at a time, while other
/// instances are parked.
async fn trips_and_recovers_over<S>(inner: S)
where
    S: Service<Ask, Response = (), Error = Error<Fault>> + Clone,
{
    let layer = builder().build().unwrap();
    let handle = layer.handle();
    let mut service = layer.layer(inner);
    let (mut failures, mut rejections) = (0, 0);
    let mut parked: Vec<_> = (0..5).map(|_| service.clone()).collect();
    for _ in 0..40 {
        match service.ready().await.unwrap().call(BAD).await {
            rejected if is_rejected(&rejected) => rejections += 1,
            _ => failures += 1,
        }
    }
    assert_eq!((failures, rejections), (17, 23), "the seventeenth failure trips it");
    for parked in &mut parked {
        assert!(is_rejected(&parked.ready().await.unwrap().call(GOOD).await));
    }
    advance(Duration::from_millis(51)).await;
    for _ in 0..7 {
        service.ready().await.unwrap().call(GOOD).await.unwrap();
    }
    assert_eq!(handle.state(), State::Closed);
}

// pitfall B33: over a service that panics if it is called without a permit of its own
#[tokio::test(start_paused = true)]
async fn over_a_concurrency_limit_of_one_nothing_panics_and_nothing_is_held() {
    trips_and_recovers_over(ConcurrencyLimit::new(Dependency::default(), 1)).await;
}

// pitfall B33: a buffer, too, reserves in `poll_ready`, and panics without
#[tokio::test(start_paused = true)]
async fn over_a_buffer_of_one_nothing_panics_and_nothing_is_held() {
    let dependency = Dependency::default();
    let seen = dependency.seen.clone();
    let buffer =
        Buffer::new(dependency, 1).map_err(|error| match error.downcast::<Error<Fault>>() {
            Ok(fault) => *fault,
            Err(error) => panic!("the buffer failed: {error}"),
        });
    timeout(Duration::from_secs(60), trips_and_recovers_over(buffer)).await.expect("it hangs");
    assert_eq!((seen.calls(), seen.in_flight()), (17 + 7, 0), "no rejection reaches the buffer");
}

#[tokio::test(start_paused = true)]
async fn an_answered_call_holds_nothing_even_if_its_future_is_kept() {
    let mut service = ServiceBuilder::new()
        .layer(builder().build().unwrap())
        .concurrency_limit(1)
        .service(Dependency::default());
    let mut other = service.clone();
    let mut answered = Box::pin(service.ready().await.unwrap().call(GOOD));
    assert!(poll(answered.as_mut()).is_ready());
    let ready = other.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(ready.is_ready(), "the permit is in a future that is over");
    drop(answered);
}

#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn callers_parked_before_a_trip_are_woken_and_rejected_at_once() {
    let mut rig = Rig::new(builder());
    let mut flying: Vec<_> = (0..17)
        .map(|_| rig.launch(Ask::After(Duration::from_millis(1), Answer::Failure)))
        .collect();
    rig.seen.set_ready(false);
    let alarms: Vec<_> = (0..100).map(|_| Arc::new(Alarm::default())).collect();
    let mut parked: Vec<_> = (0..100).map(|_| rig.service.clone()).collect();
    let look = |service: &mut Breaker, alarm: &Arc<Alarm>| {
        service.poll_ready(&mut Context::from_waker(&Waker::from(alarm.clone())))
    };
    for (service, alarm) in parked.iter_mut().zip(&alarms) {
        assert!(look(service, alarm).is_pending());
        assert!(look(service, alarm).is_pending());
    }
    assert!(alarms.iter().all(|alarm| alarm.0.load(SeqCst) == 0), "nobody polls without a reason");
    for call in &mut flying {
        call.await.unwrap_err();
    }
    assert_eq!(rig.state(), State::Open);
    for (service, alarm) in parked.iter_mut().zip(&alarms) {
        assert_eq!(alarm.0.load(SeqCst), 1);
        assert!(matches!(look(service, alarm), Poll::Ready(Ok(()))));
        assert!(is_rejected(&service.call(GOOD).await));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_inner_readiness_is_handed_on_and_a_probe_reports_it() {
    #[derive(Clone)]
    struct Broken;
    impl Service<Ask> for Broken {
        type Response = ();
        type Error = Error<Fault>;
        type Future = Calling;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result> {
            Poll::Ready(Err(Error::Inner(Fault(Answer::Failure))))
        }

        fn call(&mut self, _: Ask) -> Calling {
            panic!("called without being ready")
        }
    }
    let layer = builder().build().unwrap();
    let mut service = layer.layer(Broken);
    assert!(service.ready().await.is_err());
    // An instance that was never readied drives a clone: its failure is the call's.
    for _ in 0..17 {
        assert!(service.call(GOOD).await.is_err());
    }
    assert_eq!(
        layer.handle().state(),
        State::Open,
        "a service that breaks is a dependency that fails"
    );
}

#[tokio::test(start_paused = true)]
async fn policies_run_calls_without_a_service() {
    let rig = Rig::new(builder());
    let called = AtomicUsize::new(0);
    let fail = || {
        called.fetch_add(1, SeqCst);
        async { Err::<(), _>(Error::Inner(Fault(Answer::Failure))) }
    };
    for _ in 0..100 {
        let _: Result = rig.layer.run(fail).await;
    }
    assert_eq!(called.load(SeqCst), 17);
    assert!(is_rejected(&rig.layer.run(fail).await));
}

#[tokio::test(start_paused = true)]
async fn all_services_that_a_layer_and_its_clones_make_share_one_breaker() {
    let layer = builder().build().unwrap();
    let inner =
        || service_fn(|(): ()| async { Err::<(), _>(Error::Inner(Fault(Answer::Failure))) });
    for nth in 0..17 {
        let layer = if nth % 2 == 0 { layer.clone() } else { layer.clone().clone() };
        layer.layer(inner()).oneshot(()).await.unwrap_err();
    }
    assert!(is_rejected(&layer.layer(inner()).oneshot(()).await));
}
