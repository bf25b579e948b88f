//! The owner's side: keys of others are refused, and writes wait while their keys move.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use seawall::shards::{HoldError, Key, Map, MoveRecord, OwnsHandle, OwnsLayer};
use seawall::testing::{Broken, Contract, Scenario};
use seawall::{Epoch, Error, Reason, Rejected};
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use super::{hashed, names, now, poll_once};

type Fail = Error<std::io::Error>;
type Boxed = BoxCloneSyncService<String, usize, Fail>;

const SECOND: Duration = Duration::from_secs(1);

/// An owner whose work takes as long as nobody gives it a permit; requests that begin with `?` read.
fn owner(map: Map, most_held: usize) -> (Boxed, OwnsHandle, Arc<Semaphore>) {
    let (done, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let open = Arc::clone(&gate);
    let work = service_fn(move |_: String| {
        let (done, open) = (Arc::clone(&done), Arc::clone(&open));
        async move {
            open.acquire().await.unwrap().forget();
            Ok::<_, Fail>(done.fetch_add(1, Ordering::Relaxed))
        }
    });
    let owns = OwnsLayer::builder("orders", "shard-0")
        .key(|request: &String| Key::from(request.trim_start_matches('?')))
        .writes(|request: &String| !request.starts_with('?'))
        .map(map)
        .max_hold(SECOND)
        .most_held(most_held)
        .build()
        .unwrap();
    let handle = owns.handle();
    (Boxed::new(owns.layer(work)), handle, gate)
}

/// A key of the first shard by `map`, and of somebody else by `next`, or not.
fn key(map: &Map, next: &Map, moves: bool) -> String {
    let mut keys = (0..).map(|nth| format!("key-{nth}"));
    let own = |map: &Map, key: &str| map.owner(key).name() == "shard-0";
    keys.find(|key| own(map, key) && own(next, key) != moves).unwrap()
}

fn rejected(result: Result<usize, Fail>) -> Rejected {
    match result {
        Err(Error::Rejected(rejected)) => rejected,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_others_are_refused_with_a_hint() {
    let map = hashed(7, 3);
    let (owner, handle, gate) = owner(map.clone(), 10);
    gate.add_permits(100);
    let (mut own, mut others) = (0, 0);
    for nth in 0..40 {
        let key = format!("key-{nth}");
        let whose = map.owner(&key).name().to_owned();
        let result = owner.clone().oneshot(key.clone()).await;
        if whose == "shard-0" {
            own += usize::from(result.is_ok());
            continue;
        }
        let rejected = rejected(result);
        assert_eq!(rejected.reason(), Reason::NotOwner);
        let hint = rejected.hint().unwrap();
        assert_eq!((hint.to(), hint.epoch()), (Some(&*whose), Epoch::new(7)));
        assert!(!rejected.to_string().contains(&key), "{rejected}");
        others += 1;
    }
    assert!(own > 5 && others > 20, "{own}, {others}");
    // By the next map others are its own.
    handle.adopt(hashed(8, 2)).unwrap();
    let key = key(&hashed(8, 2), &map, true);
    owner.oneshot(key).await.unwrap();
}

// pitfall B55, B56
#[tokio::test(start_paused = true)]
async fn a_move_holds_the_writes_of_its_keys_and_nothing_else() {
    let (map, next) = (hashed(1, 2), hashed(2, 3));
    let (moves, stays) = (key(&map, &next, true), key(&map, &next, false));
    let (owner, handle, gate) = owner(map, 10);
    let call = |key: &str| Box::pin(owner.clone().oneshot(key.to_owned()));

    let mut before = call(&moves);
    assert!(poll_once(&mut before).is_pending());
    let holding = handle.hold(next.clone(), MoveRecord::Moving).unwrap();
    assert_eq!(handle.holding(), Some(Epoch::new(2)));
    let mut settled = Box::pin(holding.settled());
    assert!(poll_once(&mut settled).is_pending(), "a write is in flight");

    let mut held = call(&moves);
    assert!(poll_once(&mut held).is_pending());
    assert_eq!(handle.held(), 1);
    let (mut reads, mut other) = (call(&format!("?{moves}")), call(&stays));
    assert!(poll_once(&mut reads).is_pending() && poll_once(&mut other).is_pending());
    assert_eq!(handle.held(), 1, "reads and other keys go on");

    gate.add_permits(3);
    let (before, reads, other) = tokio::join!(before, reads, other);
    assert!(before.is_ok() && reads.is_ok() && other.is_ok());
    assert!(poll_once(&mut settled).is_ready());
    drop(settled);

    // Asked again, it says the same.
    assert!(handle.hold(next.clone(), MoveRecord::Moving).is_ok());
    assert!(handle.heard(2, MoveRecord::Committed));
    let told = rejected(held.await);
    assert_eq!(told.reason(), Reason::NotOwner);
    assert_eq!(told.hint().and_then(|hint| hint.to().map(str::to_owned)), Some("shard-2".into()));
    assert_eq!((handle.epoch(), handle.holding(), handle.held()), (Epoch::new(2), None, 0));
}

// pitfall B56
#[tokio::test(start_paused = true)]
async fn a_move_that_is_given_up_lets_them_pass() {
    let (map, next) = (hashed(1, 2), hashed(2, 3));
    let moves = key(&map, &next, true);
    let (owner, handle, gate) = owner(map, 10);
    gate.add_permits(1);
    handle.hold(next, MoveRecord::Moving).unwrap().settled().await;
    let mut held = Box::pin(owner.clone().oneshot(moves));
    assert!(poll_once(&mut held).is_pending());
    for nothing in [MoveRecord::None, MoveRecord::Moving] {
        assert!(!handle.heard(2, nothing));
        assert!(poll_once(&mut held).is_pending(), "to look is not to abort");
    }
    assert!(handle.heard(2, MoveRecord::Aborted));
    held.await.unwrap();
    assert_eq!(handle.epoch(), Epoch::new(1));
}

// pitfall B56
#[tokio::test(start_paused = true)]
async fn what_is_late_about_an_earlier_move_ends_no_later_one() {
    let (_, handle, _) = owner(hashed(1, 2), 10);
    drop(handle.hold(hashed(2, 3), MoveRecord::Moving).unwrap());
    assert!(handle.heard(2, MoveRecord::Aborted));
    drop(handle.hold(hashed(3, 3), MoveRecord::Moving).unwrap());
    for late in [MoveRecord::Aborted, MoveRecord::Committed] {
        assert!(!handle.heard(2, late));
        assert_eq!(handle.holding(), Some(Epoch::new(3)));
    }
    // Of the same epoch, and with other owners: one of the two is wrong.
    let wrong = handle.hold(hashed(3, 4), MoveRecord::Moving).unwrap_err();
    assert_eq!(wrong, HoldError::Busy { to: Epoch::new(3) });
    let pinned = Map::directory(3, names(3), [("k", "shard-1")]).unwrap();
    assert!(handle.hold(pinned, MoveRecord::Moving).is_err());
    drop(handle.hold(hashed(3, 3), MoveRecord::Moving).unwrap());
    assert!(handle.heard(3, MoveRecord::Committed));
    assert_eq!((handle.holding(), handle.epoch()), (None, Epoch::new(3)));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_panics_while_its_write_is_held_takes_no_place_with_it() {
    let (map, next) = (hashed(1, 2), hashed(2, 3));
    let moves = key(&map, &next, true);
    let panics = Arc::new(AtomicUsize::new(0));
    let is_wrong = Arc::clone(&panics);
    let owns = OwnsLayer::builder("orders", "shard-0")
        .key(move |request: &String| {
            assert_eq!(is_wrong.load(Ordering::Relaxed), 0, "a fault of the user's");
            Key::from(&**request)
        })
        .map(map)
        .max_hold(Duration::MAX)
        .most_held(1)
        .build()
        .unwrap();
    let handle = owns.handle();
    let service = owns.layer(service_fn(|_: String| async { Ok::<_, Fail>(()) }));
    drop(handle.hold(next, MoveRecord::Moving).unwrap());
    let call = tokio::spawn(service.oneshot(moves));
    tokio::time::sleep(1_000 * SECOND).await;
    assert_eq!(handle.held(), 1, "for as long as it takes");
    panics.store(1, Ordering::Relaxed);
    handle.heard(2, MoveRecord::Aborted);
    assert!(call.await.unwrap_err().is_panic());
    assert_eq!(handle.held(), 0);
}

// pitfall B56
#[tokio::test(start_paused = true)]
async fn so_many_writes_wait_so_long_and_who_goes_leaves_nothing() {
    let (map, next) = (hashed(1, 2), hashed(2, 3));
    let moves = key(&map, &next, true);
    let (owner, handle, _gate) = owner(map, 2);
    let call = || Box::pin(owner.clone().oneshot(moves.clone()));
    handle.hold(next, MoveRecord::Moving).unwrap().settled().await;
    let (mut first, mut second) = (call(), call());
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    assert_eq!(rejected(call().await).reason(), Reason::Moving, "two are the most");
    drop(first);
    assert_eq!(handle.held(), 1);
    let began = now();
    assert_eq!(rejected(second.await).reason(), Reason::Moving);
    assert_eq!(began.elapsed(), SECOND);
    assert_eq!(handle.held(), 0);
    assert!(handle.holding().is_some(), "its time says nothing of the move");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_not_recorded_or_not_the_only_one_is_refused() {
    let (_, handle, _) = owner(hashed(5, 2), 2);
    for read in [MoveRecord::None, MoveRecord::Aborted, MoveRecord::Committed] {
        let wrong = handle.hold(hashed(6, 3), read).unwrap_err();
        assert_eq!(wrong, HoldError::NotRecorded { read });
    }
    let wrong = handle.hold(hashed(5, 3), MoveRecord::Moving).unwrap_err();
    assert_eq!(wrong.to_string(), "a map of epoch 5 is not later than the present one, of epoch 5");
    drop(handle.hold(hashed(7, 3), MoveRecord::Moving).unwrap());
    let wrong = handle.hold(hashed(8, 3), MoveRecord::Moving).unwrap_err();
    assert_eq!(wrong.to_string(), "a move to the map of epoch 7 is under way");
    // A map from before the move says nothing of it.
    assert_eq!(
        handle.adopt(hashed(6, 2)).unwrap_err().to_string(),
        "a map of epoch 6 is not later than the present one, of epoch 7"
    );
    handle.adopt(hashed(7, 3)).unwrap();
    assert_eq!((handle.holding(), handle.epoch()), (None, Epoch::new(7)));
    let wrong = handle.adopt(Map::hashed(8, ["shard-9"]).unwrap()).unwrap_err();
    assert!(wrong.to_string().contains("less than half"), "{wrong}");
    handle.adopt_anyway(Map::hashed(8, ["shard-9"]).unwrap()).unwrap();
    let wrong = OwnsLayer::builder("x", "").key(|it: &u64| Key::from(*it)).map(hashed(1, 1));
    let wrong = wrong.max_hold(Duration::ZERO).most_held(2_000_000).build().unwrap_err();
    assert_eq!(
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            r#"owner = "": the name of a member"#,
            "max_hold = 0ns: longer than zero",
            "most_held = 2000000: 0 to 1000000"
        ]
    );
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract_of_a_service() {
    let layer = || {
        let key: for<'r> fn(&'r u32) -> Key<'r> = |request| Key::from(*request);
        OwnsLayer::builder("contract", "a")
            .key(key)
            .map(Map::hashed(1, ["a"]).unwrap())
            .build()
            .unwrap()
    };
    let contract = Contract::new(Scenario::echo(|| Error::Inner(Broken)), layer);
    contract.in_flight(OwnsLayer::in_flight).check().await.unwrap();
}

#[test]
fn many_threads_write_while_keys_move_to_and_fro_and_none_is_let_in_after_it_settled() {
    const MOVES: u64 = 200;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(async {
        let (inside, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&inside);
        let work = service_fn(move |_: String| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                count.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Fail>(0)
            }
        });
        let all = Map::directory(1, names(2), [("k", "shard-0")]).unwrap();
        let owns = OwnsLayer::builder("orders", "shard-0")
            .key(|request: &String| Key::from(request))
            .map(all)
            .build()
            .unwrap();
        let (handle, service) = (owns.handle(), owns.layer(work));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let (service, over) = (service.clone(), Arc::clone(&over));
                tokio::spawn(async move {
                    while over.load(Ordering::Relaxed) == 0 {
                        service.clone().oneshot("k".into()).await.unwrap();
                    }
                })
            })
            .collect();
        for nth in 0..MOVES {
            let next = Map::directory(2 + nth, names(2), [("k", "shard-1")]).unwrap();
            handle.hold(next, MoveRecord::Moving).unwrap().settled().await;
            for _ in 0..20 {
                assert_eq!(inside.load(Ordering::SeqCst), 0, "a write after it was settled");
                tokio::task::yield_now().await;
            }
            handle.heard(2 + nth, MoveRecord::Aborted);
            tokio::task::yield_now().await;
        }
        over.store(1, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
    });
}
