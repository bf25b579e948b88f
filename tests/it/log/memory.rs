//! The law of a log, of the one in memory.

use std::time::Duration;

use futures::StreamExt;
use seawall::log::{Append, Appended, Expect, LogError, MemoryLog, Page, Read, follow};
use seawall::timeout::TimeoutLayer;
use seawall::{Epoch, Error, Position};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

fn at(at: u64) -> Position {
    Position { era: 1, at }
}

fn numbers(page: &Page<u32>) -> Vec<u32> {
    page.events.iter().map(|recorded| *recorded.event).collect()
}

#[tokio::test]
async fn an_append_expects_and_is_all_or_nothing() {
    let log = MemoryLog::new();
    let append = |append| log.clone().oneshot(append);
    let conflict = |at| Appended::Conflict { at };

    let new = Append::new("a", [1, 2]).expect(Expect::NoStream);
    assert_eq!(
        append(new.clone()).await.unwrap(),
        Appended::Stored { position: at(2), version: 2 }
    );
    assert_eq!(append(new).await.unwrap(), conflict(2));
    let late = Append::new("a", [3]).expect(Expect::At(1));
    assert_eq!(append(late).await.unwrap(), conflict(2));
    let early = Append::new("b", [3]).expect(Expect::At(1));
    assert_eq!(append(early).await.unwrap(), conflict(0));
    let next = Append::new("a", [3]).expect(Expect::At(2));
    assert_eq!(append(next).await.unwrap(), Appended::Stored { position: at(3), version: 3 });
    let none = Append::new("a", []).expect(Expect::At(3));
    assert_eq!(append(none).await.unwrap(), Appended::Stored { position: at(3), version: 3 });

    let all = log.clone().oneshot(Read::all()).await.unwrap();
    assert_eq!(numbers(&all), [1, 2, 3]);
    let versions: Vec<_> = all.events.iter().map(|row| (row.version, row.position.at)).collect();
    assert_eq!(versions, [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn a_fence_refuses_who_was_leader_before() {
    let log = MemoryLog::new();
    let append =
        |stream, epoch: u64| log.clone().oneshot(Append::new(stream, [0]).fence(Epoch::new(epoch)));
    assert!(matches!(append("a", 7).await, Ok(Appended::Stored { .. })));
    assert_eq!(append("b", 6).await.unwrap(), Appended::Fenced { highest: Epoch::new(7) });
    assert!(matches!(append("b", 7).await, Ok(Appended::Stored { .. })));
    // What does not land fences nobody.
    let conflict = Append::new("a", [0]).expect(Expect::NoStream).fence(Epoch::new(9));
    assert_eq!(log.clone().oneshot(conflict).await.unwrap(), Appended::Conflict { at: 1 });
    assert!(matches!(append("a", 7).await, Ok(Appended::Stored { .. })));
    assert_eq!(log.end(), at(3));
}

#[tokio::test]
async fn names_and_capacity_are_bounded_and_refusals_leave_nothing() {
    let log = MemoryLog::with_capacity(3).unwrap();
    for name in [String::new(), "x".repeat(257)] {
        let wrong = log.clone().oneshot(Append::new(name, [1])).await.unwrap_err();
        assert!(wrong.to_string().contains("1 to 256 are accepted"), "{wrong}");
    }
    assert!(log.clone().oneshot(Append::new("x".repeat(256), [1])).await.is_ok());
    let wrong = log.clone().oneshot(Append::new("a", [1, 2, 3])).await.unwrap_err();
    assert_eq!(wrong.to_string(), "the log is full: it holds 3 events");
    assert_eq!(log.end(), at(1));
    assert!(log.clone().oneshot(Append::new("a", [2, 3])).await.is_ok());
    let wrong = MemoryLog::<u8>::with_capacity(0).unwrap_err();
    assert_eq!(wrong.to_string(), "invalid configuration: capacity = 0: at least 1");
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap() {
    let log = MemoryLog::new();
    for number in 0..10_000_u32 {
        let stream = ["a", "b", "c"][number as usize % 3];
        log.clone().oneshot(Append::new(stream, [number])).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = log.clone().oneshot(Read::all().after(after).most(777)).await.unwrap();
        seen.extend(numbers(&page));
        after = Some(page.end);
        if page.is_last {
            break;
        }
    }
    assert_eq!(seen, (0..10_000).collect::<Vec<_>>());

    let (mut seen, mut version) = (Vec::new(), 0);
    loop {
        let ask = Read::stream("b").after_version(version).most(100);
        let page = log.clone().oneshot(ask).await.unwrap();
        assert_eq!(page.version, 3333);
        seen.extend(numbers(&page));
        version = page.events.last().map_or(version, |row| row.version);
        if page.is_last {
            break;
        }
    }
    assert_eq!(seen, (0..10_000).filter(|number| number % 3 == 1).collect::<Vec<_>>());
}

// pitfall B61
#[tokio::test]
async fn positions_that_are_not_of_this_log_are_told() {
    let log = MemoryLog::<u32>::new();
    let read = |position| log.clone().oneshot(Read::all().after(position));
    let ahead = read(at(1)).await.unwrap_err();
    assert!(ahead.to_string().contains("1-1 is ahead of the log, which ends at 1-0"), "{ahead}");
    let other = read(Position { era: 2, at: 0 }).await.unwrap_err();
    assert!(matches!(other, LogError::OtherEra { .. }), "{other}");
    assert!(read(at(0)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_news_and_no_longer_than_it_may() {
    let log = MemoryLog::new();
    let wait = Duration::from_secs(5);
    #[allow(clippy::disallowed_methods)] // tokio's, paused
    let begun = Instant::now();
    let page = log.clone().oneshot(Read::all().wait(wait)).await.unwrap();
    assert_eq!((numbers(&page), page.is_last, begun.elapsed()), (vec![], true, wait));

    // News of another stream wakes nobody who reads one.
    let reads = log.clone().oneshot(Read::stream("a").wait(wait));
    let reads = tokio::spawn(reads);
    tokio::task::yield_now().await;
    log.clone().oneshot(Append::new("b", [1])).await.unwrap();
    tokio::task::yield_now().await;
    assert!(!reads.is_finished());
    log.clone().oneshot(Append::new("a", [2])).await.unwrap();
    assert_eq!(numbers(&reads.await.unwrap().unwrap()), [2]);
}

#[tokio::test]
async fn who_follows_sees_all_in_order_while_many_append() {
    const EACH: u32 = 500;
    let log = MemoryLog::new();
    let mut events = follow(log.clone(), None);
    let writers: Vec<_> = (0..4_u32)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let append = Append::new(format!("w{writer}"), [writer * EACH + number]);
                    log.clone().oneshot(append).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    for position in 1..=u64::from(4 * EACH) {
        let recorded = events.next().await.unwrap().unwrap();
        assert_eq!(recorded.position, at(position));
        let writer = (*recorded.event / EACH) as usize;
        assert_eq!(*recorded.event % EACH, next[writer]);
        next[writer] += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn who_follows_from_a_wrong_place_is_told_and_it_ends() {
    let mut events = follow(MemoryLog::<u32>::new(), at(5));
    assert!(events.next().await.unwrap().is_err());
    assert!(events.next().await.is_none());
}

/// The crate's own layers stand in front of a log, for both requests.
#[tokio::test(start_paused = true)]
async fn layers_stand_in_front_of_a_log() {
    let log = MemoryLog::new();
    let layered = ServiceBuilder::new()
        .layer(TimeoutLayer::new("log", Duration::from_secs(1)))
        .map_err(Error::Inner)
        .service(log);
    let mut guarded = layered.clone();
    Service::<Append<u32>>::call(&mut guarded, Append::new("a", [1])).await.unwrap();
    let page = layered.clone().oneshot(Read::all()).await.unwrap();
    assert_eq!(numbers(&page), [1]);
    let late = layered.oneshot(Read::all().after(at(1)).wait(Duration::from_secs(9))).await;
    assert!(matches!(late, Err(Error::Rejected(_))));
    // A whole stack, too.
    let stack = seawall::stack::client("log").cloned().build().unwrap();
    let whole = stack.layer(MemoryLog::<u32>::new().map_err_into());
    let page = whole.oneshot(Read::all()).await.unwrap();
    assert_eq!(page.end, at(0));
}

trait MapErrInto: Sized {
    fn map_err_into(self) -> tower::util::MapErr<Self, fn(LogError) -> Error<LogError>>;
}

impl MapErrInto for MemoryLog<u32> {
    fn map_err_into(self) -> tower::util::MapErr<Self, fn(LogError) -> Error<LogError>> {
        tower::util::MapErr::new(self, Error::Inner)
    }
}
