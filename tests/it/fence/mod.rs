//! Fencing: nothing is written by an epoch that is over, and nobody is fenced out by one that was given to nobody.

mod keyed;
mod store;

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use seawall::fence::{Ask, FenceLayer, MemoryStore};
use seawall::{Epoch, Error, Measurement, Reason, Rejected};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

type Failure = Error<Infallible>;
type Answers = Result<u64, Failure>;

/// What a store does with a question.
#[derive(Clone, Copy)]
enum Turn {
    Right,
    Slow(Duration),
    Mute,
    Fail,
    Panic,
    Say(u64),
}

/// A store that notes what it is asked, and does as it is told.
#[derive(Clone)]
struct Scripted {
    store: MemoryStore,
    turn: Arc<Mutex<Turn>>,
    asked: Arc<Mutex<Vec<(Instant, Ask)>>>,
}

impl Scripted {
    fn new(turn: Turn) -> Self {
        let (store, turn) = (MemoryStore::new(), Arc::new(Mutex::new(turn)));
        Self { store, turn, asked: Arc::default() }
    }

    fn turn(&self, turn: Turn) {
        *self.turn.lock().unwrap() = turn;
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Service<Ask> for Scripted {
    type Response = Epoch;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Epoch, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        self.asked.lock().unwrap().push((crate::scene::now(), ask.clone()));
        let (turn, store) = (*self.turn.lock().unwrap(), self.store.clone());
        Box::pin(async move {
            match turn {
                Turn::Right => {}
                Turn::Slow(delay) => {
                    let answer = store.oneshot(ask).await?; // as it is now
                    sleep(delay).await;
                    return Ok(answer);
                }
                Turn::Mute => std::future::pending().await,
                Turn::Fail => return Err("connection refused (127.0.0.1:2379)".into()),
                Turn::Panic => panic!("a store with a defect"),
                Turn::Say(epoch) => return Ok(Epoch::new(epoch)),
            }
            Ok(store.oneshot(ask).await?)
        })
    }
}

/// A write by this epoch; 0 for none.
type Write = u64;

#[allow(clippy::unnecessary_wraps, clippy::trivially_copy_pass_by_ref)] // as a setter wants it
fn epoch(write: &Write) -> Option<Epoch> {
    (*write != 0).then_some(Epoch::new(*write))
}

type Resource = tower::util::BoxCloneService<Write, Write, Failure>;

type Epochs = seawall::fence::InRequest<fn(&Write) -> Option<Epoch>>;

fn resource(layer: &FenceLayer<Epochs>) -> Resource {
    let inner = service_fn(|write: Write| async move { Ok::<_, Failure>(write) });
    layer.layer(inner).boxed_clone()
}

fn builder(store: Scripted) -> seawall::fence::Builder<Epochs> {
    FenceLayer::builder("ledger", store).epoch(epoch as fn(&Write) -> Option<Epoch>)
}

fn rejected(answer: Answers) -> Rejected {
    match answer {
        Err(Error::Rejected(why)) => why,
        other => panic!("{other:?}"),
    }
}

// ===== who is let in =====

// pitfall B48
#[tokio::test(start_paused = true)]
async fn an_epoch_of_a_stranger_fences_nobody_out() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(7));
    let layer = builder(store.clone()).build().unwrap();
    let ledger = resource(&layer);
    assert_eq!(ledger.clone().oneshot(7).await, Ok(7));
    for stranger in [8, u64::MAX] {
        let why = rejected(ledger.clone().oneshot(stranger).await);
        assert_eq!(why.reason(), Reason::Unconfirmed);
        assert_eq!(why.measurement(), Measurement::Epoch { highest: 7, given: true });
        assert_eq!(ledger.clone().oneshot(7).await, Ok(7));
    }
    let seen = store.asked.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(seen, Ask { resource: "ledger".into(), seen: Epoch::new(u64::MAX) });
    assert_eq!(layer.handle().highest(), Some(Epoch::new(7)));
}

// pitfall B49
#[tokio::test(start_paused = true)]
async fn a_fence_that_restarts_lets_in_nothing_that_was_refused_before() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(8));
    let before = resource(&builder(store.clone()).build().unwrap());
    assert_eq!(before.clone().oneshot(8).await, Ok(8));
    assert_eq!(rejected(before.oneshot(7).await).reason(), Reason::Fenced);

    store.turn(Turn::Mute);
    let layer = builder(store.clone()).build().unwrap();
    let after = resource(&layer);
    let why = rejected(after.clone().oneshot(7).await);
    assert_eq!((why.reason(), layer.handle().highest()), (Reason::Unconfirmed, None));
    store.turn(Turn::Right);
    assert_eq!(rejected(after.clone().oneshot(7).await).reason(), Reason::Fenced);
    assert_eq!(after.oneshot(8).await, Ok(8));
}

#[tokio::test(start_paused = true)]
async fn a_later_epoch_ends_the_earlier_ones_and_a_call_without_one_has_none() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(1));
    let ledger = resource(&builder(store.clone()).build().unwrap());
    assert_eq!(rejected(ledger.clone().oneshot(0).await).reason(), Reason::Fenced);
    assert_eq!(store.asked(), 0, "that needs no store");
    assert_eq!(ledger.clone().oneshot(1).await, Ok(1));
    store.store.raise("ledger", Epoch::new(2));
    assert_eq!(ledger.clone().oneshot(2).await, Ok(2));
    let why = rejected(ledger.clone().oneshot(1).await);
    assert_eq!(why.to_string(), "fence `ledger`: refuses an epoch that is over (the highest is 2)");
    let why = rejected(ledger.oneshot(0).await);
    assert_eq!(
        why.to_string(),
        "fence `ledger`: refuses an epoch that is over (it has none, the highest is 2)"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_without_an_epoch_pass_by_setting_once_the_store_has_answered() {
    let store = Scripted::new(Turn::Fail);
    let layer = builder(store.clone()).allow_without_epoch().build().unwrap();
    let ledger = resource(&layer);
    let why = rejected(ledger.clone().oneshot(0).await);
    assert_eq!(why.reason(), Reason::Unconfirmed);
    store.turn(Turn::Right);
    sleep(Duration::from_secs(2)).await; // the longest pause is over
    assert_eq!(ledger.oneshot(0).await, Ok(0));
    let plain = layer.run(|| async { Ok::<_, Failure>("plain") }).await;
    assert_eq!(plain, Ok("plain"));
}

/// What was let in goes on: the guide says so.
#[tokio::test(start_paused = true)]
async fn a_call_in_flight_goes_on_when_a_later_epoch_comes() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(1));
    let layer = builder(store.clone()).build().unwrap();
    let slow = service_fn(|write: Write| async move {
        sleep(Duration::from_secs(1)).await;
        Ok::<_, Failure>(write)
    });
    let ledger = layer.layer(slow.boxed_clone());
    let first = tokio::spawn(ledger.clone().oneshot(1));
    sleep(Duration::from_millis(1)).await;
    store.store.raise("ledger", Epoch::new(2));
    let second = tokio::spawn(ledger.clone().oneshot(2));
    sleep(Duration::from_millis(500)).await;
    assert_eq!(rejected(ledger.oneshot(1).await).reason(), Reason::Fenced);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(1), Ok(2)));
    assert_eq!(layer.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_from_elsewhere_needs_no_question_and_opens_nothing() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(1));
    let layer = builder(store.clone()).build().unwrap();
    let (ledger, handle) = (resource(&layer), layer.handle());
    handle.confirm(Epoch::new(1));
    assert_eq!(handle.highest(), None);
    assert_eq!(ledger.clone().oneshot(1).await, Ok(1));
    assert_eq!(store.asked(), 1);
    handle.confirm(Epoch::new(3));
    assert_eq!(ledger.clone().oneshot(3).await, Ok(3));
    assert_eq!(rejected(ledger.oneshot(1).await).reason(), Reason::Fenced);
    assert_eq!(store.asked(), 1);
}

#[test]
fn what_is_wrong_with_settings_is_said_at_once() {
    let built = FenceLayer::builder("ledger", MemoryStore::new())
        .queue(1_000_001)
        .max_wait(Duration::ZERO)
        .ask_timeout(Duration::from_micros(1))
        .pause(Duration::from_secs(7_200))
        .keyed(|_: &u64| "".into())
        .max_keys(0)
        .build();
    assert_eq!(
        built.unwrap_err().to_string(),
        "invalid configuration of fence `ledger`: queue = 1000001: 0 to 1000000; \
         max_wait = 0ns: longer than zero; ask_timeout = 1µs: 1ms to 3600s; \
         pause = 7200s: 1ms to 3600s; max_keys = 0: at least 1"
    );
}

/// The count of calls that reached the resource.
fn counting(count: Arc<AtomicU32>) -> tower::util::BoxCloneService<Write, Write, Failure> {
    service_fn(move |write: Write| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, Failure>(write) }
    })
    .boxed_clone()
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_has_done_nothing() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(5));
    let count = Arc::new(AtomicU32::new(0));
    let ledger = builder(store).build().unwrap().layer(counting(Arc::clone(&count)));
    for epoch in [0, 4, 6, u64::MAX] {
        rejected(ledger.clone().oneshot(epoch).await);
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert_eq!(ledger.oneshot(5).await, Ok(5));
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
