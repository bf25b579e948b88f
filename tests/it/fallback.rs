//! Fallback, through the public API.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, State, Trip};
use seawall::fallback::{Builder, Config, FallbackLayer, FellBack, LastGood};
use seawall::retry::{Backoff, RetryLayer};
use seawall::testing::{Check, Contract};
use seawall::timeout::TimeoutLayer;
use seawall::{CallError, Error, EventKind, Outcome, Reason};
use tokio::time::advance;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{
    Boxed, Broken, Calls, Fail, Log, answering, broken, fields, ms, poll_once, reason,
};
use crate::support::{self, CountingWaker, Ready, Reply, echo, now, probe, scripted};

const DOWN: Broken = broken("down");

/// Answers in this order, then with the number of the call.
fn script(answers: impl IntoIterator<Item = Result<u32, Broken>>) -> (Calls, Boxed) {
    let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
    answering(move |nth| answers.lock().unwrap().pop_front().unwrap_or(Ok(nth)))
}

/// What the caller is told of it.
fn down() -> Result<u32, Fail> {
    Err(Error::Inner(DOWN))
}

async fn call(service: &mut Boxed, request: u32) -> Result<u32, Fail> {
    service.ready().await?.call(request).await
}

// ===== which failures =====

#[tokio::test(start_paused = true)]
async fn failures_and_rejections_are_answered_and_good_answers_are_not() {
    let bulkhead = BulkheadLayer::new("x");
    let (calls, inner) = script([Ok(1), Err(DOWN)]);
    let log = Log::default();
    let layer = FallbackLayer::builder("x").value(7).observe(log.observer()).build().unwrap();
    let mut service = layer.layer(bulkhead.layer(inner)).boxed_clone();
    assert_eq!(call(&mut service, 0).await, Ok(1));
    assert_eq!(log.all(), []);
    assert_eq!(call(&mut service, 0).await, Ok(7));
    assert_eq!(log.all(), [EventKind::FellBack { reason: None }]);
    bulkhead.drain().await;
    assert_eq!(call(&mut service, 0).await, Ok(7));
    assert_eq!(log.all()[1..], [EventKind::FellBack { reason: Some(Reason::Draining) }]);
    assert_eq!(calls.count(), 2);
}

// A rejection that the user asked to see is never hidden.
#[tokio::test(start_paused = true)]
async fn what_is_to_be_seen_is_passed_on() {
    let bulkhead = BulkheadLayer::new("x");
    let layer = FallbackLayer::builder("x").value(7).show([Reason::Full]).show([Reason::Draining]);
    let (_, inner) = script([Err(DOWN)]);
    let mut service = layer.build().unwrap().layer(bulkhead.layer(inner)).boxed_clone();
    assert_eq!(call(&mut service, 0).await, Ok(7), "a failure of the dependency is something else");
    bulkhead.drain().await;
    assert_eq!(reason(&call(&mut service, 0).await), Some(Reason::Draining));
}

#[tokio::test(start_paused = true)]
async fn a_predicate_and_a_classifier_say_which_failures() {
    let when = |failed: Result<&u32, &Fail>| failed.is_err_and(|error| error.rejected().is_none());
    let layer = FallbackLayer::builder("x").value(7).when(when).build().unwrap();
    let bulkhead = BulkheadLayer::new("x");
    let (_, inner) = script([Err(DOWN)]);
    let mut service = layer.layer(bulkhead.layer(inner)).boxed_clone();
    assert_eq!(call(&mut service, 0).await, Ok(7));
    bulkhead.drain().await;
    assert_eq!(reason(&call(&mut service, 0).await), Some(Reason::Draining));

    // A response can be a failure, and an error an answer.
    let classify = |result: Result<&u32, &Fail>| match result {
        Ok(500) => Outcome::FAILURE,
        Ok(_) | Err(_) => Outcome::SUCCESS,
    };
    let layer = FallbackLayer::builder("x").value(7).classify_result(classify).build().unwrap();
    let (_, inner) = script([Ok(500), Err(DOWN), Ok(200)]);
    let mut service = layer.layer(inner).boxed_clone();
    assert_eq!(call(&mut service, 0).await, Ok(7));
    assert_eq!(call(&mut service, 0).await, down());
    assert_eq!(call(&mut service, 0).await, Ok(200));
}

// ===== what is answered =====

#[tokio::test(start_paused = true)]
async fn a_function_knows_the_failure_and_what_was_kept_of_the_request() {
    let told = |failed: Result<&u32, &Fail>| failed.copied().unwrap_or(9);
    let layer = FallbackLayer::builder("x").with(told).build().unwrap();
    let (_, inner) = script([Err(DOWN)]);
    assert_eq!(call(&mut layer.layer(inner).boxed_clone(), 0).await, Ok(9));

    let told = |kept: u32, failed: Result<&u32, &Fail>| kept * 10 + u32::from(failed.is_err());
    let layer = FallbackLayer::builder("x").with_part(|request: &u32| *request, told);
    let (_, inner) = script([Err(DOWN)]);
    let mut service = layer.build().unwrap().layer(inner).boxed_clone();
    assert_eq!(call(&mut service, 4).await, Ok(41));
}

/// It cannot be cloned.
struct Unique(u32);

#[tokio::test(start_paused = true)]
async fn a_value_needs_no_clone_of_the_request() {
    let inner = || service_fn(|_: Unique| async { down() });
    let value = FallbackLayer::new("x", 7).layer(inner());
    assert_eq!(value.oneshot(Unique(1)).await, Ok(7));
    let part = |it: &Unique| it.0;
    let layer = FallbackLayer::builder("x").with_part(part, |kept, _: Result<&u32, &Fail>| kept);
    assert_eq!(layer.build().unwrap().layer(inner()).oneshot(Unique(3)).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn another_service_is_asked_only_when_it_is_needed_and_its_word_is_the_answer() {
    let (first, inner) = script([Ok(1), Err(DOWN), Err(DOWN)]);
    let (second, other) = script([Ok(20), Err(broken("down as well"))]);
    let log = Log::default();
    let layer = FallbackLayer::builder("x").service(other).observe(log.observer()).build().unwrap();
    let mut service = layer.layer(inner).boxed_clone();
    assert_eq!(call(&mut service, 0).await, Ok(1));
    assert_eq!((first.count(), second.count()), (1, 0));
    assert_eq!(call(&mut service, 0).await, Ok(20));
    assert_eq!(call(&mut service, 0).await, Err(Error::Inner(broken("down as well"))));
    assert_eq!((first.count(), second.count()), (3, 2));
    assert_eq!(log.all(), [EventKind::FellBack { reason: None }], "of an answer, not of a failure");
}

// pitfall B33: the other service is driven to readiness when it is needed, not before
#[tokio::test(start_paused = true)]
async fn the_readiness_of_the_other_service_holds_up_no_call_that_is_well() {
    let (never, other) = scripted(Ready::No, Reply::Answers);
    let (handle, inner) = probe();
    let mut service = FallbackLayer::builder("x").service(other).build().unwrap().layer(inner);
    let task = CountingWaker::new();
    for reply in [Reply::Answers, Reply::Fails] {
        handle.set_reply(reply);
        assert_eq!(now(support::ready_once(&mut service, &task)), Ok(()));
        let mut call = Box::pin(service.call(1));
        let told = support::poll_once(&mut call, &task);
        assert_eq!(told.is_pending(), matches!(reply, Reply::Fails));
        assert_eq!(handle.in_flight(), 0, "the failed call is over before the other begins");
    }
    drop(service);
    assert_eq!((never.calls(), never.reserved()), (0, 0));
    never.assert_at_rest();
    handle.assert_at_rest();
}

// ===== answers that are kept =====

type Key = fn(&u32) -> Cow<'_, str>;

fn keeping() -> Builder<LastGood<Key, u32>> {
    let key: Key = |request| Cow::from(request.to_string());
    FallbackLayer::builder("x").last_good(key)
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_of_a_key_is_given_as_long_as_it_is_not_too_old() {
    let (_, inner) = script([
        Ok(10),
        Ok(20),
        Ok(11),
        Err(DOWN),
        Err(DOWN),
        Err(DOWN),
        Err(DOWN),
        Ok(12),
        Err(DOWN),
    ]);
    let ages = Arc::new(Mutex::new(Vec::new()));
    let log = ages.clone();
    let layer = keeping().max_age(ms(1_000));
    let layer = layer.mark(move |_: &mut u32, told: &FellBack| log.lock().unwrap().push(told.age));
    let mut service = layer.build().unwrap().layer(inner).boxed_clone();
    for (request, answer) in [(1, 10), (2, 20), (1, 11)] {
        assert_eq!(call(&mut service, request).await, Ok(answer));
    }
    advance(ms(1_000)).await;
    assert_eq!(call(&mut service, 1).await, Ok(11));
    assert_eq!(call(&mut service, 2).await, Ok(20));
    assert_eq!(call(&mut service, 3).await, down(), "nothing was kept of it");
    advance(ms(1)).await;
    assert_eq!(call(&mut service, 1).await, down(), "it is too old");
    assert_eq!(call(&mut service, 1).await, Ok(12));
    assert_eq!(call(&mut service, 1).await, Ok(12));
    assert_eq!(*ages.lock().unwrap(), [Some(ms(1_000)), Some(ms(1_000)), Some(ms(0))]);
}

// pitfall B24, and none may get the answer of another
#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_and_never_another_s() {
    let answers = (0..2_000).map(Ok).chain((0..2_000).map(|_| Err(DOWN)));
    let (_, inner) = script(answers);
    let layer = keeping().max_keys(100).build().unwrap();
    let mut service = layer.layer(inner).boxed_clone();
    for request in 0..2_000 {
        assert_eq!(call(&mut service, request).await, Ok(request));
    }
    let mut kept = 0;
    for request in (0..2_000).rev() {
        match call(&mut service, request).await {
            Ok(answer) => {
                assert_eq!(answer, request);
                kept += 1;
            }
            failed => assert_eq!(failed, down()),
        }
    }
    assert!((1..=100).contains(&kept), "{kept}");

    // A key that is too long has no place, and shares none.
    let (_, inner) = script([Ok(1), Err(DOWN), Err(DOWN)]);
    let layer = FallbackLayer::builder("x");
    let layer = layer.last_good(|it: &u32| Cow::from("k".repeat(300) + &it.to_string()));
    let layer = layer.build().unwrap();
    let mut service = layer.layer(inner).boxed_clone();
    assert_eq!(call(&mut service, 1).await, Ok(1));
    for request in [1, 2] {
        assert_eq!(call(&mut service, request).await, down());
    }
}

// ===== cancellation =====

#[tokio::test(start_paused = true)]
async fn dropping_the_call_drops_what_is_under_way_and_nothing_is_left() {
    let (first, inner) = scripted(Ready::Yes, Reply::Never);
    let (second, other) = scripted(Ready::Yes, Reply::Never);
    let log = Log::default();
    let layer = FallbackLayer::builder("x").service(other).observe(log.observer()).build().unwrap();
    let mut service = layer.layer(inner);
    let task = CountingWaker::new();
    for fails in [false, true] {
        first.set_reply(if fails { Reply::Fails } else { Reply::Never });
        assert_eq!(now(support::ready_once(&mut service, &task)), Ok(()));
        let mut call = Box::pin(service.call(1));
        assert!(support::poll_once(&mut call, &task).is_pending());
        assert_eq!(
            (first.in_flight(), second.in_flight()),
            (usize::from(!fails), usize::from(fails))
        );
        assert_eq!(layer.in_flight(), 1);
        drop(call);
        assert_eq!((first.in_flight(), second.in_flight(), layer.in_flight()), (0, 0, 0));
    }
    assert_eq!(log.all(), []);
    drop(service);
    first.assert_at_rest();
    second.assert_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_answers_keeps_the_contract_but_for_the_errors_it_hides() {
    let contract = Contract::new(echo(), || FallbackLayer::new("kit", 7))
        .with(Check::BEYOND.iter().copied())
        .without(Check::AnswersArePassedOn)
        .in_flight(FallbackLayer::in_flight);
    contract.check().await.unwrap();
    let other = || {
        let layer = TimeoutLayer::new("kit", Duration::from_secs(3600));
        let other = layer.layer(BoxCloneService::new(service_fn(|_: u32| async {
            Ok::<u32, support::Fail>(7)
        })));
        FallbackLayer::builder("kit").service(other).build().unwrap()
    };
    let contract = Contract::new(echo(), other).without(Check::AnswersArePassedOn);
    contract.check().await.unwrap();
}

// ===== order =====

// pitfall B28
#[tokio::test(start_paused = true)]
async fn outside_it_answers_last_and_inside_it_hides_failures_from_what_is_further_out() {
    let retry = || RetryLayer::builder("x").attempts(3).backoff(Backoff::none()).cloned().build();
    let breaker = || CircuitBreakerLayer::builder("x").trip(Trip::consecutive(3)).build().unwrap();
    let always = || answering(|_| Err(DOWN));

    let (calls, inner) = always();
    let stack = ServiceBuilder::new().layer(FallbackLayer::new("x", 7)).layer(retry().unwrap());
    assert_eq!(call(&mut stack.service(inner).boxed_clone(), 0).await, Ok(7));
    assert_eq!(calls.count(), 3, "it is the last resort");

    let (calls, inner) = always();
    let stack = ServiceBuilder::new().layer(retry().unwrap()).layer(FallbackLayer::new("x", 7));
    assert_eq!(call(&mut stack.service(inner).boxed_clone(), 0).await, Ok(7));
    assert_eq!(calls.count(), 1, "nothing is left to try again");

    for (outside, state, called) in [(true, State::Open, 3), (false, State::Closed, 9)] {
        let (calls, inner) = always();
        let (fallback, breaker) = (FallbackLayer::new("x", 7), breaker());
        let mut service = if outside {
            fallback.layer(breaker.layer(inner)).boxed_clone()
        } else {
            breaker.layer(fallback.layer(inner)).boxed_clone()
        };
        for _ in 0..9 {
            assert_eq!(call(&mut service, 0).await, Ok(7));
        }
        assert_eq!((breaker.handle().state(), calls.count()), (state, called));
    }
}

// ===== settings =====

// pitfall B27
#[tokio::test(start_paused = true)]
async fn every_setting_can_be_read_back_and_a_wrong_one_is_named() {
    let layer = FallbackLayer::builder("x").value(7).enabled(false).max_age(ms(5)).max_keys(3);
    let expected = Config { enabled: false, max_age: ms(5), max_keys: 3 };
    assert_eq!(layer.build().unwrap().handle().config(), expected);
    let wrong = Config { max_age: ms(0), max_keys: 0, ..Config::default() };
    assert_eq!(
        fields(FallbackLayer::builder("x").value(7).config(wrong.clone()).build()),
        ["max_age", "max_keys"]
    );
    assert_eq!(fields(wrong.validate()), ["max_age", "max_keys"]);

    let (_, inner) = answering(|_| Err(DOWN));
    let layer = FallbackLayer::new("x", 7);
    let (mut service, handle) = (layer.layer(inner).boxed_clone(), layer.handle());
    assert_eq!(fields(handle.reload(wrong)), ["max_age", "max_keys"]);
    assert_eq!((handle.config(), call(&mut service, 0).await), (Config::default(), Ok(7)));
    handle.reload(Config { enabled: false, ..handle.config() }).unwrap();
    assert_eq!(call(&mut service, 0).await, down());
    handle.reload(Config::default()).unwrap();
    assert_eq!(call(&mut service, 0).await, Ok(7));
    assert_eq!(handle.origin().to_string(), "fallback `x`");
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_counts_for_what_was_kept_before() {
    let (_, inner) = script([Ok(1), Err(DOWN), Err(DOWN)]);
    let layer = keeping().build().unwrap();
    let mut service = layer.layer(inner).boxed_clone();
    assert_eq!(call(&mut service, 1).await, Ok(1));
    advance(ms(10)).await;
    let handle = layer.handle();
    handle.reload(Config { max_age: ms(9), ..handle.config() }).unwrap();
    assert_eq!(call(&mut service, 1).await, down());
    handle.reload(Config { max_age: ms(10), ..handle.config() }).unwrap();
    assert_eq!(call(&mut service, 1).await, Ok(1));
}

// While it is switched off, a failed response must not take the place of a good one.
#[tokio::test(start_paused = true)]
async fn only_good_answers_are_kept_also_while_it_is_off() {
    let (_, inner) = script([Ok(1), Ok(503), Err(DOWN)]);
    let classify = |result: Result<&u32, &Broken>| match result {
        Ok(503) | Err(_) => Outcome::FAILURE,
        Ok(_) => Outcome::SUCCESS,
    };
    let layer = keeping().classify_result(classify).build().unwrap();
    let (mut service, handle) = (layer.layer(inner).boxed_clone(), layer.handle());
    assert_eq!(call(&mut service, 1).await, Ok(1));
    handle.reload(Config { enabled: false, ..handle.config() }).unwrap();
    assert_eq!(call(&mut service, 1).await, Ok(503));
    handle.reload(Config { enabled: true, ..handle.config() }).unwrap();
    assert_eq!(call(&mut service, 1).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_mark_tells_readers_of_the_response() {
    let mark = |response: &mut u32, told: &FellBack| {
        assert_eq!((told.origin.layer(), told.reason, told.age), ("fallback", None, None));
        *response += 1_000;
    };
    let layer = FallbackLayer::builder("x").value(7).mark(mark).build().unwrap();
    let (_, inner) = script([Err(DOWN), Ok(1)]);
    let mut service = layer.layer(inner).boxed_clone();
    assert_eq!(call(&mut service, 0).await, Ok(1_007));
    assert_eq!(call(&mut service, 0).await, Ok(1));
    let mut hangs = Box::pin(call(&mut service, 0));
    assert!(poll_once(&mut hangs).is_ready());
}
