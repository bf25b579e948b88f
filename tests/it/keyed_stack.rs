//! The stack around a client with a circuit breaker and a bulkhead for each key: one shell for all of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use seawall::circuit_breaker::{self, State, Trip};
use seawall::propagate::NoPropagation;
use seawall::retry::{self, Backoff, Cloned};
use seawall::stack::{self, ClientBuilder, KeyOverrides, KeyedClientLayer};
use seawall::{CallGuard, Classifier, Completion, OnResponse, Reason, bulkhead};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scene::{Fail, broken, in_time, ms, poll_once, reason, settle};

type Key = for<'a> fn(&'a &'static str) -> Cow<'a, str>;
type Shards<H = OnResponse> =
    KeyedClientLayer<Key, Classifier, Cloned, NoPropagation, OnResponse, H>;
type Call<T = ()> = Pin<Box<dyn Future<Output = Result<T, Fail>> + Send>>;

/// Each key has one place and opens at its first failure, for ten minutes.
fn narrow() -> ClientBuilder {
    let break_duration = Duration::from_secs(600);
    stack::client("shards")
        .deadline(Duration::MAX)
        .attempt_timeout(Duration::MAX)
        .retry(retry::Config { attempts: 1, ..retry::Config::default() })
        .bulkhead(bulkhead::Config { limit: 1, queue: 0, ..bulkhead::Config::default() })
        .breaker(circuit_breaker::Config {
            trip: Trip::consecutive(1),
            break_duration,
            max_break_duration: break_duration,
            ..circuit_breaker::Config::default()
        })
}

/// One may wait, for as long as it takes.
fn queueing() -> bulkhead::Config {
    bulkhead::Config { limit: 1, queue: 1, max_wait: Duration::MAX, ..bulkhead::Config::default() }
}

fn shards(client: ClientBuilder) -> Shards {
    client.keyed((|key| Cow::from(*key)) as Key).cloned().build().unwrap()
}

/// A call that is in flight until it is dropped; or is rejected.
fn begin(shards: &Shards, key: &str) -> Result<Call, Option<Reason>> {
    let mut call: Call = Box::pin(shards.run(key, pending::<Result<(), Fail>>));
    match poll_once(&mut call) {
        Poll::Pending => Ok(call),
        Poll::Ready(ended) => Err(reason(&ended)),
    }
}

async fn call(shards: &Shards, key: &str) -> Result<(), Fail> {
    shards.run(key, || async { Ok(()) }).await
}

fn state(shards: &Shards, key: &str) -> Option<State> {
    shards.handle().breakers().key(key).map(|breaker| breaker.state())
}

// field S3: a key that is full takes nothing of another, and a rejection says nothing of its dependency
#[tokio::test(start_paused = true)]
async fn a_key_that_is_full_or_open_leaves_the_others_alone() {
    let shards = shards(narrow());
    let inside = begin(&shards, "a").unwrap();
    for _ in 0..100 {
        assert_eq!(begin(&shards, "a").err(), Some(Some(Reason::Full)));
        call(&shards, "b").await.unwrap();
    }
    assert_eq!(
        (state(&shards, "a"), state(&shards, "b")),
        (Some(State::Closed), Some(State::Closed))
    );
    let taken = |key| shards.handle().bulkheads().key(key).unwrap().in_flight();
    assert_eq!((taken("a"), taken("b"), shards.in_flight()), (1, 0, 1));
    drop(inside);
    assert_eq!((taken("a"), shards.in_flight()), (0, 0));

    let fails = || async { Err::<(), _>(Fail::Inner(broken("down"))) };
    shards.run("a", fails).await.unwrap_err();
    assert_eq!(
        (state(&shards, "a"), state(&shards, "b")),
        (Some(State::Open), Some(State::Closed))
    );
    assert_eq!(reason(&call(&shards, "a").await), Some(Reason::CircuitOpen));
    call(&shards, "b").await.unwrap();
}

/// The same of requests, which say their key themselves; each attempt asks anew.
#[tokio::test(start_paused = true)]
async fn requests_find_the_policies_of_their_keys() {
    let twice = retry::Config { attempts: 2, backoff: Backoff::none(), ..retry::Config::default() };
    let layer = shards(narrow().retry(twice));
    let mut service = layer.layer(service_fn(|key: &'static str| async move {
        match key {
            "hangs" => pending().await,
            "fails" => Err(Fail::Inner(broken("down"))),
            key => Ok(key),
        }
    }));
    let mut hangs = Box::pin(service.ready().await.unwrap().call("hangs"));
    assert!(poll_once(&mut hangs).is_pending());
    let ask = |key| service.clone().oneshot(key);
    assert_eq!(reason(&ask("hangs").await), Some(Reason::Full));
    // The first attempt opens the circuit, which rejects the second.
    assert!(ask("fails").await.is_err());
    assert_eq!(state(&layer, "fails"), Some(State::Open));
    assert_eq!(reason(&ask("fails").await), Some(Reason::CircuitOpen));
    assert_eq!(ask("well").await, Ok("well"));
    let mut keys = layer.handle().breakers().keys();
    keys.sort();
    assert_eq!(keys, ["fails".into(), "hangs".into(), "well".into()]);
}

/// A call in the name of a key waits in the queue of that key, and comes in from there.
#[tokio::test(start_paused = true)]
async fn a_call_waits_in_the_queue_of_its_key() {
    let shards = shards(narrow().bulkhead(queueing()));
    let inside = begin(&shards, "a").unwrap();
    let mut waits: Call = Box::pin(shards.run("a", || async { Ok(()) }));
    assert!(poll_once(&mut waits).is_pending());
    call(&shards, "b").await.unwrap();
    assert_eq!(shards.handle().bulkheads().key("a").unwrap().queued(), 1);
    drop(inside);
    assert_eq!(poll_once(&mut waits), Poll::Ready(Ok(())));
    assert_eq!((shards.in_flight(), state(&shards, "a")), (0, Some(State::Closed)));
}

// pitfall B26: settings of one key, while its calls are in flight
#[tokio::test(start_paused = true)]
async fn a_reload_of_one_key_lets_those_of_that_key_in() {
    let shards = shards(narrow().bulkhead(queueing()));
    let (hosts, mut calls) = (shards.handle(), Vec::new());
    for key in ["a", "a", "b", "b"] {
        calls.push(begin(&shards, key).unwrap());
    }
    let queued = |key| hosts.bulkheads().key(key).unwrap().queued();
    assert_eq!((queued("a"), queued("b")), (1, 1));
    let mut config = hosts.config();
    let two = bulkhead::Overrides { limit: Some(2), ..bulkhead::Overrides::default() };
    let own = KeyOverrides { bulkhead: two, ..KeyOverrides::default() };
    config.overrides = BTreeMap::from([("a".to_owned(), own)]);
    hosts.reload(config.clone()).unwrap();
    assert_eq!((queued("a"), queued("b"), hosts.config()), (0, 1, config));
    assert!(calls.iter_mut().all(|call| poll_once(call).is_pending()));
    assert_eq!(hosts.config().of("a").bulkhead.limit, 2);
    assert_eq!(hosts.config().of("b"), hosts.config().default);

    // Its own handle turns it alone, too, and the stack tells of it.
    let b = hosts.bulkheads().key("b").unwrap();
    b.reload(bulkhead::Config { limit: 2, ..b.config() }).unwrap();
    assert_eq!((queued("b"), hosts.config().of("b").bulkhead.limit), (0, 2));
    drop(calls);
    assert_eq!(shards.in_flight(), 0);
}

// pitfall B24: keys in use keep their place, and those without one are not unprotected
#[tokio::test(start_paused = true)]
async fn keys_without_a_place_share_one_breaker_and_one_bulkhead() {
    let key: Key = |key| Cow::from(*key);
    let shards = narrow().keyed(key).max_keys(2).cloned().build().unwrap();
    let held = [begin(&shards, "a").unwrap(), begin(&shards, "b").unwrap()];
    let shared = begin(&shards, "c").unwrap();
    assert_eq!(begin(&shards, "d").err(), Some(Some(Reason::Full)), "they have one place");
    let hosts = shards.handle();
    assert_eq!((hosts.breakers().len(), hosts.bulkheads().len()), (2, 2));
    drop((held, shared));
    for nth in 0..1_000 {
        call(&shards, &nth.to_string()).await.unwrap();
        assert!(hosts.breakers().len() <= 2 && hosts.bulkheads().len() <= 2);
    }
    assert_eq!(shards.in_flight(), 0);
}

/// A probe that its bulkhead rejects gives its slot back: the dependency was not asked.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_rejected_further_in_costs_no_slot() {
    let shards = shards(narrow());
    let inside = begin(&shards, "a").unwrap(); // before it opens
    let breaker = shards.handle().breakers().key("a").unwrap();
    let config = circuit_breaker::Config {
        break_duration: ms(100),
        max_break_duration: ms(100),
        ..breaker.config()
    };
    breaker.reload(config).unwrap();
    let fails = || async { Err::<(), _>(Fail::Inner(broken("down"))) };
    let places = shards.handle().bulkheads().key("a").unwrap();
    places.reload(bulkhead::Config { limit: 2, ..places.config() }).unwrap();
    shards.run("a", fails).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
    places.reload(bulkhead::Config { limit: 1, ..places.config() }).unwrap();
    advance(ms(200)).await;
    for _ in 0..10 {
        assert_eq!(begin(&shards, "a").err(), Some(Some(Reason::Full)));
        assert_eq!(breaker.state(), State::HalfOpen);
    }
    drop(inside);
    call(&shards, "a").await.unwrap();
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_waits_of_all_keys_and_waits_for_the_attempts_in_flight() {
    let slow = retry::Config {
        attempts: 3,
        backoff: Backoff::fixed(Duration::from_secs(60)),
        max_elapsed: Duration::MAX,
        ..retry::Config::default()
    };
    let breaker = circuit_breaker::Config::default();
    let shards = shards(narrow().retry(slow).breaker(breaker).bulkhead(queueing()));
    let soon = |key: &'static str| {
        tokio::spawn(shards.run(key, || async {
            sleep(ms(10)).await;
            Ok::<(), Fail>(())
        }))
    };
    let in_flight = [soon("a"), soon("b")];
    settle().await;
    let backing_off =
        tokio::spawn(shards.run("c", || async { Err::<(), _>(Fail::Inner(broken("down"))) }));
    let waiting = [soon("a"), soon("b"), backing_off];
    settle().await;
    let draining = shards.clone();
    let drained = tokio::spawn(async move { draining.drain().await });
    settle().await;
    for call in waiting {
        assert!(call.is_finished(), "it waits on");
        assert_eq!(reason(&call.await.unwrap()), Some(Reason::Draining));
    }
    assert!(!drained.is_finished());
    for key in ["a", "new"] {
        assert_eq!(reason(&call(&shards, key).await), Some(Reason::Draining));
    }
    for call in in_flight {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    in_time(drained).await.unwrap();
    assert_eq!(shards.in_flight(), 0);
}

/// The call is over when its answer is dropped.
#[derive(Clone)]
struct AtTheEnd;

impl Completion<()> for AtTheEnd {
    type Response = CallGuard;

    fn wrap(&self, (): (), call: CallGuard) -> CallGuard {
        call
    }
}

/// An answer that is still read holds the place of its key, and a drain waits for it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_holds_the_place_of_its_key() {
    let key: Key = |key| Cow::from(*key);
    let builder = narrow().permit_completion(AtTheEnd).keyed(key).max_keys(1).cloned();
    let shards: Shards<AtTheEnd> = builder.build().unwrap();
    let run = |key| shards.run(key, || async { Ok::<(), Fail>(()) });
    let answer = run("a").await.unwrap();
    assert_eq!(reason(&run("a").await.map(drop)), Some(Reason::Full));
    run("b").await.map(drop).unwrap(); // without a place in the table: it shares one
    let places = shards.handle().bulkheads().key("a").expect("it is in use");
    assert_eq!((places.in_flight(), shards.in_flight()), (1, 1));
    let mut drained: Pin<Box<dyn Future<Output = ()>>> = Box::pin(shards.drain());
    assert!(poll_once(&mut drained).is_pending());
    drop(answer);
    in_time(drained).await;
    assert_eq!((places.in_flight(), shards.in_flight()), (0, 0));
}
