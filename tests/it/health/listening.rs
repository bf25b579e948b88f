//! A dependency that tells of its health by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use seawall::EventKind;
use seawall::health::{HealthLayer, HealthUpdate, Status};
use tokio::time::sleep;

use super::changed;
use crate::scene::{Log, ms, settle};

const DOWN: EventKind = changed(Status::Up, Status::Down, "update");
const UP: EventKind = changed(Status::Down, Status::Up, "update");

fn down(why: &str) -> HealthUpdate {
    HealthUpdate::Down(why.to_owned())
}

fn lost(why: &str) -> HealthUpdate {
    HealthUpdate::Lost(why.to_owned())
}

/// Says each word after so long.
fn words(words: impl IntoIterator<Item = (u64, HealthUpdate)>) -> BoxStream<'static, HealthUpdate> {
    let words: Vec<_> = words.into_iter().collect();
    let after = |(millis, told)| async move {
        sleep(ms(millis)).await;
        told
    };
    stream::iter(words).then(after).boxed()
}

#[tokio::test(start_paused = true)]
async fn a_word_is_believed_at_once_and_silence_changes_nothing() {
    let log = Log::default();
    let layer = HealthLayer::builder("x")
        .rise(5)
        .fall(5)
        .observe(log.observer())
        .subscribe(|| {
            let said = [
                (0, HealthUpdate::Up),
                (10, down("no")),
                (10, down("still")),
                (10, HealthUpdate::Up),
            ];
            words(said).chain(stream::pending())
        })
        .build()
        .unwrap();
    settle().await;
    assert_eq!(layer.handle().status(), Status::Up);
    sleep(ms(12)).await;
    assert_eq!(layer.handle().last_error().as_deref(), Some("no"));
    assert_eq!(log.all(), [DOWN]);
    sleep(ms(11)).await;
    assert_eq!(layer.handle().last_error().as_deref(), Some("still"));
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(layer.handle().last_error(), None);
    assert_eq!(log.all(), [DOWN, UP]);
}

/// How many streams were made of one that is `made` each time, until it was down; and the error.
async fn until_down(made: fn(u32) -> BoxStream<'static, HealthUpdate>) -> (u32, String) {
    let count = Arc::new(AtomicU32::new(0));
    let nth = Arc::clone(&count);
    let layer = HealthLayer::builder("x")
        .fall(3)
        .subscribe(move || made(nth.fetch_add(1, Ordering::Relaxed)))
        .build()
        .unwrap();
    let mut watch = layer.handle().watch();
    assert_eq!(watch.changed().await, Some(Status::Down));
    (count.load(Ordering::Relaxed), layer.handle().last_error().unwrap().to_string())
}

// pitfall B35
#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_is_a_bad_check_however_it_does() {
    let streams = |streams, why: &str| (streams, why.to_owned());
    assert_eq!(until_down(|_| words([(0, lost("cut"))])).await, streams(3, "cut"));
    assert_eq!(until_down(|_| stream::pending().boxed()).await, streams(3, "the check timed out"));
    assert_eq!(until_down(|_| panic!("in the closure")).await, streams(3, "the check panicked"));
    let panics = |_| stream::once(async { panic!("in the stream") }).boxed();
    assert_eq!(until_down(panics).await, streams(3, "the check panicked"));
    // A good word starts the count anew.
    let once_well = |nth| match nth {
        2 => words([(0, HealthUpdate::Up), (0, lost("later"))]),
        _ => words([(0, lost("cut"))]),
    };
    assert_eq!(until_down(once_well).await, streams(5, "cut"));
}

#[tokio::test(start_paused = true)]
async fn the_pause_doubles_while_streams_are_short_and_only_then() {
    let made = |lasts: u64| {
        let count = Arc::new(AtomicU32::new(0));
        let nth = Arc::clone(&count);
        let listen = move || {
            nth.fetch_add(1, Ordering::Relaxed);
            words([(0, HealthUpdate::Up), (lasts, HealthUpdate::Up)])
        };
        let layer = HealthLayer::builder("x").interval(Duration::from_secs(5)).jitter(0.0);
        (layer.subscribe(listen).build().unwrap(), count)
    };
    let ((short, shorts), (long, longs)) = (made(0), made(6_000));
    sleep(Duration::from_secs(600)).await;
    // Every 2.5 to 5 seconds; every 6 seconds and up to 100 ms.
    let counts = (shorts.load(Ordering::Relaxed), longs.load(Ordering::Relaxed));
    assert!((120..=250).contains(&counts.0), "{counts:?}");
    assert!((98..=100).contains(&counts.1), "{counts:?}");
    drop((short, long));
    sleep(Duration::from_secs(60)).await;
    assert_eq!((shorts.load(Ordering::Relaxed), longs.load(Ordering::Relaxed)), counts);
}
