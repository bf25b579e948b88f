//! How long there is for further attempts, and what happens when that is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Backoff, Jitter, StopReason};
use seawall::{Deadline, Error, EventKind, Outcome, Reason};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Built, retry};
use crate::scene::{
    Boxed, Broken, Calls, Fail, Log, answering, broken, ms, now, poll_once, reason, settle, taking,
};

const fn stopped(attempts: u32, stop: StopReason) -> EventKind {
    EventKind::Stopped { attempts, why: stop.as_str() }
}

/// Always fails, and says the how-manieth time.
fn failing() -> (Calls, Boxed) {
    const WHAT: [&str; 6] = ["", "first", "second", "third", "4th", "5th"];
    answering(|nth| Err(broken(WHAT[nth as usize])))
}

fn patient(log: &Log, wait: Duration, max_elapsed: Duration) -> Built {
    retry(log)
        .attempts(5)
        .backoff(Backoff::fixed(wait))
        .max_elapsed(max_elapsed)
        .cloned()
        .build()
        .unwrap()
}

// pitfall B14
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_longer_than_the_time_left_is_not_begun() {
    let log = Log::default();
    let (calls, inner) = failing();
    let began = now();
    let ended = patient(&log, ms(60), ms(100)).layer(inner).oneshot(7).await;
    assert_eq!(ended, Err(Error::Inner(broken("second"))));
    assert_eq!((calls.count(), began.elapsed()), (2, ms(60)));
    assert_eq!(log.all().last(), Some(&stopped(2, StopReason::Deadline)));
}

// pitfall B14
#[tokio::test(start_paused = true)]
async fn the_least_time_is_kept_for_the_attempt_itself() {
    for (max_elapsed, attempts) in [(ms(70), 2), (Duration::from_nanos(69_999_999), 1)] {
        let (calls, inner) = failing();
        let layer = retry(&Log::default())
            .attempts(2)
            .backoff(Backoff::fixed(ms(60)))
            .min_attempt_time(ms(10))
            .max_elapsed(max_elapsed)
            .cloned()
            .build()
            .unwrap();
        assert!(layer.layer(inner).oneshot(7).await.is_err());
        assert_eq!(calls.count(), attempts, "{max_elapsed:?}");
    }
}

// pitfall B14
#[tokio::test(start_paused = true)]
async fn a_deadline_that_travels_bounds_the_retries_of_its_request() {
    let second = Duration::from_secs(1);
    for (left, attempts, took) in
        [(Some(ms(100)), 2, ms(60)), (Some(ms(20)), 1, Duration::ZERO), (None, 5, ms(240))]
    {
        let log = Log::default();
        let calls = Calls::default();
        let seen = calls.clone();
        let inner = service_fn(move |_: WithContext<u32>| {
            seen.note();
            async { Err::<u32, _>(Fail::Inner(broken("no"))) }
        });
        let layer = retry(&log)
            .attempts(5)
            .backoff(Backoff::fixed(ms(60)))
            .max_elapsed(second)
            .propagate(FromWithContext)
            .cloned()
            .build()
            .unwrap();
        let deadline = left.map_or(Deadline::NEVER, Deadline::after);
        let began = now();
        assert!(layer.layer(inner).oneshot(WithContext::new(7, deadline)).await.is_err());
        assert_eq!((calls.count(), began.elapsed()), (attempts, took), "{left:?}");
        let stop = if left.is_some() { StopReason::Deadline } else { StopReason::Exhausted };
        assert_eq!(log.all().last(), Some(&stopped(u32::try_from(attempts).unwrap(), stop)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_slow_attempts_counts() {
    let calls = Calls::default();
    let seen = calls.clone();
    let slow = service_fn(move |_: u32| {
        seen.note();
        async {
            sleep(ms(50)).await;
            Err::<u32, _>(Fail::Inner(broken("no")))
        }
    });
    let log = Log::default();
    let began = now();
    assert!(patient(&log, ms(10), ms(100)).layer(slow).oneshot(7).await.is_err());
    // 50 + 10 + 50, and then it is too late for a third; what is in flight is not cut short.
    assert_eq!((calls.count(), began.elapsed()), (2, ms(110)));
}

// ----- cancelled -----

// pitfall B14
#[tokio::test(start_paused = true)]
async fn nothing_goes_on_after_its_caller_has_gone() {
    // While it waits for the next attempt.
    let (calls, inner) = failing();
    let layer = patient(&Log::default(), ms(60), Duration::from_secs(1));
    let mut call = Box::pin(layer.layer(inner).oneshot(7));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((calls.count(), layer.in_flight()), (1, 0));

    // While an attempt is in flight.
    let (calls, inner) = taking(ms(100));
    let mut call = Box::pin(layer.layer(inner).oneshot(7));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(calls.alive(), 1);
    drop(call);
    assert_eq!((calls.alive(), layer.in_flight()), (0, 0));

    // Before it was polled at all.
    let (calls, inner) = taking(ms(100));
    let mut service = layer.layer(inner);
    let call = service.ready().await.unwrap().call(7);
    assert_eq!((calls.alive(), layer.in_flight()), (1, 1));
    drop(call);
    assert_eq!((calls.alive(), layer.in_flight()), (0, 0));
}

// ----- too late all the same -----

// pitfall B14: nobody polled it for a while, and now the wait and the whole time are over
#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_a_wait_that_took_all_the_time() {
    let log = Log::default();
    let (calls, inner) = failing();
    let mut call = Box::pin(patient(&log, ms(60), ms(100)).layer(inner).oneshot(7));
    assert!(poll_once(&mut call).is_pending());
    advance(Duration::from_secs(10)).await;
    let Poll::Ready(ended) = poll_once(&mut call) else { panic!("it goes on") };
    assert_eq!(ended, Err(Error::Inner(broken("first"))));
    assert_eq!(calls.count(), 1);
    assert_eq!(log.all().last(), Some(&stopped(1, StopReason::Deadline)));
}

/// A service whose first call fails, and that is not ready for a second until told.
#[derive(Clone)]
struct Balky {
    calls: Calls,
    ready: Arc<AtomicBool>,
    answer: Result<u32, Broken>,
}

impl Service<u32> for Balky {
    type Response = u32;
    type Error = Fail;
    type Future = std::future::Ready<Result<u32, Fail>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        let ready = self.calls.count() == 0 || self.ready.load(Ordering::SeqCst);
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: u32) -> Self::Future {
        self.calls.note();
        std::future::ready(self.answer.map_err(Error::Inner))
    }
}

fn balky(answer: Result<u32, Broken>) -> Balky {
    Balky { calls: Calls::default(), ready: Arc::default(), answer }
}

#[tokio::test(start_paused = true)]
async fn a_further_attempt_waits_for_readiness_no_longer_than_there_is_time() {
    let log = Log::default();
    let inner = balky(Err(broken("first")));
    let began = now();
    let ended = patient(&log, ms(60), ms(100)).layer(inner.clone()).oneshot(7).await;
    assert_eq!(ended, Err(Error::Inner(broken("first"))));
    // The least time of an attempt is one millisecond: with less, none begins.
    assert_eq!((inner.calls.count(), began.elapsed()), (1, ms(99)));
    assert_eq!(log.all().last(), Some(&stopped(1, StopReason::Deadline)));
}

// pitfall B14: readiness comes when the time is over
#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_too_late_is_not_called() {
    let log = Log::default();
    let inner = balky(Err(broken("first")));
    let service = patient(&log, ms(60), ms(100)).layer(inner.clone());
    let call = tokio::spawn(service.oneshot(7));
    sleep(ms(80)).await;
    settle().await;
    inner.ready.store(true, Ordering::SeqCst);
    advance(Duration::from_secs(10)).await;
    assert_eq!(call.await.unwrap(), Err(Error::Inner(broken("first"))));
    assert_eq!(inner.calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_ready_in_time_is_called() {
    let inner = balky(Err(broken("no")));
    let service = retry(&Log::default())
        .attempts(2)
        .backoff(Backoff::fixed(ms(60)))
        .max_elapsed(ms(100))
        .cloned()
        .build()
        .unwrap()
        .layer(inner.clone());
    let mut call = Box::pin(service.oneshot(7));
    assert!(poll_once(&mut call).is_pending());
    sleep(ms(60)).await;
    assert!(poll_once(&mut call).is_pending());
    sleep(ms(30)).await;
    inner.ready.store(true, Ordering::SeqCst);
    assert!(poll_once(&mut call).is_ready());
    assert_eq!(inner.calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn where_the_last_answer_is_gone_the_caller_is_told_what_ended_the_call() {
    let log = Log::default();
    let inner = balky(Ok(7));
    let layer = seawall::retry::RetryLayer::builder("x")
        .classify_response(|_: &u32| Outcome::PUSHBACK)
        .backoff(Backoff::exponential(ms(60), ms(60)).jitter(Jitter::None))
        .max_elapsed(ms(100))
        .observe(log.observer())
        .cloned()
        .build()
        .unwrap();
    let ended = layer.layer(inner).oneshot(7).await;
    assert_eq!(reason(&ended), Some(Reason::TimedOut));
    let rejected = EventKind::Rejected { reason: Reason::TimedOut };
    assert_eq!(log.all()[1..], [stopped(1, StopReason::Deadline), rejected]);
}
