//! Settings: which agree, who is told what is wrong with them, and whose they are.

use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::health::HealthLayer;
use seawall::http::body_timeout::{self, BodyTimeoutLayer};
use seawall::retry::RetryLayer;
use seawall::{ConfigErrors, bulkhead, circuit_breaker, health, retry, stack};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn paths(wrong: &ConfigErrors) -> Vec<String> {
    wrong.iter().map(seawall::ConfigError::path).collect()
}

// field F16: whoever returns it from `main` reads this.
#[tokio::test]
async fn what_is_wrong_is_told_with_the_policy_it_is_for_one_problem_a_line() {
    let breaker = circuit_breaker::Config { probes: 0, close_threshold: 0, ..Default::default() };
    let attempts = retry::Config { attempts: 0, ..Default::default() };
    let full = bulkhead::Config { limit: 0, ..Default::default() };
    let never = health::Config { rise: 0, ..Default::default() };
    let body = body_timeout::Config { idle: Duration::ZERO, ..Default::default() };
    let check = || HealthLayer::builder("x").check(|| async { Ok::<_, std::io::Error>(()) });

    let rejected = [
        CircuitBreakerLayer::from_config("x", breaker.clone()).unwrap_err(),
        CircuitBreakerLayer::new("x").handle().reload(breaker.clone()).unwrap_err(),
        RetryLayer::from_config("x", attempts.clone()).unwrap_err(),
        RetryLayer::new("x").handle().reload(attempts.clone()).unwrap_err(),
        BulkheadLayer::from_config("x", full.clone()).unwrap_err(),
        BulkheadLayer::new("x").handle().reload(full.clone()).unwrap_err(),
        check().config(never.clone()).build().unwrap_err(),
        check().build().unwrap().handle().reload(never.clone()).unwrap_err(),
        BodyTimeoutLayer::from_config("x", body).unwrap_err(),
        BodyTimeoutLayer::new("x").handle().reload(body).unwrap_err(),
        stack::client("x").bulkhead(full.clone()).cloned().build().unwrap_err(),
    ];
    for wrong in &rejected {
        let told = format!("{wrong:?}");
        let (head, break_duration) = told.split_once('\n').unwrap();
        let origin = wrong.origin().unwrap();
        assert_eq!(head, format!("invalid configuration of {origin}:"));
        assert_eq!(origin.name(), "x");
        assert_eq!(break_duration.lines().count(), wrong.iter().count(), "{told}");
        for (line, problem) in break_duration.lines().zip(wrong) {
            assert_eq!(line, format!("  {problem}"));
            assert_eq!(format!("{problem:?}"), problem.to_string());
        }
        assert!(wrong.to_string().starts_with(&format!("invalid configuration of {origin}: ")));
    }
    let layers: Vec<_> = rejected.iter().map(|wrong| wrong.origin().unwrap().layer()).collect();
    let twice = ["circuit_breaker", "retry", "bulkhead", "health", "body_timeout"];
    let twice: Vec<_> = twice.iter().flat_map(|layer| [*layer, *layer]).chain(["client"]).collect();
    assert_eq!(layers, twice);

    // Without a policy, nobody's.
    let alone = [
        breaker.validate().unwrap_err(),
        attempts.validate().unwrap_err(),
        full.validate().unwrap_err(),
        never.validate().unwrap_err(),
        body.validate().unwrap_err(),
    ];
    for wrong in &alone {
        assert_eq!(wrong.origin(), None);
        assert!(format!("{wrong:?}").starts_with("invalid configuration:\n  "), "{wrong:?}");
    }
}

#[test]
fn what_is_wrong_within_a_stack_is_found_by_its_path() {
    let wrong = stack::client("x")
        .deadline(ms(300))
        .attempt_timeout(ms(300))
        .retry(retry::Config { attempts: 0, ..Default::default() })
        .breaker(circuit_breaker::Config { probes: 0, ..Default::default() })
        .bulkhead(bulkhead::Config { limit: 0, ..Default::default() })
        .cloned()
        .build()
        .unwrap_err();
    assert_eq!(
        paths(&wrong),
        ["attempt_timeout", "retry.attempts", "breaker.probes", "bulkhead.limit"]
    );
}

#[test]
fn one_setting_alone_is_not_rejected_for_a_default_that_nobody_wrote() {
    // By name.
    let _ = stack::client("x").deadline(ms(500)).cloned().build().unwrap();
    let _ = stack::client("x").attempt_timeout(ms(60_000)).cloned().build().unwrap();
    let _ = stack::client("x").attempt_timeout(Duration::MAX).cloned().build().unwrap();
    let _ = BodyTimeoutLayer::builder("x").total(ms(5)).build().unwrap();
    // By value, as from a file.
    let config = body_timeout::Config { total: ms(5), ..Default::default() };
    assert_eq!(config.validate(), Ok(()));
    let layer = BodyTimeoutLayer::from_config("x", config).unwrap();
    assert_eq!(layer.handle().config(), config, "what was written is read back");
    layer.handle().reload(layer.handle().config()).unwrap();
    // Two that were both written must agree, though one of them says what the default says.
    let both = stack::client("x")
        .deadline(ms(500))
        .attempt_timeout(stack::ClientConfig::default().attempt_timeout);
    assert_eq!(paths(&both.cloned().build().unwrap_err()), ["attempt_timeout"]);
    let both =
        BodyTimeoutLayer::builder("x").idle(body_timeout::Config::default().idle).total(ms(5));
    assert_eq!(paths(&both.build().unwrap_err()), ["idle"]);
    let config = body_timeout::Config { idle: ms(6), total: ms(5) };
    assert_eq!(paths(&config.validate().unwrap_err()), ["idle"]);
}

mod budget;
mod client;
mod run;
mod server;
