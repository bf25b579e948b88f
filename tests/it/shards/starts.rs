//! An owner that starts again, holds that last, maps that come meanwhile, and what is read until a commit is heard of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::shards::{AdoptError, Key, Map, MoveRecord, OwnsHandle, OwnsLayer};
use seawall::{Epoch, Error, Event, EventKind, Reason};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use super::{hashed, names, poll_once};

type Fail = Error<std::io::Error>;
type Boxed = BoxCloneSyncService<String, (), Fail>;

const SECOND: Duration = Duration::from_secs(1);

/// The key `k` is of the first shard, or of another.
fn map(epoch: u64, owner: &str) -> Map {
    Map::directory(epoch, names(4), [("k", owner), ("other", "shard-0")]).unwrap()
}

type Heard = Arc<Mutex<Vec<EventKind>>>;

/// An owner as it begins; requests that begin with `?` read.
macro_rules! owner {
    ($map:expr $(, $set:ident ($($with:expr),*))*) => {{
        let heard = Heard::default();
        let log = Arc::clone(&heard);
        let owns = OwnsLayer::builder("orders", "shard-0")
            .key(|request: &String| Key::from(request.trim_start_matches('?')))
            .writes(|request: &String| !request.starts_with('?'))
            .map($map)
            .max_hold(SECOND)
            .observe(move |event: &Event| log.lock().unwrap().push(event.kind))
            $(.$set($($with),*))*
            .build()
            .unwrap();
        let handle: OwnsHandle = owns.handle();
        let service = owns.layer(service_fn(|_: String| async { Ok::<_, Fail>(()) }));
        (Boxed::new(service), handle, heard)
    }};
}

fn call(owner: &Boxed, key: &str) -> impl Future<Output = Result<(), Fail>> + Unpin {
    Box::pin(owner.clone().oneshot(key.to_owned()))
}

/// Why a call is refused, and whom it is to ask.
async fn refused(owner: &Boxed, key: &str) -> (Reason, Option<String>) {
    match call(owner, key).await {
        Err(Error::Rejected(why)) => (why.reason(), why.hint().map(ToString::to_string)),
        other => panic!("{other:?}"),
    }
}

// pitfall B55, B56
#[tokio::test(start_paused = true)]
async fn a_later_map_ends_no_hold_of_a_move_that_may_be_committed_yet() {
    for (read, passes) in [(MoveRecord::Aborted, true), (MoveRecord::Committed, false)] {
        let (owner, handle, _) = owner!(map(1, "shard-0"));
        drop(handle.hold(map(2, "shard-1"), MoveRecord::Moving).unwrap());
        let mut held = call(&owner, "k");
        assert!(poll_once(&mut held).is_pending());
        // Another move came to an end, of other keys: by its map this one is still ours.
        handle.adopt(map(3, "shard-0")).unwrap();
        assert_eq!((handle.epoch(), handle.holding()), (Epoch::new(3), Some(Epoch::new(2))));
        assert!(poll_once(&mut held).is_pending(), "its move may be committed yet");
        assert!(call(&owner, "other").await.is_ok());
        assert!(!handle.heard(3, MoveRecord::Committed), "that is another move");
        assert!(handle.heard(2, read));
        // If it was committed, then before that map, which knows of it.
        assert!(held.await.is_ok(), "{read:?}");
        assert_eq!((handle.epoch(), handle.holding()), (Epoch::new(3), None), "{passes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_map_of_the_epoch_of_a_move_is_that_of_the_move() {
    let (_, handle, _) = owner!(map(1, "shard-0"));
    drop(handle.hold(map(2, "shard-1"), MoveRecord::Moving).unwrap());
    let wrong = handle.adopt(map(2, "shard-2")).unwrap_err();
    assert!(matches!(wrong, AdoptError::Moving { .. }));
    assert_eq!(
        wrong.to_string(),
        "a move to the map of epoch 2 is under way, and this is another map"
    );
    handle.adopt(map(2, "shard-1")).unwrap();
    assert_eq!((handle.epoch(), handle.holding()), (Epoch::new(2), None));
}

// pitfall B55, B39
#[tokio::test(start_paused = true)]
async fn an_owner_that_starts_while_its_keys_move_holds_from_its_first_call_on() {
    let (owner, handle, _) =
        owner!(map(1, "shard-0"), moving(map(2, "shard-1"), MoveRecord::Moving));
    let mut held = call(&owner, "k");
    assert!(poll_once(&mut held).is_pending());
    assert_eq!((handle.holding(), handle.held()), (Some(Epoch::new(2)), 1));
    assert!(call(&owner, "other").await.is_ok());
    // The coordinator asks again: that is the same move.
    handle.hold(map(2, "shard-1"), MoveRecord::Moving).unwrap().settled().await;
    assert!(handle.heard(2, MoveRecord::Aborted));
    assert!(held.await.is_ok());

    for (read, told) in [
        (MoveRecord::Committed, Some((Reason::NotOwner, Some("shard-1; epoch=2".to_owned())))),
        (MoveRecord::Aborted, None),
        (MoveRecord::None, None),
    ] {
        let (owner, handle, _) = owner!(map(1, "shard-0"), moving(map(2, "shard-1"), read));
        assert_eq!(handle.holding(), None);
        match told {
            Some(told) => assert_eq!(refused(&owner, "k").await, told),
            None => assert!(call(&owner, "k").await.is_ok(), "{read:?}"),
        }
    }
    // The map is later than that of the move, which nobody has ended: it is not known what becomes of it.
    let (owner, handle, _) =
        owner!(map(3, "shard-0"), moving(map(2, "shard-1"), MoveRecord::Moving));
    assert!(poll_once(&mut call(&owner, "k")).is_pending());
    assert!(handle.heard(2, MoveRecord::Aborted));
    assert!(call(&owner, "k").await.is_ok());
}

// pitfall B55, B39
#[tokio::test(start_paused = true)]
async fn an_owner_that_begins_closed_lets_nothing_pass_until_it_has_read() {
    let (owner, handle, heard) = owner!(map(1, "shard-0"), closed());
    assert!(handle.is_closed());
    let (mut write, mut read, mut moved) =
        (call(&owner, "other"), call(&owner, "?k"), call(&owner, "k"));
    assert!(poll_once(&mut write).is_pending());
    assert!(poll_once(&mut read).is_pending(), "nor reads: it may be of last year");
    assert!(poll_once(&mut moved).is_pending());
    assert_eq!(refused_after_a_while(&owner).await, Reason::Moving);
    handle.adopt(map(2, "shard-0")).unwrap();
    assert!(handle.is_closed(), "a map says nothing of moves");
    let wrong = handle.open(map(1, "shard-0"), None).unwrap_err();
    assert_eq!(wrong.to_string(), "a map of epoch 1 is not later than the present one, of epoch 2");

    let mut held = call(&owner, "k");
    assert!(poll_once(&mut held).is_pending());
    assert!(handle.open(map(6, "shard-0"), Some((map(7, "shard-1"), MoveRecord::Moving))).unwrap());
    assert_eq!(
        (handle.is_closed(), handle.epoch(), handle.holding()),
        (false, 6.into(), Some(7.into()))
    );
    assert!(call(&owner, "other").await.is_ok() && call(&owner, "?k").await.is_ok());
    assert!(poll_once(&mut held).is_pending());
    assert!(!handle.open(map(9, "shard-0"), None).unwrap(), "it is open");
    handle.heard(7, MoveRecord::Committed);
    assert!(held.await.is_err());
    let maps = heard
        .lock()
        .unwrap()
        .iter()
        .filter(|kind| matches!(kind, EventKind::MapAdopted { .. }))
        .count();
    assert_eq!(maps, 3);
}

async fn refused_after_a_while(owner: &Boxed) -> Reason {
    refused(owner, "k").await.0
}

// pitfall B56
#[tokio::test(start_paused = true)]
async fn a_hold_that_is_overdue_is_told_and_somebody_can_wait_for_it() {
    let (owner, handle, heard) = owner!(map(1, "shard-0"));
    assert_eq!(handle.held_for(), None);
    let waits = tokio::spawn({
        let handle = handle.clone();
        async move {
            let mut times = Vec::new();
            for _ in 0..2 {
                let epoch = handle.overdue().await;
                times.push((epoch, handle.held_for().unwrap()));
            }
            times
        }
    });
    tokio::time::sleep(10 * SECOND).await;
    drop(handle.hold(map(2, "shard-1"), MoveRecord::Moving).unwrap());
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(handle.held_for(), Some(SECOND / 2));
    assert_eq!(refused(&owner, "k").await.0, Reason::Moving);
    let times = waits.await.unwrap();
    assert_eq!(times.iter().map(|(epoch, _)| epoch.get()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(times.iter().map(|(_, age)| age.as_secs()).collect::<Vec<_>>(), [1, 2]);
    let overdue = || {
        let heard = heard.lock().unwrap();
        let told = heard.iter().filter_map(|kind| match kind {
            EventKind::HoldOverdue { epoch, age } => Some((epoch.get(), age.as_secs())),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(overdue(), [(2, 1), (2, 2)]);
    // Calls alone tell too, once in as long.
    let two = tokio::join!(refused(&owner, "k"), refused(&owner, "k"));
    assert_eq!((two.0.0, two.1.0), (Reason::Moving, Reason::Moving));
    assert_eq!(overdue(), [(2, 1), (2, 2), (2, 3)]);
    handle.heard(2, MoveRecord::Aborted);
    assert_eq!(handle.held_for(), None);
    assert!(tokio::time::timeout(60 * SECOND, handle.overdue()).await.is_err());
}

/// Between the commit and the moment at which the old owner hears of it, another owner may have confirmed writes.
#[tokio::test(start_paused = true)]
async fn reads_are_answered_by_the_old_owner_until_it_hears_of_the_commit() {
    let (owner, handle, _) = owner!(map(1, "shard-0"));
    handle.hold(map(2, "shard-1"), MoveRecord::Moving).unwrap().settled().await;
    // The coordinator commits here, and nobody has told this owner.
    assert!(call(&owner, "?k").await.is_ok(), "with what it has");
    let mut write = call(&owner, "k");
    assert!(poll_once(&mut write).is_pending(), "but no write");
    assert!(handle.heard(2, MoveRecord::Committed));
    let told = (Reason::NotOwner, Some("shard-1; epoch=2".to_owned()));
    assert_eq!(refused(&owner, "?k").await, told);
    assert!(write.await.is_err());
}

/// By default every request counts as a write, so nothing is read that may be old.
#[tokio::test(start_paused = true)]
async fn where_nothing_is_told_apart_reads_wait_like_writes() {
    let owns = OwnsLayer::builder("orders", "shard-0").key(|key: &String| Key::from(key));
    let owns = owns.map(hashed(1, 1)).moving(hashed(2, 9), MoveRecord::Moving).build().unwrap();
    let next = hashed(2, 9);
    let mut moves = (0..1_000).map(|nth| format!("?{nth}"));
    let moves = moves.find(|key| next.owner(key).name() != "shard-0");
    let owner = Boxed::new(owns.layer(service_fn(|_: String| async { Ok::<_, Fail>(()) })));
    assert!(poll_once(&mut call(&owner, &moves.unwrap())).is_pending());
}
