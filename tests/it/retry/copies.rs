//! What is copied, when, and what travels with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use seawall::propagate::{AttemptTimes, FromWithContext, WithContext};
use seawall::retry::{Backoff, RetryLayer, StopReason};
use seawall::{Deadline, EventKind, Outcome};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

use super::retry;
use crate::scene::{Alive, Calls, Fail, Log, answering, broken, ms, poll_once};

/// A request that counts its copies.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn copies_are_made_when_they_are_needed_and_never_for_the_last_attempt() {
    for (attempts, succeeds, copies) in
        [(3, 1, 1), (3, 2, 2), (3, 3, 2), (3, 9, 2), (1, 9, 0), (2, 9, 1), (7, 9, 6), (7, 3, 3)]
    {
        let calls = Calls::default();
        let seen = calls.clone();
        let inner = service_fn(move |_: Counted| {
            let nth = seen.note();
            async move { if nth >= succeeds { Ok(nth) } else { Err(Fail::Inner(broken("no"))) } }
        });
        let count = Arc::new(AtomicUsize::new(0));
        let layer = retry(&Log::default()).attempts(attempts).cloned().build().unwrap();
        let _ = layer.layer(inner).oneshot(Counted(count.clone())).await;
        assert_eq!(count.load(Ordering::SeqCst), copies, "{attempts} attempts, {succeeds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_copied_is_not_repeated() {
    let log = Log::default();
    let layer = retry(&log).copy(|n: &u32| (*n < 10).then_some(*n)).build().unwrap();
    for (request, calls) in [(7, 3), (70, 1)] {
        let (seen, inner) = answering(|_| Err(broken("no")));
        assert!(layer.layer(inner).oneshot(request).await.is_err());
        assert_eq!(seen.count(), calls);
    }
    assert_eq!(
        log.all().last(),
        Some(&EventKind::Stopped { attempts: 1, why: StopReason::NoCopy.as_str() })
    );
}

// pitfall B15
#[tokio::test(start_paused = true)]
async fn a_rejected_response_is_dropped_before_the_wait() {
    let calls = Calls::default();
    let seen = calls.clone();
    let inner = service_fn(move |(): ()| {
        seen.note();
        let response = seen.enter();
        async move { Ok::<_, Fail>(response) }
    });
    let layer = RetryLayer::builder("x")
        .classify_response(|_: &Alive| Outcome::PUSHBACK)
        .attempts(3)
        .backoff(Backoff::fixed(ms(50)))
        .cloned()
        .build()
        .unwrap();
    let mut call = Box::pin(layer.layer(inner).oneshot(()));
    for nth in [1, 2] {
        assert!(poll_once(&mut call).is_pending());
        sleep(ms(25)).await;
        assert_eq!((calls.count(), calls.alive()), (nth, 0), "held during the wait");
        sleep(ms(25)).await;
    }
    let last = call.await.unwrap();
    assert_eq!((calls.count(), calls.alive(), calls.most()), (3, 1, 1));
    drop(last);
}

// ----- what travels -----

#[tokio::test(start_paused = true)]
async fn every_attempt_knows_its_number() {
    // Through a closure, in the request itself.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let inner = service_fn(move |request: (u32, &'static str)| {
        log.lock().unwrap().push(request);
        async { Err::<(), _>(Fail::Inner(broken("no"))) }
    });
    let numbered = retry(&Log::default())
        .number(|request: &mut (u32, &'static str), nth| request.0 = nth)
        .cloned()
        .build()
        .unwrap();
    assert!(numbered.layer(inner).oneshot((0, "order")).await.is_err());
    assert_eq!(*seen.lock().unwrap(), [(1, "order"), (2, "order"), (3, "order")]);

    // Through a carrier, beside it, with the deadline as it came; and both at once.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let inner = service_fn(move |request: WithContext<u32>| {
        log.lock().unwrap().push((request.request, request.call.attempt, request.call.deadline));
        async { Err::<(), _>(Fail::Inner(broken("no"))) }
    });
    let carried = retry(&Log::default())
        .propagate(FromWithContext)
        .number(|request: &mut WithContext<u32>, nth| request.request += nth * 10)
        .cloned()
        .build()
        .unwrap();
    let deadline = Deadline::after(ms(1_000));
    assert!(carried.layer(inner).oneshot(WithContext::new(7, deadline)).await.is_err());
    let all = [1, 2, 3].map(|nth| (7 + nth * 10, nth, Some(deadline)));
    assert_eq!(*seen.lock().unwrap(), all);
}

#[tokio::test(start_paused = true)]
async fn a_measure_sees_the_attempts_without_the_waits_between_them() {
    let calls = Calls::default();
    let seen = calls.clone();
    let inner = service_fn(move |_: WithContext<()>| {
        let nth = seen.note();
        async move {
            sleep(ms(u64::from(nth) * 10)).await;
            if nth < 3 { Err(Fail::Inner(broken("no"))) } else { Ok(()) }
        }
    });
    let layer = retry(&Log::default())
        .backoff(Backoff::fixed(ms(500)))
        .propagate(FromWithContext)
        .cloned()
        .build();
    let measure = AttemptTimes::new();
    let mut request = WithContext::from(());
    request.call.measure = Some(measure.clone());
    layer.unwrap().layer(inner).oneshot(request).await.unwrap();
    assert_eq!((measure.attempts(), measure.total(), measure.last()), (3, ms(60), ms(30)));
}
