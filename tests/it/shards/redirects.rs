//! Calls that follow hints of owners, scattered calls, and loads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use seawall::retry::{CloneRequest, Cloned};
use seawall::shards::{ByRejection, Hint, Key, Map, Member, OwnsLayer, Region, Shards};
use seawall::{Epoch, Error, Event, EventKind, Reason, Rejected};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Fail, hashed, key, key_of, names, now, poll_once};

/// What an owner answers: its name, or whom to ask.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    By(String),
    Moved(Option<String>, u64, bool),
}

type Owner = BoxCloneSyncService<String, Answer, Fail>;

fn moved(result: Result<&Answer, &Fail>) -> Option<Hint> {
    let Ok(Answer::Moved(to, epoch, lasting)) = result else { return None };
    let hint =
        to.as_ref().map_or_else(|| Hint::elsewhere(*epoch), |to| Hint::to_owner(&**to, *epoch));
    Some(if *lasting { hint } else { hint.once() })
}

/// Owners that go by rules of their own, and count what they are asked.
fn owners(
    rule: impl Fn(&str, &str) -> Answer + Send + Sync + 'static,
) -> (impl Fn(&str) -> Owner + Send + Sync + 'static, Arc<AtomicUsize>) {
    let (rule, asked) = (Arc::new(rule), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let make = move |name: &str| {
        let (rule, count, name) = (Arc::clone(&rule), Arc::clone(&count), name.to_owned());
        BoxCloneSyncService::new(service_fn(move |request: String| {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = rule(&name, &request);
            async move { Ok::<_, Fail>(answer) }
        }))
    };
    (make, asked)
}

fn to(name: &str, epoch: u64) -> Answer {
    Answer::Moved(Some(name.into()), epoch, true)
}

fn by(name: &str) -> Answer {
    Answer::By(name.into())
}

fn rejected<T: std::fmt::Debug>(result: Result<T, Fail>) -> Rejected {
    match result {
        Err(Error::Rejected(rejected)) => rejected,
        other => panic!("{other:?}"),
    }
}

/// A router that copies everything.
macro_rules! router {
    ($map:expr, $make:expr, $copy:expr) => {{
        let (key, make): (fn(&String) -> Key<'_>, _) = (key, $make);
        let shards = Shards::builder("orders").key(key).map($map).redirect(moved).copy_with($copy);
        shards.over(move |one| Ok(make(one.name()))).unwrap()
    }};
}

#[tokio::test]
async fn a_lasting_hint_is_followed_and_holds_until_a_map_knows_of_it() {
    let map = hashed(1, 3);
    let moves = key_of(&map, "shard-0");
    let (make, asked) =
        owners(|name, _| if name == "shard-2" { by(name) } else { to("shard-2", 5) });
    let mut orders = router!(map, make, Cloned);
    let handle = orders.handle();
    for (nth, all) in [(1, 2), (2, 3), (3, 4)] {
        assert_eq!(orders.ready().await.unwrap().call(moves.clone()).await.unwrap(), by("shard-2"));
        assert_eq!(
            asked.load(Ordering::Relaxed),
            all,
            "call {nth}: once by the way of the old owner"
        );
    }
    // A map from before says nothing of it.
    handle.adopt(hashed(4, 3)).unwrap();
    orders.ready().await.unwrap().call(moves.clone()).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 5);
    // By that one the old owner has it.
    handle.adopt(hashed(5, 3)).unwrap();
    orders.ready().await.unwrap().call(moves).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn a_hint_for_once_is_forgotten() {
    let map = hashed(1, 2);
    let moves = key_of(&map, "shard-0");
    let (make, asked) = owners(|name, _| {
        if name == "shard-1" { by(name) } else { Answer::Moved(Some("shard-1".into()), 2, false) }
    });
    let mut orders = router!(map, make, Cloned);
    for all in [2, 4] {
        orders.ready().await.unwrap().call(moves.clone()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), all);
    }
}

// pitfall B50
#[tokio::test]
async fn owners_that_point_at_each_other_end_in_a_rejection_with_both_epochs() {
    let map = hashed(3, 2);
    let (make, asked) =
        owners(|name, _| to(if name == "shard-0" { "shard-1" } else { "shard-0" }, 8));
    let heard: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let log = Arc::clone(&heard);
    let key: fn(&String) -> Key<'_> = key;
    let orders = Shards::builder("orders")
        .key(key)
        .map(map)
        .redirect(moved)
        .copy_with(Cloned)
        .observe(move |event: &Event| log.lock().unwrap().push(event.kind))
        .over(move |one| Ok(make(one.name())))
        .unwrap();
    let told = rejected(orders.oneshot("some-key".into()).await);
    assert_eq!(asked.load(Ordering::Relaxed), 3, "two hops");
    assert_eq!(told.reason(), Reason::NotOwner);
    assert_eq!(
        told.to_string(),
        "shards `orders`: is not the owner of this key (by the owner's map of epoch 8, by the router's of epoch 3)"
    );
    assert!(told.hint().is_some());
    let hop = EventKind::Redirected { epoch: Epoch::new(8) };
    assert_eq!(
        *heard.lock().unwrap(),
        [hop, hop, EventKind::Rejected { reason: Reason::NotOwner }]
    );
}

// pitfall B58
#[tokio::test]
async fn a_hint_leads_to_members_only_and_to_no_map_that_is_older() {
    let map = hashed(3, 2);
    for hint in [to("stranger", 8), to("shard-1", 2), Answer::Moved(None, 9, false)] {
        let moves = key_of(&map, "shard-0");
        let answer = hint.clone();
        let (make, asked) =
            owners(move |name, _| if name == "shard-0" { answer.clone() } else { by(name) });
        let orders = router!(map.clone(), make, Cloned);
        assert_eq!(orders.oneshot(moves).await.unwrap(), hint, "the answer is what it is");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

/// Copies nothing but what was not executed.
#[derive(Clone, Copy)]
struct Writes;

impl CloneRequest<String> for Writes {
    fn clone_request(&self, _: &String) -> Option<String> {
        None
    }

    fn clone_unsent(&self, request: &String) -> Option<String> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn writes_that_must_not_be_repeated_follow_for_nothing_was_done() {
    let map = hashed(1, 2);
    let moves = key_of(&map, "shard-0");
    let rule = |name: &str, _: &str| if name == "shard-1" { by(name) } else { to("shard-1", 2) };
    let orders = router!(map.clone(), owners(rule).0, Writes);
    assert_eq!(orders.oneshot(moves.clone()).await.unwrap(), by("shard-1"));
    let stays = router!(map, owners(rule).0, seawall::retry::Never);
    assert_eq!(stays.oneshot(moves).await.unwrap(), to("shard-1", 2));
}

#[tokio::test]
async fn so_many_exceptions_are_kept_and_the_oldest_goes() {
    let map =
        Map::directory(1, names(2), (0..2_000).map(|nth| (format!("k{nth}"), "shard-0"))).unwrap();
    let (make, asked) =
        owners(|name, _| if name == "shard-1" { by(name) } else { to("shard-1", 2) });
    let mut orders = router!(map, make, Cloned);
    let mut ask = async |nth: usize| {
        let before = asked.load(Ordering::Relaxed);
        orders.ready().await.unwrap().call(format!("k{nth}")).await.unwrap();
        asked.load(Ordering::Relaxed) - before
    };
    for nth in 0..1_025 {
        assert_eq!(ask(nth).await, 2);
    }
    assert_eq!(ask(1_024).await, 1);
    assert_eq!(ask(1).await, 1);
    assert_eq!(ask(0).await, 2, "the one that was told first");
    assert_eq!(ask(1).await, 2, "and then the next");
}

/// A peer that says any number gets no further than that somebody looks for a map, now and then.
// pitfall B48
#[tokio::test(start_paused = true)]
async fn hints_ask_for_a_map_once_in_a_while_and_are_believed_no_further() {
    let map = hashed(1, 2);
    let moves = key_of(&map, "shard-0");
    let (make, asked) =
        owners(|name, _| if name == "shard-1" { by(name) } else { to("shard-1", u64::MAX) });
    let mut orders = router!(map.clone(), make, Cloned);
    let handle = orders.handle();
    let mut behind = Box::pin(handle.behind());
    assert!(poll_once(&mut behind).is_pending());
    orders.ready().await.unwrap().call(moves.clone()).await.unwrap();
    assert_eq!(poll_once(&mut behind), Poll::Ready(Epoch::new(u64::MAX)));
    let (began, mut looked) = (now(), 0_u32);
    while began.elapsed() < Duration::from_secs(3) {
        handle.behind().await;
        looked += 1;
        orders.ready().await.unwrap().call(moves.clone()).await.unwrap();
    }
    assert!((20..=30).contains(&looked), "{looked} in three seconds, 100 to 150 ms apart");
    // Nobody waits for a map of that epoch for ever.
    handle.adopt(hashed(2, 2)).unwrap();
    handle.adopt(hashed(3, 2)).unwrap();
    let before = asked.load(Ordering::Relaxed);
    orders.ready().await.unwrap().call(moves.clone()).await.unwrap();
    assert_eq!(
        asked.load(Ordering::Relaxed) - before,
        2,
        "the owner by the map, and then the other"
    );
}

// pitfall B48
#[tokio::test(start_paused = true)]
async fn an_epoch_that_never_comes_is_forgotten_until_somebody_speaks_of_it_again() {
    let map = hashed(1, 2);
    let (make, _) = owners(|_, _| Answer::Moved(None, u64::MAX, false));
    let mut orders = router!(map, make, Cloned);
    let handle = orders.handle();
    for _ in 0..2 {
        orders.ready().await.unwrap().call("some-key".into()).await.unwrap();
        let mut told = 0;
        let minute = Duration::from_secs(60);
        while tokio::time::timeout(minute, handle.behind()).await.is_ok() {
            told += 1;
            assert!(told < 100, "for ever");
        }
        assert!(told >= 20, "{told}: long enough for a directory that is slow");
    }
}

/// By law, or so that two tenants have hardly ever all their members in common.
// pitfall B58
#[tokio::test]
async fn a_hint_leads_nowhere_where_the_map_would_never_send_the_key() {
    let members = ["de-0", "de-1", "us-0"].map(|name| Member::new(name).zone(&name[..2]));
    let regions = [Region::otherwise(["de"]).resident()];
    let resident = Map::geo(1, members, regions).unwrap();
    let shuffled = Map::shuffled(1, names(8), 2, *b"sixteen  bytes :").unwrap();
    for map in [resident, shuffled] {
        let all = map.members().iter();
        let mine =
            |one: &&Member| map.owner_among("k", |other| other.name() == one.name()).is_some();
        let (may, not): (Vec<_>, Vec<_>) = all.partition(mine);
        let owner = map.owner("k").name().to_owned();
        let other = may.iter().find(|one| one.name() != owner).unwrap();
        for (target, asks) in [(not[0], [1, 1]), (other, [2, 1])] {
            let (first, hinted) = (owner.clone(), target.name().to_owned());
            let (make, asked) =
                owners(move |name, _| if name == first { to(&hinted, 9) } else { by(name) });
            let mut orders = router!(map.clone(), make, Cloned);
            for asks in asks {
                orders.ready().await.unwrap().call("k".into()).await.unwrap();
                assert_eq!(asked.swap(0, Ordering::Relaxed), asks, "{}", target.name());
            }
        }
    }
}

/// An owner that did something, and then asked another set with shards of its own.
#[tokio::test]
async fn the_hint_of_another_call_is_not_followed() {
    type Boxed = BoxCloneSyncService<String, String, tower::BoxError>;
    for (is_wrapped, hears) in [(false, Some("shard-1")), (true, None)] {
        let map = Map::directory(1, names(2), [("k", "shard-0")]).unwrap();
        let key: fn(&String) -> Key<'_> = key;
        let owners = Map::directory(2, names(2), [("k", "shard-1")]).unwrap();
        let orders = Shards::builder("orders").key(key).map(map).redirect(ByRejection);
        let orders = orders
            .copy_with(Cloned)
            .over(move |one| {
                let name = one.name().to_owned();
                let owns = OwnsLayer::builder("orders", &*name).key(key).map(owners.clone());
                let work = service_fn(move |_: String| {
                    let name = name.clone();
                    async move { Ok::<_, tower::BoxError>(name) }
                });
                let owner = owns.build()?.layer(work);
                let wrap = move |error: tower::BoxError| {
                    if is_wrapped { std::io::Error::other(error).into() } else { error }
                };
                Ok(Boxed::new(owner.map_err(wrap)))
            })
            .unwrap();
        assert_eq!(orders.oneshot("k".into()).await.ok().as_deref(), hears);
    }
}

#[tokio::test(start_paused = true)]
async fn a_map_that_came_meanwhile_is_not_looked_for() {
    let map = hashed(1, 2);
    let moves = key_of(&map, "shard-0");
    let (make, _) = owners(|name, _| if name == "shard-1" { by(name) } else { to("shard-1", 4) });
    let orders = router!(map, make, Cloned);
    let handle = orders.handle();
    orders.oneshot(moves).await.unwrap();
    handle.adopt(hashed(4, 2)).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), handle.behind()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn scattered_calls_are_bounded_named_and_in_any_order() {
    let (inside, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, highest) = (Arc::clone(&inside), Arc::clone(&most));
    let key: fn(&String) -> Key<'_> = key;
    let orders = Shards::builder("orders")
        .key(key)
        .map(hashed(1, 10))
        .over(move |one| {
            let (name, count, highest) =
                (one.name().to_owned(), Arc::clone(&count), Arc::clone(&highest));
            Ok(service_fn(move |request: String| {
                let (name, count, highest) =
                    (name.clone(), Arc::clone(&count), Arc::clone(&highest));
                async move {
                    highest.fetch_max(1 + count.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                    assert_eq!(request, name, "each was asked what was meant for it");
                    match &*name {
                        "shard-3" => Err(Fail::Inner(std::io::Error::other("no route"))),
                        name => Ok(name.to_owned()),
                    }
                }
            }))
        })
        .unwrap();
    let handle = orders.handle();
    let mut answers = Box::pin(orders.all(4, |one| one.name().to_owned()));
    let mut seen = Vec::new();
    while let Some((name, answer)) = answers.next().await {
        assert_eq!(answer.is_err(), &*name == "shard-3");
        seen.push(name.to_string());
    }
    seen.sort();
    assert_eq!(seen, names(10));
    assert_eq!(most.load(Ordering::SeqCst), 4);
    // Who left before it was asked is named too.
    let mut answers = Box::pin(orders.all(1, |one| one.name().to_owned()));
    assert!(answers.next().await.unwrap().1.is_ok());
    handle.adopt(hashed(2, 5)).unwrap();
    let gone = answers.filter_map(async |(name, answer)| {
        let Err(Error::Rejected(why)) = answer else { return None };
        Some((name.to_string(), why.reason()))
    });
    let gone: Vec<_> = gone.collect().await;
    let left = (5..10).map(|nth| (format!("shard-{nth}"), Reason::NoShard)).collect::<Vec<_>>();
    assert_eq!(gone, left);
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn loads_are_counted_for_each_slot_if_that_is_wanted() {
    let router = |counts: bool| {
        let key: fn(&String) -> Key<'_> = key;
        let shards = Shards::builder("orders").key(key).map(hashed(1, 3));
        let shards = if counts { shards.count_loads() } else { shards };
        shards.over(|one| Ok(super::says(one.name()))).unwrap()
    };
    assert_eq!(router(false).handle().loads(), None);
    let mut orders = router(true);
    for _ in 0..7 {
        orders.ready().await.unwrap().call("acme".into()).await.unwrap();
    }
    orders.ready().await.unwrap().call("bravo".into()).await.unwrap();
    let (handle, map) = (orders.handle(), orders.handle().map());
    let loads = handle.loads().unwrap();
    assert_eq!(loads[map.slot("acme").unwrap()], 7);
    assert_eq!(loads.iter().sum::<u64>(), 8);
    handle.adopt(hashed(2, 2)).unwrap();
    assert_eq!(handle.loads().unwrap(), loads, "slots are the same in every map");
    let plan = map.plan(&loads, 1).unwrap();
    assert!(plan.after() <= plan.before());
}
