//! Observers that panic, and observers that call back into the policy that told them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use seawall::bulkhead::{BulkheadHandle, BulkheadLayer};
use seawall::health::{Criticality, HealthHandle, HealthLayer, HealthRegistry, Probe, Status};
use seawall::retry::{Backoff, Budget, RetryHandle, RetryLayer, StopReason};
use seawall::timeout::{TimeoutHandle, TimeoutLayer};
use seawall::{Error, Event, EventKind, Reason};
use tower::{Layer, ServiceExt};

use crate::health::changed as health_changed;
use crate::scene::{Log, answering, broken, in_time, ms, poll_once, reason, settle, taking};

fn panics(_: &Event) {
    panic!("an observer panics");
}

// ----- panics -----

// pitfall B25: neither the call nor the next observer comes to harm
#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_harms_nobody() {
    let log = Log::default();

    let layer = TimeoutLayer::builder("x").limit(ms(10)).observe(panics).observe(log.observer());
    let ended = in_time(layer.build().unwrap().layer(taking(ms(50)).1).oneshot(7)).await;
    assert_eq!(reason(&ended), Some(Reason::TimedOut));
    let timed_out = EventKind::Rejected { reason: Reason::TimedOut };
    assert_eq!(log.all(), [timed_out]);

    let layer = RetryLayer::builder("x").backoff(Backoff::none());
    let layer = layer.observe(panics).observe(log.observer()).cloned().build().unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    let ended = in_time(layer.layer(inner).oneshot(7)).await;
    assert_eq!((ended, calls.count()), (Err(Error::Inner(broken("no"))), 3));
    let exhausted = EventKind::Stopped { attempts: 3, why: StopReason::Exhausted.as_str() };
    assert_eq!((log.all().len(), log.all()[3]), (4, exhausted));

    let layer = BulkheadLayer::builder("x").limit(1).queue(1).max_wait(ms(5));
    let layer = layer.observe(panics).observe(log.observer()).build().unwrap();
    let service = layer.layer(taking(ms(10)).1);
    let (first, second, third) = in_time(async {
        tokio::join!(
            service.clone().oneshot(1),
            service.clone().oneshot(2),
            service.clone().oneshot(3)
        )
    })
    .await;
    let told = (first, reason(&second), reason(&third));
    assert_eq!(told, (Ok(1), Some(Reason::QueueTimeout), Some(Reason::Full)));
    let rejected =
        [Reason::Full, Reason::QueueTimeout].map(|reason| EventKind::Rejected { reason });
    assert_eq!(log.all()[4..], rejected);
    assert_eq!((layer.handle().in_flight(), layer.handle().queued()), (0, 0));

    let layer = HealthLayer::builder("x").check(|| async { Err::<(), _>("no") }).fall(2);
    let layer = layer.observe(panics).observe(log.observer()).interval(ms(10)).build().unwrap();
    assert_eq!(in_time(layer.handle().watch().changed()).await, Some(Status::Down));
    let rejected = layer.layer(answering(Ok).1).oneshot(7).await;
    assert_eq!(reason(&rejected), Some(Reason::Unhealthy));
    let down = health_changed(Status::Up, Status::Down, "check");
    let unhealthy = EventKind::Rejected { reason: Reason::Unhealthy };
    assert_eq!(log.all()[6..], [down, unhealthy]);
}

// ----- re-entrancy -----

/// A handle that an observer gets hold of after it was given away.
#[derive(Clone)]
struct Given<H>(Arc<OnceLock<H>>);

impl<H> Given<H> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn is(&self, handle: H) {
        assert!(self.0.set(handle).is_ok());
    }

    fn get(&self) -> &H {
        self.0.get().expect("the layer is built")
    }
}

// pitfall B25: no lock is held while an observer is told
#[tokio::test(start_paused = true)]
async fn an_observer_of_a_timeout_may_turn_its_config() {
    let (held, told) = (Given::<TimeoutHandle>::new(), Arc::new(AtomicU32::new(0)));
    let (handle, count) = (held.clone(), told.clone());
    let observer = move |event: &Event| {
        let mut config = handle.get().config();
        config.limit += ms(10);
        handle.get().reload(config).unwrap();
        let told = format!("{:?} {event:?}", handle.get());
        count.fetch_add(u32::from(!told.is_empty()), Ordering::SeqCst);
    };
    let layer = TimeoutLayer::builder("x").limit(ms(10)).observe(observer).build().unwrap();
    held.is(layer.handle());
    let service = layer.layer(taking(ms(25)).1);
    for (nth, limit) in [(1, 20), (2, 30)] {
        let ended = in_time(service.clone().oneshot(7)).await;
        assert_eq!(reason(&ended), Some(Reason::TimedOut), "call {nth}");
        assert_eq!(held.get().config().limit, ms(limit));
    }
    assert_eq!(in_time(service.oneshot(7)).await, Ok(7));
    assert_eq!((told.load(Ordering::SeqCst), layer.in_flight()), (2, 0));
}

// pitfall B25
#[tokio::test(start_paused = true)]
async fn an_observer_of_a_retry_may_turn_its_config_and_use_its_budget() {
    let (held, seen) = (Given::<RetryHandle>::new(), Arc::new(Mutex::new(Vec::new())));
    let (handle, log) = (held.clone(), seen.clone());
    // What an observer asserts goes unheard, so what it sees is written down.
    let observer = move |event: &Event| {
        let retry = handle.get();
        if let EventKind::Retrying { attempt, .. } = event.kind {
            let mut config = retry.config();
            config.attempts = attempt; // so that this one is the last
            retry.reload(config).unwrap();
            let budget = retry.budget().unwrap();
            budget.deposit();
            log.lock().unwrap().push((attempt, retry.in_flight(), budget.balance()));
        }
    };
    let budget = Budget::builder().cap(9.0).per_second(0.0).build().unwrap();
    let layer = RetryLayer::builder("x").attempts(9).backoff(Backoff::none()).budget(budget);
    let layer = layer.observe(observer).cloned().build().unwrap();
    held.is(layer.handle());
    let (calls, inner) = answering(|_| Err(broken("no")));
    assert!(in_time(layer.layer(inner).oneshot(7)).await.is_err());
    assert_eq!((calls.count(), held.get().config().attempts), (2, 2));
    assert_eq!(*seen.lock().unwrap(), [(2, 1, 8.2)]);
}

// pitfall B25
#[tokio::test(start_paused = true)]
async fn an_observer_of_a_bulkhead_may_raise_its_limit() {
    let (held, seen) = (Given::<BulkheadHandle>::new(), Arc::new(Mutex::new(Vec::new())));
    let (handle, log) = (held.clone(), seen.clone());
    let observer = move |_: &Event| {
        let bulkhead = handle.get();
        let mut config = bulkhead.config();
        config.limit = 2;
        bulkhead.reload(config).unwrap();
        log.lock().unwrap().push((bulkhead.in_flight(), bulkhead.queued()));
    };
    let layer = BulkheadLayer::builder("x").limit(1).queue(1).observe(observer).build().unwrap();
    held.is(layer.handle());
    let service = layer.layer(taking(ms(100)).1);
    let call = |n| Box::pin(service.clone().oneshot(n));
    let (mut inside, mut waits) = (call(1), call(2));
    assert!(poll_once(&mut inside).is_pending() && poll_once(&mut waits).is_pending());
    // The rejection of a third lets the second in.
    assert_eq!(reason(&in_time(call(3)).await), Some(Reason::Full));
    assert_eq!(*seen.lock().unwrap(), [(2, 0)]);
    let (inside, waits) = in_time(async { tokio::join!(inside, waits) }).await;
    assert_eq!((inside, waits, held.get().in_flight()), (Ok(1), Ok(2), 0));
}

// pitfall B25
#[tokio::test(start_paused = true)]
async fn an_observer_of_a_health_check_may_ask_everything() {
    let held = Given::<HealthHandle>::new();
    let registry = HealthRegistry::new("all");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (handle, all, log) = (held.clone(), registry.clone(), seen.clone());
    let observer = move |event: &Event| {
        let check = handle.get();
        let mut config = check.config();
        config.fall = 5;
        check.reload(config).unwrap();
        let _ = (check.watch().status(), check.since(), check.last_error());
        all.add(Probe::Liveness, Criticality::Informational, check);
        let report = all.report(Probe::Liveness);
        let mut seen = log.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((event.kind, check.status(), report.checks.len()));
    };
    let layer = HealthLayer::builder("x").check(|| async { Err::<(), _>("no") }).fall(1);
    let layer = layer.observe(observer).build().unwrap();
    held.is(layer.handle());
    registry.add(Probe::Readiness, Criticality::Critical, &layer.handle());
    assert_eq!(in_time(layer.handle().watch().changed()).await, Some(Status::Down));
    settle().await;
    let down = health_changed(Status::Up, Status::Down, "check");
    assert_eq!(*seen.lock().unwrap(), [(down, Status::Down, 1)]);
    assert_eq!(held.get().config().fall, 5);
}
