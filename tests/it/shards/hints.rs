//! Hints that cannot be followed, that are forgotten, and that a later map forbids.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use seawall::retry::{Cloned, Never};
use seawall::shards::{Hint, Key, Map, Member, Region, Shards};
use seawall::{Epoch, Event, EventKind};
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::{Fail, hashed, key, names, poll_once};

type Owner = BoxCloneSyncService<String, Result<String, Hint>, Fail>;

/// Owners that answer by a rule of their own.
fn owner(
    name: &str,
    rule: impl Fn(&str, &str) -> Result<String, Hint> + Clone + Send + Sync + 'static,
) -> Owner {
    let name = name.to_owned();
    Owner::new(service_fn(move |request: String| {
        let answer = rule(&name, &request);
        async move { Ok::<_, Fail>(answer) }
    }))
}

fn hinted(result: Result<&Result<String, Hint>, &Fail>) -> Option<Hint> {
    result.ok()?.as_ref().err().cloned()
}

macro_rules! router {
    ($map:expr, $copy:expr, $make:expr $(, $observe:expr)?) => {{
        let key: fn(&String) -> Key<'_> = key;
        let make = $make;
        Shards::builder("orders")
            .key(key)
            .map($map)
            .redirect(hinted)
            .copy_with($copy)
            $(.observe($observe))?
            .over(move |one: &Member| Ok(make(one.name())))
            .unwrap()
    }};
}

// pitfall B54
#[tokio::test(start_paused = true)]
async fn a_refusal_that_cannot_be_followed_says_that_the_map_is_old() {
    let rule = |_: &str, _: &str| Err(Hint::to_owner("shard-1", 5));
    let map = Map::directory(1, names(2), [("k", "shard-0")]).unwrap();
    let orders = router!(map, Never, move |name: &str| owner(name, rule));
    let handle = orders.handle();
    let mut behind = Box::pin(handle.behind());
    assert!(poll_once(&mut behind).is_pending());
    let calls = (0..100).map(|_| orders.clone().oneshot("k".to_owned()));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), Err(Hint::to_owner("shard-1", 5)), "it is what it is");
    }
    assert_eq!(poll_once(&mut behind), Poll::Ready(Epoch::new(5)));
    assert!(poll_once(&mut Box::pin(handle.behind())).is_pending(), "one of a hundred asks for it");
}

// pitfall B54
#[tokio::test(start_paused = true)]
async fn the_second_refusal_of_a_call_that_can_be_sent_on_once_is_heard_too() {
    /// Copies each request once.
    struct Once;
    impl seawall::retry::CloneRequest<String> for Once {
        fn clone_request(&self, request: &String) -> Option<String> {
            request.strip_prefix('+').map(str::to_owned)
        }
    }
    let rule = |name: &str, _: &str| match name {
        "shard-0" => Err(Hint::to_owner("shard-1", 5)),
        _ => Err(Hint::to_owner("shard-0", 6)),
    };
    let all = [("+k", "shard-0"), ("k", "shard-0")];
    let map = Map::directory(1, names(2), all).unwrap();
    let orders = router!(map, Once, move |name: &str| owner(name, rule));
    let handle = orders.handle();
    assert_eq!(orders.oneshot("+k".to_owned()).await.unwrap(), Err(Hint::to_owner("shard-0", 6)));
    assert_eq!(handle.behind().await, Epoch::new(6));
}

#[tokio::test]
async fn a_hint_that_is_forgotten_to_make_room_is_told() {
    let told: Arc<Mutex<Vec<u64>>> = Arc::default();
    let log = Arc::clone(&told);
    let rule = |name: &str, request: &str| match name {
        "shard-1" => Ok(request.to_owned()),
        _ => Err(Hint::to_owner("shard-1", 2 + request.len() as u64)),
    };
    let keys = (0..1_030).map(|nth| (format!("k{nth}"), "shard-0"));
    let map = Map::directory(1, names(2), keys).unwrap();
    let mut orders =
        router!(map, Cloned, move |name: &str| owner(name, rule), move |event: &Event| {
            if let EventKind::HintForgotten { epoch } = event.kind {
                log.lock().unwrap().push(epoch.get());
            }
        });
    for nth in 0..1_026 {
        orders.ready().await.unwrap().call(format!("k{nth}")).await.unwrap().unwrap();
    }
    assert_eq!(*told.lock().unwrap(), [4, 4], "those of k0 and k1");
}

fn zoned(epoch: u64, regions: impl IntoIterator<Item = Region>) -> Map {
    let members = ["de-0", "de-1", "us-0", "us-1"].map(|name| Member::new(name).zone(&name[..2]));
    Map::geo(epoch, members, regions).unwrap()
}

/// A member that may have a key by one map may not have it by the next.
// pitfall B58
#[tokio::test]
async fn what_was_told_by_one_map_leads_out_of_no_region_of_the_next() {
    let rule = |name: &str, _: &str| match name {
        "us-0" => Ok(name.to_owned()),
        other if other.starts_with("de") => Err(Hint::to_owner("us-0", 9)),
        other => Ok(other.to_owned()),
    };
    let mut orders = router!(zoned(1, [Region::otherwise(["de"])]), Cloned, move |name: &str| {
        owner(name, rule)
    });
    let handle = orders.handle();
    let mut call = async || orders.ready().await.unwrap().call("k".to_owned()).await.unwrap();
    assert_eq!(call().await, Ok("us-0".to_owned()), "it may spill");
    assert_eq!(call().await, Ok("us-0".to_owned()), "at once");
    handle.adopt(zoned(2, [Region::otherwise(["de"]).resident()])).unwrap();
    assert_eq!(
        call().await,
        Err(Hint::to_owner("us-0", 9)),
        "asked in its region, and nowhere else"
    );
}

/// Ready when somebody opens it.
#[derive(Clone)]
struct Waits {
    open: Arc<AtomicBool>,
    inner: Owner,
}

impl Service<String> for Waits {
    type Response = Result<String, Hint>;
    type Error = Fail;
    type Future = <Owner as Service<String>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        if self.open.load(Ordering::Relaxed) { self.inner.poll_ready(cx) } else { Poll::Pending }
    }

    fn call(&mut self, request: String) -> Self::Future {
        self.inner.call(request)
    }
}

// pitfall B58
#[tokio::test]
async fn a_call_that_waits_where_it_was_sent_to_leaves_no_region_when_a_map_comes() {
    let rule = |name: &str, _: &str| match name {
        "us-0" => Ok(name.to_owned()),
        _ => Err(Hint::to_owner("us-0", 1).once()),
    };
    let open = Arc::new(AtomicBool::new(false));
    let door = Arc::clone(&open);
    let mut orders = router!(zoned(1, [Region::otherwise(["de"])]), Cloned, move |name: &str| {
        let open = if name == "us-0" { Arc::clone(&door) } else { Arc::new(AtomicBool::new(true)) };
        Waits { open, inner: owner(name, rule) }
    });
    let handle = orders.handle();
    let mut call = Box::pin(orders.call("k".to_owned()));
    assert!(poll_once(&mut call).is_pending(), "it waits at the one that was hinted at");
    handle.adopt(zoned(2, [Region::otherwise(["de"]).resident()])).unwrap();
    open.store(true, Ordering::Relaxed);
    assert!(matches!(call.await.unwrap(), Err(hint) if hint.to() == Some("us-0")));
}

/// However often a call looks for a member that is ready, and wherever it is sent on to.
#[tokio::test]
async fn a_call_is_one_call_in_the_loads() {
    let (gate, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (key, count): (fn(&String) -> Key<'_>, _) = (key, Arc::clone(&asked));
    let opens = Arc::clone(&gate);
    let orders = Shards::builder("orders")
        .key(key)
        .map(hashed(1, 2))
        .redirect(hinted)
        .copy_with(Cloned)
        .count_loads()
        .over(move |one| {
            let (name, count, gate) =
                (one.name().to_owned(), Arc::clone(&count), Arc::clone(&gate));
            let work = service_fn(move |_: String| {
                let hop = count.fetch_add(1, Ordering::Relaxed) == 0;
                let to = if name == "shard-0" { "shard-1" } else { "shard-0" };
                let gate = Arc::clone(&gate);
                async move {
                    drop(gate.acquire().await.unwrap());
                    Ok::<_, Fail>(if hop {
                        Err(Hint::to_owner(to, 2).once())
                    } else {
                        Ok(String::new())
                    })
                }
            });
            Ok(tower::limit::ConcurrencyLimit::new(work, 1))
        })
        .unwrap();
    let handle = orders.handle();
    // All of one key: all but one find a member that is not ready, and another map comes meanwhile.
    let mut calls: Vec<_> = (0..5).map(|_| Box::pin(orders.clone().oneshot("k".into()))).collect();
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    handle.adopt(hashed(2, 2)).unwrap();
    opens.add_permits(1);
    for answer in futures::future::join_all(calls).await {
        answer.unwrap().unwrap();
    }
    let loads = handle.loads().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 6, "one was sent on");
    assert_eq!(loads.iter().sum::<u64>(), 5);
}
