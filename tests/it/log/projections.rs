//! Projections.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use seawall::log::{
    Append, Appended, Checkpoints, FileCheckpoint, MemoryCheckpoint, MemoryLog, OnError,
    Projection, ProjectionError, Recorded,
};
use seawall::{Event, EventKind, Position};
use tower::ServiceExt;

type Log = MemoryLog<u32>;

fn at(at: u64) -> Position {
    Position { era: 1, at }
}

async fn fill(log: &Log, numbers: impl IntoIterator<Item = u32>) -> Position {
    let appended = log.clone().oneshot(Append::new("a", numbers)).await.unwrap();
    let Appended::Stored { position, .. } = appended else { panic!("{appended:?}") };
    position
}

#[tokio::test]
async fn it_goes_on_at_its_checkpoint() {
    let log = Log::new();
    let checkpoint = MemoryCheckpoint::default();
    let mut seen = Vec::new();
    for round in 0..4 {
        fill(&log, round * 10..round * 10 + 10).await;
        let mut list = Projection::builder("list", log.clone())
            .checkpoint(checkpoint.clone())
            .batch(3)
            .build()
            .unwrap();
        let applied = list.catch_up(|recorded: Recorded<u32>| {
            seen.push(*recorded.event);
            ready(Ok::<_, Infallible>(()))
        });
        let end = applied.await.unwrap();
        assert_eq!((end, checkpoint.position()), (log.end(), Some(end)));
        assert_eq!(list.handle().position(), Some(end));
    }
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_has_written_waits_for_what_it_reads() {
    let log = Log::new();
    let rows = Arc::new(Mutex::new(Vec::new()));
    let mut list = Projection::builder("list", log.clone()).build().unwrap();
    let (handle, fills) = (list.handle(), Arc::clone(&rows));
    assert_eq!(handle.position(), None);
    let runs = tokio::spawn(async move {
        list.run(|recorded: Recorded<u32>| {
            let fills = Arc::clone(&fills);
            async move {
                tokio::task::yield_now().await;
                fills.lock().unwrap().push(*recorded.event);
                Ok::<_, Infallible>(())
            }
        })
        .await
    });
    for number in 0..50 {
        let position = fill(&log, [number]).await;
        handle.reached(position).await;
        assert_eq!(rows.lock().unwrap().last(), Some(&number));
    }
    runs.abort();
}

#[tokio::test]
async fn a_poison_event_stops_it_before_the_event() {
    let log = Log::new();
    fill(&log, 0..10).await;
    let checkpoint = MemoryCheckpoint::default();
    let mut list = Projection::builder("list", log).checkpoint(checkpoint.clone()).build().unwrap();
    let mut seen = Vec::new();
    let mut is_mended = false;
    for _ in 0..2 {
        let stopped = list
            .catch_up(|recorded: Recorded<u32>| {
                if *recorded.event == 6 && !is_mended {
                    return ready(Err("six"));
                }
                seen.push(*recorded.event);
                ready(Ok(()))
            })
            .await;
        if is_mended {
            stopped.unwrap();
        } else {
            let stopped = stopped.unwrap_err();
            let told = "the event at 1-7 (version 7 of the stream `a`) could not be applied: six";
            assert_eq!(stopped.to_string(), told);
            assert_eq!(checkpoint.position(), Some(at(6)));
        }
        is_mended = true;
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_poison_event_is_skipped_and_told_if_that_is_chosen() {
    let log = Log::new();
    fill(&log, 0..10).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    let mut list = Projection::builder("list", log)
        .on_error(OnError::Skip)
        .observe(move |event: &Event| tells.lock().unwrap().push(event.kind))
        .build()
        .unwrap();
    let mut seen = 0;
    let end = list.catch_up(|recorded: Recorded<u32>| {
        if *recorded.event == 6 {
            return ready(Err("six"));
        }
        seen += 1;
        ready(Ok(()))
    });
    assert_eq!(end.await.unwrap(), at(10));
    assert_eq!(seen, 9);
    assert_eq!(*told.lock().unwrap(), [EventKind::EventSkipped { position: at(7) }]);
}

#[tokio::test]
async fn a_checkpoint_that_is_ahead_of_its_log_is_told() {
    let checkpoint = MemoryCheckpoint::at(at(900));
    let mut list =
        Projection::builder("list", Log::new()).checkpoint(checkpoint.clone()).build().unwrap();
    let apply = async |_: Recorded<u32>| Ok::<_, Infallible>(());
    let stopped = list.catch_up(apply).await.unwrap_err();
    assert!(matches!(stopped, ProjectionError::Log(_)));
    let sentence = stopped.to_string();
    assert!(sentence.contains("1-900 is ahead of the log, which ends at 1-0"), "{sentence}");
    assert_eq!(checkpoint.position(), Some(at(900))); // and stays as it is
    let stopped = list.run(apply).await;
    assert!(matches!(stopped, ProjectionError::Log(_)));
}

#[tokio::test]
async fn a_file_that_is_no_checkpoint_is_told() {
    let path = std::env::temp_dir().join(format!("seawall-checkpoint-{}", std::process::id()));
    let mut checkpoint = FileCheckpoint::new(&path);
    assert_eq!(checkpoint.load().await.unwrap(), None);
    checkpoint.save(at(7)).await.unwrap();
    checkpoint.save(at(8)).await.unwrap();
    assert_eq!(checkpoint.load().await.unwrap(), Some(at(8)));
    for garbage in ["", "8", "1-8 and more", "\u{0}\u{0}\u{0}"] {
        std::fs::write(&path, garbage).unwrap();
        let mut list =
            Projection::builder("list", Log::new()).checkpoint(checkpoint.clone()).build().unwrap();
        let stopped = list.catch_up(async |_: Recorded<u32>| Ok::<_, Infallible>(())).await;
        let sentence = stopped.unwrap_err().to_string();
        assert!(
            sentence.contains("is no checkpoint") && sentence.contains("`era-at`"),
            "{sentence}"
        );
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn one_that_is_dropped_begins_again_at_its_checkpoint() {
    let log = Log::new();
    fill(&log, 0..30).await;
    let checkpoint = MemoryCheckpoint::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for polls in 1..60 {
        let mut list = Projection::builder("list", log.clone())
            .checkpoint(checkpoint.clone())
            .batch(4)
            .build()
            .unwrap();
        let seen = Arc::clone(&seen);
        let mut runs = Box::pin(list.run(|recorded: Recorded<u32>| {
            let seen = Arc::clone(&seen);
            async move {
                tokio::task::yield_now().await;
                seen.lock().unwrap().push(*recorded.event);
                Ok::<_, Infallible>(())
            }
        }));
        for _ in 0..polls.min(7) {
            assert!(runs.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }
    let mut seen = seen.lock().unwrap().clone();
    assert_eq!(checkpoint.position(), Some(at(30)));
    seen.dedup();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..30).collect::<Vec<_>>()); // at least once each
}

#[test]
fn a_batch_of_nothing_is_refused() {
    let wrong = Projection::builder("list", Log::new()).batch(0).build().unwrap_err();
    let told = "invalid configuration of projection `list`: batch = 0: 1 to 100000";
    assert_eq!(wrong.to_string(), told);
}
