//! One rate limit for each key, and a bound on all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::propagate::{FromWithContext, WithContext};
use seawall::rate_limit::{
    Config, KeyedBuilder, KeyedConfig, KeyedRateLimitLayer, Overrides, RateLimitLayer,
};
use seawall::{Deadline, Event, EventKind, Reason};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use super::too_early;
use crate::scene::{Fail, fields, in_time, is_ready, ms, now, poll_once, reason};

type Key = fn(&String) -> Cow<'_, str>;
type Tenants = KeyedRateLimitLayer<Key>;

fn tenants(limit: u32, burst: u32) -> KeyedBuilder<Key> {
    let key: Key = |tenant| Cow::from(tenant);
    RateLimitLayer::builder("tenants").limit(limit).burst(burst).keyed(key)
}

async fn call(tenants: &Tenants, tenant: &str) -> Result<(), Fail> {
    tenants.run(tenant, || async { Ok(()) }).await
}

/// Whom each event was about.
type Heard = Arc<Mutex<Vec<(String, EventKind)>>>;

fn listening() -> (seawall::rate_limit::Builder, Heard) {
    let heard = Heard::default();
    let log = heard.clone();
    let builder = RateLimitLayer::builder("tenants").observe(move |event: &Event| {
        log.lock().unwrap().push((event.key.as_deref().unwrap_or_default().to_owned(), event.kind));
    });
    (builder, heard)
}

// keys: one tenant must not use up what is for all
#[tokio::test(start_paused = true)]
async fn each_key_has_a_limit_of_its_own() {
    let (builder, heard) = listening();
    let key: Key = |tenant| Cow::from(tenant);
    let tenants = builder.limit(10).burst(2).keyed(key).build().unwrap();
    assert!(tenants.handle().is_empty());
    for _ in 0..2 {
        call(&tenants, "a").await.unwrap();
    }
    assert_eq!(too_early(&call(&tenants, "a").await), Some(ms(100)));
    let rejected = EventKind::Rejected { reason: Reason::RateLimited };
    assert_eq!(*heard.lock().unwrap(), [("a".to_owned(), rejected)]);
    call(&tenants, "b").await.unwrap();
    let handle = tenants.handle();
    let available = |key| handle.key(key).map(|it| it.available());
    assert_eq!((available("a"), available("b"), available("c")), (Some(0), Some(1), None));
    let mut keys = handle.keys();
    keys.sort();
    assert_eq!((keys, handle.len()), (vec!["a".into(), "b".into()], 2));
    advance(ms(100)).await;
    call(&tenants, "a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_queue_of_its_own_and_calls_are_counted_by_key() {
    let key: Key = |tenant| Cow::from(tenant);
    let tenants = RateLimitLayer::builder("x").limit(10).burst(1).queue(1).keyed(key);
    let tenants = tenants.build().unwrap();
    let begin = |tenant| Box::pin(tenants.run(tenant, pending::<Result<(), Fail>>));
    let (mut inside, mut waits, mut other) = (begin("a"), begin("a"), begin("b"));
    for call in [&mut inside, &mut waits, &mut other] {
        assert!(poll_once(call).is_pending());
    }
    let handle = tenants.handle().key("a").unwrap();
    let twin = handle.clone();
    assert_eq!((handle.in_flight(), handle.queued(), tenants.in_flight()), (2, 1, 3));
    assert!(too_early(&call(&tenants, "a").await).is_some(), "its queue is full");
    assert_eq!(tenants.handle().key("b").unwrap().queued(), 0);
    drop((inside, waits, twin));
    assert_eq!((handle.in_flight(), handle.queued(), tenants.in_flight()), (0, 0, 1));
    let turn = handle.reserve(1).unwrap();
    assert_eq!((turn.ready_at() - now(), handle.queued(), handle.in_flight()), (ms(100), 1, 0));
}

// pitfall B24
#[tokio::test(start_paused = true)]
async fn many_keys_stay_at_the_cap() {
    let (builder, heard) = listening();
    let key: Key = |tenant| Cow::from(tenant);
    let tenants = builder.limit(1_000).keyed(key).max_keys(100).build().unwrap();
    for nth in 0..20_000 {
        call(&tenants, &nth.to_string()).await.unwrap();
        advance(ms(1)).await; // the bucket is full again
        assert!(tenants.handle().len() <= 100);
        assert!(tenants.handle().key(&nth.to_string()).is_some());
    }
    assert_eq!((tenants.handle().len(), tenants.handle().keys().len()), (100, 100));
    assert!(heard.lock().unwrap().is_empty(), "keys at rest make room");
}

// pitfalls B10, B24: a key must not come back with a fresh burst
#[tokio::test(start_paused = true)]
async fn a_key_whose_bucket_is_not_full_is_not_forgotten_and_the_rest_share_one() {
    for most in [1, 2, 5, 40] {
        let (builder, heard) = listening();
        let key: Key = |tenant| Cow::from(tenant);
        let builder = builder.limit(1).burst(2);
        let tenants = builder.keyed(key).max_keys(most).build().unwrap();
        for nth in 0..most {
            call(&tenants, &nth.to_string()).await.unwrap();
        }
        // None of the others has a place, so together they have one burst.
        let mut passed = 0;
        for nth in 0..200 {
            passed += usize::from(call(&tenants, &format!("other {nth}")).await.is_ok());
        }
        assert_eq!((tenants.handle().len(), passed), (most, 2));
        let overflows = |heard: &Heard| {
            heard.lock().unwrap().iter().filter(|(_, it)| *it == EventKind::KeyOverflow).count()
        };
        assert_eq!(overflows(&heard), 200);
        assert_eq!(heard.lock().unwrap().last().unwrap().0, "(overflow)");
        advance(Duration::from_secs(1)).await;
        // All of them are at rest now.
        call(&tenants, "new").await.unwrap();
        assert!(tenants.handle().key("new").is_some());
        assert_eq!((tenants.handle().len(), overflows(&heard)), (most, 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_or_in_somebodys_hands_is_not_forgotten() {
    let tenants = tenants(1_000, 1).max_keys(1).build().unwrap();
    let new = async |tenant: &str| {
        advance(ms(10)).await;
        call(&tenants, tenant).await.unwrap();
        tenants.handle().keys()
    };
    assert_eq!(new("held").await, ["held".into()]);
    let held = tenants.handle().key("held").unwrap();
    assert_eq!(new("other").await, ["held".into()]);
    let reserved = held.reserve(1).unwrap();
    drop(held);
    assert_eq!(new("other").await, ["held".into()]);
    drop(reserved);
    assert_eq!(new("other").await, ["other".into()]);
    advance(ms(10)).await;
    let mut under_way = Box::pin(tenants.run("other", pending::<Result<(), Fail>>));
    assert!(poll_once(&mut under_way).is_pending());
    assert_eq!(new("new").await, ["other".into()]);
    drop(under_way);
    assert_eq!(new("new").await, ["new".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_warms_up_is_not_forgotten_before_it_would_be_cold_anyway() {
    let key: Key = |tenant| Cow::from(tenant);
    let tenants = RateLimitLayer::builder("x").limit(10).burst(1).warm_up(ms(3_000));
    let tenants = tenants.keyed(key).max_keys(1).build().unwrap();
    advance(ms(60_000)).await;
    call(&tenants, "a").await.unwrap();
    assert_eq!(too_early(&call(&tenants, "a").await), Some(ms(300)), "a new key is cold");
    advance(ms(2_900)).await;
    call(&tenants, "b").await.unwrap();
    assert!(tenants.handle().key("a").is_some());
    call(&tenants, "a").await.unwrap();
    let early = too_early(&call(&tenants, "a").await).unwrap();
    assert!(early < ms(110), "it is still warm: {early:?}");
    advance(ms(6_000)).await;
    call(&tenants, "b").await.unwrap();
    assert!(tenants.handle().key("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn around_a_service_the_key_the_cost_and_the_deadline_are_the_requests() {
    let layer = RateLimitLayer::builder("x").limit(10).burst(2).queue(5).propagate(FromWithContext);
    let layer = layer.cost(|it: &WithContext<(&'static str, u32)>| it.request.1);
    let layer = layer.keyed(|it: &WithContext<(&'static str, u32)>| Cow::from(it.request.0));
    let layer = layer.build().unwrap();
    let inner =
        service_fn(|it: WithContext<(&'static str, u32)>| async move { Ok::<_, Fail>(it.request) });
    let mut service = layer.layer(inner);
    assert!(is_ready(&mut service));
    let call = |tenant, cost, left| {
        let request = WithContext::new((tenant, cost), Deadline::after(ms(left)));
        service.clone().oneshot(request)
    };
    assert_eq!(call("a", 2, 1_000).await, Ok(("a", 2)));
    assert_eq!(reason(&call("a", 2, 150).await), Some(Reason::DeadlineExceeded));
    assert_eq!(reason(&call("a", 3, 1_000).await), Some(Reason::CostTooHigh));
    assert_eq!(call("b", 1, 1_000).await, Ok(("b", 1)));
    let began = now();
    assert_eq!(call("a", 2, 1_000).await, Ok(("a", 2)));
    assert_eq!(now() - began, ms(200));
    assert!(format!("{service:?} {layer:?} {:?}", layer.handle()).matches("keys: 2").count() == 3);
}

// ===== settings =====

#[tokio::test(start_paused = true)]
async fn a_key_has_what_it_has_of_its_own_and_all_else_from_the_others() {
    let own = Overrides { limit: Some(3), ..Overrides::default() };
    let tenants = tenants(1, 4).overrides([("a", own.clone())]).build().unwrap();
    for tenant in ["a", "b"] {
        call(&tenants, tenant).await.unwrap();
    }
    let handle = tenants.handle();
    let of = |key: &str| {
        let config = handle.key(key).unwrap().config();
        (config.limit, config.burst)
    };
    assert_eq!((of("a"), of("b")), ((3, Some(4)), (1, Some(4))));
    assert_eq!(handle.keyed_config().of("not yet seen"), handle.config());

    // A reload of all leaves a key its own and gives it the rest; one of a key is of nobody else's.
    handle.reload(Config { limit: 7, burst: Some(7), ..handle.config() }).unwrap();
    assert_eq!((of("a"), of("b")), ((3, Some(7)), (7, Some(7))));
    let b = handle.key("b").unwrap();
    b.reload(Config { limit: 8, ..b.config() }).unwrap();
    assert_eq!((of("a"), of("b"), handle.config().limit), ((3, Some(7)), (8, Some(7)), 7));
    // What was used stays used, and the break is by the new settings.
    assert_eq!((handle.key("a").unwrap().available(), b.available()), (3, 3));
    drop(b);

    // One that was forgotten comes back with its own; a new one has what is in force.
    advance(Duration::from_secs(10)).await;
    let mut config = handle.keyed_config();
    (config.max_keys, config.default.limit) = (1, 9);
    config.overrides = BTreeMap::from([("b".to_owned(), own)]);
    handle.reload_keyed(config.clone()).unwrap();
    assert_eq!((of("a").0, of("b").0, handle.keyed_config()), (9, 3, config));
    for tenant in ["c", "d", "e", "b"] {
        call(&tenants, tenant).await.unwrap();
        advance(Duration::from_secs(10)).await;
    }
    assert_eq!((handle.keys(), of("b").0), (vec!["b".into()], 3));
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_reaches_those_who_wait_in_every_key_and_in_none() {
    let key: Key = |tenant| Cow::from(tenant);
    let tenants = RateLimitLayer::builder("x").limit(1).burst(1).queue(1).max_wait(ms(60_000));
    let tenants = tenants.keyed(key).max_keys(1).build().unwrap();
    let began = now();
    let launch = |tenant: &'static str| {
        let call = tenants.run(tenant, move || async move { Ok::<_, Fail>(now() - began) });
        let mut call = Box::pin(call);
        let first = poll_once(&mut call);
        (call, first)
    };
    assert!(launch("a").1.is_ready() && launch("overflows").1.is_ready());
    let waiting = [launch("a"), launch("overflows")];
    assert!(waiting.iter().all(|(_, first)| first.is_pending()));
    let handle = tenants.handle();
    handle.reload(Config { limit: 10, ..handle.config() }).unwrap();
    let [(own, _), (shared, _)] = waiting;
    let passed = in_time(async { tokio::join!(own, shared) }).await;
    assert_eq!(passed, (Ok(ms(100)), Ok(ms(100))));
}

#[test]
fn what_is_wrong_is_said_all_at_once_and_changes_nothing() {
    let zero = Overrides { limit: Some(0), ..Overrides::default() };
    let long = Overrides { warm_up: Some(Duration::from_secs(90_000)), ..Overrides::default() };
    let wrong = tenants(1, 1).max_keys(0).overrides([("a", zero.clone()), ("b", long)]).build();
    let told = wrong.as_ref().map(drop).unwrap_err();
    let paths: Vec<_> = told.iter().map(seawall::ConfigError::path).collect();
    assert_eq!(paths, ["max_keys", "overrides[\"a\"].limit", "overrides[\"b\"].warm_up"]);
    assert!(
        told.to_string().starts_with("invalid configuration of rate_limit `tenants`: max_keys")
    );
    assert_eq!(fields(tenants(0, 1).overrides([("a", Overrides::default())]).build()), ["limit"]);

    let tenants = tenants(1, 1).build().unwrap();
    let before = tenants.handle().keyed_config();
    assert_eq!(before.max_keys, 10_000);
    let default = Config { queue: 10_001, ..Config::default() };
    assert_eq!(fields(tenants.handle().reload(default.clone())), ["queue"]);
    let overrides = BTreeMap::from([("a".to_owned(), zero)]);
    let config = KeyedConfig { default, max_keys: 0, overrides };
    let told = tenants.handle().reload_keyed(config.clone()).unwrap_err();
    let paths: Vec<_> = told.iter().map(seawall::ConfigError::path).collect();
    assert_eq!(paths, ["default.queue", "max_keys", "overrides[\"a\"].limit"]);
    assert_eq!(config.validate().unwrap_err().iter().count(), 3);
    assert_eq!(tenants.handle().keyed_config(), before);
}

#[cfg(feature = "serde")]
#[test]
fn every_setting_can_be_a_key_s_own_and_comes_back_from_a_file() {
    use seawall::keyed::PerKey;

    let all = Config { burst: Some(5), warm_up: ms(10), ..Config::default() };
    let text = serde_json::to_value(&all).unwrap();
    let own: Overrides = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&own).unwrap(), text, "none is missing");
    assert_eq!(own, Overrides::from(&all));
    let other = Config { limit: 1, queue: 9, max_wait: ms(7), ..Config::default() };
    assert_eq!(other.overridden(&own), all);

    let few = Overrides { limit: Some(2), ..Overrides::default() };
    let overrides = BTreeMap::from([("a".to_owned(), own), ("b".to_owned(), few)]);
    let config = KeyedConfig { max_keys: 7, overrides, ..KeyedConfig::default() };
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<KeyedConfig>(&text).unwrap(), config);
    assert!(text.contains(r#""b":{"limit":2}"#), "what it has not is not there: {text}");
    for text in [r#"{ "defaults": {} }"#, r#"{ "overrides": { "a": { "limits": 1 } } }"#] {
        assert!(serde_json::from_str::<KeyedConfig>(text).is_err(), "{text}");
    }
}

// ===== drain =====

// field F7
#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_waits_of_all_keys_at_once_or_lets_them_end() {
    for patient in [false, true] {
        let key: Key = |tenant| Cow::from(tenant);
        let tenants = RateLimitLayer::builder("x").limit(10).burst(1).queue(9);
        let tenants = tenants.keyed(key).max_keys(1).build().unwrap();
        let began = now();
        let passing = |tenant| {
            Box::pin(tenants.run(tenant, move || async move { Ok::<_, Fail>(now() - began) }))
        };
        for tenant in ["a", "overflows"] {
            assert_eq!(passing(tenant).await, Ok(ms(0)));
        }
        let mut waiting = [passing("a"), passing("overflows")];
        assert!(waiting.iter_mut().all(|call| poll_once(call).is_pending()));
        let drained = async {
            if patient {
                tenants.drain_to_completion().await;
            } else {
                tenants.drain().await;
            }
            now() - began
        };
        let [own, shared] = waiting;
        let told = in_time(async { tokio::join!(own, shared, drained) }).await;
        if patient {
            assert_eq!(told, (Ok(ms(100)), Ok(ms(100)), ms(100)));
        } else {
            assert_eq!(reason(&told.0), Some(Reason::Draining));
            assert_eq!((reason(&told.1), told.2), (Some(Reason::Draining), ms(0)));
        }
        assert_eq!(reason(&call(&tenants, "b").await), Some(Reason::Draining));
        assert_eq!(tenants.in_flight(), 0);
    }
}
