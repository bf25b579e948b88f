//! Affine routers: the owner of a key, or the next that is up and has room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use seawall::shards::{Affine, Key, Map, Member, Region, Shards};
use seawall::testing::{Broken, Contract, MockService, Scenario};
use seawall::{Epoch, Error, Event, EventKind};
use tokio::sync::Semaphore;
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::{Fail, hashed, key, names, poll_once, stuck};

type Boxed = BoxCloneSyncService<String, String, Fail>;
type Caches = Affine<Boxed, fn(&String) -> Key<'_>, Box<dyn Fn(&str) -> bool + Send + Sync>>;

/// Who is down, and what was told of calls that others than the owner had.
#[derive(Clone, Default)]
struct World {
    down: Arc<Mutex<Vec<String>>>,
    told: Arc<Mutex<Vec<&'static str>>>,
}

impl World {
    fn fails(&self, names: &[&str]) {
        *self.down.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    }

    fn told(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    fn over(&self, map: Map, make: impl Fn(&str) -> Boxed + Send + Sync + 'static) -> Caches {
        let (down, log) = (Arc::clone(&self.down), Arc::clone(&self.told));
        let key: fn(&String) -> Key<'_> = key;
        let up = move |name: &str| !down.lock().unwrap().iter().any(|one| one == name);
        let up: Box<dyn Fn(&str) -> bool + Send + Sync> = Box::new(up);
        Shards::builder("pages")
            .key(key)
            .map(map)
            .observe(move |event: &Event| {
                if let EventKind::PassedOver { cause } = event.kind {
                    log.lock().unwrap().push(cause);
                }
            })
            .affine()
            .up(up)
            .over(move |one| Ok(make(one.name())))
            .unwrap()
    }
}

/// Says its name when the door opens.
fn behind(door: &Arc<Semaphore>) -> impl Fn(&str) -> Boxed + Send + Sync + 'static {
    let door = Arc::clone(door);
    move |name| {
        let (name, door) = (name.to_owned(), Arc::clone(&door));
        Boxed::new(service_fn(move |_: String| {
            let (name, door) = (name.clone(), Arc::clone(&door));
            async move {
                drop(door.acquire().await.unwrap());
                Ok(name)
            }
        }))
    }
}

fn order(map: &Map, key: &str) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    while let Some(next) = map.owner_among(key, |one| !order.iter().any(|name| name == one.name()))
    {
        order.push(next.name().to_owned());
    }
    order
}

#[tokio::test]
async fn calls_go_to_the_owner_and_past_members_that_are_down_in_the_order_of_the_key() {
    let (world, map) = (World::default(), hashed(1, 5));
    let mut pages = world.over(map.clone(), super::says);
    let order = order(&map, "page");
    assert_eq!(order.len(), 5);
    let mut ask = async || pages.ready().await.unwrap().call("page".into()).await.unwrap();
    for down in 0..5 {
        let names: Vec<_> = order[..down].iter().map(String::as_str).collect();
        world.fails(&names);
        assert_eq!(ask().await, order[down]);
        assert_eq!(world.told(), vec!["down"; usize::from(down > 0)]);
    }
    // Nobody is up, or so it is said: the owner is asked.
    world.fails(&order.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ask().await, order[0]);
    world.fails(&[]);
    assert_eq!(ask().await, order[0], "and back at once");
}

/// Of 100 calls at a time for one key over ten members nobody has more than 1.25 times a tenth.
#[tokio::test]
async fn a_busy_key_overloads_nobody_and_keeps_its_order() {
    let (world, map) = (World::default(), hashed(1, 10));
    let door = Arc::new(Semaphore::new(0));
    let pages = world.over(map.clone(), behind(&door));
    let handle = pages.handle();
    let mut calls: Vec<_> =
        (0..100).map(|_| Box::pin(pages.clone().oneshot("page".into()))).collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    assert_eq!(handle.in_flight(), 100);
    let told = world.told();
    assert!(told.len() > 80 && told.iter().all(|cause| *cause == "overloaded"), "{told:?}");
    // What is in flight stays known when a map comes.
    handle.adopt(hashed(2, 10)).unwrap();
    let mut more = Box::pin(pages.clone().oneshot("page".into()));
    assert!(poll_once(&mut more).is_pending());
    door.add_permits(1);
    let mut by: BTreeMap<String, usize> = BTreeMap::new();
    for answer in join_all(calls).await {
        *by.entry(answer.unwrap()).or_default() += 1;
    }
    assert!(by.values().all(|count| *count <= 13), "{by:?}");
    let order = order(&map, "page");
    assert!(by[&order[0]] == 13 && by[&order[1]] >= 12, "{by:?}: the first ones are full");
    assert!(by.len() < 10, "{by:?}: nobody is asked before the ones ahead are full");
    more.await.unwrap();
    handle.settled(Epoch::new(1)).await;
    // When all is over the owner has it again; and a call that is dropped is over too.
    world.told();
    for _ in 0..20 {
        assert_eq!(pages.clone().oneshot("page".into()).await.unwrap(), order[0]);
        drop(pages.clone().oneshot("page".into()));
    }
    assert_eq!((world.told().len(), handle.in_flight()), (0, 0));
}

#[tokio::test]
async fn a_dropped_call_is_not_in_flight_any_more() {
    let (world, map) = (World::default(), hashed(1, 2));
    let door = Arc::new(Semaphore::new(0));
    let pages = world.over(map.clone(), behind(&door));
    let owner = map.owner("page").name().to_owned();
    for _ in 0..50 {
        let mut call = Box::pin(pages.clone().oneshot("page".into()));
        assert!(poll_once(&mut call).is_pending());
    }
    assert_eq!(world.told(), Vec::<&str>::new(), "each is alone with the owner");
    door.add_permits(1);
    assert_eq!(pages.oneshot("page".into()).await.unwrap(), owner);
}

// pitfall B52
#[tokio::test]
async fn a_member_that_is_not_ready_is_passed_over() {
    let (world, map) = (World::default(), hashed(1, 3));
    let owner = map.owner("page").name().to_owned();
    let next = order(&map, "page")[1].clone();
    let pages =
        world.over(map, move |name| if name == owner { stuck() } else { super::says(name) });
    assert_eq!(pages.oneshot("page".into()).await.unwrap(), next);
}

// pitfall B58
#[tokio::test]
async fn keys_leave_no_resident_region_whoever_is_down() {
    let members = ["de-0", "de-1", "us-0"].map(|name| Member::new(name).zone(&name[..2]));
    let map = Map::geo(1, members, [Region::otherwise(["de"]).resident()]).unwrap();
    let world = World::default();
    let pages = world.over(map, super::says);
    for down in [&[][..], &["de-0"], &["de-1"], &["de-0", "de-1"]] {
        world.fails(down);
        for nth in 0..50 {
            let by = pages.clone().oneshot(format!("page-{nth}")).await.unwrap();
            assert!(by.starts_with("de"), "{by} though {down:?} are down");
        }
    }
}

#[tokio::test]
async fn of_a_shuffle_shard_the_less_loaded_of_two_takes_a_call() {
    let map = Map::shuffled(1, names(8), 3, *b"sixteen  bytes :").unwrap();
    let all: Vec<_> = map.owners("tenant").iter().map(|one| one.name().to_owned()).collect();
    let (world, door) = (World::default(), Arc::new(Semaphore::new(0)));
    let pages = world.over(map, behind(&door));
    let load = async |down: &[&str]| {
        world.fails(down);
        let mut calls: Vec<_> =
            (0..10).map(|_| Box::pin(pages.clone().oneshot("tenant".into()))).collect();
        for call in &mut calls {
            assert!(poll_once(call).is_pending());
        }
        door.add_permits(1);
        let mut by: BTreeMap<String, usize> = BTreeMap::new();
        for answer in join_all(calls).await {
            *by.entry(answer.unwrap()).or_default() += 1;
        }
        door.forget_permits(1);
        by.into_iter().collect::<BTreeMap<_, _>>()
    };
    let two =
        |one: usize, other: usize| BTreeMap::from([(all[one].clone(), 5), (all[other].clone(), 5)]);
    assert_eq!(load(&[]).await, two(0, 1));
    assert_eq!(world.told(), Vec::<&str>::new(), "either has it");
    assert_eq!(load(&[&all[0]]).await, two(1, 2), "and never one of somebody else's");
    assert_eq!(world.told(), ["down"; 5]);
}

#[tokio::test]
async fn a_member_of_twice_the_weight_takes_twice_as_much() {
    let members = [Member::new("small"), Member::new("large").weight(3)];
    let map = Map::hashed(1, members).unwrap();
    let door = Arc::new(Semaphore::new(0));
    let pages = World::default().over(map, behind(&door));
    let mut calls: Vec<_> =
        (0..100).map(|_| Box::pin(pages.clone().oneshot("page".into()))).collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    door.add_permits(1);
    let large =
        join_all(calls).await.into_iter().filter(|by| by.as_ref().unwrap() == "large").count();
    assert!((68..=94).contains(&large), "{large}");
}

#[test]
fn a_load_factor_out_of_range_is_an_error() {
    for wrong in [1.0, f64::NAN, -1.0, 1e9] {
        let key: fn(&String) -> Key<'_> = key;
        let pages = Shards::builder("pages").key(key).map(hashed(1, 2)).affine().load_factor(wrong);
        let told = pages.over(|one| Ok(super::says(one.name()))).unwrap_err().to_string();
        assert!(told.contains("load_factor") && told.contains("1.01 to 100"), "{told}");
    }
    let key: fn(&String) -> Key<'_> = key;
    let pages = Shards::builder("pages").key(key).map(hashed(1, 2)).affine();
    let told = pages.over(|_| Err::<Boxed, _>("no address".into())).unwrap_err().to_string();
    assert!(told.contains("no address"), "{told}");
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract_of_a_service() {
    let layer = || {
        layer_fn(|member: MockService<u32, u32, Error<Broken>>| {
            let key: for<'r> fn(&'r u32) -> Key<'r> = |request| Key::from(*request);
            let member = Mutex::new(member);
            let make = move |_: &Member| Ok(member.lock().unwrap().clone());
            Shards::builder("contract").key(key).map(hashed(1, 3)).affine().over(make).unwrap()
        })
    };
    let contract = Contract::new(Scenario::echo(|| Error::Inner(Broken)), layer);
    contract.check().await.unwrap();
}
