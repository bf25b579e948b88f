//! What every policy owes its user: one shape of configuration, calls without a service, an end.

use std::time::Duration;

use seawall::Reason;
use seawall::bulkhead::{self, BulkheadLayer, Order};
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::health::{self, HealthLayer, Status};
use seawall::retry::{self, Backoff, Budget, Jitter, OnRejection, RetryLayer};
use seawall::timeout::{self, TimeoutLayer};
use tokio::time::sleep;

use crate::scene::{Fail, fields, ms, now, poll_once, reason};

// ----- what is rejected -----

// pitfall B27
#[test]
fn a_retry_rejects_what_makes_no_sense_all_at_once() {
    let build = |change: fn(retry::Builder) -> retry::Builder| {
        fields(change(RetryLayer::builder("x")).build())
    };
    let second = Duration::from_secs(1);
    assert_eq!(build(|b| b), [""; 0]);
    assert_eq!(build(|b| b.attempts(0)), ["attempts"]);
    assert_eq!(build(|b| b.attempts(1_001)), ["attempts"]);
    assert_eq!(build(|b| b.attempts(u32::MAX)), ["attempts"]);
    assert_eq!(build(|b| b.attempts(1_000)), [""; 0]);
    assert_eq!(build(|b| b.backoff(Backoff::none().factor(0))), ["backoff.factor"]);
    assert_eq!(build(|b| b.backoff(Backoff::none().factor(11))), ["backoff.factor"]);
    assert_eq!(build(|b| b.backoff(Backoff::exponential(ms(2), ms(1)))), ["backoff.cap"]);
    assert_eq!(build(|b| b.backoff(Backoff::exponential(ms(1), Duration::MAX))), [""; 0]);
    assert_eq!(build(|b| b.max_elapsed(Duration::ZERO)), ["max_elapsed"]);
    assert_eq!(build(|b| b.max_elapsed(ms(1)).min_attempt_time(ms(1))), ["min_attempt_time"]);
    assert_eq!(
        build(|b| b.min_attempt_time(Duration::ZERO).max_retry_after(Duration::ZERO)),
        [""; 0]
    );
    assert_eq!(build(|b| b.max_elapsed(Duration::MAX).max_retry_after(Duration::MAX)), [""; 0]);
    let all = RetryLayer::builder("x")
        .min_attempt_time(second)
        .max_elapsed(ms(1))
        .backoff(Backoff::exponential(second, ms(1)).factor(0))
        .attempts(0)
        .build();
    assert_eq!(fields(all), ["attempts", "backoff.factor", "backoff.cap", "min_attempt_time"]);
}

// pitfall B27
#[test]
fn a_budget_rejects_what_makes_no_sense_all_at_once() {
    let build = |change: fn(retry::BudgetBuilder) -> retry::BudgetBuilder| {
        fields(change(Budget::builder()).build())
    };
    assert_eq!(build(|b| b), [""; 0]);
    for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e9] {
        let all = Budget::builder().cap(bad).per_success(bad).per_second(bad).price(bad);
        let told = fields(all.timeout_price(bad).build());
        assert_eq!(told, ["cap", "per_success", "per_second", "price", "timeout_price"], "{bad}");
    }
    assert_eq!(build(|b| b.price(0.0)), ["price"]);
    assert_eq!(build(|b| b.timeout_price(0.0)), ["timeout_price"]);
    assert_eq!(build(|b| b.per_success(0.0).per_second(0.0)), [""; 0]);
    assert_eq!(build(|b| b.cap(16_777.0)), [""; 0]);
    // A price that the fullest budget cannot pay would mean no retries, ever.
    assert_eq!(build(|b| b.cap(5.0).price(5.1)), ["price"]);
    assert_eq!(build(|b| b.cap(5.0).timeout_price(5.1)), ["timeout_price"]);
    assert_eq!(build(|b| b.cap(0.5)), [""; 0], "prices that nobody wrote follow");
    let both = build(|b| b.cap(0.5).price(1.0).timeout_price(2.0));
    assert_eq!(both, ["price", "timeout_price"]);
    assert_eq!(build(|b| b.cap(5.0).price(5.0).timeout_price(5.0)), [""; 0]);
    // Who wants none says so.
    assert_eq!(build(|b| b.cap(0.0)), [""; 0]);
}

// pitfall B27
#[test]
fn a_bulkhead_rejects_what_makes_no_sense_all_at_once() {
    let build = |change: fn(bulkhead::Builder) -> bulkhead::Builder| {
        fields(change(BulkheadLayer::builder("x")).build())
    };
    assert_eq!(build(|b| b), [""; 0]);
    assert_eq!(build(|b| b.limit(0)), ["limit"]);
    assert_eq!(build(|b| b.limit(u32::MAX)), ["limit"]);
    assert_eq!(build(|b| b.queue(u32::MAX)), ["queue"]);
    assert_eq!(build(|b| b.limit(1_000_000).queue(1_000_000)), [""; 0]);
    assert_eq!(build(|b| b.queue(1).max_wait(Duration::ZERO)), ["max_wait"]);
    assert_eq!(build(|b| b.queue(1).max_wait(Duration::MAX)), [""; 0]);
    assert_eq!(build(|b| b.max_wait(Duration::ZERO)), [""; 0]);
    let all = BulkheadLayer::builder("x").max_wait(Duration::ZERO).queue(u32::MAX).limit(0);
    assert_eq!(fields(all.build()), ["limit", "queue", "max_wait"]);
}

// pitfall B27
#[test]
fn a_health_check_rejects_what_makes_no_sense_all_at_once() {
    let build = |change: fn(health::Builder) -> health::Builder| {
        fields(change(HealthLayer::builder("x").passive(true).probe_one_in(1)).build())
    };
    assert_eq!(build(|b| b), [""; 0]);
    assert_eq!(build(|b| b.interval(Duration::ZERO)), ["interval"]);
    assert_eq!(build(|b| b.interval(Duration::MAX).timeout(Duration::MAX)), [""; 0]);
    assert_eq!(build(|b| b.timeout(Duration::ZERO)), ["timeout"]);
    for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let builder = HealthLayer::builder("x").passive(true).probe_one_in(1).jitter(bad);
        assert_eq!(fields(builder.build()), ["jitter"]);
    }
    assert_eq!(build(|b| b.jitter(0.0)), [""; 0]);
    assert_eq!(build(|b| b.jitter(1.0)), [""; 0]);
    assert_eq!(build(|b| b.rise(0)), ["rise"]);
    assert_eq!(build(|b| b.fall(u32::MAX)), ["fall"]);
    assert_eq!(build(|b| b.initial(Status::Degraded)), ["initial"]);
    let all = |b: health::Builder| {
        b.interval(Duration::ZERO).jitter(2.0).timeout(Duration::ZERO).rise(0).fall(0)
    };
    let all = all(HealthLayer::builder("x")).initial(Status::Degraded).build();
    let wrong = ["interval", "jitter", "timeout", "rise", "fall", "initial", "passive"];
    assert_eq!(fields(all), wrong);
}

// ----- what is read back -----

// pitfall B27
#[test]
fn every_setter_is_read_back() {
    let layer = TimeoutLayer::builder("x").limit(ms(3)).cover_readiness(true).build().unwrap();
    let config = layer.handle().config();
    assert_eq!((config.limit, config.cover_readiness), (ms(3), true));

    let backoff = Backoff::exponential(ms(3), ms(700)).factor(5).jitter(Jitter::Equal);
    let layer = RetryLayer::builder("x")
        .attempts(7)
        .backoff(backoff)
        .max_retry_after(ms(11))
        .max_elapsed(ms(1_300))
        .min_attempt_time(ms(17))
        .on_rejection(OnRejection::Wait);
    let config = layer.build().unwrap().handle().config();
    assert_eq!((config.attempts, config.backoff, config.max_retry_after), (7, backoff, ms(11)));
    assert_eq!((config.max_elapsed, config.min_attempt_time), (ms(1_300), ms(17)));
    assert_eq!(config.on_rejection, OnRejection::Wait);

    let layer = BulkheadLayer::builder("x").limit(3).queue(5).max_wait(ms(7));
    let config = layer.order(Order::NewestFirst).build().unwrap().handle().config();
    assert_eq!((config.limit, config.queue, config.max_wait), (3, 5, ms(7)));
    assert_eq!(config.order, Order::NewestFirst);

    let layer = HealthLayer::builder("x")
        .interval(ms(3))
        .jitter(0.5)
        .timeout(ms(7))
        .rise(11)
        .fall(13)
        .initial(Status::Down)
        .probe_one_in(17)
        .passive(true);
    let config = layer.build().unwrap().handle().config();
    assert_eq!((config.interval, config.jitter, config.timeout), (ms(3), 0.5, ms(7)));
    assert_eq!((config.rise, config.fall, config.initial), (11, 13, Status::Down));
    assert_eq!((config.probe_one_in, config.passive), (17, true));

    // A whole set of settings is taken as it is, and what is set after it counts.
    let layer = BulkheadLayer::builder("x").limit(3).config(bulkhead::Config::default()).queue(9);
    let config = layer.build().unwrap().handle().config();
    assert_eq!((config.limit, config.queue), (bulkhead::Config::default().limit, 9));
}

#[test]
fn the_defaults_are_what_the_tables_say() {
    let config =
        TimeoutLayer::from_config("x", timeout::Config::default()).unwrap().handle().config();
    assert_eq!(config, timeout::Config::default());
    assert_eq!((config.limit, config.cover_readiness), (Duration::from_secs(1), false));
    let config = RetryLayer::new("x").handle().config();
    assert_eq!(config, RetryLayer::from_config("x", config.clone()).unwrap().handle().config());
    let (base, cap) = (ms(25), Duration::from_secs(1));
    assert_eq!((config.attempts, config.backoff), (3, Backoff::exponential(base, cap).factor(2)));
    assert_eq!((config.max_retry_after, config.max_elapsed), (cap * 30, cap * 30));
    assert_eq!((config.min_attempt_time, config.on_rejection), (ms(1), OnRejection::Stop));
    assert_eq!(RetryLayer::new("x").handle().budget().map(Budget::balance), Some(50.0));
    let config = BulkheadLayer::new("x").handle().config();
    assert_eq!(config, BulkheadLayer::from_config("x", config.clone()).unwrap().handle().config());
    assert_eq!((config.limit, config.queue, config.max_wait), (64, 0, cap));
    let config = health::Config::default();
    assert_eq!((config.interval, config.jitter, config.timeout), (cap * 5, 0.1, cap));
    assert_eq!((config.rise, config.fall, config.probe_one_in, config.passive), (2, 3, 0, false));
}

#[cfg(feature = "serde")]
mod files {
    use std::fmt::Debug;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    /// Written and read again it is the same; a field that nobody knows is rejected.
    #[track_caller]
    fn round_trip<D: Serialize + DeserializeOwned + PartialEq + Debug>(config: &D) {
        let json = serde_json::to_string(config).unwrap();
        assert_eq!(serde_json::from_str::<D>(&json).unwrap(), *config, "{json}");
        let misspelt = json.replacen('{', r#"{"atempts": 3, "#, 1);
        let told = serde_json::from_str::<D>(&misspelt).unwrap_err().to_string();
        assert!(told.contains("unknown field `atempts`"), "{told}");
    }

    // pitfall B27
    #[test]
    fn settings_come_back_from_a_file_as_they_went() {
        round_trip(&timeout::Config::default());
        round_trip(&timeout::Config::from(ms(1_500)));
        round_trip(&retry::Config::default());
        let config = retry::Config {
            backoff: Backoff::fixed(ms(70)).jitter(Jitter::Decorrelated),
            on_rejection: OnRejection::Wait,
            max_elapsed: Duration::from_secs(90_061),
            ..retry::Config::default()
        };
        round_trip(&config);
        let config = bulkhead::Config { order: Order::NewestFirst, ..bulkhead::Config::default() };
        round_trip(&config);
        let config = health::Config { initial: Status::Down, ..health::Config::default() };
        round_trip(&config);
    }

    #[test]
    fn a_file_says_what_differs_in_words_that_people_use() {
        let config: retry::Config = serde_json::from_str(
            r#"{"attempts": 5, "max_elapsed": "2m 30s", "backoff": {"base": "5ms", "jitter": "none"},
                "on_rejection": "wait"}"#,
        )
        .unwrap();
        assert_eq!((config.attempts, config.max_elapsed), (5, Duration::from_secs(150)));
        let backoff =
            Backoff::exponential(ms(5), retry::Backoff::default().cap).jitter(Jitter::None);
        assert_eq!((config.backoff, config.on_rejection), (backoff, OnRejection::Wait));
        assert_eq!(config.max_retry_after, retry::Config::default().max_retry_after);
        let nested = serde_json::from_str::<retry::Config>(r#"{"backoff": {"bas": "5ms"}}"#);
        assert!(nested.unwrap_err().to_string().contains("unknown field `bas`"));
        let config: health::Config = serde_json::from_str(r#"{"initial": "down"}"#).unwrap();
        assert_eq!(config.initial, Status::Down);
        let config: bulkhead::Config =
            serde_json::from_str(r#"{"order": "newest_first"}"#).unwrap();
        assert_eq!(config.order, Order::NewestFirst);
        // What can be written down and makes no sense is rejected when it is used.
        let config: bulkhead::Config = serde_json::from_str(r#"{"limit": 0}"#).unwrap();
        assert_eq!(fields(BulkheadLayer::from_config("x", config)), ["limit"]);
    }
}

// ----- without a service -----

/// Runs and drains each policy the same way.
macro_rules! each_policy {
    ($check:ident) => {
        $check!(TimeoutLayer::new("x", Duration::from_secs(1)));
        $check!(RetryLayer::new("x"));
        $check!(CircuitBreakerLayer::new("x"));
        $check!(BulkheadLayer::new("x"));
        $check!(HealthLayer::new("x"));
    };
}

#[tokio::test(start_paused = true)]
async fn every_policy_runs_calls_without_a_service_and_can_be_drained() {
    macro_rules! check {
        ($layer:expr) => {
            let layer = $layer;
            let call = || async {
                sleep(ms(20)).await;
                Ok::<_, Fail>(7)
            };
            assert_eq!(layer.run(call).await, Ok(7), "{layer:?}");
            let mut under_way = Box::pin(layer.run(call));
            assert!(poll_once(&mut under_way).is_pending());
            assert_eq!(layer.in_flight(), 1, "{layer:?}");
            let mut draining = Box::pin(layer.drain());
            assert!(poll_once(&mut draining).is_pending(), "{layer:?}");
            let rejected = layer.run(call).await;
            assert_eq!(reason(&rejected), Some(Reason::Draining), "{layer:?}");
            // Whoever drains it twice waits as well, and another clone is drained too.
            let again = layer.clone();
            let mut draining_again = Box::pin(again.drain());
            assert!(poll_once(&mut draining_again).is_pending());
            let began = now();
            assert_eq!(under_way.await, Ok(7));
            draining.await;
            draining_again.await;
            assert_eq!((began.elapsed(), layer.in_flight()), (ms(20), 0), "{layer:?}");
            assert_eq!(reason(&again.run(call).await), Some(Reason::Draining));
            again.drain().await;
        };
    }
    each_policy!(check);
}

#[tokio::test(start_paused = true)]
async fn draining_does_not_wait_for_a_call_that_was_given_up() {
    macro_rules! check {
        ($layer:expr) => {
            let layer = $layer;
            let call = || std::future::pending::<Result<u32, Fail>>();
            let mut under_way = Box::pin(layer.run(call));
            assert!(poll_once(&mut under_way).is_pending());
            let mut draining = Box::pin(layer.drain());
            assert!(poll_once(&mut draining).is_pending());
            drop(under_way);
            assert!(poll_once(&mut draining).is_ready(), "{layer:?}");
        };
    }
    each_policy!(check);
}
