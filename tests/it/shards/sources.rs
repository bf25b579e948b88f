//! Maps from a stream, a watched file, and tower's `Discover`; and how they are written.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt};
use seawall::shards::{Fill, Key, KeyRange, Map, MapSource, Member, Region, Shards, ShardsHandle};
use seawall::{Event, EventKind};
use tower::discover::Change;

use super::{hashed, key, names, says};

type Heard = Arc<Mutex<Vec<EventKind>>>;

fn router(map: Map) -> (ShardsHandle, Heard) {
    let (key, heard): (fn(&String) -> Key<'_>, _) = (key, Heard::default());
    let log = Arc::clone(&heard);
    let orders = Shards::builder("orders")
        .key(key)
        .map(map)
        .observe(move |event: &Event| log.lock().unwrap().push(event.kind))
        .over(|one| match one.name() {
            "bad" => Err("no address".into()),
            name => Ok(says(name)),
        });
    (orders.unwrap().handle(), heard)
}

fn adopted(from: u64, to: u64) -> EventKind {
    EventKind::MapAdopted { from: from.into(), to: to.into() }
}

fn failed(age: u64) -> EventKind {
    EventKind::SourceFailed { age: Duration::from_secs(age) }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

// pitfall B54
#[tokio::test(start_paused = true)]
async fn the_maps_of_a_stream_are_adopted_and_what_is_wrong_leaves_the_last_good_one() {
    let (handle, heard) = router(hashed(1, 4));
    let (send, maps) = mpsc::unbounded::<Result<Map, &str>>();
    let following = tokio::spawn({
        let handle = handle.clone();
        async move { handle.follow(maps).await }
    });
    let say = async |map: Result<Map, &'static str>| {
        send.unbounded_send(map).unwrap();
        pass(1).await;
    };
    say(Ok(hashed(2, 5))).await;
    assert_eq!(handle.epoch().get(), 2);
    say(Ok(hashed(2, 5))).await; // it says so again
    assert_eq!(*heard.lock().unwrap(), [adopted(1, 2)]);
    heard.lock().unwrap().clear();
    say(Err("the directory is down")).await;
    say(Ok(hashed(2, 4))).await; // of the same epoch, and another one
    say(Ok(hashed(1, 4))).await;
    say(Ok(hashed(3, 1))).await; // a fault of the directory looks so
    say(Ok(Map::hashed(3, ["shard-0", "shard-1", "shard-2", "bad"]).unwrap())).await;
    assert_eq!(handle.epoch().get(), 2);
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3, 4, 5].map(failed));
    heard.lock().unwrap().clear();
    say(Ok(hashed(3, 6))).await;
    assert_eq!(*heard.lock().unwrap(), [adopted(2, 3)], "it recovers");
    drop(send);
    following.await.unwrap();
}

/// A file of this test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let file = format!("seawall-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(file))
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn text(epoch: u64, count: usize) -> String {
    let members: Vec<_> =
        names(count).iter().map(|name| format!(r#"{{"name":"{name}"}}"#)).collect();
    format!(r#"{{"rule":"hashed","epoch":{epoch},"members":[{}]}}"#, members.join(","))
}

// pitfall B54
#[tokio::test]
async fn a_watched_file_that_is_torn_empty_or_gone_leaves_the_last_good_map() {
    let file = Scratch::new("map.json");
    file.write(&text(1, 4));
    let source = || MapSource::file(&file.0, |text| serde_json::from_str(text));
    let (handle, heard) = router(source().load().await.unwrap());
    let maps = source().every(Duration::from_millis(2)).maps();
    let following = tokio::spawn({
        let handle = handle.clone();
        async move { handle.follow(maps).await }
    });
    let failures = || {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|kind| matches!(kind, EventKind::SourceFailed { .. })).count()
    };
    let until = async |done: &dyn Fn() -> bool| {
        for _ in 0..5_000 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("nothing came of it");
    };
    let mut epoch = 1;
    let whole = text(9, 4);
    for wrong in ["", "{", &whole[..whole.len() / 2], &whole[..whole.len() - 1], "null"] {
        let before = failures();
        file.write(wrong);
        until(&|| failures() > before + 1).await;
        assert_eq!(handle.epoch().get(), epoch, "{wrong}");
        epoch += 1;
        file.write(&text(epoch, 4));
        until(&|| handle.epoch().get() == epoch).await;
    }
    let before = failures();
    std::fs::remove_file(&file.0).unwrap();
    until(&|| failures() > before + 1).await;
    assert_eq!(handle.epoch().get(), epoch);
    following.abort();
}

#[test]
fn what_is_written_is_the_map_that_is_meant() {
    let same = |text: &str, map: &Map| {
        let read: Map = serde_json::from_str(text).unwrap();
        assert_eq!((read.epoch(), read.members()), (map.epoch(), map.members()));
        for nth in 0..500_u64 {
            for region in ["de", "fr", "us"] {
                let name = format!("key-{nth}");
                let (text, number) = (Key::from(&name).in_region(region), Key::from(nth));
                assert_eq!(read.owner(text), map.owner(text));
                assert_eq!(read.owner(number), map.owner(number));
                assert_eq!(read.owners(text), map.owners(text));
            }
        }
    };
    same(&text(7, 5), &hashed(7, 5));
    let mine = [Member::new("a"), Member::new("b").weight(3)];
    let members = r#"[{"name": "a"}, {"name": "b", "weight": 3}]"#;
    let fine = Map::filled(7, mine.clone(), Fill::FineRendezvous).unwrap();
    same(
        &format!(
            r#"{{"rule": "hashed", "epoch": 7, "fill": "fine_rendezvous", "members": {members}}}"#
        ),
        &fine,
    );
    let maglev = Map::filled(7, mine.clone(), Fill::Maglev).unwrap();
    same(
        &format!(r#"{{"rule": "hashed", "epoch": 7, "fill": "maglev", "members": {members}}}"#),
        &maglev,
    );
    let pins = [(b"key-7".to_vec(), "a"), (8_u64.to_be_bytes().to_vec(), "b")];
    let pinned = Map::directory(7, mine.clone(), pins).unwrap();
    same(
        &format!(
            r#"{{"rule": "hashed", "epoch": 7, "members": {members},
                "pinned": [{{"key": "key-7", "owner": "a"}}, {{"key": 8, "owner": "b"}}]}}"#
        ),
        &pinned,
    );
    // As a plan has moved it.
    let first = Map::hashed(6, mine).unwrap();
    let mut loads = vec![1; first.slots()];
    loads[first.slot("key-3").unwrap()] = 100_000;
    let plan = first.plan(&loads, 20).unwrap();
    let next = first.reassigned(7, plan.moves()).unwrap();
    let slots = plan
        .moves()
        .iter()
        .map(|one| format!(r#"{{"slot": {}, "owner": "{}"}}"#, one.slot, one.to));
    let slots = slots.collect::<Vec<_>>().join(",");
    assert!(!slots.is_empty());
    same(
        &format!(r#"{{"rule": "hashed", "epoch": 7, "members": {members}, "slots": [{slots}]}}"#),
        &next,
    );
    let ranges = [
        KeyRange::new(..Key::from(100_u64), "a"),
        KeyRange::new(Key::from(100_u64)..Key::from("key-3"), "b"),
        KeyRange::new(Key::from("key-3").., "a"),
    ];
    same(
        r#"{"rule": "ranged", "epoch": 7, "ranges": [
            {"to": 100, "owner": "a"}, {"from": 100, "to": "key-3", "owner": "b"}, {"from": "key-3", "owner": "a"}]}"#,
        &Map::ranged(7, ranges).unwrap(),
    );
    let zoned = ["eu-0", "eu-1", "us-0"].map(|name| Member::new(name).zone(&name[..2]));
    let regions = [Region::new("de", ["eu"]).resident(), Region::otherwise(["us", "eu"])];
    same(
        r#"{"rule": "geo", "epoch": 7,
            "members": [{"name": "eu-0", "zone": "eu"}, {"name": "eu-1", "zone": "eu"}, {"name": "us-0", "zone": "us"}],
            "regions": [{"name": "de", "zones": ["eu"], "resident": true}, {"zones": ["us", "eu"]}]}"#,
        &Map::geo(7, zoned, regions).unwrap(),
    );
    let secret = std::array::from_fn(|nth| u8::try_from(nth).unwrap());
    let workers = Map::shuffled(7, ["a", "b", "c", "d"], 2, secret).unwrap();
    same(
        r#"{"rule": "shuffled", "epoch": 7, "each": 2, "secret": "000102030405060708090a0b0c0d0e0f",
            "members": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]}"#,
        &workers,
    );
}

#[test]
fn what_is_wrong_in_a_file_is_said() {
    for (text, says) in [
        (
            r#"{"rule": "hashed", "epoch": 0, "members": []}"#,
            "epoch = 0: 1 or more; members = 0: 1 to 16384 members",
        ),
        (r#"{"rule": "hashed", "epoch": 1, "member": []}"#, "unknown field `member`"),
        (r#"{"rule": "hash", "epoch": 1, "members": []}"#, "unknown variant `hash`"),
        (r#"{"epoch": 1, "members": []}"#, "missing field `rule`"),
        (
            r#"{"rule": "hashed", "epoch": 1, "members": [{"name": "a", "wieght": 2}]}"#,
            "unknown field `wieght`",
        ),
        (
            r#"{"rule": "hashed", "epoch": 1, "members": [{"name": "a"}],
                "slots": [{"slot": 16384, "owner": "a"}, {"slot": 1, "owner": "z"}, {"slot": 2, "owner": "a"}, {"slot": 2, "owner": "a"}]}"#,
            r#"slots = 16384: slots below 16384; slots = "z": the name of a member, for slot 1; slots = 2: each slot once"#,
        ),
        (
            r#"{"rule": "shuffled", "epoch": 1, "members": [{"name": "a"}], "each": 1, "secret": "+0000000000000000000000000000000"}"#,
            "32 hexadecimal digits",
        ),
    ] {
        let wrong = serde_json::from_str::<Map>(text).unwrap_err().to_string();
        assert!(wrong.contains(says), "{wrong}");
        assert!(!wrong.contains("000000"), "a secret is one: {wrong}");
    }
}

/// What a discovery says, and what it says in the end.
struct Changes(mpsc::UnboundedReceiver<Change<u8, Member>>);

impl Stream for Changes {
    type Item = Result<Change<u8, Member>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx).map(|change| change.map(Ok))
    }
}

#[tokio::test(start_paused = true)]
async fn members_that_a_discovery_tells_of_come_and_go() {
    let (handle, heard) = router(hashed(1, 2));
    let (send, changes) = mpsc::unbounded();
    let following = tokio::spawn({
        let handle = handle.clone();
        async move { handle.follow_discover(Changes(changes), Map::hashed).await }
    });
    let say = |change| send.unbounded_send(change).unwrap();
    let insert = |nth: u8| Change::Insert(nth, Member::new(format!("shard-{nth}")));
    (0..4).for_each(|nth| say(insert(nth)));
    pass(1).await;
    assert_eq!((handle.epoch().get(), handle.map().members().len()), (2, 4), "together");
    (0..3).for_each(|nth| say(Change::Remove(nth)));
    pass(1).await;
    assert_eq!(handle.map().members().len(), 4, "more than half are gone at once");
    assert_eq!(*heard.lock().unwrap(), [adopted(1, 2), failed(1)]);
    say(insert(1));
    pass(1).await;
    let left: Vec<_> = handle.map().members().iter().map(|one| one.name().to_owned()).collect();
    assert_eq!(left, ["shard-1", "shard-3"]);
    drop(send);
    following.await.unwrap().unwrap();
}
