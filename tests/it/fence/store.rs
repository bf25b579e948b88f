//! A store that is slow, silent, wrong or asked too often.

use futures::future::join_all;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::{Deadline, Event, EventKind};

use super::*;

#[tokio::test(start_paused = true)]
async fn all_who_wait_have_one_question() {
    let store = Scripted::new(Turn::Slow(Duration::from_millis(200)));
    store.store.raise("ledger", Epoch::new(3));
    let layer = builder(store.clone()).build().unwrap();
    let ledger = resource(&layer);
    let calls = join_all((0..100).map(|_| ledger.clone().oneshot(3))).await;
    assert!(calls.iter().all(|call| *call == Ok(3)), "{calls:?}");
    assert_eq!((store.asked(), layer.handle().waiting()), (1, 0));
}

/// An answer that was on its way when the leader came may be older than its term.
#[tokio::test(start_paused = true)]
async fn a_new_leader_is_not_refused_by_an_older_answer() {
    let store = Scripted::new(Turn::Slow(Duration::from_millis(100)));
    store.store.raise("ledger", Epoch::new(1));
    let ledger = resource(&builder(store.clone()).build().unwrap());
    let old = tokio::spawn(ledger.clone().oneshot(1));
    sleep(Duration::from_millis(50)).await;
    store.store.raise("ledger", Epoch::new(2));
    let new = tokio::spawn(ledger.clone().oneshot(2));
    assert_eq!(old.await.unwrap(), Ok(1), "the store did not know better when it was asked");
    assert_eq!(new.await.unwrap(), Ok(2));
    assert_eq!(store.asked(), 2);
}

// pitfall B48
#[tokio::test(start_paused = true)]
async fn a_flood_of_strangers_costs_few_questions_and_the_leader_nothing() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(1));
    let layer = builder(store.clone()).queue(10).build().unwrap();
    let ledger = resource(&layer);
    assert_eq!(ledger.clone().oneshot(1).await, Ok(1));
    let begun = crate::scene::now();
    let mut strangers = Vec::new();
    for nth in 0..1_000 {
        strangers.push(tokio::spawn(ledger.clone().oneshot(1_000_000 + nth)));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(ledger.clone().oneshot(1).await, Ok(1));
        assert!(layer.handle().waiting() <= 10);
    }
    let asked = store.asked();
    assert!(asked <= 12, "{asked} questions in {:?}", begun.elapsed());
    // A new term, in the middle of it: the answer to whoever asks lets it in.
    store.store.raise("ledger", Epoch::new(2));
    loop {
        if ledger.clone().oneshot(2).await == Ok(2) {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    for stranger in strangers {
        rejected(stranger.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_asked_again_and_never_in_a_hot_loop() {
    for turn in [Turn::Mute, Turn::Fail, Turn::Say(2), Turn::Panic] {
        let store = Scripted::new(Turn::Right);
        store.store.raise("ledger", Epoch::new(5));
        let layer = builder(store.clone()).max_wait(Duration::from_secs(10)).build().unwrap();
        let ledger = resource(&layer);
        assert_eq!(ledger.clone().oneshot(5).await, Ok(5));
        store.turn(turn);
        let begun = crate::scene::now();
        let why = rejected(ledger.clone().oneshot(6).await);
        assert_eq!(why.reason(), Reason::Unconfirmed);
        assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
        let asked = store.asked();
        assert!((2..=20).contains(&asked), "{asked} questions in 10 s");
        assert_eq!(ledger.clone().oneshot(5).await, Ok(5), "it goes by what it knows");
        if !matches!(turn, Turn::Panic) {
            assert!(layer.handle().last_error().is_some());
        }
        store.turn(Turn::Right);
        store.store.raise("ledger", Epoch::new(6));
        sleep(Duration::from_secs(2)).await; // the longest pause
        assert_eq!(ledger.oneshot(6).await, Ok(6));
        assert_eq!(layer.handle().last_error(), None);
    }
}

// pitfall B46
#[tokio::test(start_paused = true)]
async fn a_store_that_forgot_lets_nobody_back_in() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(5));
    let layer = builder(store.clone()).build().unwrap();
    let ledger = resource(&layer);
    assert_eq!(ledger.clone().oneshot(5).await, Ok(5));
    store.turn(Turn::Say(1));
    assert_eq!(rejected(ledger.clone().oneshot(6).await).reason(), Reason::Unconfirmed);
    assert_eq!(rejected(ledger.clone().oneshot(1).await).reason(), Reason::Fenced);
    let why = layer.handle().last_error().unwrap();
    assert_eq!(&*why, "the store says 1, and has confirmed 5 before: it has forgotten that");
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_its_deadline() {
    let store = Scripted::new(Turn::Mute);
    let layer = FenceLayer::builder("ledger", store).propagate(FromWithContext).build().unwrap();
    let inner = service_fn(|_: WithContext<()>| async { Ok::<_, Failure>(()) });
    let mut write = WithContext::new((), Deadline::after(Duration::from_millis(300)));
    write.call.epoch = Epoch::new(1);
    let begun = crate::scene::now();
    let Err(Error::Rejected(why)) = layer.layer(inner).oneshot(write).await else { panic!() };
    assert_eq!(why.reason(), Reason::DeadlineExceeded);
    assert_eq!(begun.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn who_goes_gives_the_place_back_and_who_drains_waits_for_nobody() {
    let store = Scripted::new(Turn::Mute);
    let layer = builder(store.clone()).queue(1).build().unwrap();
    let ledger = resource(&layer);
    let first = tokio::spawn(ledger.clone().oneshot(1));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(layer.handle().waiting(), 1);
    assert_eq!(rejected(ledger.clone().oneshot(1).await).reason(), Reason::Unconfirmed);
    first.abort();
    assert!(first.await.is_err());
    assert_eq!(layer.handle().waiting(), 0);
    let second = tokio::spawn(ledger.clone().oneshot(1));
    sleep(Duration::from_millis(10)).await;
    layer.drain().await;
    assert_eq!(rejected(second.await.unwrap()).reason(), Reason::Draining);
    assert_eq!(rejected(ledger.oneshot(1).await).reason(), Reason::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_trusting_store_takes_the_word_of_callers() {
    let store = MemoryStore::trusting();
    let layer = FenceLayer::builder("ledger", store.clone())
        .epoch(epoch as fn(&Write) -> Option<Epoch>)
        .build()
        .unwrap();
    let ledger = resource(&layer);
    assert_eq!(ledger.clone().oneshot(3).await, Ok(3));
    assert_eq!(ledger.clone().oneshot(9).await, Ok(9));
    assert_eq!(rejected(ledger.oneshot(3).await).reason(), Reason::Fenced);
    assert_eq!(store.highest("ledger"), Epoch::new(9));
}

#[tokio::test(start_paused = true)]
async fn epochs_are_told_as_they_rise() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let store = Scripted::new(Turn::Right);
    store.store.raise("ledger", Epoch::new(2));
    let layer = builder(store.clone())
        .observe(move |event: &Event| match event.kind {
            EventKind::EpochRaised { from, to } => log.lock().unwrap().push((from.get(), to.get())),
            EventKind::Rejected { reason } => assert_eq!(reason, Reason::Fenced),
            _ => panic!("{event:?}"),
        })
        .build()
        .unwrap();
    let ledger = resource(&layer);
    assert_eq!(ledger.clone().oneshot(2).await, Ok(2));
    store.store.raise("ledger", Epoch::new(4));
    assert_eq!(ledger.clone().oneshot(4).await, Ok(4));
    rejected(ledger.oneshot(2).await);
    assert_eq!(*told.lock().unwrap(), [(0, 2), (2, 4)]);
}
