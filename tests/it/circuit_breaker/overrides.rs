//! What single keys have instead of the settings of all.

use super::kit::*;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::time::Duration;

use seawall::circuit_breaker::{
    Config, KeyedBuilder, KeyedCircuitBreakerLayer, KeyedConfig, Overrides, State, Trip,
};
use seawall::keyed::PerKey;
use seawall::{Classifier, Error, OnResponse};
use tokio::time::advance;

type Key = fn(&String) -> Cow<'_, str>;
type Hosts = KeyedCircuitBreakerLayer<Classifier, OnResponse, Key>;
type Down = std::result::Result<(), Error<io::Error>>;

fn hosts() -> KeyedBuilder<Classifier, OnResponse, Key> {
    let key: Key = |host| Cow::from(host);
    seawall::circuit_breaker::CircuitBreakerLayer::builder("hosts")
        .trip(Trip::consecutive(3))
        .break_duration(Duration::from_secs(1))
        .max_break_duration(Duration::from_secs(8))
        .seed(7)
        .keyed(key)
}

fn trips_at(failures: u32) -> Overrides {
    Overrides { trip: Some(Trip::consecutive(failures)), ..Overrides::default() }
}

fn breaks(break_duration: u64) -> Overrides {
    Overrides { break_duration: Some(Duration::from_secs(break_duration)), ..Overrides::default() }
}

async fn fail(hosts: &Hosts, host: &str, times: u32) {
    for _ in 0..times {
        let down = || async { Err(Error::Inner(io::Error::other("no route"))) };
        let _: Down = hosts.run(host, down).await;
    }
}

fn state(hosts: &Hosts, host: &str) -> State {
    hosts.handle().key(host).unwrap().state()
}

// settings: per-key overrides
#[tokio::test(start_paused = true)]
async fn a_key_has_what_it_has_of_its_own_and_all_else_from_the_others() {
    let hosts = hosts().overrides([("a", trips_at(1)), ("b", breaks(5))]).build().unwrap();
    for host in ["a", "b", "c"] {
        fail(&hosts, host, 1).await;
    }
    assert_eq!(
        ["a", "b", "c"].map(|host| state(&hosts, host)),
        [State::Open, State::Closed, State::Closed]
    );
    fail(&hosts, "b", 2).await;
    fail(&hosts, "c", 2).await;
    let next = |host| hosts.handle().key(host).unwrap().snapshot().next_probe_in.unwrap();
    assert!(next("a") <= Duration::from_secs(1), "its break is that of all");
    assert!(next("c") <= Duration::from_secs(1));
    assert!(next("b") > Duration::from_secs(2), "half of its own at least");

    let of = |host: &str| hosts.handle().key(host).unwrap().config();
    assert_eq!(
        (of("a").trip, of("a").break_duration),
        (Trip::consecutive(1), Duration::from_secs(1))
    );
    assert_eq!(
        (of("b").trip, of("b").break_duration),
        (Trip::consecutive(3), Duration::from_secs(5))
    );
    assert_eq!(of("c"), hosts.handle().config());
    assert_eq!(hosts.handle().keyed_config().of("not yet seen"), hosts.handle().config());
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_all_leaves_a_key_its_own_and_gives_it_the_rest() {
    let hosts = hosts().overrides([("a", trips_at(1)), ("b", breaks(5))]).build().unwrap();
    for host in ["a", "b", "c"] {
        fail(&hosts, host, 2).await;
    }
    let new = Config { trip: Trip::consecutive(4), probes: 9, ..hosts.handle().config() };
    hosts.handle().reload(new.clone()).unwrap();
    let of = |host: &str| hosts.handle().key(host).unwrap().config();
    assert_eq!((of("a").trip, of("a").probes), (Trip::consecutive(1), 9));
    assert_eq!(
        (of("b").trip, of("b").break_duration),
        (Trip::consecutive(4), Duration::from_secs(5))
    );
    assert_eq!((of("c"), hosts.handle().config()), (new.clone(), new.clone()));
    assert_eq!(state(&hosts, "a"), State::Open, "as it was");

    // It is in force, with the evidence from before: two of four.
    for host in ["b", "c"] {
        fail(&hosts, host, 1).await;
        assert_eq!(state(&hosts, host), State::Closed, "{host}");
        fail(&hosts, host, 1).await;
        assert_eq!(state(&hosts, host), State::Open, "{host}");
    }

    // By the handle of one key it is that key's, and nobody else's.
    let shadowed = Config { shadow: true, ..of("a") };
    hosts.handle().key("a").unwrap().reload(shadowed.clone()).unwrap();
    assert_eq!((of("a"), hosts.handle().config()), (shadowed, new.clone()));
    assert_eq!((of("b").shadow, of("c")), (false, new));
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_does_not_agree_with_a_key_changes_nothing_and_names_it() {
    let hosts = hosts().overrides([("a", breaks(5))]).build().unwrap();
    fail(&hosts, "a", 1).await;
    let before = hosts.handle().keyed_config();
    let new =
        Config { max_break_duration: Duration::from_secs(4), probes: 9, ..hosts.handle().config() };
    let wrong = hosts.handle().reload(new.clone()).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "invalid configuration of circuit_breaker `hosts`: \
         overrides[\"a\"].max_break_duration = 4s: at least break_duration = 5s"
    );
    assert_eq!(hosts.handle().keyed_config(), before);
    let wrong = Config { break_duration: Duration::from_secs(5), ..new };
    assert!(hosts.handle().key("a").unwrap().reload(wrong).is_err());
    assert_eq!(hosts.handle().keyed_config(), before);
}

#[tokio::test(start_paused = true)]
async fn everything_is_reloaded_at_once_or_nothing() {
    let hosts = hosts().overrides([("a", trips_at(1))]).build().unwrap();
    for host in ["a", "b"] {
        fail(&hosts, host, 1).await;
    }
    let mut config = hosts.handle().keyed_config();
    config.overrides = BTreeMap::from([("b".into(), trips_at(2))]);
    config.default.probes = 9;
    config.max_keys = 3;
    hosts.handle().reload_keyed(config.clone()).unwrap();
    assert_eq!(hosts.handle().keyed_config(), config);
    fail(&hosts, "b", 1).await;
    assert_eq!(state(&hosts, "b"), State::Open);
    hosts.handle().key("a").unwrap().reset();
    fail(&hosts, "a", 2).await;
    assert_eq!(state(&hosts, "a"), State::Closed, "what it had of its own is gone");

    let mut wrong = config.clone();
    (wrong.max_keys, wrong.default.probes) = (0, 0);
    wrong.overrides.insert("c".into(), breaks(0));
    let errors = hosts.handle().reload_keyed(wrong).unwrap_err();
    let paths: Vec<_> = errors.iter().map(seawall::ConfigError::path).collect();
    assert_eq!(paths, ["default.probes", "max_keys", "overrides[\"c\"].break_duration"]);
    assert_eq!(hosts.handle().keyed_config(), config);
}

#[tokio::test(start_paused = true)]
async fn with_fewer_keys_allowed_those_at_rest_go_as_new_ones_come() {
    let hosts = hosts().build().unwrap();
    let ok = async |host: String| {
        let well = || async { Ok::<_, Error<io::Error>>(()) };
        hosts.run(&host, well).await.unwrap();
    };
    for nth in 0..100 {
        ok(format!("old {nth}")).await;
    }
    let handle = hosts.handle();
    handle.reload_keyed(KeyedConfig { max_keys: 10, ..handle.keyed_config() }).unwrap();
    for nth in 0..200 {
        ok(format!("new {nth}")).await;
        assert!(handle.key(&format!("new {nth}")).is_some(), "a well key finds room");
    }
    assert_eq!((handle.len(), handle.keys().len()), (10, 10));
    handle.reload_keyed(KeyedConfig { max_keys: 20, ..handle.keyed_config() }).unwrap();
    for nth in 0..200 {
        ok(format!("more {nth}")).await;
    }
    assert_eq!(handle.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_forgotten_comes_back_with_its_own() {
    let hosts = hosts().overrides([("a", trips_at(1))]).max_keys(1).build().unwrap();
    let well = || async { Ok::<_, Error<io::Error>>(()) };
    for host in ["a", "b"] {
        hosts.run(host, well).await.unwrap();
    }
    assert_eq!(hosts.handle().keys(), ["b".into()]);
    fail(&hosts, "a", 1).await;
    assert_eq!(state(&hosts, "a"), State::Open);
}

/// A call is slow by the threshold of its key, also while it is in flight.
#[tokio::test(start_paused = true)]
async fn what_is_slow_is_said_by_the_key() {
    let slow = |millis| {
        let threshold = Duration::from_millis(millis);
        let trip = Trip::slow_rate(1.0, threshold).over_calls(1);
        Overrides { trip: Some(trip), ..Overrides::default() }
    };
    let hosts = hosts().overrides([("a", slow(10)), ("b", slow(100))]).build().unwrap();
    let mut hung = ["a", "b", "c"].map(|host| Box::pin(hosts.run(host, pending::<Down>)));
    let mut passed = 0;
    for (at, open) in [(9, ""), (11, "a"), (99, "a"), (101, "ab"), (10_000, "ab")] {
        for call in &mut hung {
            assert!(poll(call.as_mut()).is_pending());
        }
        advance(Duration::from_millis(at - passed)).await;
        passed = at;
        for call in &mut hung {
            assert!(poll(call.as_mut()).is_pending());
        }
        let is_open = ["a", "b", "c"].into_iter().filter(|host| state(&hosts, host) == State::Open);
        assert_eq!(is_open.collect::<String>(), open, "after {at} ms");
    }
}

#[test]
fn what_is_wrong_with_a_key_is_said_by_name_and_what_is_wrong_with_all_once() {
    let wrong = Overrides {
        trip: Some(Trip::consecutive(0)),
        evidence_ttl: Some(Duration::ZERO),
        break_duration: Some(Duration::ZERO),
        probes: Some(0),
        probe_deadline: Some(Duration::ZERO),
        close_threshold: Some(0),
        reopen_threshold: Some(10_001),
        ..Overrides::default()
    };
    let config =
        Config { max_retry_after: Duration::ZERO, reopen_threshold: 0, ..Config::default() };
    let config = KeyedConfig {
        overrides: BTreeMap::from([("a.example".into(), wrong), ("b".into(), trips_at(1))]),
        ..config.into()
    };
    let errors = config.validate().unwrap_err();
    let paths: Vec<_> = errors.iter().map(seawall::ConfigError::path).collect();
    let fields = [
        "failures",
        "break_duration",
        "evidence_ttl",
        "probe_deadline",
        "probes",
        "close_threshold",
        "reopen_threshold",
    ];
    let mut expected = vec!["default.reopen_threshold".to_owned()];
    expected.extend(fields.map(|field| format!("overrides[\"a.example\"].{field}")));
    assert_eq!(paths, expected);

    let errors = hosts().config(config).build().unwrap_err();
    assert_eq!(errors.iter().next().unwrap().path(), "reopen_threshold", "by its setter");
    assert_eq!(errors.iter().count(), expected.len());
}

/// Two that must agree: what the key was told counts as written, and what only others have follows.
#[test]
fn a_key_s_own_rest_agrees_with_the_cap_of_all() {
    let break_duration =
        |own| hosts().config(Config::default().into()).overrides([("a", own)]).build();
    assert!(break_duration(breaks(5)).is_ok(), "the cap was left at its default, and follows");
    let both = Overrides { max_break_duration: Some(Duration::from_millis(250)), ..breaks(5) };
    assert!(break_duration(both).is_err(), "the cap is the default, and was written");
}

#[cfg(feature = "serde")]
mod files {
    use super::*;

    fn read(text: &str) -> serde_json::Result<KeyedConfig> {
        serde_json::from_str(text)
    }

    #[test]
    fn every_setting_can_be_a_key_s_own_and_comes_back_from_a_file() {
        let all = serde_json::to_value(Config::default()).unwrap();
        let own: Overrides = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(&own).unwrap(), all, "none is missing");
        assert_eq!(
            Config { probes: 1, shadow: true, ..Config::default() }.overridden(&own),
            Config::default()
        );

        let config = KeyedConfig {
            default: Config { break_duration: Duration::from_millis(20), ..Config::default() },
            max_keys: 7,
            overrides: BTreeMap::from([("a".into(), own), ("b".into(), breaks(3))]),
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(read(&text).unwrap(), config);
        assert!(
            text.contains(r#""b":{"break_duration":"3s"}"#),
            "what it has not is not there: {text}"
        );
    }

    #[test]
    fn what_a_file_does_not_name_has_its_default_and_what_is_unknown_is_rejected() {
        let default = read("{}").unwrap();
        assert_eq!((default.default.clone(), default.max_keys), (Config::default(), 10_000));
        assert!(default.overrides.is_empty());
        for text in [
            r#"{ "defaults": {} }"#,
            r#"{ "overrides": { "a": { "breaks": "1s" } } }"#,
            r#"{ "overrides": { "a": { "break_duration": 1 } } }"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
