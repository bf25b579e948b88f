//! One fence for each resource, in bounded memory.

use std::borrow::Cow;

use super::*;

#[derive(Clone)]
struct Of {
    key: &'static str,
    epoch: u64,
}

fn write(key: &'static str, epoch: u64) -> Of {
    Of { key, epoch }
}

fn shards(
    store: Scripted,
    max_keys: usize,
) -> impl Service<Of, Response = (), Error = Failure, Future: Send> + Clone + use<> {
    FenceLayer::builder("shards", store)
        .epoch(|write: &Of| Some(Epoch::new(write.epoch)))
        .keyed(|write: &Of| Cow::from(write.key))
        .max_keys(max_keys)
        .build()
        .unwrap()
        .layer(service_fn(|_: Of| async { Ok::<_, Failure>(()) }))
}

fn reason(answer: Result<(), Failure>) -> Option<Reason> {
    answer.err().map(|error| match error {
        Error::Rejected(why) => why.reason(),
        Error::Inner(never) => match never {},
    })
}

#[tokio::test(start_paused = true)]
async fn the_epochs_of_keys_do_not_compare() {
    let store = Scripted::new(Turn::Right);
    store.store.raise("a", Epoch::new(100));
    store.store.raise("b", Epoch::new(2));
    let shards = shards(store, 10);
    assert_eq!(reason(shards.clone().oneshot(write("a", 100)).await), None);
    assert_eq!(reason(shards.clone().oneshot(write("b", 2)).await), None);
    assert_eq!(reason(shards.clone().oneshot(write("b", 1)).await), Some(Reason::Fenced));
    assert_eq!(reason(shards.oneshot(write("a", 2)).await), Some(Reason::Fenced));
}

// pitfall B49: what is forgotten to make room begins closed
#[tokio::test(start_paused = true)]
async fn a_key_that_was_forgotten_lets_in_nothing_that_was_refused_before() {
    let store = Scripted::new(Turn::Right);
    for key in ["a", "b"] {
        store.store.raise(key, Epoch::new(5));
    }
    let shards = shards(store.clone(), 1);
    assert_eq!(reason(shards.clone().oneshot(write("a", 5)).await), None);
    assert_eq!(reason(shards.clone().oneshot(write("b", 5)).await), None, "there is room for it");
    store.turn(Turn::Mute);
    for epoch in [4, 5, 6] {
        let again = shards.clone().oneshot(write("a", epoch)).await;
        assert_eq!(
            reason(again),
            Some(Reason::Unconfirmed),
            "it is closed until the store answers"
        );
    }
    store.turn(Turn::Right);
    sleep(Duration::from_secs(2)).await; // the longest pause is over
    assert_eq!(reason(shards.clone().oneshot(write("a", 4)).await), Some(Reason::Fenced));
    assert_eq!(reason(shards.oneshot(write("a", 5)).await), None);
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_nobody_is_let_in() {
    let store = Scripted::new(Turn::Right);
    for key in ["a", "b", "(overflow)"] {
        store.store.raise(key, Epoch::new(5));
    }
    let layer = FenceLayer::builder("shards", store)
        .epoch(|write: &Of| Some(Epoch::new(write.epoch)))
        .keyed(|write: &Of| Cow::from(write.key))
        .max_keys(1)
        .build()
        .unwrap();
    let slow = service_fn(|_: Of| async {
        sleep(Duration::from_secs(1)).await;
        Ok::<_, Failure>(())
    });
    let shards = layer.layer(slow);
    let held = tokio::spawn(shards.clone().oneshot(write("a", 5)));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(reason(shards.clone().oneshot(write("b", 5)).await), Some(Reason::Unconfirmed));
    assert_eq!(reason(held.await.unwrap()), None);
    assert_eq!(layer.handle_of("a").and_then(|fence| fence.highest()), Some(Epoch::new(5)));
    // A key by the name of those without room is a key like others.
    assert_eq!(reason(shards.oneshot(write("(overflow)", 5)).await), None);
}
