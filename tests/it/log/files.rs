//! A log in files: what is acknowledged stays, whatever happens to the process or to the end of a file; what is damaged is told.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use seawall::log::{
    Append, Appended, Codec, Config, Expect, FileLog, Fsync, LogError, Read, follow,
};
use seawall::{Epoch, Position};
use tower::{BoxError, ServiceExt};

use super::Folder;

fn numbers() -> impl Codec<u64> {
    (
        |number: &u64| Ok::<_, BoxError>(number.to_le_bytes().to_vec()),
        |bytes: &[u8]| Ok::<_, BoxError>(u64::from_le_bytes(bytes.try_into()?)),
    )
}

fn unsynced() -> Config {
    Config { sync: Fsync::Never, ..Config::default() }
}

async fn open(folder: &Path) -> Result<FileLog<u64>, LogError> {
    FileLog::open(folder, numbers(), unsynced()).await
}

async fn all(log: &FileLog<u64>) -> Vec<u64> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = log.clone().oneshot(Read::all().after(after).most(7)).await.unwrap();
        for recorded in page.events {
            assert_eq!(recorded.position.at, seen.len() as u64 + 1);
            seen.push(*recorded.event);
        }
        after = Some(page.end);
        if page.is_last {
            return seen;
        }
    }
}

async fn append(log: &FileLog<u64>, ask: Append<u64>) -> Appended {
    log.clone().oneshot(ask).await.unwrap()
}

#[tokio::test]
async fn what_is_appended_is_there_when_it_is_opened_again() {
    let folder = Folder::new();
    let config = Config { segment: 4096, ..unsynced() };
    let mut number = 0;
    for round in 0..5_u64 {
        let log = FileLog::open(&folder.0, numbers(), config.clone()).await.unwrap();
        assert!(log.cuts().is_empty());
        assert_eq!(all(&log).await, (0..number).collect::<Vec<_>>());
        for _ in 0..60 {
            let stream = format!("s{}", number % 3);
            append(&log, Append::new(stream, [number, number + 1, number + 2])).await;
            number += 3;
        }
        for stream in 0..3 {
            let page = log.clone().oneshot(Read::stream(format!("s{stream}"))).await.unwrap();
            assert!(page.events.iter().map(|row| row.version).eq(1..=page.version));
        }
        // Fences are remembered: pitfall B49.
        let epoch = Epoch::new(round + 2);
        append(&log, Append::new("fenced", [number]).fence(epoch)).await;
        number += 1;
        let late = append(&log, Append::new("fenced", [0]).fence(Epoch::new(round + 1))).await;
        assert_eq!(late, Appended::Fenced { highest: epoch });
        log.close().await.unwrap();
    }
    assert!(std::fs::read_dir(&folder.0).unwrap().count() > 5); // segments
    let log = open(&folder.0).await.unwrap();
    let late = append(&log, Append::new("fenced", [0]).fence(Epoch::new(5))).await;
    assert_eq!(late, Appended::Fenced { highest: Epoch::new(6) });
    let versions = |after| log.clone().oneshot(Read::stream("s0").after_version(after).most(2));
    let page = versions(3).await.unwrap();
    assert_eq!(page.events.iter().map(|row| row.version).collect::<Vec<_>>(), [4, 5]);
    assert!(!page.is_last);
}

#[tokio::test]
async fn appends_at_the_same_time_conflict_or_land_in_every_way_of_sync() {
    for sync in [Fsync::Batch, Fsync::Interval(Duration::from_millis(1)), Fsync::Never] {
        let folder = Folder::new();
        let config = Config { sync, queue: 5, ..Config::default() };
        let log = FileLog::open(&folder.0, numbers(), config).await.unwrap();
        let mut events = follow(log.clone(), None);
        let first = join_all((0..40).map(|number| {
            let ask = Append::new("a", [number]).expect(Expect::NoStream);
            log.clone().oneshot(ask)
        }));
        let landed = first.await.into_iter().filter(|answer| {
            matches!(answer.as_ref().unwrap(), Appended::Stored { version: 1, .. })
        });
        assert_eq!(landed.count(), 1);
        join_all((0..40).map(|number| append(&log, Append::new("b", [number, number])))).await;
        for at in 1..=81 {
            assert_eq!(events.next().await.unwrap().unwrap().position.at, at);
        }
        log.close().await.unwrap();
        let refused = log.clone().oneshot(Append::new("a", [1])).await.unwrap_err();
        assert!(
            refused.to_string().contains("until it is opened anew: it was closed"),
            "{refused}"
        );
        assert_eq!(all(&log).await.len(), 81); // what was read can be read on
    }
}

#[tokio::test]
async fn foreign_files_later_formats_and_missing_files_are_refused() {
    let folder = Folder::new();
    std::fs::create_dir(&folder.0).unwrap();
    std::fs::write(folder.first(), b"2026-12-01 01:02:03 INFO started\n").unwrap();
    let wrong = open(&folder.0).await.unwrap_err().to_string();
    assert!(wrong.contains("at offset 0: it does not begin like a log"), "{wrong}");

    std::fs::remove_file(folder.first()).unwrap();
    let log = open(&folder.0).await.unwrap();
    append(&log, Append::new("a", [1, 2, 3])).await;
    log.close().await.unwrap();
    let mut bytes = std::fs::read(folder.first()).unwrap();
    bytes[8] = 2;
    std::fs::write(folder.first(), &bytes).unwrap();
    let wrong = open(&folder.0).await.unwrap_err().to_string();
    assert!(wrong.contains("has the format 2, and 1 is the latest"), "{wrong}");

    std::fs::rename(folder.first(), folder.0.join("00000000000000000002.log")).unwrap();
    bytes[8] = 1;
    std::fs::write(folder.0.join("00000000000000000002.log"), &bytes).unwrap();
    let wrong = open(&folder.0).await.unwrap_err().to_string();
    assert!(wrong.contains("a file is missing, or two logs are mixed"), "{wrong}");

    std::fs::rename(folder.0.join("00000000000000000002.log"), folder.0.join("x.log")).unwrap();
    assert!(matches!(open(&folder.0).await, Err(LogError::Foreign { .. })));
}

#[tokio::test]
async fn a_second_one_is_refused_until_the_first_one_has_closed() {
    let folder = Folder::new();
    let log = open(&folder.0).await.unwrap();
    let second = open(&folder.0).await.unwrap_err();
    assert!(second.to_string().contains("another process has the log open"), "{second}");
    log.close().await.unwrap();
    open(&folder.0).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_settings_appends_and_events_is_told() {
    let folder = Folder::new();
    let config = Config { segment: 1, max_append: 0, ..Config::default() };
    let wrong = FileLog::open(&folder.0, numbers(), config).await.unwrap_err().to_string();
    assert!(wrong.contains("segment = 1: 4096") && wrong.contains("max_append = 0: 1"), "{wrong}");

    let config = Config { max_append: 100, ..unsynced() };
    let log = FileLog::open(&folder.0, numbers(), config).await.unwrap();
    let large = log.clone().oneshot(Append::new("a", 0..9)).await.unwrap_err();
    assert!(matches!(large, LogError::TooLarge { most: 100, .. }), "{large}");
    append(&log, Append::new("a", 0..8)).await;
    let ahead = log.clone().oneshot(Read::all().after(Position { era: 1, at: 9 })).await;
    assert!(matches!(ahead, Err(LogError::Ahead { .. })));
    log.close().await.unwrap();

    // A codec that cannot read what another one wrote.
    let picky = (
        |_: &u64| Err::<Vec<u8>, BoxError>("no".into()),
        |bytes: &[u8]| if bytes[0] < 5 { Ok(0_u64) } else { Err("what is that".into()) },
    );
    let log = FileLog::open(&folder.0, picky, unsynced()).await.unwrap();
    let page = log.clone().oneshot(Read::all()).await.unwrap();
    assert_eq!((page.events.len(), page.is_last, page.end.at), (5, false, 5));
    let wrong = log.clone().oneshot(Read::all().after(page.end)).await.unwrap_err();
    assert_eq!(wrong.to_string(), "an event of the stream `a` cannot be decoded: what is that");
    let wrong = log.clone().oneshot(Append::new("a", [1])).await.unwrap_err();
    assert_eq!(wrong.to_string(), "an event of the stream `a` cannot be encoded: no");
    log.close().await.unwrap();
}

// ===== a process that is killed =====

const FOLDER: &str = "SEAWALL_TEST_LOG";

/// Not a test of its own: what the next one starts and kills. It says what was acknowledged.
#[tokio::test]
async fn a_child_that_appends_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let log = open(Path::new(&folder)).await.unwrap();
    let mut number = log.end().at;
    loop {
        let asks = (0..20).map(|nth| append(&log, Append::new(format!("s{nth}"), [0, 1, 2])));
        for appended in join_all(asks).await {
            let Appended::Stored { position, .. } = appended else { panic!("{appended:?}") };
            number = number.max(position.at);
        }
        writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
    }
}

// E4
#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = Folder::new();
    let mut before = 0;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_child_that_appends_until_it_is_killed", "--nocapture"])
            .env(FOLDER, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        let mut hear = |line: std::io::Result<String>| {
            // The harness may have said something on the same line.
            if let Some((_, number)) = line.unwrap().rsplit_once("acknowledged ") {
                acknowledged = number.parse().unwrap_or(acknowledged);
            }
        };
        said.by_ref().take(20 * round).for_each(&mut hear);
        child.kill().unwrap(); // SIGKILL
        said.for_each(hear);
        child.wait().unwrap();

        let log = open(&folder.0).await.unwrap();
        let end = log.end().at;
        assert!(acknowledged > before && end >= acknowledged, "{before} {acknowledged} {end}");
        assert_eq!(end % 3, 0, "all or nothing");
        let mut expected = (0..end).map(|at| at % 3);
        assert!(all(&log).await.into_iter().eq(expected.by_ref()));
        log.close().await.unwrap();
        before = end;
    }
    // And garbage at the end, as a file system may leave it.
    let mut file = OpenOptions::new().append(true).open(folder.first()).unwrap();
    file.write_all(&[0; 4096]).unwrap();
    let log = open(&folder.0).await.unwrap();
    assert_eq!((log.end().at, log.cuts()[0].bytes), (before, 4096));
    log.close().await.unwrap();
}
