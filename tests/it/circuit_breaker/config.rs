//! Configuration: what is rejected and in which words, and that nothing lies.

use super::kit::*;

use std::borrow::Cow;
use std::time::Duration;

use seawall::circuit_breaker::{Abandonment, CircuitBreakerLayer, Config, Span, Trip, TripRule};

fn rejected(turn: impl FnOnce(&mut Config)) -> Vec<String> {
    let mut config = Config::default();
    turn(&mut config);
    let errors = CircuitBreakerLayer::from_config("x", config).expect_err("accepted");
    errors.iter().map(ToString::to_string).collect()
}

type Turn = fn(&mut Config);

// pitfall B27
#[test]
fn every_bad_value_is_rejected_with_its_field_its_value_and_what_is_accepted() {
    #[rustfmt::skip]
    let table: &[(Turn, &str)] = &[
        (|d| d.evidence_ttl = Duration::ZERO, "evidence_ttl = 0ns: longer than zero"),
        (|d| d.break_duration = Duration::ZERO, "break_duration = 0ns: longer than zero"),
        (|d| (d.break_duration, d.max_break_duration) = (Duration::from_secs(2), Duration::from_secs(1)), "max_break_duration = 1s: at least break_duration = 2s"),
        (|d| d.probe_deadline = Duration::ZERO, "probe_deadline = 0ns: longer than zero"),
        (|d| d.probes = 0, "probes = 0: 1 to 10000"),
        (|d| d.probes = u32::MAX, "probes = 4294967295: 1 to 10000"),
        (|d| d.close_threshold = 0, "close_threshold = 0: 1 to 10000"),
        (|d| d.close_threshold = 10_001, "close_threshold = 10001: 1 to 10000"),
        (|d| d.reopen_threshold = 0, "reopen_threshold = 0: 1 to 10000"),
        (|d| d.reopen_threshold = 10_001, "reopen_threshold = 10001: 1 to 10000"),
        (|d| d.trip = Trip::evidence(0.0, 0.5, 10), "tolerated = 0.0: a ratio from 0.000001 to 0.999999"),
        (|d| d.trip = Trip::evidence(f64::NAN, 0.5, 10), "tolerated = NaN: a ratio from 0.000001 to 0.999999"),
        (|d| d.trip = Trip::evidence(0.5, 1.0, 10), "broken = 1.0: a ratio from 0.000001 to 0.999999"),
        (|d| d.trip = Trip::evidence(0.5, f64::INFINITY, 10), "broken = inf: a ratio from 0.000001 to 0.999999"),
        (|d| d.trip = Trip::evidence(0.5, 0.5, 10), "broken = 0.5: more than tolerated = 0.5"),
        (|d| d.trip = Trip::evidence(0.7, 0.3, 10), "broken = 0.3: more than tolerated = 0.7"),
        (|d| d.trip = Trip::evidence(0.3, 0.300_000_1, 10), "broken = 0.3000001: more than tolerated = 0.3"),
        (|d| d.trip = Trip::evidence(0.3, 0.7, 1), "odds = 1: at least 2"),
        (|d| d.trip = Trip::consecutive(0), "failures = 0: at least 1"),
        (|d| d.trip = Trip::failure_rate(0.0), "failure_rate = 0.0: a ratio from 0.000001 to 1"),
        (|d| d.trip = Trip::failure_rate(1.01), "failure_rate = 1.01: a ratio from 0.000001 to 1"),
        (|d| d.trip = Trip::failure_rate(50.0), "failure_rate = 50.0: a ratio from 0.000001 to 1"),
        (|d| d.trip = Trip::failure_rate(-0.5), "failure_rate = -0.5: a ratio from 0.000001 to 1"),
        (|d| d.trip = Trip::failure_rate(0.5).over_calls(0), "over_calls = 0: 1 to 131072"),
        (|d| d.trip = Trip::failure_rate(0.5).over_calls(131_073), "over_calls = 131073: 1 to 131072"),
        (|d| d.trip = Trip::failure_rate(0.5).over_time(Duration::from_micros(999)), "over_time = 999µs: at least 1 ms"),
        (|d| d.trip = Trip::failure_rate(0.5).at_least(0), "at_least = 0: 1 to 100 (what the window holds)"),
        (|d| d.trip = Trip::failure_rate(0.5).at_least(101), "at_least = 101: 1 to 100 (what the window holds)"),
        (|d| d.trip = Trip::failure_rate(0.5).at_least(20).over_calls(10), "at_least = 20: 1 to 10 (what the window holds)"),
        (|d| d.trip = Trip::slow_rate(0.0, Duration::from_secs(1)), "slow_rate = 0.0: a ratio from 0.000001 to 1"),
        (|d| d.trip = Trip::slow_rate(0.5, Duration::ZERO), "threshold = 0ns: longer than zero"),
    ];
    for (turn, message) in table {
        assert_eq!(rejected(turn), [*message]);
    }
}

#[test]
fn rules_that_contradict_each_other_are_rejected() {
    let trip = Trip::slow_rate(0.5, Duration::from_secs(1))
        .or(Trip::slow_rate(0.9, Duration::from_secs(2)));
    let messages = rejected(|config| config.trip = trip);
    assert_eq!(messages, ["trip = [1s, 2s]: one threshold for all slow-call rules"]);

    let messages = rejected(|config| config.trip = Trip::consecutive(5).over_calls(10));
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].starts_with("over_calls = [Consecutive { failures: 5 }]: "),
        "{messages:?}"
    );
    assert!(messages[0].ends_with("goes with a rate, after which it must stand"), "{messages:?}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let errors = CircuitBreakerLayer::builder("x")
        .trip(
            Trip::failure_rate(2.0)
                .at_least(0)
                .or(Trip::consecutive(0))
                .or(Trip::evidence(0.9, 0.1, 0)),
        )
        .evidence_ttl(Duration::ZERO)
        .break_duration(Duration::from_secs(1))
        .max_break_duration(Duration::from_millis(1))
        .probes(0)
        .probe_deadline(Duration::ZERO)
        .close_threshold(0)
        .reopen_threshold(0)
        .keyed(|host: &String| Cow::from(host))
        .max_keys(0)
        .build()
        .expect_err("accepted");
    let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
    let expected = [
        "failure_rate",
        "at_least",
        "failures",
        "broken",
        "odds",
        "max_break_duration",
        "evidence_ttl",
        "probe_deadline",
        "probes",
        "close_threshold",
        "reopen_threshold",
        "max_keys",
    ];
    assert_eq!(fields, expected);
    let message = errors.to_string();
    assert!(
        message.starts_with("invalid configuration of circuit_breaker `x`: failure_rate = 2.0: "),
        "{message}"
    );
    assert_eq!((&errors).into_iter().count(), expected.len());
    for error in &errors {
        assert!(message.contains(&error.to_string()), "{message}");
    }
}

// pitfall B27, class (h)
#[tokio::test(start_paused = true)]
async fn whatever_is_accepted_works() {
    let (least, most) = (Duration::from_nanos(1), Duration::MAX);
    let extremes: [Turn; 8] = [
        |d| d.trip = Trip::failure_rate(1.0).over_calls(1),
        |d| d.trip = Trip::failure_rate(0.000_001).over_calls(131_072),
        |d| d.trip = Trip::failure_rate(0.5).over_time(Duration::MAX),
        |d| d.trip = Trip::failure_rate(0.5).over_time(Duration::from_millis(1)),
        |d| d.trip = Trip::slow_rate(1.0, Duration::MAX).or(Trip::consecutive(1)),
        |d| d.trip = Trip::slow_rate(1.0, Duration::from_nanos(1)).or(Trip::consecutive(1)),
        |d| d.trip = Trip::evidence(0.000_001, 0.999_999, u64::MAX),
        |d| d.trip = Trip::consecutive(u32::MAX).or(Trip::consecutive(1)),
    ];
    for turn in extremes {
        for (break_duration, other) in [(least, least), (least, most), (most, most)] {
            let mut config = Config::default();
            turn(&mut config);
            (config.break_duration, config.max_break_duration) =
                (break_duration, break_duration.max(other));
            (config.evidence_ttl, config.max_retry_after, config.probe_deadline) =
                (other, other, other);
            (config.ramp, config.slow_start) = (other, Duration::ZERO);
            config.abandonment = Abandonment::After(other);
            let mut rig = Rig::new(builder().config(config));
            rig.trip().await;
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(
                rig.launch(GOOD).await.is_err(),
                break_duration == most,
                "rejected while it breaks"
            );
            drop(rig.launch(Ask::Hang));
            let _ = rig.ask(Ask::Now(Answer::Busy(most))).await;
            let _ = rig.handle.snapshot();
        }
    }
}

// pitfall B27
#[test]
fn every_setter_can_be_read_back() {
    let layer = CircuitBreakerLayer::builder("x")
        .trip(Trip::consecutive(3).or(Trip::failure_rate(0.25).over_calls(7).at_least(5)))
        .evidence_ttl(Duration::from_secs(1))
        .abandonment(Abandonment::After(Duration::from_secs(2)))
        .break_duration(Duration::from_secs(3))
        .max_break_duration(Duration::from_secs(4))
        .max_retry_after(Duration::from_secs(5))
        .probes(6)
        .probe_deadline(Duration::from_secs(7))
        .close_threshold(8)
        .reopen_threshold(9)
        .ramp(Duration::from_secs(10))
        .slow_start(Duration::from_secs(11))
        .shadow(true)
        .build()
        .unwrap();
    let config = layer.handle().config();
    let rules = [
        TripRule::Consecutive { failures: 3 },
        TripRule::FailureRate { rate: 0.25, over: Span::Calls(7), at_least: Some(5) },
    ];
    assert_eq!(config.trip.rules(), rules);
    assert_eq!(config.evidence_ttl, Duration::from_secs(1));
    assert_eq!(config.abandonment, Abandonment::After(Duration::from_secs(2)));
    assert_eq!(config.break_duration, Duration::from_secs(3));
    assert_eq!(config.max_break_duration, Duration::from_secs(4));
    assert_eq!(config.max_retry_after, Duration::from_secs(5));
    assert_eq!(config.probes, 6);
    assert_eq!(config.probe_deadline, Duration::from_secs(7));
    assert_eq!((config.close_threshold, config.reopen_threshold), (8, 9));
    assert_eq!(config.ramp, Duration::from_secs(10));
    assert_eq!(config.slow_start, Duration::from_secs(11));
    assert!(config.shadow);
    // A test of its own for each setting, so that a new one is not forgotten here: none is at its default.
    let (ours, default) = (format!("{config:#?}"), format!("{:#?}", Config::default()));
    let field =
        |line: &&str| line.starts_with("    ") && !line.starts_with("     ") && line.contains(':');
    let unchanged: Vec<_> = ours
        .lines()
        .filter(field)
        .filter(|line| default.lines().any(|other| other == *line))
        .collect();
    assert_eq!(unchanged, ["    trip: Trip {"], "looked at above");

    let layer = CircuitBreakerLayer::from_config("y", config.clone()).unwrap();
    assert_eq!(layer.handle().config(), config);
    assert_eq!(CircuitBreakerLayer::new("z").handle().config(), Config::default());
}

#[cfg(feature = "serde")]
mod files {
    use super::*;

    fn written() -> Config {
        Config {
            trip: Trip::evidence(0.1, 0.9, 1_000)
                .or(Trip::consecutive(5))
                .or(Trip::failure_rate(0.5).over_time(Duration::from_millis(1_500)))
                .or(Trip::slow_rate(0.8, Duration::from_micros(2_500)).at_least(20)),
            abandonment: Abandonment::After(Duration::from_secs(90)),
            break_duration: Duration::from_nanos(1_000_001),
            shadow: true,
            ..Config::default()
        }
    }

    // pitfall B27
    #[test]
    fn what_is_written_reads_back_the_same() {
        for config in [written(), Config::default()] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn durations_are_for_people_and_what_is_left_out_has_its_default() {
        let text = r#"{ "break_duration": "1s 500ms", "max_break_duration": "30s", "abandonment": "ignore",
            "trip": [{ "consecutive": { "failures": 5 } },
                     { "failure_rate": { "rate": 0.5, "over": { "time": "10s" } } }] }"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let expected = Config {
            break_duration: Duration::from_millis(1_500),
            max_break_duration: Duration::from_secs(30),
            abandonment: Abandonment::Ignore,
            trip: Trip::consecutive(5)
                .or(Trip::failure_rate(0.5).over_time(Duration::from_secs(10))),
            ..Config::default()
        };
        assert_eq!(config, expected);
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
    }

    // pitfall B27
    #[test]
    fn what_is_not_known_is_rejected_by_name() {
        for (text, unknown) in [
            (r#"{ "breaks": "1s" }"#, "breaks"),
            (r#"{ "trip": [{ "consecutive": { "failures": 5, "failure": 6 } }] }"#, "failure"),
            (r#"{ "trip": [{ "lifetime": { "failures": 5 } }] }"#, "lifetime"),
            (
                r#"{ "trip": [{ "failure_rate": { "rate": 0.5, "over": { "bytes": 5 } } }] }"#,
                "bytes",
            ),
            (r#"{ "abandonment": "forget" }"#, "forget"),
            (r#"{ "break_duration": "1 fortnight" }"#, "fortnight"),
        ] {
            let message = serde_json::from_str::<Config>(text).unwrap_err().to_string();
            assert!(message.contains(unknown), "{text}: {message}");
        }
    }

    #[test]
    fn a_file_without_rules_is_read_and_then_rejected() {
        let config: Config = serde_json::from_str(r#"{ "trip": [] }"#).unwrap();
        let errors = CircuitBreakerLayer::from_config("x", config).unwrap_err();
        assert_eq!(
            errors.to_string(),
            "invalid configuration of circuit_breaker `x`: trip = []: at least one rule"
        );
    }
}

/// What a doc comment of the source says of a field.
fn said_of(field: &str) -> String {
    let origin = include_str!("../../../src/circuit_breaker/config.rs");
    let end = origin.find(&format!("    pub {field}: ")).expect("a field");
    let lines: Vec<_> = origin[..end].lines().rev().take_while(|line| !line.is_empty()).collect();
    let docs = lines.iter().rev().filter_map(|line| line.trim().strip_prefix("/// "));
    docs.collect::<Vec<_>>().join(" ")
}

// field Missing: accepted ranges stand in the rustdoc of each field
#[test]
fn the_range_that_is_said_of_a_field_is_the_one_that_is_checked() {
    const SECOND: Duration = Duration::from_secs(1);
    #[rustfmt::skip]
    let table: &[(&str, &str, &[Turn], &[Turn])] = &[
        ("trip", "at least one rule", &[|d| d.trip = Trip::consecutive(1)], &[|d| d.trip = serde_json::from_str("[]").unwrap()]),
        ("evidence_ttl", "Longer than zero", &[|d| d.evidence_ttl = Duration::from_nanos(1), |d| d.evidence_ttl = Duration::MAX], &[|d| d.evidence_ttl = Duration::ZERO]),
        ("abandonment", "Any", &[|d| d.abandonment = Abandonment::After(Duration::ZERO)], &[]),
        ("break_duration", "Longer than zero, at most [`max_break_duration`]", &[|d| d.break_duration = Duration::from_nanos(1), |d| d.break_duration = Duration::MAX],
            &[|d| d.break_duration = Duration::ZERO, |d| (d.break_duration, d.max_break_duration) = (2 * SECOND, SECOND)]),
        ("max_break_duration", "At least [`break_duration`]", &[|d| d.max_break_duration = Duration::MAX, |d| (d.break_duration, d.max_break_duration) = (SECOND, SECOND)],
            &[|d| (d.break_duration, d.max_break_duration) = (2 * SECOND, SECOND)]),
        ("max_retry_after", "Any", &[|d| d.max_retry_after = Duration::ZERO, |d| d.max_retry_after = Duration::MAX], &[]),
        ("probes", "1 to 10,000", &[|d| d.probes = 1, |d| d.probes = 10_000], &[|d| d.probes = 0, |d| d.probes = 10_001]),
        ("probe_deadline", "Longer than zero", &[|d| d.probe_deadline = Duration::from_nanos(1)], &[|d| d.probe_deadline = Duration::ZERO]),
        ("close_threshold", "1 to 10,000", &[|d| d.close_threshold = 1, |d| d.close_threshold = 10_000], &[|d| d.close_threshold = 0, |d| d.close_threshold = 10_001]),
        ("reopen_threshold", "1 to 10,000", &[|d| d.reopen_threshold = 1, |d| d.reopen_threshold = 10_000], &[|d| d.reopen_threshold = 0, |d| d.reopen_threshold = 10_001]),
        ("ramp", "Any", &[|d| d.ramp = Duration::ZERO, |d| d.ramp = Duration::MAX], &[]),
        ("slow_start", "Any", &[|d| d.slow_start = Duration::ZERO, |d| d.slow_start = Duration::MAX], &[]),
        ("shadow", "", &[|d| d.shadow = true], &[]),
    ];
    for (field, range, good, bad) in table {
        assert!(said_of(field).contains(range), "{field}: {}", said_of(field));
        let built = |turn: &Turn| {
            let mut config = Config::default();
            turn(&mut config);
            (
                CircuitBreakerLayer::from_config("x", config.clone()).is_ok(),
                config.validate().is_ok(),
            )
        };
        assert!(good.iter().all(|turn| built(turn) == (true, true)), "{field}");
        assert!(bad.iter().all(|turn| built(turn) == (false, false)), "{field}");
    }
    for (trip, is_good) in [
        (Trip::failures_within(1, Duration::from_nanos(1)), true),
        (Trip::failures_within(10_000, Duration::MAX), true),
        (Trip::failures_within(0, SECOND), false),
        (Trip::failures_within(10_001, SECOND), false),
        (Trip::failures_within(5, Duration::ZERO), false),
    ] {
        assert_eq!(
            CircuitBreakerLayer::builder("x").trip(trip.clone()).build().is_ok(),
            is_good,
            "{trip:?}"
        );
    }
}

// field Missing: one setting alone is not rejected for the default of another
#[tokio::test(start_paused = true)]
async fn a_rest_alone_takes_its_cap_with_it_and_a_cap_its_rest() {
    let second = Duration::from_secs(1);
    let of_file: Config = serde_json::from_str(r#"{ "break_duration": "1s" }"#).unwrap();
    for built in [
        builder().break_duration(second).build(),
        builder().config(Config { break_duration: second, ..Config::default() }).build(),
        builder().config(of_file).build(),
        builder().max_break_duration(second).break_duration(second).build(),
    ] {
        let layer = built.unwrap();
        let mut service = tower::Layer::layer(&layer, Dependency::default());
        for _ in 0..17 {
            let _ = launch(&mut service, BAD).await;
        }
        let break_duration = layer.handle().snapshot().next_probe_in.unwrap();
        assert!(break_duration >= second / 2 && break_duration <= second, "{break_duration:?}");
    }
    assert!(builder().max_break_duration(Duration::from_millis(10)).build().is_ok());
    assert!(
        builder()
            .break_duration(second)
            .max_break_duration(Duration::from_millis(250))
            .build()
            .is_err()
    );
}

// field Missing: a count of failures within a time, as files of other libraries say it
#[tokio::test(start_paused = true)]
async fn so_many_failures_within_a_time_open_it_and_one_less_or_later_do_not() {
    let file = r#"{ "trip": [{ "failures_within": { "failures": 5, "within": "10s" } }] }"#;
    let config: Config = serde_json::from_str(file).unwrap();
    assert_eq!(config.trip, Trip::failures_within(5, Duration::from_secs(10)));
    for (gap, opens) in [(2_500, true), (2_501, false), (0, true)] {
        let mut rig = Rig::new(builder().config(config.clone()));
        for _ in 0..4 {
            let _ = rig.ask(BAD).await;
            for _ in 0..50 {
                rig.ask(GOOD).await.unwrap(); // successes are nothing to it
            }
            tokio::time::advance(Duration::from_millis(gap)).await;
        }
        assert!(rig.handle.snapshot().gathered.to_string().ends_with("of 5 recent failures"));
        let _ = rig.ask(BAD).await;
        assert_eq!(
            rig.state() == seawall::circuit_breaker::State::Open,
            opens,
            "a failure every {gap} ms"
        );
    }
}
