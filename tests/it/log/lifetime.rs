//! Who opens, closes, drops and cancels: nothing stays locked, and nobody is left waiting.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use seawall::Position;
use seawall::log::{
    Append, Checkpoints, Codec, Config, FileCheckpoint, FileLog, Fsync, LogError, MemoryLog,
    Projection, ProjectionError, Read, Recorded,
};
use tower::{BoxError, ServiceExt};

use super::Folder;

fn numbers() -> impl Codec<u64> {
    (
        |number: &u64| Ok::<_, BoxError>(number.to_le_bytes().to_vec()),
        |bytes: &[u8]| Ok::<_, BoxError>(u64::from_le_bytes(bytes.try_into()?)),
    )
}

async fn open(folder: &Folder) -> Result<FileLog<u64>, LogError> {
    FileLog::open(&folder.0, numbers(), Config { sync: Fsync::Never, ..Config::default() }).await
}

/// It is let go of soon, by a thread that nobody waits for.
async fn open_soon(folder: &Folder) -> FileLog<u64> {
    for _ in 0..20_000 {
        match open(folder).await {
            Ok(log) => return log,
            Err(LogError::Locked { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it stays locked")
}

#[tokio::test]
async fn an_open_that_is_dropped_lets_go_of_the_lock() {
    let folder = Folder::new();
    for _ in 0..20 {
        assert!(open(&folder).now_or_never().is_none()); // it has begun, and nobody waits for it
        open_soon(&folder).await.close().await.unwrap();
    }
}

#[tokio::test]
async fn appends_reads_and_closes_that_are_dropped_leave_nothing_locked() {
    let folder = Folder::new();
    for _ in 0..20 {
        let log = open_soon(&folder).await;
        let wait = Duration::from_secs(60);
        drop(log.clone().oneshot(Append::new("a", [1])).now_or_never());
        drop(log.clone().oneshot(Read::all().wait(wait)).now_or_never());
        drop(log.clone().oneshot(Read::stream("b").wait(wait)).now_or_never());
        let _ = log.close().now_or_never();
        drop(log);
    }
    assert_eq!(open_soon(&folder).await.end().at, 20); // what was on its way has landed
}

/// Panics when it is told.
struct Fuse(AtomicUsize);

impl Wake for Fuse {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("on purpose");
    }
}

#[tokio::test]
async fn a_panic_on_the_thread_that_writes_leaves_nobody_waiting() {
    let folder = Folder::new();
    let log = open(&folder).await.unwrap();
    let fuse = Arc::new(Fuse(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&fuse));
    let doomed = loop {
        let mut append = Box::pin(log.clone().oneshot(Append::new("a", [1])));
        if append.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            break append; // the writer was not faster
        }
    };
    let told = log.close().await.unwrap_err();
    assert!(told.to_string().contains("its writer has panicked"), "{told}");
    assert_eq!(fuse.0.load(Ordering::Relaxed), 1);
    assert!(log.close().await.is_err()); // and again
    let refused = join_all((0..9).map(|_| log.clone().oneshot(Append::new("a", [1])))).await;
    assert!(refused.iter().all(|answer| matches!(answer, Err(LogError::Closed { .. }))));
    // What was read can be read on, and the folder is nobody's.
    assert!(log.clone().oneshot(Read::all()).await.is_ok());
    drop((doomed, log));
    open_soon(&folder).await.close().await.unwrap();
}

#[tokio::test]
async fn a_close_that_could_not_write_says_so() {
    let folder = Folder::new();
    let config = Config { segment: 4096, ..Config::default() };
    let log = FileLog::open(&folder.0, numbers(), config).await.unwrap();
    std::fs::remove_dir_all(&folder.0).unwrap(); // the next segment cannot be made
    let mut failed = None;
    for _ in 0..10 {
        let append = Append::new("a", [7; 64]);
        failed = log.clone().oneshot(append).await.err().or(failed);
    }
    assert!(matches!(failed.unwrap(), LogError::Closed { .. }));
    assert!(matches!(log.close().await, Err(LogError::Io { .. })));
}

/// Who waits for more for as long as it takes is told when none will come, whether it waits already or begins to.
#[tokio::test]
async fn who_waits_for_more_is_told_when_a_write_fails_or_the_log_is_closed() {
    let patience = Duration::from_secs(20); // of this test
    for is_failure in [true, false] {
        let folder = Folder::new();
        let config = Config { segment: 4096, ..Config::default() };
        let log = FileLog::open(&folder.0, numbers(), config).await.unwrap();
        log.clone().oneshot(Append::new("a", [7; 1000])).await.unwrap(); // it is full
        let end = log.end();
        let waits = || log.clone().oneshot(Read::all().after(end).wait(Duration::MAX));
        let waiting = [waits(), waits()].map(tokio::spawn);
        let mut list = Projection::builder("list", log.clone()).build().unwrap();
        let (standing, apply) = (list.handle(), async |_: Recorded<u64>| Ok::<_, Infallible>(()));
        let running = tokio::spawn(async move { list.run(apply).await });
        standing.reached(end).await;
        if is_failure {
            std::fs::remove_dir_all(&folder.0).unwrap(); // the next segment cannot be made
            log.clone().oneshot(Append::new("a", [8])).await.unwrap_err();
        } else {
            log.close().await.unwrap();
        }
        for waited in waiting {
            let told = tokio::time::timeout(patience, waited).await.expect("it waits for ever");
            assert!(matches!(told.unwrap(), Err(LogError::Closed { .. })));
        }
        let stopped = tokio::time::timeout(patience, running).await.expect("it runs for ever");
        assert!(matches!(stopped.unwrap(), ProjectionError::Log(_)));
        assert!(matches!(waits().await, Err(LogError::Closed { .. })));
        // Who does not wait reads what is there.
        assert!(log.clone().oneshot(Read::all().after(end)).await.unwrap().is_last);
        if !is_failure {
            let all = log.clone().oneshot(Read::all().wait(Duration::MAX)).await.unwrap();
            assert!(!all.events.is_empty());
        }
    }
}

#[tokio::test]
async fn a_codec_that_panics_cannot_and_the_log_goes_on() {
    let folder = Folder::new();
    let log = open(&folder).await.unwrap();
    log.clone().oneshot(Append::new("a", [1, 2, 3])).await.unwrap();
    log.close().await.unwrap();
    let fragile = (
        |number: &u64| {
            assert!(*number < 9, "{number} is too much");
            Ok::<_, BoxError>(number.to_le_bytes().to_vec())
        },
        |bytes: &[u8]| {
            assert!(bytes[0] != 3, "three is not a number");
            Ok::<_, BoxError>(u64::from_le_bytes(bytes.try_into()?))
        },
    );
    let log = FileLog::open(&folder.0, fragile, Config::default()).await.unwrap();
    let page = log.clone().oneshot(Read::all()).await.unwrap();
    let told = log.clone().oneshot(Read::all().after(page.end)).await.unwrap_err();
    assert!(matches!(told, LogError::Codec { what: "decoded", .. }));
    assert!(told.to_string().ends_with("the codec panicked: three is not a number"), "{told}");
    let told = log.clone().oneshot(Append::new("a", [9])).await.unwrap_err();
    assert!(told.to_string().ends_with("the codec panicked: 9 is too much"), "{told}");
    log.clone().oneshot(Append::new("a", [4])).await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes_and_a_larger_append_goes_alone() {
    let folder = Folder::new();
    let config = Config { queue_bytes: 1024, sync: Fsync::Never, ..Config::default() };
    let log = FileLog::open(&folder.0, numbers(), config).await.unwrap();
    let appends =
        (0..50).map(|nth| log.clone().oneshot(Append::new("a", vec![nth; 1 + nth as usize * 20])));
    assert!(join_all(appends).await.iter().all(Result::is_ok));
    log.close().await.unwrap();
    for queue_bytes in [0, 1023, (4 << 30) + 1] {
        let wrong = Config { queue_bytes, ..Config::default() }.validate().unwrap_err();
        assert!(wrong.to_string().contains("queue_bytes"), "{wrong}");
    }
}

/// A runtime without timers, and no runtime at all: told, and no panic.
#[test]
fn what_a_runtime_lacks_is_told() {
    let folder = Folder::new();
    let memory = MemoryLog::<u64>::new();
    let wait = Duration::from_millis(1);
    let timeless = tokio::runtime::Builder::new_current_thread().build().unwrap();
    timeless.block_on(async {
        let log = open(&folder).await.unwrap();
        for told in [
            memory.clone().oneshot(Read::all().wait(wait)).await,
            log.clone().oneshot(Read::all().wait(wait)).await,
        ] {
            assert!(matches!(told, Err(LogError::Runtime { lacks: "timers" })));
        }
        log.clone().oneshot(Append::new("a", [1])).await.unwrap();
        assert_eq!(log.clone().oneshot(Read::all().wait(wait)).await.unwrap().events.len(), 1);
        log.close().await.unwrap();
    });
    let without = open(&folder).now_or_never().unwrap().unwrap_err();
    assert!(matches!(without, LogError::Runtime { lacks: "threads" }), "{without}");
    let told = memory.oneshot(Read::all().wait(wait)).now_or_never().unwrap();
    assert!(matches!(told, Err(LogError::Runtime { .. })));
}

#[tokio::test]
async fn checkpoints_that_are_saved_at_the_same_time_are_whole_and_leave_nothing() {
    let folder = Folder::new();
    std::fs::create_dir(&folder.0).unwrap();
    let path = folder.0.join("checkpoint");
    // What a crash has left long ago, what another process is writing now, and what is none of ours.
    let (stale, fresh) = ("checkpoint.0123456789abcdef.new", "checkpoint.fedcba9876543210.new");
    let foreign = ["checkpoint.new", "other.0123456789abcdef.new"];
    for name in [stale, fresh].into_iter().chain(foreign) {
        let file = std::fs::File::create(folder.0.join(name)).unwrap();
        if name != fresh {
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }
    let saves = (1..=40).map(|at| {
        let mut checkpoint = FileCheckpoint::new(&path);
        async move { checkpoint.save(Position { era: 1, at }).await }
    });
    for saved in join_all(saves).await {
        saved.unwrap();
    }
    let loaded = FileCheckpoint::new(&path).load().await.unwrap().unwrap();
    assert!((1..=40).contains(&loaded.at));
    let mut left: Vec<_> = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["checkpoint", fresh, foreign[0], foreign[1]]);
}
