//! Sharding: calls go to the owner of their key, also while that changes.

mod affine;
mod hints;
mod kinds;
mod maps;
mod owns;
mod redirects;
#[cfg(feature = "http")]
mod sources;
mod starts;
mod wire;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
use seawall::shards::{AdoptError, Key, Map, Member, Shards};
use seawall::testing::{Broken, Contract, MockService, Scenario};
use seawall::{CallError, Epoch, Error, Event, EventKind, Reason};
use tokio::sync::Semaphore;
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

type Fail = Error<std::io::Error>;
type Boxed = BoxCloneSyncService<String, String, Fail>;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("shard-{nth}")).collect()
}

fn hashed(epoch: u64, count: usize) -> Map {
    Map::hashed(epoch, names(count)).unwrap()
}

/// Says its name.
fn says(name: &str) -> Boxed {
    let name = name.to_owned();
    Boxed::new(service_fn(move |_: String| {
        let name = name.clone();
        async move { Ok(name) }
    }))
}

fn key(request: &String) -> Key<'_> {
    Key::from(request)
}

type Router = Shards<Boxed, fn(&String) -> Key<'_>>;

fn router(map: Map, make: impl Fn(&str) -> Boxed + Send + Sync + 'static) -> Router {
    let key: fn(&String) -> Key<'_> = key;
    Shards::builder("orders").key(key).map(map).over(move |one| Ok(make(one.name()))).unwrap()
}

/// A key that this member has.
fn key_of(map: &Map, owner: &str) -> String {
    let mut keys = (0..).map(|nth| format!("key-{nth}"));
    keys.find(|key| map.owner(key).name() == owner).unwrap()
}

/// The paused clock.
#[allow(clippy::disallowed_methods)] // a test may read it
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn each_call_goes_to_the_owner_of_its_key() {
    let map = Map::directory(1, names(5), [("vip", "shard-4")]).unwrap();
    let mut orders = router(map.clone(), says);
    for nth in 0..200 {
        let key = format!("key-{nth}");
        let owner = map.owner(&key).name().to_owned();
        assert_eq!(orders.ready().await.unwrap().call(key).await.unwrap(), owner);
    }
    assert_eq!(orders.oneshot("vip".into()).await.unwrap(), "shard-4");
}

/// A service that is never ready, of one member.
fn stuck() -> Boxed {
    #[derive(Clone)]
    struct Stuck;
    impl Service<String> for Stuck {
        type Response = String;
        type Error = Fail;
        type Future = std::future::Pending<Result<String, Fail>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
            Poll::Pending
        }

        fn call(&mut self, _: String) -> Self::Future {
            panic!("called though it is never ready")
        }
    }
    Boxed::new(Stuck)
}

// pitfall B52
#[tokio::test]
async fn a_shard_that_is_never_ready_holds_up_its_own_calls_alone() {
    let map = hashed(1, 3);
    let mut orders =
        router(map.clone(), |name| if name == "shard-1" { stuck() } else { says(name) });
    let mut held = Box::pin(orders.call(key_of(&map, "shard-1")));
    assert!(poll_once(&mut held).is_pending());
    for owner in ["shard-0", "shard-2"] {
        assert_eq!(orders.ready().await.unwrap().call(key_of(&map, owner)).await.unwrap(), owner);
    }
    // Another map sends it to somebody else; what it waited for has no say in that.
    let left = ["shard-0", "shard-2"];
    let later = Map::hashed(2, left).unwrap();
    orders.handle().adopt(later).unwrap();
    assert!(left.contains(&&*held.await.unwrap()));
}

#[tokio::test]
async fn a_drain_rejects_at_once_though_an_earlier_epoch_is_busy() {
    let mut orders = router(hashed(1, 2), |_| Boxed::new(service_fn(|_: String| pending())));
    let handle = orders.handle();
    let mut old = Box::pin(orders.call("x".into()));
    assert!(poll_once(&mut old).is_pending());
    handle.adopt(hashed(2, 2)).unwrap();
    let mut new = Box::pin(orders.call("x".into())); // so that this clone knows the map in force
    assert!(poll_once(&mut new).is_pending());
    assert!(poll_once(&mut Box::pin(handle.drain())).is_pending()); // and given up
    let told = poll_once(&mut Box::pin(orders.call("y".into())));
    let Poll::Ready(Err(error)) = told else { panic!("{told:?}") };
    assert_eq!(error.rejected().map(seawall::Rejected::reason), Some(Reason::Draining));
}

#[tokio::test]
async fn a_call_that_waits_is_woken_by_a_new_map() {
    let map = hashed(1, 2);
    let mut orders =
        router(map.clone(), |name| if name == "shard-1" { stuck() } else { says(name) });
    let (handle, waits) = (orders.handle(), orders.call(key_of(&map, "shard-1")));
    let waits = tokio::spawn(waits);
    tokio::task::yield_now().await;
    handle.adopt(Map::hashed(2, ["shard-0"]).unwrap()).unwrap();
    assert_eq!(waits.await.unwrap().unwrap(), "shard-0");
}

// pitfall B53
#[tokio::test]
async fn idle_clones_and_unpolled_calls_pin_no_map() {
    let alive: Arc<Mutex<BTreeMap<String, Weak<()>>>> = Arc::default();
    let noted = Arc::clone(&alive);
    let orders = router(hashed(1, 3), move |name| {
        let life = Arc::new(());
        noted.lock().unwrap().insert(name.to_owned(), Arc::downgrade(&life));
        let name = name.to_owned();
        Boxed::new(service_fn(move |_: String| {
            let (name, _life) = (name.clone(), Arc::clone(&life));
            async move { Ok(name) }
        }))
    });
    let (idle, handle) = (orders.clone(), orders.handle());
    handle.adopt(Map::hashed(2, ["shard-0", "shard-1"]).unwrap()).unwrap();
    handle.settled(Epoch::new(1)).await;
    let left = |name: &str| alive.lock().unwrap()[name].upgrade().is_some();
    assert!(left("shard-0") && left("shard-1"));
    assert!(!left("shard-2"), "an idle clone keeps the service of a member that is gone");
    assert_eq!(handle.in_flight(), 0);
    drop((idle, orders));
}

#[tokio::test(start_paused = true)]
async fn an_epoch_is_settled_when_its_last_call_is_over_and_not_before() {
    let (map, door) = (hashed(1, 2), Arc::new(Semaphore::new(0)));
    let opens = Arc::clone(&door);
    let mut orders = router(map.clone(), move |name| {
        let (name, door) = (name.to_owned(), Arc::clone(&opens));
        Boxed::new(service_fn(move |_: String| {
            let (name, door) = (name.clone(), Arc::clone(&door));
            async move {
                door.acquire().await.unwrap().forget();
                Ok(name)
            }
        }))
    });
    let handle = orders.handle();
    let asked = key_of(&map, "shard-1");
    let (mut answered, dropped) =
        (Box::pin(orders.call(asked.clone())), orders.call(asked.clone()));
    assert!(poll_once(&mut answered).is_pending());
    let mut settled = Box::pin(handle.settled(Epoch::new(1)));
    assert!(poll_once(&mut settled).is_pending(), "its map is still in force");
    handle.adopt(hashed(2, 3)).unwrap();
    assert_eq!(handle.in_flight(), 2);
    assert!(poll_once(&mut settled).is_pending());
    door.add_permits(1);
    assert_eq!(answered.await.unwrap(), "shard-1", "it ends where it is");
    assert!(poll_once(&mut settled).is_pending(), "the other one may have been sent");
    drop(dropped);
    settled.await;
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_member_knows_stays_with_it_from_map_to_map() {
    let map = hashed(1, 2);
    let key: fn(&String) -> Key<'_> = key;
    let orders = Shards::builder("orders").key(key).map(map.clone()).over(|one| {
        let breaker =
            CircuitBreakerLayer::builder(one.name()).trip(Trip::consecutive(1)).build()?;
        let down = service_fn(|_: String| async {
            Err::<String, Fail>(Error::Inner(std::io::Error::other("down")))
        });
        Ok(breaker.layer(down))
    });
    let mut orders = orders.unwrap();
    let (first, handle) = (key_of(&map, "shard-1"), orders.handle());
    assert!(matches!(orders.call(first.clone()).await, Err(Error::Inner(_))));
    handle.adopt(hashed(2, 2)).unwrap();
    let error = orders.call(first).await.unwrap_err();
    assert_eq!(error.rejected().map(seawall::Rejected::reason), Some(Reason::CircuitOpen));
}

#[tokio::test]
async fn a_map_that_cannot_be_meant_is_rejected_and_the_old_one_stays() {
    let heard: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let log = Arc::clone(&heard);
    let key: fn(&String) -> Key<'_> = key;
    let orders = Shards::builder("orders")
        .key(key)
        .map(hashed(5, 4))
        .observe(move |event: &Event| log.lock().unwrap().push(event.kind))
        .over(|one| match one.name() {
            "bad" => Err("no address".into()),
            name => Ok(says(name)),
        })
        .unwrap();
    let handle = orders.handle();
    for offered in [4, 5] {
        let wrong = handle.adopt(hashed(offered, 4)).unwrap_err();
        assert!(matches!(wrong, AdoptError::Stale { .. }), "{wrong}");
    }
    let wrong = handle.adopt(hashed(6, 1)).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "a map of 1 members has 1 of the 4 there are, less than half: `adopt_anyway` if that is meant"
    );
    let wrong = handle.adopt(Map::hashed(6, ["shard-0", "shard-1", "bad"]).unwrap()).unwrap_err();
    assert_eq!(wrong.to_string(), r#"the service of member "bad" could not be made: no address"#);
    assert_eq!((handle.epoch(), handle.map().members().len()), (Epoch::new(5), 4));
    assert!(heard.lock().unwrap().is_empty());
    handle.adopt(hashed(6, 2)).unwrap(); // a half is left
    handle.adopt_anyway(Map::hashed(7, ["shard-9"]).unwrap()).unwrap();
    assert_eq!(orders.oneshot("x".into()).await.unwrap(), "shard-9");
    let adopted = |from, to| EventKind::MapAdopted { from: Epoch::new(from), to: Epoch::new(to) };
    assert_eq!(*heard.lock().unwrap(), [adopted(5, 6), adopted(6, 7)]);
}

#[tokio::test]
async fn a_member_that_panics_when_it_is_called_holds_up_no_epoch() {
    let mut orders = router(hashed(1, 2), |_| {
        Boxed::new(service_fn(|_: String| -> std::future::Ready<Result<String, Fail>> {
            panic!("scripted: call")
        }))
    });
    let handle = orders.handle();
    let call = std::panic::AssertUnwindSafe(|| drop(orders.call("x".into())));
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!(handle.in_flight(), 0);
    handle.adopt(hashed(2, 2)).unwrap();
    assert!(poll_once(&mut Box::pin(handle.settled(Epoch::new(1)))).is_ready());
}

#[tokio::test]
async fn drained_it_rejects_all_and_returns_when_the_last_call_is_over() {
    let mut orders = router(hashed(1, 2), |_| Boxed::new(service_fn(|_: String| pending())));
    let handle = orders.handle();
    let mut call = Box::pin(orders.call("x".into()));
    assert!(poll_once(&mut call).is_pending());
    let mut drained = Box::pin(handle.drain());
    assert!(poll_once(&mut drained).is_pending());
    let error = orders.call("y".into()).await.unwrap_err();
    assert_eq!(error.rejected().map(seawall::Rejected::reason), Some(Reason::Draining));
    handle.adopt(hashed(2, 2)).unwrap(); // a later map lets nobody in either
    let error = orders.call("y".into()).await.unwrap_err();
    assert_eq!(error.rejected().map(seawall::Rejected::reason), Some(Reason::Draining));
    drop(call);
    drained.await;
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract_of_a_service() {
    let layer = || {
        layer_fn(|member: MockService<u32, u32, Error<Broken>>| {
            let key: for<'r> fn(&'r u32) -> Key<'r> = |request| Key::from(*request);
            let member = Mutex::new(member);
            let map = hashed(1, 3);
            let make = move |_: &Member| Ok(member.lock().unwrap().clone());
            Shards::builder("contract").key(key).map(map).over(make).unwrap()
        })
    };
    let contract = Contract::new(Scenario::echo(|| Error::Inner(Broken)), layer);
    contract.check().await.unwrap();
}

/// Maps change under traffic: every call is answered, by the owner that its key had in some epoch between
/// its beginning and its end.
#[test]
fn maps_change_under_traffic_and_no_call_is_lost() {
    const MAPS: u64 = 60;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(async {
        let size = |epoch: u64| 3 + usize::try_from(epoch % 3).unwrap();
        let orders = router(hashed(1, size(1)), |name| {
            let name = name.to_owned();
            let slowly = service_fn(move |_: String| {
                let name = name.clone();
                async move {
                    tokio::task::yield_now().await;
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    Ok(name)
                }
            });
            // One at a time: the others wait until it is ready.
            Boxed::new(tower::limit::ConcurrencyLimit::new(slowly, 1))
        });
        let (handle, answered) = (orders.handle(), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..4)
            .map(|who| {
                let (mut orders, handle, answered) =
                    (orders.clone(), handle.clone(), Arc::clone(&answered));
                tokio::spawn(async move {
                    let mut nth = 0_u64;
                    while handle.epoch().get() < MAPS {
                        let key = format!("{who}-{nth}");
                        let first = handle.epoch().get();
                        let owner = orders.ready().await.unwrap().call(key.clone()).await.unwrap();
                        let last = handle.epoch().get();
                        let right = (first..=last)
                            .any(|at| hashed(at, size(at)).owner(&key).name() == owner);
                        assert!(right, "{key} was answered by {owner} between {first} and {last}");
                        answered.fetch_add(1, Ordering::Relaxed);
                        nth += 1;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for epoch in 2..=MAPS {
            handle.adopt(hashed(epoch, size(epoch))).unwrap();
            handle.settled(Epoch::new(epoch - 1)).await;
            tokio::task::yield_now().await;
        }
        for caller in callers {
            caller.await.unwrap();
        }
        assert!(answered.load(Ordering::Relaxed) > 0);
        assert_eq!(handle.in_flight(), 0);
    });
}
