//! Two layers that are one: what they do together that they would not do stacked.

use std::future::pending;
use std::task::Poll;
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, State, Trip};
use seawall::propagate::{FromWithContext, WithContext};
use seawall::rate_limit::RateLimitLayer;
use seawall::timeout::TimeoutLayer;
use seawall::{CallGuard, Completion, Deadline, Error, Outcome, Reason};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{Fail, broken, ms, now, poll_once, reason};

type Answer = Result<(), Fail>;

/// One call every 100 ms, and a place to wait.
fn quota() -> RateLimitLayer {
    RateLimitLayer::builder("quota").limit(10).burst(1).queue(9).build().unwrap()
}

fn pass() -> impl Future<Output = Answer> {
    std::future::ready(Ok(()))
}

// design: one wait for both
#[tokio::test(start_paused = true)]
async fn a_limit_further_out_counts_the_wait_further_in() {
    let quota = quota();
    let handle = quota.handle();
    let both = TimeoutLayer::new("x", ms(50)).and(quota);
    assert_eq!(both.run(pass).await, Ok(()));
    let began = now();
    let late = both.run(pass).await;
    assert_eq!(reason(&late), Some(Reason::TimedOut));
    assert_eq!(now() - began, ms(50));
    assert_eq!((handle.queued(), both.in_flight()), (0, 0)); // its turn went back
}

#[tokio::test(start_paused = true)]
async fn a_limit_further_in_does_not_count_the_wait_further_out() {
    let both = quota().and(TimeoutLayer::new("x", ms(50)));
    assert_eq!(both.run(pass).await, Ok(()));
    let began = now();
    let hangs = both.run(pending::<Answer>).await;
    assert_eq!(reason(&hangs), Some(Reason::TimedOut));
    assert_eq!(now() - began, ms(150)); // 100 in the queue
}

// A stack of layers cannot do this: the outer one has let the call pass before the inner one is asked.
#[tokio::test(start_paused = true)]
async fn what_is_rejected_further_in_costs_nothing_further_out() {
    let outer = RateLimitLayer::builder("outer").limit(10).burst(5).build().unwrap();
    let inner = RateLimitLayer::builder("inner").limit(10).burst(1).build().unwrap();
    let (all, one) = (outer.handle(), inner.handle());
    let both = outer.and(inner);
    assert_eq!(both.run(pass).await, Ok(()));
    assert_eq!((all.available(), one.available()), (4, 0));
    let rejected = both.run(pass).await;
    assert_eq!(reason(&rejected), Some(Reason::RateLimited));
    assert_eq!(all.available(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_who_has_waited_for_one_is_asked_by_the_other() {
    let inner = RateLimitLayer::builder("inner").limit(10).burst(1).build().unwrap();
    let outer = RateLimitLayer::builder("outer").limit(100).burst(1).queue(9).build().unwrap();
    let both = outer.and(inner);
    assert_eq!(both.run(pass).await, Ok(()));
    let rejected = both.run(pass).await; // it has waited 10 ms outside, and 90 too few inside
    assert_eq!(reason(&rejected), Some(Reason::RateLimited));
    let waits = RateLimitLayer::builder("inner").limit(10).burst(1).queue(9).build().unwrap();
    let outer = RateLimitLayer::builder("outer").limit(100).burst(1).queue(9).build().unwrap();
    let both = outer.and(waits);
    assert_eq!(both.run(pass).await, Ok(()));
    let began = now();
    assert_eq!(both.run(pass).await, Ok(()));
    assert_eq!(now() - began, ms(100)); // of them 10 outside
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_told_further_in_after_a_wait_too() {
    let told = |both| {
        let seen = |request: WithContext<()>| async move {
            let left = request.call.deadline.map(|deadline: Deadline| deadline.remaining());
            Ok::<_, Fail>(left)
        };
        ServiceBuilder::new().layer(both).service(service_fn(seen))
    };
    let limit =
        || TimeoutLayer::builder("x").limit(ms(50)).propagate(FromWithContext).build().unwrap();
    let service = told(quota().and(limit()));
    let ask = || service.clone().oneshot(WithContext::from(()));
    assert_eq!(ask().await, Ok(Some(ms(50))));
    assert_eq!(ask().await, Ok(Some(ms(50)))); // of its own time, which began after the wait
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_both_ends_waits_and_awaits_what_flies() {
    let both = quota().and(TimeoutLayer::new("x", ms(50)));
    let mut flies = Box::pin(both.run(pending::<Answer>));
    let mut waits = Box::pin(both.run(pass));
    assert!(poll_once(&mut flies).is_pending() && poll_once(&mut waits).is_pending());
    assert_eq!(both.in_flight(), 2);
    let mut drained = Box::pin(both.drain());
    assert!(poll_once(&mut drained).is_pending());
    assert!(
        matches!(poll_once(&mut waits), Poll::Ready(told) if reason(&told) == Some(Reason::Draining))
    );
    assert_eq!(both.in_flight(), 1);
    let began = now();
    let (told, ()) = tokio::join!(flies, drained);
    assert_eq!((reason(&told), now() - began), (Some(Reason::TimedOut), ms(50)));
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_gives_back_what_it_waited_for() {
    let (outer, inner) = (quota(), quota());
    let (out, within) = (outer.handle(), inner.handle());
    let both = outer.and(inner);
    assert_eq!(both.run(pass).await, Ok(()));
    let mut waits = Box::pin(both.run(pass));
    assert!(poll_once(&mut waits).is_pending());
    assert_eq!((out.queued(), within.queued()), (1, 0));
    drop(waits);
    assert_eq!((out.queued(), within.queued(), both.in_flight()), (0, 0, 0));
}

// ===== what a breaker hears of others =====

#[tokio::test(start_paused = true)]
async fn a_breaker_hears_what_a_limit_further_in_said() {
    let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(2)).build().unwrap();
    let handle = breaker.handle();
    let both = breaker.and(TimeoutLayer::new("x", ms(50)));
    for _ in 0..2 {
        assert_eq!(reason(&both.run(pending::<Answer>).await), Some(Reason::TimedOut));
    }
    assert_eq!(handle.state(), State::Open);
    assert_eq!(reason(&both.run(pass).await), Some(Reason::CircuitOpen));
}

// A probe that is rejected further in was none: another may try.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_rejected_further_in_gives_its_slot_back() {
    let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(1)).build().unwrap();
    let handle = breaker.handle();
    let quota = RateLimitLayer::builder("x").limit(1).burst(1).build().unwrap();
    let both = breaker.and(quota);
    let fails = || std::future::ready(Answer::Err(Error::Inner(broken("no"))));
    assert!(both.run(fails).await.is_err());
    sleep(ms(150)).await; // its break is over
    for _ in 0..3 {
        assert_eq!(reason(&both.run(pass).await), Some(Reason::RateLimited));
    }
    sleep(ms(1_000)).await;
    assert_eq!(both.run(pass).await, Ok(()));
    assert_eq!(handle.state(), State::HalfOpen);
}

// ===== each part ends when its own completion says so =====

/// The call is over when what it returned is dropped, or said to be.
#[derive(Clone)]
struct Later;

impl Completion<()> for Later {
    type Response = CallGuard;

    fn wrap(&self, (): (), call: CallGuard) -> CallGuard {
        call
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_over_later_is_told_then_and_the_other_at_once() {
    let once = || CircuitBreakerLayer::builder("x").trip(Trip::consecutive(1));
    let (outer, inner) = (once().build().unwrap(), once().completion(Later).build().unwrap());
    let (at_once, later) = (outer.handle(), inner.handle());
    let both = outer.and(inner);
    let call = both.run(pass).await.unwrap();
    assert_eq!(both.in_flight(), 1);
    call.settle(Outcome::FAILURE);
    assert_eq!((at_once.state(), later.state()), (State::Closed, State::Open));
    assert_eq!(both.in_flight(), 0);
    later.reset();
    drop(both.run(pass).await.unwrap()); // nobody said anything
    assert_eq!((later.state(), both.in_flight()), (State::Closed, 0));
}

/// What was returned further in, and the same of the part further out.
#[derive(Clone)]
struct LaterToo;

impl Completion<CallGuard> for LaterToo {
    type Response = (CallGuard, CallGuard);

    fn wrap(&self, inner: CallGuard, outer: CallGuard) -> (CallGuard, CallGuard) {
        (inner, outer)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_the_last_of_its_parts_is_over_whichever_that_is() {
    let outer = CircuitBreakerLayer::builder("x").completion(LaterToo).build().unwrap();
    let inner = BulkheadLayer::builder("x").completion(Later).build().unwrap();
    let both = outer.and(inner);
    let (first_inner, first_outer) = both.run(pass).await.unwrap();
    let (second_inner, second_outer) = both.run(pass).await.unwrap();
    assert_eq!(both.in_flight(), 2);
    drop(first_inner);
    assert_eq!(both.in_flight(), 2);
    drop(second_outer);
    assert_eq!(both.in_flight(), 2);
    drop(first_outer);
    assert_eq!(both.in_flight(), 1);
    drop(second_inner);
    assert_eq!(both.in_flight(), 0);
}

// ===== each part has its own time, and there is one timer =====

#[tokio::test(start_paused = true)]
async fn a_call_that_grows_slow_goes_on_until_its_limit() {
    let slow = Trip::slow_rate(1.0, ms(100)).over_calls(2);
    let breaker = CircuitBreakerLayer::builder("x").trip(slow).build().unwrap();
    let handle = breaker.handle();
    let both = breaker.and(TimeoutLayer::new("x", ms(500)));
    let began = now();
    let late = || async {
        sleep(ms(400)).await;
        Answer::Ok(())
    };
    let answer = both.run(late).await;
    assert_eq!((answer, now() - began), (Ok(()), ms(400)));
    assert_eq!(handle.state(), State::Closed);
    let late = both.run(pending::<Answer>).await;
    assert_eq!((reason(&late), now() - began), (Some(Reason::TimedOut), ms(900)));
    assert_eq!(handle.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn of_two_limits_the_one_that_is_reached_ends_the_call() {
    for (outer, inner, who) in [(50, 80, "outer"), (80, 50, "inner")] {
        let (outer, inner) =
            (TimeoutLayer::new("outer", ms(outer)), TimeoutLayer::new("inner", ms(inner)));
        let both = outer.and(inner);
        let began = now();
        let Err(Error::Rejected(why)) = both.run(pending::<Answer>).await else { panic!() };
        assert_eq!((why.origin().name(), now() - began), (who, ms(50)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_has_no_end_ends_nothing() {
    let slow = Trip::slow_rate(1.0, ms(100)).over_calls(2);
    let breaker = CircuitBreakerLayer::builder("x").trip(slow).build().unwrap();
    let both = breaker.and(TimeoutLayer::new("x", Duration::MAX));
    let late = || async {
        sleep(ms(400)).await;
        Answer::Ok(())
    };
    assert_eq!(both.run(late).await, Ok(()));
    let both = TimeoutLayer::new("endless", Duration::MAX).and(TimeoutLayer::new("short", ms(50)));
    let Err(Error::Rejected(why)) = both.run(pending::<Answer>).await else { panic!() };
    assert_eq!(why.origin().name(), "short");
}

// pitfall B2: code of a user's that panics further in leaves no place taken further out
#[tokio::test(start_paused = true)]
async fn a_panic_further_in_frees_the_place_further_out() {
    let places = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let handle = places.handle();
    let quota = RateLimitLayer::builder("x").limit(10).cost(|broken: &bool| {
        assert!(!broken, "the cost of it is not known");
        1
    });
    let both = places.and(quota.build().unwrap());
    let mut service = both.layer(service_fn(|_: bool| async { Ok::<_, Fail>(()) }));
    let call = std::panic::AssertUnwindSafe(|| service.call(true));
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!((handle.in_flight(), both.in_flight()), (0, 0));
    assert_eq!(service.oneshot(false).await, Ok(()));
}
