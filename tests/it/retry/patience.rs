//! What costs attempts and budget and what costs time alone, and settings as others write them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Position, Trip};
use seawall::retry::{
    Backoff, Budget, Config, Factor, Jitter, OnRejection, RetryLayer, RetryReason, UNLIMITED,
};
use seawall::{Error, EventKind, Outcome, Reason};
use tower::{Layer, ServiceExt};

use crate::scene::{
    Boxed, Fail, Log, answering, broken, fields, in_time, ms, now, poll_once, reason, taking,
};

const MINUTE: Duration = Duration::from_secs(60);

// field F15
#[tokio::test(start_paused = true)]
async fn waits_for_rejections_cost_time_and_no_attempts_and_no_budget() {
    for backoff in [Backoff::none(), Backoff::default()] {
        let breaker = CircuitBreakerLayer::builder("x").trip(Trip::consecutive(1)).build().unwrap();
        // Down for five minutes.
        let (began, up) = (now(), Arc::new(AtomicBool::new(false)));
        let is_up = up.clone();
        let (calls, inner) =
            answering(
                move |nth| {
                    if is_up.load(Ordering::SeqCst) { Ok(nth) } else { Err(broken("no")) }
                },
            );
        let service = Boxed::new(breaker.layer(inner));
        assert!(service.clone().oneshot(0).await.is_err()); // it trips
        let log = Log::default();
        let budget = Budget::builder().cap(3.0).per_second(0.0).build().unwrap();
        let layer = RetryLayer::builder("x")
            .on_rejection(OnRejection::Wait)
            .attempts(1)
            .max_elapsed(10 * MINUTE)
            .backoff(backoff)
            .budget(budget.clone())
            .observe(log.observer())
            .cloned()
            .build()
            .unwrap();
        // Somebody else finds out that it is still down, again and again.
        let others = service.clone();
        let probing = tokio::spawn(async move {
            while began.elapsed() < 5 * MINUTE {
                let _ = others.clone().oneshot(0).await;
                tokio::time::sleep(ms(7)).await;
            }
            up.store(true, Ordering::SeqCst);
        });
        // Not this one: it comes when the circuit is open, and never calls the dependency before.
        let hold = breaker.handle();
        let mut switch = hold.switch(Position::Auto);
        switch.set(Position::Open);
        let call = tokio::spawn(layer.layer(service).oneshot(1));
        probing.await.unwrap();
        drop(switch);
        breaker.handle().reset();
        assert!(in_time(call).await.unwrap().is_ok());
        assert!(began.elapsed() >= 5 * MINUTE);
        assert_eq!(budget.balance(), 3.0);
        let events = log.all();
        assert!(events.len() > 10 && events.len() < 40_000, "{} waits", events.len());
        assert!(events.iter().all(|event| RetryReason::of(event) == Some(RetryReason::Rejected)));
        assert!(calls.count() >= 1);
    }
}

// field F15
#[tokio::test(start_paused = true)]
async fn what_is_rejected_without_a_hint_is_not_hammered_and_given_up_in_time() {
    let bulkhead = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let (_, inner) = taking(10 * MINUTE);
    let service = Boxed::new(bulkhead.layer(inner));
    let _inside = tokio::spawn(service.clone().oneshot(0));
    crate::scene::settle().await;
    let log = Log::default();
    let layer = RetryLayer::builder("x")
        .on_rejection(OnRejection::Wait)
        .backoff(Backoff::none())
        .max_elapsed(MINUTE)
        .observe(log.observer())
        .cloned()
        .build()
        .unwrap();
    let began = now();
    assert_eq!(reason(&layer.layer(service).oneshot(1).await), Some(Reason::Full));
    assert!(began.elapsed() <= MINUTE && began.elapsed() >= ms(59_900));
    assert!(log.all().len() <= 6_001, "{} waits in a minute", log.all().len());
}

// field F15
#[tokio::test(start_paused = true)]
async fn who_is_being_drained_further_in_is_not_waited_for() {
    let bulkhead = BulkheadLayer::new("x");
    bulkhead.drain().await;
    let (_, inner) = taking(ms(1));
    let layer = RetryLayer::builder("x").on_rejection(OnRejection::Wait).cloned().build().unwrap();
    let began = now();
    let answer = layer.layer(bulkhead.layer(inner)).oneshot(1).await;
    assert_eq!((reason(&answer), began.elapsed()), (Some(Reason::Draining), ms(0)));
}

fn at_once<T>(call: impl Future<Output = T>) -> T {
    match poll_once(&mut Box::pin(call)) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

// field F15: no runtime, and so no timer
#[test]
fn a_wait_of_nothing_needs_no_timer() {
    let layer = RetryLayer::builder("x").backoff(Backoff::none()).cloned().build().unwrap();
    let (calls, inner) = answering(|nth| if nth < 3 { Err(broken("no")) } else { Ok(nth) });
    assert_eq!(at_once(layer.layer(inner).oneshot(1)), Ok(3));
    assert_eq!(calls.count(), 3);
    let tries = AtomicU32::new(0);
    let answer = layer.run(|| async {
        match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Fail::Inner(broken("no"))),
            nth => Ok(nth),
        }
    });
    assert_eq!(at_once(answer), Ok(1));

    // The same elsewhere: a limit of nothing, and a line that nobody has to stand in.
    let timeout = seawall::timeout::TimeoutLayer::new("x", Duration::ZERO);
    let never = timeout.run(std::future::pending::<Result<(), Fail>>);
    assert_eq!(reason(&at_once(never)), Some(Reason::TimedOut));
    let bulkhead = BulkheadLayer::builder("x").limit(1).queue(1).build().unwrap();
    let first = bulkhead.run(|| async { Ok::<_, Fail>(1) });
    let second = bulkhead.run(|| async { Ok::<_, Fail>(2) });
    let both = at_once(async { (first.await, second.await) });
    assert_eq!(both, (Ok(1), Ok(2)));
}

// field F14
#[tokio::test(start_paused = true)]
async fn a_good_answer_that_is_asked_for_again_costs_no_budget() {
    let budget = Budget::builder().cap(3.0).per_second(0.0).per_success(0.0).build().unwrap();
    let log = Log::default();
    let layer = RetryLayer::builder("x")
        .attempts(100)
        .backoff(Backoff::fixed(ms(100)))
        .budget(budget.clone())
        .observe(log.observer())
        .classify_response(|nth: &u32| {
            if nth.is_multiple_of(50) { Outcome::SUCCESS } else { Outcome::SUCCESS.after(ms(1)) }
        })
        .cloned()
        .build()
        .unwrap();
    // Twenty who poll a job that is not ready yet, one after the other.
    let (calls, inner) = answering(Ok);
    let service = layer.layer(inner);
    for _ in 0..20 {
        assert!(service.clone().oneshot(1).await.is_ok());
    }
    assert_eq!((calls.count(), budget.balance()), (1000, 3.0));
    let why = RetryReason::NotReady.as_str();
    let all = log.all();
    let event = EventKind::Retrying { attempt: 2, wait: ms(101), why, retry_after: Some(ms(1)) };
    assert_eq!(all.first(), Some(&event));
}

// field F14
#[tokio::test(start_paused = true)]
async fn a_failure_in_between_is_paid_for_until_it_turns_out_well() {
    let budget = Budget::builder().cap(3.0).per_second(0.0).per_success(0.0).build().unwrap();
    let layer = RetryLayer::builder("x")
        .attempts(10)
        .backoff(Backoff::none())
        .budget(budget.clone())
        .classify_response(|_: &u32| Outcome::SUCCESS.after(ms(1)))
        .cloned()
        .build()
        .unwrap();
    let (calls, inner) = answering(|nth| if nth % 2 == 1 { Err(broken("no")) } else { Ok(nth) });
    assert!(layer.layer(inner).oneshot(1).await.is_ok());
    assert_eq!((calls.count(), budget.balance()), (10, 3.0));
}

// ===== settings that others wrote =====

// field "Settings"
#[tokio::test(start_paused = true)]
async fn a_factor_may_have_decimals() {
    let backoff = Backoff::exponential(ms(100), Duration::from_secs(1)).jitter(Jitter::None);
    let layer = RetryLayer::builder("x")
        .attempts(5)
        .backoff(backoff.factor(1.5))
        .no_budget()
        .cloned()
        .build()
        .unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    assert!(layer.layer(inner).oneshot(1).await.is_err());
    let waits: Vec<_> = calls.gaps().iter().map(Duration::as_millis).collect();
    // To a millisecond, which is as exact as timers are.
    for (wait, right) in waits.iter().zip([100, 150, 225, 338]) {
        assert!(wait.abs_diff(right) <= 1, "{waits:?}");
    }
    for wrong in [0.0, 0.9, 10.1, -1.0, f64::NAN, f64::INFINITY] {
        let backoff = Backoff { factor: Factor::from(wrong), ..Backoff::default() };
        let config = Config { backoff, ..Config::default() };
        assert_eq!(fields(RetryLayer::from_config("x", config)), ["backoff.factor"], "{wrong}");
    }
}

// field "Settings"
#[tokio::test(start_paused = true)]
async fn jitter_may_go_both_ways() {
    let jitter = Jitter::Symmetric { percent: 20 };
    let layer = RetryLayer::builder("x")
        .attempts(200)
        .backoff(Backoff { jitter, cap: MINUTE, ..Backoff::fixed(Duration::from_secs(10)) })
        .max_elapsed(Duration::MAX)
        .no_budget()
        .cloned()
        .build()
        .unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    assert!(layer.layer(inner).oneshot(1).await.is_err());
    let waits = calls.gaps();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least >= ms(8_000) && *most <= ms(12_001), "{least:?} to {most:?}");
    assert!(*least < ms(9_000) && *most > ms(11_000), "{least:?} to {most:?}");
    for percent in [0, 101] {
        let backoff = Backoff { jitter: Jitter::Symmetric { percent }, ..Backoff::default() };
        let config = Config { backoff, ..Config::default() };
        assert_eq!(fields(RetryLayer::from_config("x", config)), ["backoff.jitter.percent"]);
    }
}

// field "Settings"
#[tokio::test(start_paused = true)]
async fn attempts_may_be_unlimited() {
    let layer = RetryLayer::builder("x")
        .unlimited_attempts()
        .backoff(Backoff::fixed(ms(100)))
        .max_elapsed(10 * MINUTE)
        .no_budget()
        .cloned()
        .build()
        .unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    let began = now();
    assert!(layer.layer(inner).oneshot(1).await.is_err());
    assert!(calls.count() > 5_000 && began.elapsed() <= 10 * MINUTE, "{}", calls.count());
    // With nothing at all to bound them they are rejected.
    let endless = RetryLayer::builder("x").unlimited_attempts().max_elapsed(Duration::MAX);
    assert_eq!(fields(endless.clone().no_budget().build()), ["max_elapsed"]);
    assert_eq!(fields(endless.build()), [""; 0]);
}

// A reload is held to what a build is: also of a budget that is none, and of one for each key.
#[test]
fn a_reload_does_not_make_attempts_endless() {
    let endless = Config { attempts: UNLIMITED, max_elapsed: Duration::MAX, ..Config::default() };
    let reload = |handle: seawall::retry::RetryHandle| {
        let before = handle.config();
        let wrong = fields(handle.reload(endless.clone()));
        let after = if wrong.is_empty() { endless.clone() } else { before };
        assert_eq!(handle.config(), after);
        wrong
    };
    let retry = || RetryLayer::builder("x").cloned();
    assert_eq!(reload(retry().no_budget().build().unwrap().handle()), ["max_elapsed"]);
    assert_eq!(reload(retry().build().unwrap().handle()), [""; 0]);
    let budgets = Budget::builder().keyed("x").build().unwrap();
    let keyed = retry().keyed_budget(budgets, |_: &u32| "a".into());
    assert_eq!(reload(keyed.build().unwrap().handle()), [""; 0]);

    let stack = seawall::stack::client("x").cloned().deadline(Duration::MAX);
    let handle = stack.build().unwrap().handle();
    let config = seawall::stack::ClientConfig { retry: endless.clone(), ..handle.config() };
    handle.reload(config.clone()).unwrap();
    let without = seawall::stack::ClientConfig { budget: None, ..config };
    let wrong = without.validate().unwrap_err();
    assert_eq!(
        wrong.iter().map(seawall::ConfigError::path).collect::<Vec<_>>(),
        ["retry.max_elapsed"]
    );
    assert!(handle.reload(without.clone()).is_err());
    let built = seawall::stack::client("x").config(without).cloned().build();
    assert!(built.is_err());
    handle.reload(seawall::stack::ClientConfig { budget: None, ..Default::default() }).unwrap();
    assert_eq!(reload(handle.retry().clone()), ["max_elapsed"]);
}

// field "Settings"
#[cfg(feature = "http")]
#[test]
fn a_file_says_all_of_it() {
    let file = r#"{
        "attempts": "unlimited",
        "backoff": { "base": "500ms", "factor": 1.5, "cap": "1m",
                     "jitter": { "symmetric": { "percent": 50 } } }
    }"#;
    let config: Config = serde_json::from_str(file).unwrap();
    assert_eq!(config.attempts, UNLIMITED);
    assert_eq!(config.backoff.factor, Factor::thousandths(1500));
    assert_eq!(config.backoff.jitter, Jitter::Symmetric { percent: 50 });
    let again = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(config, again);
    config.validate().unwrap();
    let fields = |file| fields(RetryLayer::from_config("x", serde_json::from_str(file).unwrap()));
    assert_eq!(fields(r#"{ "attempts": 5000000000 }"#), ["attempts"]);
    assert_eq!(fields(r#"{ "attempts": 0 }"#), ["attempts"]);
    assert!(serde_json::from_str::<Config>(r#"{ "attempts": "many" }"#).is_err());
}

// field "Settings"
#[test]
fn one_setting_alone_is_no_contradiction_of_a_default() {
    let backoff = |base, cap| Backoff { base, cap, ..Backoff::default() };
    let second = Duration::from_secs(1);
    let fine = [
        Config { backoff: Backoff { base: MINUTE, ..Backoff::default() }, ..Config::default() },
        Config { backoff: Backoff { cap: ms(1), ..Backoff::default() }, ..Config::default() },
        Config { max_elapsed: Duration::from_micros(500), ..Config::default() },
        Config { min_attempt_time: MINUTE, ..Config::default() },
    ];
    for config in fine {
        let layer = RetryLayer::from_config("x", config.clone()).unwrap();
        assert_eq!(layer.handle().config(), config, "as it was written");
    }
    let wrong = Config { backoff: backoff(2 * second, ms(999)), ..Config::default() };
    assert_eq!(fields(RetryLayer::from_config("x", wrong)), ["backoff.cap"]);
    let wrong = RetryLayer::builder("x").max_elapsed(ms(1)).min_attempt_time(ms(1)).build();
    assert_eq!(fields(wrong), ["min_attempt_time"]);
}

// ===== what needs `&mut` =====

// field "Plain functions"
#[tokio::test(start_paused = true)]
async fn an_operation_may_need_something_for_itself() {
    let log = Log::default();
    let layer = RetryLayer::builder("x")
        .backoff(Backoff::fixed(ms(100)))
        .observe(log.observer())
        .build()
        .unwrap();
    let full = layer.handle().budget().unwrap().balance();
    let mut tries = Vec::new();
    let answer = layer.run_with(&mut tries, async |tries: &mut Vec<u32>| {
        tokio::time::sleep(ms(10)).await;
        tries.push(7);
        if tries.len() < 3 { Err(Error::Inner(broken("no"))) } else { Ok(tries.len()) }
    });
    let began = now();
    assert_eq!(answer.await, Ok(3));
    assert_eq!((tries.len(), began.elapsed()), (3, ms(230)));
    assert!(layer.handle().budget().unwrap().balance() <= full);

    let answer = layer
        .run_with(&mut tries, async |_: &mut Vec<u32>| Err::<(), _>(Fail::Inner(broken("no"))));
    assert_eq!(answer.await, Err(Error::Inner(broken("no"))));
    assert_eq!(layer.in_flight(), 0);

    // A drain ends its waits as well.
    let began = now();
    let failing = layer
        .run_with(&mut tries, async |_: &mut Vec<u32>| Err::<(), _>(Fail::Inner(broken("no"))));
    let (answer, ()) = in_time(async { tokio::join!(failing, layer.drain()) }).await;
    assert_eq!((reason(&answer), began.elapsed()), (Some(Reason::Draining), ms(0)));
    let late = layer.run_with(&mut tries, async |_: &mut Vec<u32>| Ok::<_, Fail>(())).await;
    assert_eq!(reason(&late), Some(Reason::Draining));
}
