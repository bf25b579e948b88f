//! Files that are cut and flipped at every byte: of several segments and batches, with events that hold records themselves.
//!
//! Of what was on the disk nothing is lost in silence: damage is refused with its offset. What a crash may have torn is cut
//! off, kept and told, and whoever has seen more than the log has then is told, too.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use futures::future::join_all;
use seawall::Position;
use seawall::log::{Append, Appended, Codec, Config, FileLog, Fsync, LogError, Read};
use tower::{BoxError, ServiceExt};

use super::Folder;

/// Before the first record: the head of the segment, and the mark that the log was opened.
const HEAD: usize = 28;
/// What is written once an append is on the disk.
const MARK: usize = 28;

type Event = Vec<u8>;
type Files = BTreeMap<String, Vec<u8>>;

fn bytes() -> impl Codec<Event> {
    (
        |bytes: &Event| Ok::<_, BoxError>(bytes.clone()),
        |bytes: &[u8]| Ok::<_, BoxError>(bytes.to_vec()),
    )
}

async fn open(folder: &Path, sync: Fsync) -> Result<FileLog<Event>, LogError> {
    let config = Config { segment: 4096, sync, ..Config::default() };
    FileLog::open(folder, bytes(), config).await
}

async fn all(log: &FileLog<Event>) -> Vec<Event> {
    let page = log.clone().oneshot(Read::all()).await.unwrap();
    assert!(page.is_last);
    page.events.into_iter().map(|recorded| (*recorded.event).clone()).collect()
}

async fn append(log: &FileLog<Event>, stream: &'static str, events: Vec<Event>) -> Position {
    match log.clone().oneshot(Append::new(stream, events)).await.unwrap() {
        Appended::Stored { position, .. } => position,
        other => panic!("{other:?}"),
    }
}

/// The segments as they are now.
fn files(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let names = names.filter(|name| Path::new(name).extension().is_some_and(|ends| ends == "log"));
    names.map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

fn restore(folder: &Path, files: &Files) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir(folder).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A log, as it was when each append was acknowledged.
struct History {
    events: Vec<Event>,
    /// The files, and how many events were acknowledged.
    acknowledged: Vec<(Files, usize)>,
    closed: Files,
}

/// Some appends that share a batch, some that do not, in three segments; each third event holds the file that it is in.
async fn history(folder: &Folder, sync: Fsync) -> History {
    restore(&folder.0, &Files::new());
    let log = open(&folder.0, sync).await.unwrap();
    let (mut events, mut acknowledged) = (Vec::new(), Vec::new());
    for round in 0..8_u8 {
        let filler = vec![round; if round < 6 { 1300 } else { 40 }];
        let own: Vec<u8> = files(&folder.0).into_values().next_back().unwrap();
        let own = own[own.len().saturating_sub(150)..].to_vec(); // the last records, and the marks behind them
        let together = [("a", vec![filler]), ("b", vec![own, vec![round]]), ("a", vec![vec![]])];
        let appends =
            together.map(|(stream, events)| (append(&log, stream, events.clone()), events));
        let (appends, more): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
        join_all(appends).await;
        events.extend(more.into_iter().flatten());
        acknowledged.push((files(&folder.0), events.len()));
    }
    log.close().await.unwrap();
    History { events, acknowledged, closed: files(&folder.0) }
}

/// The files with the last one cut there.
fn cut(files: &Files, length: usize) -> Files {
    let mut files = files.clone();
    files.values_mut().next_back().unwrap().truncate(length);
    files
}

fn last(files: &Files) -> &Vec<u8> {
    files.values().next_back().unwrap()
}

// E4; pitfall B70, pitfall B61
#[tokio::test]
async fn a_log_that_is_cut_at_any_byte_holds_all_that_is_whole_and_tells_who_has_seen_more() {
    let folder = Folder::new();
    for sync in [Fsync::Batch, Fsync::Never] {
        let History { events, acknowledged, closed } = history(&folder, sync).await;
        let in_last = |files: &Files| files.len() == closed.len();
        let whole = |length: usize| {
            let mark = if sync == Fsync::Batch { MARK } else { 0 };
            let there = |(files, _): &&(Files, usize)| {
                !in_last(files) || last(files).len() - mark <= length
            };
            acknowledged.iter().filter(there).map(|(_, count)| *count).max().unwrap_or(0)
        };
        let step = if sync == Fsync::Batch { 1 } else { 11 };
        for length in (0..=last(&closed).len()).step_by(step) {
            restore(&folder.0, &cut(&closed, length));
            let log = open(&folder.0, sync).await.unwrap();
            let seen = all(&log).await;
            assert!(seen.len() >= whole(length) && events.starts_with(&seen), "{length}");
            if let [.., torn] = log.cuts() {
                let kept = std::fs::read(&torn.kept).unwrap();
                assert_eq!(kept, last(&closed)[torn.offset as usize..length], "{length}");
                assert_eq!((torn.bytes as usize, log.end().era), (kept.len(), 2));
            }
            // Who has seen all of the log before is told, even when the log has as many events again.
            let known = Position { era: 1, at: events.len() as u64 };
            let part = log.end().at;
            append(&log, "c", vec![vec![9]; events.len() + 3 - seen.len()]).await;
            let read = |known| log.clone().oneshot(Read::all().after(known));
            if log.end().era == 2 {
                let told = read(known).await;
                let is_gone = known.at > part;
                assert_eq!(matches!(told, Err(LogError::OtherEra { .. })), is_gone, "{length}");
            }
            // And who has seen no more than there is goes on.
            let page = read(Position { era: 1, at: part.min(2) }).await.unwrap();
            assert_eq!(page.end, log.end());
            // The next one finds it whole.
            let expected = all(&log).await;
            log.close().await.unwrap();
            let log = open(&folder.0, sync).await.unwrap();
            assert!(log.cuts().is_empty());
            assert_eq!(all(&log).await, expected, "{length}");
            log.close().await.unwrap();
        }
    }
}

/// Opens files in which the byte at `at` of the file `name` is flipped, and expects that to be refused with a place at or before it.
async fn expect_refusal(folder: &Folder, files: &Files, name: &str, at: usize) {
    let mut flipped = files.clone();
    flipped.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
    restore(&folder.0, &flipped);
    match open(&folder.0, Fsync::Batch).await.unwrap_err() {
        LogError::Damaged { path, offset, .. } => {
            assert!(path.ends_with(name), "{at}: {}", path.display());
            assert!(offset as usize <= at && at - (offset as usize) < 2000, "{at}: {offset}");
        }
        LogError::Foreign { path, offset: 0, .. } => assert!(path.ends_with(name) && at < 12),
        other => panic!("{at}: {other}"),
    }
    assert_eq!(self::files(&folder.0), flipped); // and nothing was touched
}

// E4; pitfall B70
#[tokio::test]
async fn a_byte_that_is_flipped_in_what_was_acknowledged_is_refused_with_its_place() {
    let folder = Folder::new();
    let History { acknowledged, closed, .. } = history(&folder, Fsync::Batch).await;
    assert_eq!(closed.len(), 3);
    // Of a log that was closed: all but the mark that says so.
    for (name, bytes) in &closed {
        let is_last = *name == *closed.keys().next_back().unwrap();
        let step = if is_last { 1 } else { 17 };
        let end = bytes.len() - if is_last { MARK } else { 0 };
        for at in (0..end).step_by(step) {
            expect_refusal(&folder, &closed, name, at).await;
        }
    }
    // Of one whose process was killed: at rest, and while the next batch was being written, at some of its bytes.
    let [.., (before, _), (after, _)] = &acknowledged[..] else { panic!() };
    let name = closed.keys().next_back().unwrap();
    let (rest, next) = (last(before).len(), last(after).len());
    for length in [rest, rest + 1, rest + 23, rest + 24, rest + 100, next - MARK - 1] {
        let torn = cut(after, length);
        for at in (0..rest - MARK).step_by(3) {
            expect_refusal(&folder, &torn, name, at).await;
        }
    }
}

// E4; pitfall B70
#[tokio::test]
async fn a_byte_that_is_flipped_in_a_mark_at_the_end_loses_nothing() {
    let folder = Folder::new();
    let History { events, closed, .. } = history(&folder, Fsync::Batch).await;
    let length = last(&closed).len();
    for at in length - MARK..length {
        let mut flipped = closed.clone();
        flipped.values_mut().next_back().unwrap()[at] ^= 1;
        restore(&folder.0, &flipped);
        let log = open(&folder.0, Fsync::Batch).await.unwrap();
        assert_eq!(log.cuts()[0].offset as usize, length - MARK);
        assert_eq!(all(&log).await, events);
        log.close().await.unwrap();
    }
}

/// A loss of power: of what was not on the disk any page may be there or not, and a later one without an earlier.
#[tokio::test]
async fn what_a_loss_of_power_leaves_of_what_was_not_on_the_disk_is_cut_off() {
    let folder = Folder::new();
    let History { events, acknowledged, .. } = history(&folder, Fsync::Never).await;
    let [.., (before, count), (after, _)] = &acknowledged[..] else { panic!() };
    let (rest, next) = (last(before).len(), last(after).len());
    for at in rest..next {
        for lost in [1, 40] {
            let mut torn = after.clone();
            torn.values_mut().next_back().unwrap()[at..(at + lost).min(next)].fill(0);
            if torn == *after {
                continue; // there were zeros before
            }
            restore(&folder.0, &torn); // and the records behind it are whole
            let log = open(&folder.0, Fsync::Never).await.unwrap();
            let seen = all(&log).await;
            assert!(seen.len() >= *count && events.starts_with(&seen), "{at}");
            assert!(log.cuts()[0].offset as usize >= rest);
            log.close().await.unwrap();
        }
    }
    // All of it is zeros, and so is the head of a segment.
    let mut torn = before.clone();
    torn.values_mut().next_back().unwrap().extend([0; 4096]);
    restore(&folder.0, &torn);
    std::fs::write(folder.0.join(format!("{:020}.log", count + 1)), [0; 64]).unwrap();
    let refused = open(&folder.0, Fsync::Batch).await.unwrap_err();
    assert!(matches!(refused, LogError::Damaged { .. }), "{refused}"); // a segment begins when the one before is whole
    restore(&folder.0, before);
    std::fs::write(folder.0.join(format!("{:020}.log", count + 1)), [0; 64]).unwrap();
    let log = open(&folder.0, Fsync::Batch).await.unwrap();
    assert_eq!((log.cuts()[0].bytes, all(&log).await), (64, events[..*count].to_vec()));
    log.close().await.unwrap();
}

/// Two bytes of a head, which are not guessed, and the end is torn: what is between them says what was on the disk.
#[tokio::test]
async fn a_head_with_two_wrong_bytes_is_refused_though_the_end_is_torn() {
    let folder = Folder::new();
    let log = open(&folder.0, Fsync::Batch).await.unwrap();
    let mut lengths = Vec::new();
    for event in [vec![1; 90], vec![2; 90], vec![3; 90]] {
        append(&log, "a", vec![event]).await;
        lengths.push(last(&files(&folder.0)).len());
    }
    let whole = files(&folder.0);
    log.close().await.unwrap();
    let [first, second, third] = lengths[..] else { panic!() };
    for length in [second + 1, second + 23, second + 24, third - MARK - 1] {
        for other in 1..24 {
            let mut torn = cut(&whole, length);
            let bytes = torn.values_mut().next_back().unwrap();
            bytes[first] ^= 8;
            bytes[first + other] ^= 64;
            restore(&folder.0, &torn);
            let Err(LogError::Damaged { offset, .. }) = open(&folder.0, Fsync::Batch).await else {
                panic!("{length} {other}: cut off")
            };
            assert_eq!((offset as usize, files(&folder.0)), (first, torn));
        }
    }
}

/// A sector in the middle, and not a byte.
#[tokio::test]
async fn a_lost_sector_of_what_was_acknowledged_is_refused() {
    let folder = Folder::new();
    let History { closed, .. } = history(&folder, Fsync::Batch).await;
    for name in closed.keys() {
        for at in (0..closed[name].len() - MARK - HEAD).step_by(512) {
            let mut lost = closed.clone();
            let end = (at + 512).min(closed[name].len() - MARK);
            lost.get_mut(name).unwrap()[at..end].fill(0);
            restore(&folder.0, &lost);
            let is_lost = lost[name] != closed[name]; // there may have been zeros before
            let refused = open(&folder.0, Fsync::Batch).await;
            assert_eq!(matches!(refused, Err(LogError::Damaged { .. })), is_lost, "{name} {at}");
        }
    }
}

#[tokio::test]
async fn each_cut_is_kept_beside_those_before() {
    let folder = Folder::new();
    let History { closed, .. } = history(&folder, Fsync::Batch).await;
    let mut kept = Vec::new();
    for torn in [3, 4, 5, 4] {
        // The log is restored from a backup, and torn again in the same record.
        restore_segments(&folder.0, &cut(&closed, last(&closed).len() - MARK - torn));
        let log = open(&folder.0, Fsync::Batch).await.unwrap();
        kept.push(log.cuts()[0].clone());
        log.close().await.unwrap();
    }
    assert_eq!(kept[1], kept[3]); // the same bytes are kept once
    let mut names: Vec<_> = kept.iter().map(|cut| &cut.kept).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3);
    for cut in &kept {
        assert_eq!(std::fs::metadata(&cut.kept).unwrap().len(), cut.bytes);
    }
}

/// The segments of a backup, beside whatever else is there.
fn restore_segments(folder: &Path, backup: &Files) {
    for name in files(folder).keys() {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, bytes) in backup {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A crash while a torn end is cut off: the new era has begun, and the torn end is still there.
#[tokio::test]
async fn a_cut_that_was_interrupted_is_finished() {
    let folder = Folder::new();
    let History { events, closed, .. } = history(&folder, Fsync::Batch).await;
    let torn = cut(&closed, last(&closed).len() - MARK - 5);
    restore(&folder.0, &torn);
    let log = open(&folder.0, Fsync::Batch).await.unwrap();
    let whole = all(&log).await;
    log.close().await.unwrap();
    let (name, bytes) = torn.last_key_value().unwrap();
    std::fs::write(folder.0.join(name), bytes).unwrap(); // as before
    let log = open(&folder.0, Fsync::Batch).await.unwrap();
    assert_eq!((all(&log).await, log.end().era), (whole.clone(), 3));
    assert!(!log.cuts().is_empty() && events.starts_with(&whole));
    log.close().await.unwrap();
    // And where the new era is torn, too: both are told.
    std::fs::write(folder.0.join(name), bytes).unwrap();
    let new = cut(&files(&folder.0), last(&files(&folder.0)).len() - 1);
    restore(&folder.0, &new);
    let log = open(&folder.0, Fsync::Batch).await.unwrap();
    let told: Vec<_> = log.cuts().iter().map(|cut| cut.path.file_name().unwrap()).collect();
    assert_eq!(
        (told, all(&log).await),
        (vec![OsStr::new(name), OsStr::new(new.last_key_value().unwrap().0)], whole)
    );
    log.close().await.unwrap();
    assert!(open(&folder.0, Fsync::Batch).await.unwrap().cuts().is_empty());
}

/// Where readers see what is not on the disk yet, a loss of power may take what they have seen, and leave no trace.
#[tokio::test]
async fn after_a_crash_of_a_log_that_is_not_synced_positions_are_not_used_twice() {
    let folder = Folder::new();
    let log = open(&folder.0, Fsync::Never).await.unwrap();
    append(&log, "a", vec![vec![1], vec![2]]).await;
    let (before, two) = (files(&folder.0), log.end());
    append(&log, "a", vec![vec![3]]).await;
    let three = log.end(); // somebody keeps it
    log.close().await.unwrap();
    restore(&folder.0, &before); // and the power fails

    let log = open(&folder.0, Fsync::Never).await.unwrap();
    assert_eq!((log.cuts(), log.end()), (&[][..], Position { era: 2, at: 2 }));
    append(&log, "a", vec![vec![4], vec![5]]).await;
    let read = |after| log.clone().oneshot(Read::all().after(after));
    let told = read(three).await.unwrap_err().to_string();
    assert!(told.contains("1-3 is of another era than the log, which ends at 2-4"), "{told}");
    assert_eq!(read(two).await.unwrap().events.len(), 2);
    log.close().await.unwrap();

    // One that was closed has lost nothing.
    let log = open(&folder.0, Fsync::Never).await.unwrap();
    assert_eq!(log.end(), Position { era: 2, at: 4 });
    log.close().await.unwrap();
}
