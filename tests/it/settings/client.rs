//! The settings of the whole stack around a client: as a file, and turned while calls are flying.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::circuit_breaker::{self, State, Trip};
use seawall::retry::{self, Backoff, Budget, BudgetConfig};
use seawall::stack::{self, ClientConfig};
use seawall::{Error, Reason, bulkhead};
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{ms, paths};
use crate::scene::now;
use crate::support::{Broken, Fail};

/// Every setting other than its default, and all valid together.
fn others() -> ClientConfig {
    ClientConfig {
        deadline: ms(900),
        attempt_timeout: ms(90),
        retry: retry::Config {
            attempts: 2,
            max_elapsed: ms(800),
            backoff: Backoff::exponential(ms(3), ms(7)),
            ..Default::default()
        },
        budget: Some(BudgetConfig { cap: 7.0, ..BudgetConfig::default() }),
        breaker: circuit_breaker::Config { trip: Trip::consecutive(7), ..Default::default() },
        bulkhead: bulkhead::Config { limit: 3, ..Default::default() },
    }
}

#[test]
fn a_file_comes_back_as_it_went_and_what_it_does_not_name_has_its_default() {
    let read = |text: &str| serde_json::from_str::<ClientConfig>(text);
    assert_eq!(read("{}").unwrap(), ClientConfig::default());
    let nested = r#"{ "retry": {}, "budget": {}, "breaker": {}, "bulkhead": {} }"#;
    assert_eq!(read(nested).unwrap(), ClientConfig::default(), "five attempts, not three");
    assert_eq!(read(r#"{ "budget": null }"#).unwrap().budget, None);
    for config in [ClientConfig::default(), others(), ClientConfig { budget: None, ..others() }] {
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }
    for unknown in [
        r#"{ "dead_line": "1s" }"#,
        r#"{ "retry": { "tries": 4 } }"#,
        r#"{ "retry": { "backoff": { "bases": "1s" } } }"#,
        r#"{ "budget": { "caps": 4 } }"#,
        r#"{ "breaker": { "breaks": "1s" } }"#,
        r#"{ "bulkhead": { "limits": 4 } }"#,
    ] {
        assert!(read(unknown).unwrap_err().to_string().contains("unknown field"), "{unknown}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_by_its_path() {
    let wrong: ClientConfig = serde_json::from_str(
        r#"{
            "deadline": "300ms", "attempt_timeout": "400ms",
            "retry": { "attempts": 0, "backoff": { "base": "3s", "cap": "2s" }, "min_attempt_time": "1s" },
            "budget": { "per_second": -1 },
            "breaker": { "probes": 0 },
            "bulkhead": { "limit": 0 }
        }"#,
    )
    .unwrap();
    let expected = [
        "attempt_timeout",
        "retry.min_attempt_time",
        "retry.attempts",
        "retry.backoff.cap",
        "budget.per_second",
        "breaker.probes",
        "bulkhead.limit",
    ];
    assert_eq!(paths(&wrong.validate().unwrap_err()), expected);
    let built = stack::client("x").config(wrong).cloned().build().unwrap_err();
    assert_eq!(paths(&built), expected);
    assert_eq!(built.origin().unwrap().to_string(), "client `x`");
    let none = ClientConfig { deadline: Duration::ZERO, ..ClientConfig::default() };
    assert_eq!(paths(&none.validate().unwrap_err()), ["deadline"]);
}

#[test]
fn one_setting_alone_is_enough() {
    let read = |text: &str| serde_json::from_str::<ClientConfig>(text).unwrap();
    for alone in [
        r#"{ "deadline": "500ms" }"#,
        r#"{ "deadline": "1ns" }"#,
        r#"{ "deadline": "1ms" }"#,
        r#"{ "attempt_timeout": "1m" }"#,
        r#"{ "attempt_timeout": "0s" }"#,
        r#"{ "budget": { "cap": 0.5 } }"#,
        r#"{ "budget": { "price": 60 } }"#,
    ] {
        let config = read(alone);
        assert_eq!(config.validate(), Ok(()), "{alone}");
        let client = stack::client("x").config(config.clone()).cloned().build().unwrap();
        assert_eq!(client.handle().config(), config, "{alone} is read back as it was written");
        client.handle().reload(config).unwrap();
    }
    // No limit of an attempt's own agrees with any deadline.
    let _ = stack::client("x").attempt_timeout(Duration::MAX).deadline(ms(100)).cloned().build();
    let endless = ClientConfig { attempt_timeout: Duration::MAX, ..ClientConfig::default() };
    assert_eq!(endless.validate(), Ok(()));
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_is_all_or_nothing_and_turns_both_timeouts() {
    let client = stack::client("x").retry(once()).cloned().build().unwrap();
    let handle = client.handle();
    let slow = ServiceBuilder::new().layer(client.clone()).map_err(Error::Inner).service(
        service_fn(|after: Duration| async move {
            sleep(after).await;
            Ok::<_, Broken>(())
        }),
    );
    let took = async |after: Duration| {
        let began = now();
        let ended: Result<(), Fail> = slow.clone().oneshot(after).await;
        (ended.is_ok(), began.elapsed().as_millis())
    };
    assert_eq!(took(ms(700)).await, (true, 700));

    // The attempt's limit is live.
    let strict = ClientConfig { attempt_timeout: ms(100), ..handle.config() };
    let under_way = {
        let slow = slow.clone();
        tokio::spawn(async move { slow.oneshot(ms(700)).await })
    };
    tokio::task::yield_now().await;
    handle.reload(strict.clone()).unwrap();
    assert_eq!(took(ms(700)).await, (false, 100));
    assert_eq!(under_way.await.unwrap(), Ok(()), "a call in flight keeps the limit it began with");

    // So is the deadline.
    let short = ClientConfig { deadline: ms(50), attempt_timeout: Duration::MAX, ..strict };
    handle.reload(short.clone()).unwrap();
    assert_eq!(took(ms(700)).await, (false, 50));

    // One field is wrong: nothing of it counts, and the next one that is right does.
    let good = ClientConfig { retry: once(), ..others() };
    let bad =
        ClientConfig { bulkhead: bulkhead::Config { limit: 0, ..Default::default() }, ..good };
    let wrong = handle.reload(bad).unwrap_err();
    assert_eq!((paths(&wrong), handle.config()), (vec!["bulkhead.limit".to_owned()], short));
    assert_eq!(wrong.origin().unwrap().to_string(), "client `x`");
    assert_eq!(took(ms(700)).await, (false, 50));
    handle.reload(others()).unwrap();
    assert_eq!(handle.config(), others());
    assert_eq!(client.retry().config(), others().retry);
    assert_eq!(client.breaker().config(), others().breaker);
    assert_eq!(client.bulkhead().config(), others().bulkhead);
    assert_eq!(handle.budget().unwrap().config(), others().budget.unwrap());
}

fn once() -> retry::Config {
    retry::Config { attempts: 1, ..Default::default() }
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_leaves_an_open_circuit_open_and_what_a_budget_spent_spent() {
    let break_duration = Duration::from_secs(60);
    let config = ClientConfig {
        retry: retry::Config { backoff: Backoff::none(), ..ClientConfig::default().retry },
        budget: Some(BudgetConfig { per_second: 0.0, ..BudgetConfig::default() }),
        breaker: circuit_breaker::Config {
            trip: Trip::consecutive(3),
            break_duration,
            max_break_duration: break_duration,
            ..Default::default()
        },
        ..ClientConfig::default()
    };
    let client = stack::client("x").config(config).cloned().build().unwrap();
    let handle = client.handle();
    let mut failing = ServiceBuilder::new()
        .layer(client)
        .map_err(Error::Inner)
        .service(service_fn(|_: u32| async { Err::<u32, _>(Broken) }));
    failing.ready().await.unwrap().call(1).await.unwrap_err();
    assert_eq!(handle.breaker().state(), State::Open);
    let left = handle.budget().unwrap().balance();
    handle.reload(ClientConfig { deadline: ms(9_000), ..handle.config() }).unwrap();
    assert_eq!(handle.breaker().state(), State::Open);
    assert_eq!(handle.budget().unwrap().balance(), left);
    let rejected: Fail = failing.ready().await.unwrap().call(1).await.unwrap_err();
    assert!(matches!(rejected, Error::Rejected(why) if why.reason() == Reason::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn a_budget_can_be_taken_away_and_given_back() {
    let shared = Budget::builder().cap(1.0).per_second(0.0).per_success(0.0).build().unwrap();
    let retry = retry::Config { attempts: 4, backoff: Backoff::none(), ..Default::default() };
    let client = stack::client("x").budget(shared.clone()).retry(retry).cloned().build().unwrap();
    let handle = client.handle();
    assert_eq!(handle.config().budget, Some(shared.config()), "a shared one keeps its settings");
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let failing = ServiceBuilder::new().layer(client).map_err(Error::Inner).service(service_fn(
        move |_: u32| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Err::<u32, _>(Broken) }
        },
    ));
    let attempts = async || {
        calls.store(0, Ordering::Relaxed);
        let _: Result<u32, Fail> = failing.clone().oneshot(1).await;
        calls.load(Ordering::Relaxed)
    };
    assert_eq!(attempts().await, 2, "one token, one more attempt");
    let spent = handle.config();
    handle.reload(ClientConfig { budget: None, ..spent.clone() }).unwrap();
    assert_eq!((attempts().await, handle.config().budget), (4, None));
    assert!(handle.budget().is_none());
    handle.reload(spent.clone()).unwrap();
    assert_eq!((attempts().await, handle.config()), (1, spent));

    let without = stack::client("x").no_budget().cloned().build().unwrap();
    assert_eq!(without.handle().config(), ClientConfig { budget: None, ..Default::default() });
    assert!(without.retry().budget().is_none());
}

#[test]
fn of_many_who_reload_at_once_one_wins_everything() {
    let client = stack::client("x").cloned().build().unwrap();
    let config = |n: u64| ClientConfig {
        deadline: Duration::from_secs(n),
        attempt_timeout: ms(n),
        retry: retry::Config { attempts: n as u32, max_elapsed: ms(n * 100), ..Default::default() },
        budget: Some(BudgetConfig { cap: n as f64 + 10.0, ..Default::default() }),
        breaker: circuit_breaker::Config { probes: n as u32, ..Default::default() },
        bulkhead: bulkhead::Config { limit: n as u32, ..Default::default() },
    };
    for _ in 0..50 {
        std::thread::scope(|scope| {
            for n in 1..4 {
                let handle = client.handle();
                scope.spawn(move || handle.reload(config(n)).unwrap());
            }
        });
        let found = client.handle().config();
        assert!((1..4).any(|n| found == config(n)), "{found:?}");
    }
}

#[test]
fn what_was_turned_in_one_layer_is_seen_in_the_whole() {
    let client = stack::client("x").deadline(ms(500)).cloned().build().unwrap();
    let handle = client.handle();
    let before = handle.config();
    assert_eq!(before, ClientConfig { deadline: ms(500), ..ClientConfig::default() });
    client.retry().reload(once()).unwrap();
    client.bulkhead().reload(bulkhead::Config { limit: 5, ..Default::default() }).unwrap();
    let expected = ClientConfig {
        retry: once(),
        bulkhead: bulkhead::Config { limit: 5, ..Default::default() },
        ..before
    };
    assert_eq!(handle.config(), expected);
    assert_eq!(handle.origin().to_string(), "client `x`");
}

#[tokio::test(start_paused = true)]
async fn a_hang_that_had_the_whole_deadline_speaks_against_the_dependency() {
    // An attempt timeout that follows the deadline ends with it.
    let breaker = circuit_breaker::Config { trip: Trip::consecutive(1), ..Default::default() };
    let client = stack::client("x").deadline(ms(500)).breaker(breaker).cloned().build().unwrap();
    let hanging = ServiceBuilder::new()
        .layer(client.clone())
        .map_err(Error::Inner)
        .service(service_fn(|_: u32| pending::<Result<u32, Broken>>()));
    let ended: Result<u32, Fail> = hanging.oneshot(1).await;
    assert!(matches!(ended, Err(Error::Rejected(why)) if why.reason() == Reason::TimedOut));
    assert_eq!(client.breaker().state(), State::Open);
}
