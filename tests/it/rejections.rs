//! What every layer and every pair owes a caller whom it rejects, and at the end of a call.

use std::task::Poll;
use std::time::Duration;

use seawall::{Error, Reason};
use tower::{Service, ServiceExt};

use crate::subjects::{Kind, LIMIT, Subject, each};
use crate::support::{
    Boxed, CountingWaker, Fail, MockService, Ready, Reply, now, poll_once, probe, ready_once,
    scripted,
};

/// A service whose layers have all seen a call.
fn used(subject: &Subject, probe: MockService) -> Boxed {
    let mut service = subject.wrap(probe);
    assert_eq!(now(poll_once(&mut service.call(0), &CountingWaker::new())), Ok(0));
    service
}

/// Whether a call was rejected by what is shut.
fn is_shut_out<T>(answer: Result<T, Fail>) -> bool {
    matches!(reason(answer), Some(Reason::CircuitOpen | Reason::Unhealthy))
}

fn reason<T>(answer: Result<T, Fail>) -> Option<Reason> {
    match answer {
        Err(Error::Rejected(rejected)) => Some(rejected.reason()),
        _ => None,
    }
}

// pitfall B33: a dead inner service must not hold up a rejection
#[tokio::test(start_paused = true)]
async fn what_is_shut_rejects_within_one_poll_over_a_service_that_is_never_ready() {
    let mut shut = Vec::new();
    for kind in Kind::all() {
        for nth in 0..kind.make().shutters().len() {
            let (handle, probe) = probe();
            let subject = kind.make();
            let (task, mut service) = (CountingWaker::new(), used(&subject, probe));
            handle.set_ready(Ready::No);
            let _held = subject.shutters()[nth]();
            assert_eq!(now(ready_once(&mut service, &task)), Ok(()), "{kind}");
            let answer = now(poll_once(&mut service.call(7), &task));
            assert!(is_shut_out(answer), "{kind}");
            handle.assert_at_rest();
            assert_eq!((handle.calls(), subject.in_flight()), (1, 0), "{kind}");
            shut.push(kind);
        }
    }
    assert!(shut.iter().any(|kind| kind.is("circuit_breaker")));
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn whoever_is_parked_in_poll_ready_is_rejected_within_one_poll_when_it_shuts() {
    const CALLERS: usize = 100;
    let mut parked = Vec::new();
    for kind in Kind::all() {
        for nth in 0..kind.make().shutters().len() {
            let (handle, probe) = probe();
            let subject = kind.make();
            let service = used(&subject, probe);
            handle.set_ready(Ready::No);
            let mut callers: Vec<_> =
                std::iter::repeat_with(|| (service.clone(), CountingWaker::new()))
                    .take(CALLERS)
                    .collect();
            let parks = |(service, task): &mut (Boxed, CountingWaker)| {
                ready_once(service, task).is_pending()
            };
            if !callers.iter_mut().all(parks) {
                continue; // it waits for the inner service in the call
            }
            let _held = subject.shutters()[nth]();
            for (service, task) in &mut callers {
                assert_eq!(task.wakes(), 1, "{kind}: woken by the trip");
                assert_eq!(now(ready_once(service, task)), Ok(()), "{kind}");
                let answer = now(poll_once(&mut service.call(7), task));
                assert!(is_shut_out(answer), "{kind}");
            }
            parked.push(kind);
        }
    }
    for name in ["circuit_breaker", "health"] {
        assert!(parked.iter().any(|kind| kind.is(name)), "{name} did not park anyone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_rejected_gives_the_reservation_back() {
    each(async |kind| {
        for nth in 0..kind.make().shutters().len() {
            let (handle, probe) = probe();
            let subject = kind.make();
            let (task, mut service) = (CountingWaker::new(), used(&subject, probe));
            now(ready_once(&mut service, &task)).unwrap();
            let _held = subject.shutters()[nth]();
            let answer = now(poll_once(&mut service.call(7), &task));
            assert!(is_shut_out(answer));
            handle.assert_at_rest();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_drained_rejects_new_calls_and_waits_for_those_in_flight() {
    each(async |kind| {
        let (handle, probe) = scripted(Ready::Yes, Reply::Never);
        let subject = kind.make();
        let (task, mut service) = (CountingWaker::new(), subject.wrap(probe));
        let mut readied = service.clone();
        now(ready_once(&mut readied, &task)).unwrap();
        let mut flying = service.call(7);
        assert!(poll_once(&mut flying, &task).is_pending());
        let (drained, mut drain) = (CountingWaker::new(), subject.drain());
        assert!(poll_once(&mut drain, &drained).is_pending());
        for service in [&mut readied, &mut service] {
            let answer = now(poll_once(&mut service.call(8), &task));
            assert_eq!(reason(answer), Some(Reason::Draining));
        }
        assert_eq!(handle.reserved(), 0);
        assert!(poll_once(&mut drain, &drained).is_pending());
        handle.set_reply(Reply::Answers);
        assert_eq!(now(poll_once(&mut flying, &task)), Ok(7));
        assert!(drained.wakes() > 0, "the last call to leave says so");
        now(poll_once(&mut drain, &drained));
    })
    .await;
}

// ===== state, and the end of a call =====

// Live in several libraries: state per `layer()` call, hence per connection under axum.
#[tokio::test(start_paused = true)]
async fn every_service_that_a_layer_makes_shares_its_state() {
    each(async |kind| {
        let (handle, probe) = probe();
        let subject = kind.make();
        let mut services = [used(&subject, probe.clone()), used(&subject, probe)];
        let mut clone = services[0].clone();
        let task = CountingWaker::new();
        for nth in 0..subject.shutters().len() {
            let held = subject.shutters()[nth]();
            for service in services.iter_mut().chain([&mut clone]) {
                let answer = now(poll_once(&mut service.call(7), &task));
                assert!(is_shut_out(answer));
            }
            drop(held);
        }
        handle.set_reply(Reply::Never);
        let mut flying: Vec<_> =
            services.iter_mut().chain([&mut clone]).map(|service| service.call(7)).collect();
        assert!(flying.iter_mut().all(|flying| poll_once(flying, &task).is_pending()));
        assert_eq!(subject.in_flight(), flying.len() * subject.counters());
        drop(flying);
        assert_eq!(subject.in_flight(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_inner_future_is_gone_before_the_answer_is_given() {
    each(async |kind| {
        for reply in [Reply::Answers, Reply::Fails, Reply::Never] {
            let (handle, probe) = scripted(Ready::Yes, reply);
            let subject = kind.make();
            let (task, mut service) = (CountingWaker::new(), subject.wrap(probe));
            let mut answer = service.call(7);
            let polled = match poll_once(&mut answer, &task) {
                Poll::Pending => {
                    tokio::time::advance(LIMIT * 2).await; // a timeout gives up now
                    poll_once(&mut answer, &task)
                }
                ready @ Poll::Ready(_) => ready,
            };
            if polled.is_ready() {
                handle.assert_at_rest();
                assert_eq!(subject.in_flight(), 0);
            } else {
                assert_eq!((reply, handle.in_flight()), (Reply::Never, 1));
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_polled_after_it_was_ready_does_not_panic() {
    each(async |kind| {
        for reply in [Reply::Answers, Reply::Fails] {
            let (handle, probe) = scripted(Ready::Yes, reply);
            let (task, mut service) = (CountingWaker::new(), kind.make().wrap(probe));
            let mut answer = service.call(7);
            assert!(poll_once(&mut answer, &task).is_ready());
            let calls = handle.calls();
            assert!(poll_once(&mut answer, &task).is_pending());
            assert_eq!((task.wakes(), handle.calls()), (0, calls));
        }
        let (_, probe) = probe();
        let subject = kind.make();
        let (task, mut service) = (CountingWaker::new(), used(&subject, probe));
        for nth in 0..subject.shutters().len() {
            let _held = subject.shutters()[nth]();
            let mut rejected = service.call(7);
            assert!(poll_once(&mut rejected, &task).is_ready());
            assert!(poll_once(&mut rejected, &task).is_pending());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn time_that_passes_between_calls_harms_nothing() {
    each(async |kind| {
        let (handle, probe) = probe();
        let mut service = kind.make().wrap(probe);
        for _ in 0..3 {
            service.ready().await.unwrap();
            tokio::time::advance(Duration::from_secs(24 * 366 * 3600)).await; // pitfall B7
            assert_eq!(service.call(7).await, Ok(7));
        }
        drop(service);
        handle.assert_at_rest();
    })
    .await;
}
