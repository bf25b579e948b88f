//! One bulkhead for each key, and a bound on all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use seawall::bulkhead::{
    BulkheadLayer, Config, KeyedBuilder, KeyedBulkheadLayer, KeyedConfig, Overrides,
};
use seawall::keyed::PerKey;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::{Deadline, Event, EventKind, OnResponse, Reason};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, service_fn};

use super::NO;
use crate::scene::{Fail, fields, in_time, ms, poll_once, reason, settle};

type Key = fn(&String) -> Cow<'_, str>;
type Tenants = KeyedBulkheadLayer<OnResponse, Key>;
type Calling = Pin<Box<dyn Future<Output = Result<(), Fail>> + Send>>;

fn tenants(limit: u32, queue: u32) -> KeyedBuilder<OnResponse, Key> {
    let key: Key = |tenant| Cow::from(tenant);
    BulkheadLayer::builder("tenants").limit(limit).queue(queue).keyed(key)
}

/// A call that is in flight until it is dropped; or is rejected.
fn begin(tenants: &Tenants, tenant: &str) -> Result<Calling, Option<Reason>> {
    let mut call: Calling = Box::pin(tenants.run(tenant, pending::<Result<(), Fail>>));
    match poll_once(&mut call) {
        std::task::Poll::Pending => Ok(call),
        std::task::Poll::Ready(ended) => Err(reason(&ended)),
    }
}

async fn call(tenants: &Tenants, tenant: &str) -> Result<(), Fail> {
    tenants.run(tenant, || async { Ok(()) }).await
}

/// Whom each event was about.
fn listening(builder: seawall::bulkhead::Builder) -> (seawall::bulkhead::Builder, Heard) {
    let heard = Heard::default();
    let log = heard.clone();
    let observe = move |event: &Event| {
        log.lock().unwrap().push((event.key.as_deref().unwrap_or_default().to_owned(), event.kind));
    };
    (builder.observe(observe), heard)
}

type Heard = Arc<Mutex<Vec<(String, EventKind)>>>;

fn overflows(heard: &Heard) -> usize {
    heard.lock().unwrap().iter().filter(|(_, kind)| *kind == EventKind::KeyOverflow).count()
}

// keys: one tenant must not take all permits
#[tokio::test(start_paused = true)]
async fn each_key_has_a_limit_of_its_own() {
    let tenants = tenants(2, 0).build().unwrap();
    let handle = tenants.handle();
    assert!(handle.is_empty());
    let mut greedy: Vec<_> = (0..2).map(|_| begin(&tenants, "a").unwrap()).collect();
    assert_eq!(begin(&tenants, "a").err(), Some(Some(Reason::Full)));
    let modest = begin(&tenants, "b").unwrap();
    let of = |key| handle.key(key).map(|it| (it.in_flight(), it.available(), it.queued()));
    assert_eq!((of("a"), of("b"), of("c")), (Some((2, 0, 0)), Some((1, 1, 0)), None));
    let mut keys = handle.keys();
    keys.sort();
    assert_eq!((keys, handle.len()), (vec!["a".into(), "b".into()], 2));
    assert_eq!((tenants.in_flight(), handle.key("a").unwrap().limit()), (3, 2));
    drop(greedy.pop());
    greedy.push(begin(&tenants, "a").unwrap());
    drop((greedy, modest));
    assert_eq!((of("a"), of("b")), (Some((0, 2, 0)), Some((0, 2, 0))));
    assert_eq!(tenants.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_queue_of_its_own() {
    let key: Key = |tenant| Cow::from(tenant);
    let tenants = BulkheadLayer::builder("x").limit(1).queue(1).max_wait(ms(100)).keyed(key);
    let tenants = tenants.build().unwrap();
    let under_way = begin(&tenants, "a").unwrap();
    let mut waits = begin(&tenants, "a").unwrap();
    let handle = tenants.handle().key("a").unwrap();
    assert_eq!((handle.in_flight(), handle.queued()), (1, 1));
    assert_eq!(begin(&tenants, "a").err(), Some(Some(Reason::Full)), "its queue is full too");
    drop(begin(&tenants, "b").expect("others do not wait"));
    drop(under_way);
    assert!(poll_once(&mut waits).is_pending());
    assert_eq!((handle.in_flight(), handle.queued()), (1, 0), "it came in");
    let late = begin(&tenants, "a").unwrap();
    advance(ms(100)).await;
    assert_eq!(reason(&in_time(late).await), Some(Reason::QueueTimeout));
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_call_frees_the_place_of_its_key() {
    let tenants = tenants(1, 0).build().unwrap();
    let is_free = || tenants.handle().key("a").unwrap().available() == 1;
    call(&tenants, "a").await.unwrap();
    assert!(is_free());
    let bad = tenants.run("a", || async { Err::<(), Fail>(seawall::Error::Inner(NO)) });
    assert!(bad.await.is_err() && is_free());
    drop(begin(&tenants, "a").unwrap());
    assert!(is_free());
    let unpolled = tenants.run("a", pending::<Result<(), Fail>>);
    assert!(!is_free());
    drop(unpolled);
    assert!(is_free());
    let panics = tenants.run("a", || async {
        sleep(ms(1)).await;
        std::panic::resume_unwind(Box::new("scripted"))
    });
    let panics: Pin<Box<dyn Future<Output = Result<(), Fail>> + Send>> = Box::pin(panics);
    assert!(tokio::spawn(panics).await.unwrap_err().is_panic());
    assert!(is_free());
}

// pitfall B24
#[tokio::test(start_paused = true)]
async fn many_keys_stay_at_the_cap() {
    let (builder, heard) = listening(BulkheadLayer::builder("tenants"));
    let key: Key = |tenant| Cow::from(tenant);
    let tenants = builder.keyed(key).max_keys(100).build().unwrap();
    for nth in 0..100_000 {
        call(&tenants, &nth.to_string()).await.unwrap();
        assert!(tenants.handle().len() <= 100);
        assert!(tenants.handle().key(&nth.to_string()).is_some());
    }
    assert_eq!((tenants.handle().len(), tenants.handle().keys().len()), (100, 100));
    assert_eq!(overflows(&heard), 0, "keys at rest make room");
}

// pitfall B24: a key with calls in flight must not come back with a fresh limit
#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_never_forgotten_and_those_without_a_place_share_one() {
    for most in [1, 2, 5, 40] {
        let (builder, heard) = listening(BulkheadLayer::builder("tenants").limit(1).queue(1));
        let key: Key = |tenant| Cow::from(tenant);
        let tenants = builder.keyed(key).max_keys(most).build().unwrap();
        let mut held: Vec<_> =
            (0..most).map(|nth| begin(&tenants, &nth.to_string()).unwrap()).collect();
        for nth in 0..200 {
            call(&tenants, &format!("other {nth}")).await.unwrap();
        }
        assert_eq!((tenants.handle().len(), overflows(&heard)), (most, 200));
        // None of them has a place, so together they have one limit.
        let shared = begin(&tenants, "x").unwrap();
        let waits = begin(&tenants, "y").unwrap();
        assert_eq!(begin(&tenants, "z").err(), Some(Some(Reason::Full)));
        assert_eq!(heard.lock().unwrap().last().unwrap().0, "(overflow)");
        drop((shared, waits));
        // One that only waits is in use too.
        let waits = begin(&tenants, "0").unwrap();
        drop(held.remove(0));
        call(&tenants, "new").await.unwrap();
        assert!(tenants.handle().key("0").is_some() && tenants.handle().key("new").is_none());
        drop(waits);
        // Each newcomer looks at a few keys only, the next one at others.
        for _ in 0..100 {
            call(&tenants, "new").await.unwrap();
        }
        assert!(tenants.handle().key("0").is_none() && tenants.handle().key("new").is_some());
        drop(held);
        assert_eq!(tenants.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_in_somebodys_hands_or_whose_answer_is_still_read_is_not_forgotten() {
    let tenants = tenants(1, 0).max_keys(1).build().unwrap();
    call(&tenants, "held").await.unwrap();
    let held = tenants.handle().key("held").unwrap();
    call(&tenants, "other").await.unwrap();
    assert!(tenants.handle().key("held").is_some());
    drop(held);
    call(&tenants, "other").await.unwrap();
    assert_eq!(tenants.handle().keys(), ["other".into()]);

    let read = AtTheEnd;
    let streams = BulkheadLayer::builder("x").limit(1).completion(read);
    let streams = streams.keyed(|_: &String| Cow::from("")).max_keys(1).build().unwrap();
    let answer = streams.run("a", || async { Ok::<(), Fail>(()) }).await.unwrap();
    assert_eq!(streams.handle().key("a").unwrap().in_flight(), 1);
    let rejected = streams.run("a", || async { Ok::<(), Fail>(()) }).await;
    assert_eq!(reason(&rejected.map(drop)), Some(Reason::Full));
    streams.run("b", || async { Ok::<(), Fail>(()) }).await.map(drop).unwrap();
    assert_eq!(streams.handle().keys(), ["a".into()]);
    drop(answer);
    assert_eq!(streams.handle().key("a").unwrap().in_flight(), 0);
}

/// The call is over when its answer is dropped.
#[derive(Clone)]
struct AtTheEnd;

impl seawall::Completion<()> for AtTheEnd {
    type Response = seawall::CallGuard;

    fn wrap(&self, (): (), settle: seawall::CallGuard) -> seawall::CallGuard {
        settle
    }
}

#[tokio::test(start_paused = true)]
async fn around_a_service_the_key_and_the_deadline_are_the_requests() {
    let layer =
        BulkheadLayer::builder("x").limit(1).queue(5).max_wait(ms(500)).propagate(FromWithContext);
    let layer =
        layer.keyed(|it: &WithContext<&'static str>| Cow::from(it.request)).build().unwrap();
    let service = layer.layer(service_fn(|_| pending::<Result<(), Fail>>()));
    let call = |tenant, left| {
        let request = WithContext::new(tenant, Deadline::after(ms(left)));
        Box::pin(service.clone().call(request))
    };
    let (mut inside, mut hasty, mut other) = (call("a", 1_000), call("a", 50), call("b", 50));
    for one in [&mut inside, &mut hasty, &mut other] {
        assert!(poll_once(one).is_pending());
    }
    assert_eq!(layer.handle().key("a").unwrap().queued(), 1);
    advance(ms(50)).await;
    assert_eq!(reason(&in_time(hasty).await), Some(Reason::DeadlineExceeded));
    assert!(poll_once(&mut other).is_pending(), "it waits for nobody");
    assert!(format!("{service:?} {layer:?}").contains("keys: 2"));
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
    let of = |key: &str| handle.key(key).unwrap().config();
    assert_eq!((of("a").limit, of("a").queue), (3, 4));
    assert_eq!((of("b"), handle.keyed_config().of("not yet seen")), (handle.config(), of("b")));

    // A reload of all leaves a key its own and gives it the rest; one of a key is of nobody else's.
    handle.reload(Config { limit: 7, queue: 7, ..handle.config() }).unwrap();
    assert_eq!((of("a").limit, of("a").queue), (3, 7));
    assert_eq!((of("b").limit, of("b").queue, handle.config().limit), (7, 7, 7));
    let b = handle.key("b").unwrap();
    b.reload(Config { limit: 8, ..b.config() }).unwrap();
    assert_eq!((of("a").limit, of("b").limit, handle.config().limit), (3, 8, 7));
    handle.reload(Config { queue: 6, ..handle.config() }).unwrap();
    assert_eq!((of("a").queue, of("b").queue), (6, 7));

    // One that was forgotten comes back with its own; a new one has what is in force.
    let mut config = handle.keyed_config();
    (config.max_keys, config.default.limit) = (1, 9);
    config.overrides = BTreeMap::from([("b".to_owned(), own)]);
    handle.reload_keyed(config.clone()).unwrap();
    assert_eq!((of("a").limit, of("b").limit, handle.keyed_config()), (9, 3, config));
    for tenant in ["c", "d", "e", "b"] {
        call(&tenants, tenant).await.unwrap();
    }
    assert_eq!((handle.keys(), of("b").limit), (vec!["b".into()], 3));
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_lets_those_in_who_wait_in_every_key_and_in_none() {
    let tenants = tenants(1, 5).max_keys(2).build().unwrap();
    let mut calls = Vec::new();
    for tenant in ["a", "b", "overflows"] {
        calls.extend((0..2).map(|_| begin(&tenants, tenant).unwrap()));
    }
    let waiting = |calls: &mut Vec<Calling>| {
        assert!(calls.iter_mut().all(|call| poll_once(call).is_pending()));
        let queued = |key| tenants.handle().key(key).unwrap().queued();
        queued("a") + queued("b")
    };
    assert_eq!(waiting(&mut calls), 2);
    tenants.handle().reload(Config { limit: 2, ..tenants.handle().config() }).unwrap();
    assert_eq!(waiting(&mut calls), 0);
    // The two that share one have their two places, and are not waiting: both leave at once.
    let handle = tenants.handle().key("a").unwrap();
    assert_eq!((handle.in_flight(), handle.available()), (2, 0));
    let third = begin(&tenants, "overflows").unwrap();
    drop(calls);
    let mut third = third;
    assert!(poll_once(&mut third).is_pending());
    assert_eq!(tenants.in_flight(), 1);
    drop((third, handle));
    assert_eq!(tenants.in_flight(), 0);
}

#[test]
fn what_is_wrong_is_said_all_at_once_and_changes_nothing() {
    let zero = Overrides { limit: Some(0), ..Overrides::default() };
    let hasty = Overrides { max_wait: Some(ms(0)), ..Overrides::default() };
    let wrong = tenants(1, 1).max_keys(0).overrides([("a", zero.clone()), ("b", hasty)]).build();
    let told = wrong.as_ref().map(drop).unwrap_err();
    let paths: Vec<_> = told.iter().map(seawall::ConfigError::path).collect();
    assert_eq!(paths, ["max_keys", "overrides[\"a\"].limit", "overrides[\"b\"].max_wait"]);
    assert!(told.to_string().starts_with("invalid configuration of bulkhead `tenants`: max_keys"));
    assert_eq!(fields(tenants(0, 0).overrides([("a", Overrides::default())]).build()), ["limit"]);

    let tenants = tenants(1, 0).build().unwrap();
    let before = tenants.handle().keyed_config();
    assert_eq!(before.max_keys, 10_000);
    let default = Config { queue: 1_000_001, ..Config::default() };
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
    let all = serde_json::to_value(Config::default()).unwrap();
    let own: Overrides = serde_json::from_value(all.clone()).unwrap();
    assert_eq!(serde_json::to_value(&own).unwrap(), all, "none is missing");
    assert_eq!(
        Config { limit: 1, queue: 9, ..Config::default() }.overridden(&own),
        Config::default()
    );

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
async fn a_drain_sends_those_away_that_wait_and_returns_when_those_inside_are_over() {
    let tenants = tenants(1, 5).max_keys(1).build().unwrap();
    let soon = |tenant: &'static str| {
        let call = tenants.run(tenant, || async {
            sleep(ms(10)).await;
            Ok::<(), Fail>(())
        });
        tokio::spawn(call)
    };
    let under_way = [soon("a"), soon("overflows")];
    let waiting = [soon("a"), soon("overflows")];
    settle().await;
    let draining = tenants.clone();
    let drained = tokio::spawn(async move { draining.drain().await });
    settle().await;
    for call in waiting {
        assert!(call.is_finished(), "it waits on");
        assert_eq!(reason(&call.await.unwrap()), Some(Reason::Draining));
    }
    assert!(!drained.is_finished());
    assert_eq!(reason(&call(&tenants, "b").await), Some(Reason::Draining));
    for call in under_way {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    in_time(drained).await.unwrap();
    assert_eq!(tenants.in_flight(), 0);
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_drain_to_completion_serves_those_that_wait_until_a_drain_ends_that() {
    let tenants = tenants(1, 5).build().unwrap();
    let soon = || {
        let call = tenants.run("a", || async {
            sleep(ms(10)).await;
            Ok::<(), Fail>(())
        });
        tokio::spawn(call)
    };
    let calls = [soon(), soon(), soon()];
    settle().await;
    let draining = tenants.clone();
    let drained = tokio::spawn(async move { draining.drain_to_completion().await });
    sleep(ms(15)).await;
    assert_eq!(calls.each_ref().map(tokio::task::JoinHandle::is_finished), [true, false, false]);
    in_time(tenants.drain()).await;
    let [_, second, third] = calls;
    assert_eq!(second.await.unwrap(), Ok(()));
    assert_eq!(reason(&third.await.unwrap()), Some(Reason::Draining));
    in_time(drained).await.unwrap();
}
