//! The command side.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::future::join_all;
use seawall::log::{
    Append, Appended, CommandError, Commands, Decide, LogError, MemoryLog, MemorySnapshots, Page,
    Read, Snapshot, Snapshots,
};
use seawall::retry::Budget;
use seawall::{Epoch, Position};
use tower::{BoxError, Service, ServiceExt};

use super::{Command, Counter, Event};
use crate::exposition::{Exposition, recorder};

type Log = MemoryLog<Event>;

fn commands<L>(log: L) -> seawall::log::CommandsBuilder<Counter, L>
where
    L: seawall::log::Appendable<Event>,
{
    Commands::builder("counters", log).stream(|(name, _): &(&'static str, Command)| *name)
}

/// A log that lets others in between a read and the append that follows it.
#[derive(Clone)]
struct Slow {
    log: Log,
    /// Polls until it is asked.
    turns: u32,
    /// Questions so far.
    asked: Arc<AtomicU64>,
}

impl Slow {
    fn new(log: &Log, turns: u32) -> Self {
        Self { log: log.clone(), turns, asked: Arc::default() }
    }

    fn pass<T>(&self, answer: impl Future<Output = T> + Send + 'static) -> Answer<T> {
        let turns = self.turns;
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            answer.await
        })
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<Append<Event>> for Slow {
    type Response = Appended;
    type Error = LogError;
    type Future = Answer<Result<Appended, LogError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Append<Event>) -> Self::Future {
        self.pass(self.log.clone().oneshot(ask))
    }
}

impl Service<Read> for Slow {
    type Response = Page<Event>;
    type Error = LogError;
    type Future = Answer<Result<Page<Event>, LogError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Read) -> Self::Future {
        self.pass(self.log.clone().oneshot(ask))
    }
}

#[tokio::test]
async fn a_command_is_decided_by_what_has_happened() {
    let log = Log::new();
    let mut counters = commands(log.clone()).build().unwrap();
    let added = counters.ready().await.unwrap().call(("a", Command::Add(3))).await.unwrap();
    assert_eq!((added.events.len(), added.version, added.position.at), (3, 3, 3));
    let declined = counters.call(("b", Command::Take(1))).await.unwrap_err();
    assert!(matches!(declined, CommandError::Declined("too few")));
    assert_eq!(declined.to_string(), "declined: too few");
    let taken = counters.call(("a", Command::Take(2))).await.unwrap();
    assert_eq!(*taken.events[0], Event::Taken(2));
    let nothing = counters.call(("a", Command::Nothing)).await.unwrap();
    assert_eq!((nothing.events.len(), nothing.version, nothing.position.at), (0, 4, 4));
    assert_eq!(counters.state("a").await.unwrap(), (1, 4));
}

#[tokio::test]
async fn the_past_is_there_at_every_moment() {
    let log = Log::new();
    let mut counters = commands(log.clone()).build().unwrap();
    let mut states = vec![(0, 0)];
    for step in 0..40_u64 {
        let name = if step % 3 == 0 { "other" } else { "a" };
        counters.call((name, Command::Add(1))).await.unwrap();
        let (state, version) = *states.last().unwrap();
        let more = u64::from(name == "a");
        states.push((state + more, version + more));
    }
    for (at, state) in states.iter().enumerate() {
        let position = Position { era: 1, at: at as u64 };
        assert_eq!(counters.at("a", position).await.unwrap(), *state, "{at}");
    }
    let future = Position { era: 1, at: 41 };
    let wrong = counters.at("a", future).await.unwrap_err();
    assert!(wrong.to_string().contains("1-41 is ahead of the log"), "{wrong}");
    let other = counters.at("a", Position { era: 2, at: 1 }).await.unwrap_err();
    assert!(matches!(other, CommandError::Log(LogError::OtherEra { .. })));
}

#[tokio::test]
async fn conflicts_are_read_and_decided_again_and_nothing_is_lost() {
    let log = Log::new();
    let counters = commands(Slow::new(&log, 2)).attempts(100).build().unwrap();
    let calls = (0..20).map(|_| counters.clone().oneshot(("a", Command::Add(1))));
    for decided in join_all(calls).await {
        decided.unwrap();
    }
    let mut counters = counters;
    assert_eq!(counters.state("a").await.unwrap(), (20, 20));
    // Twenty take the last ten: as many get through as there is.
    let calls = (0..20).map(|_| counters.clone().oneshot(("a", Command::Take(2))));
    let taken = join_all(calls).await.into_iter().flatten().count();
    assert_eq!((taken, counters.state("a").await.unwrap().0), (10, 0));
}

#[tokio::test]
async fn attempts_and_budget_bound_how_often() {
    let log = Log::new();
    let race = |attempts, budget: Option<Budget>| {
        let mut builder = commands(Slow::new(&log, 1)).attempts(attempts);
        if let Some(budget) = budget {
            builder = builder.budget(budget);
        }
        let counters = builder.build().unwrap();
        async move {
            let calls = (0..10).map(|_| counters.clone().oneshot(("a", Command::Add(1))));
            join_all(calls).await.into_iter().flatten().count()
        }
    };
    assert_eq!(race(1, None).await, 1);
    assert_eq!(race(3, None).await, 3);
    // Each round costs the losers a token each, and the winner gives its own back.
    let budget = Budget::builder().cap(4.0).per_second(0.0).per_success(0.0).build().unwrap();
    let done = race(100, Some(budget.clone())).await;
    assert!((2..10).contains(&done), "{done}");
    let spent = Budget::builder().cap(1.0).per_second(0.0).per_success(0.0).build().unwrap();
    assert!(spent.withdraw().is_some());
    assert_eq!(race(100, Some(spent)).await, 1);
}

#[tokio::test]
async fn a_further_attempt_reads_only_what_is_new() {
    let log = Log::new();
    let slow = Slow::new(&log, 1);
    let counters = commands(slow.clone()).build().unwrap();
    let both = join_all((0..2).map(|_| counters.clone().oneshot(("a", Command::Add(1))))).await;
    assert!(both.iter().all(Result::is_ok));
    assert_eq!(slow.asked.load(Ordering::Relaxed), 6); // two questions, and two more for the second
}

#[tokio::test]
async fn a_leader_of_the_past_appends_nothing() {
    let log = Log::new();
    let epoch = Arc::new(AtomicU64::new(2));
    let asks = Arc::clone(&epoch);
    let mut counters = commands(log.clone())
        .fence(move || Some(Epoch::new(asks.load(Ordering::Relaxed))))
        .build()
        .unwrap();
    counters.call(("a", Command::Add(1))).await.unwrap();
    epoch.store(1, Ordering::Relaxed);
    let late = counters.call(("b", Command::Add(1))).await.unwrap_err();
    assert!(matches!(late, CommandError::Fenced { highest } if highest == Epoch::new(2)));
    assert_eq!(log.end().at, 1);
}

#[tokio::test]
async fn a_command_dropped_at_any_poll_leaves_all_or_nothing() {
    for polls in 0..12 {
        let log = Log::new();
        let counters = commands(Slow::new(&log, 2)).build().unwrap();
        let mut call = Box::pin(counters.oneshot(("a", Command::Add(3))));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if call.as_mut().poll(&mut cx).is_ready() {
                break;
            }
        }
        drop(call);
        assert!([0, 3].contains(&log.end().at), "{polls}: {}", log.end());
        assert_eq!(log.end().at == 3, polls >= 5, "{polls}");
    }
}

#[tokio::test]
async fn snapshots_save_reading_and_lie_never() {
    let log = Log::new();
    let slow = Slow::new(&log, 0);
    let states = MemorySnapshots::new();
    let mut counters = commands(slow).snapshots(states.clone(), 10).build().unwrap();
    for _ in 0..25 {
        counters.call(("a", Command::Add(1))).await.unwrap();
    }
    let kept = states.load("a").await.unwrap().unwrap();
    assert_eq!((kept.state, kept.version, kept.position.at, kept.code), (20, 20, 20, 1));
    assert_eq!(counters.state("a").await.unwrap(), (25, 25));
    // An append that steps over a multiple is kept too.
    counters.call(("a", Command::Add(17))).await.unwrap();
    assert_eq!(states.load("a").await.unwrap().unwrap().version, 42);

    // A snapshot is believed as far as the log goes: of one that was restored from a backup it is dropped.
    let restored = Log::new();
    let mut counters = commands(restored).snapshots(states.clone(), 10).build().unwrap();
    assert_eq!(counters.state("a").await.unwrap(), (0, 0));
    counters.call(("a", Command::Add(1))).await.unwrap();
    assert_eq!(counters.state("a").await.unwrap(), (1, 1));
}

/// The same, with other code: what it counts, it counts twice.
struct Twice;

impl Decide for Twice {
    type State = u64;
    type Command = (&'static str, Command);
    type Event = Event;
    type Error = &'static str;
    const CODE: u32 = 2;

    fn decide(state: &u64, command: &Self::Command) -> Result<Vec<Event>, &'static str> {
        Counter::decide(state, command)
    }

    fn evolve(state: u64, event: &Event) -> u64 {
        Counter::evolve(Counter::evolve(state, event), event)
    }
}

#[tokio::test]
async fn a_snapshot_of_other_code_is_dropped() {
    let (log, states) = (Log::new(), MemorySnapshots::new());
    let mut counters = commands(log.clone()).snapshots(states.clone(), 1).build().unwrap();
    counters.call(("a", Command::Add(5))).await.unwrap();
    assert_eq!(states.load("a").await.unwrap().unwrap().code, 1);
    let mut new = Commands::<Twice, _>::builder("new", log)
        .stream(|(name, _): &(&'static str, Command)| *name)
        .snapshots(states, 1)
        .build()
        .unwrap();
    assert_eq!(new.state("a").await.unwrap(), (10, 5));
}

/// What became of snapshots, and of nothing else: used, dropped, failed, saved.
#[tokio::test]
async fn snapshots_are_counted_by_what_became_of_them() {
    fn build<L>(name: &'static str, log: L) -> seawall::log::CommandsBuilder<Counter, L>
    where
        L: seawall::log::Appendable<Event>,
    {
        let commands = Commands::builder(name, log).attempts(100);
        commands.stream(|(name, _): &(&'static str, Command)| *name)
    }

    /// It has no size, and no snapshots.
    struct Nowhere;

    impl Snapshots<u64> for Nowhere {
        async fn load(&self, _: &str) -> Result<Option<Snapshot<u64>>, BoxError> {
            Err("nowhere".into())
        }

        async fn save(&self, _: &str, _: Snapshot<u64>) -> Result<(), BoxError> {
            Ok(())
        }
    }

    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let counts = |name| {
        let shown = Exposition::of(&recorder);
        ["used", "dropped", "failed", "saved"].map(|result| {
            let labels = [("name", name), ("result", result)];
            shown.value("seawall_log_snapshots_total", &labels)
        })
    };
    let (log, states) = (Log::new(), MemorySnapshots::new());
    let mut counters = build("kept", log.clone()).snapshots(states.clone(), 1).build().unwrap();
    for _ in 0..3 {
        counters.call(("a", Command::Add(1))).await.unwrap();
    }
    assert_eq!(counts("kept"), [2.0, 0.0, 0.0, 3.0]);
    let mut counters = build("restored", Log::new()).snapshots(states, 1).build().unwrap();
    counters.state("a").await.unwrap();
    assert_eq!(counts("restored"), [0.0, 1.0, 0.0, 0.0]);
    let mut counters = build("nowhere", log.clone()).snapshots(Nowhere, 1).build().unwrap();
    counters.call(("a", Command::Add(1))).await.unwrap();
    assert_eq!(counts("nowhere"), [0.0, 0.0, 1.0, 1.0]);

    // What a conflict makes it read again is no snapshot.
    let counters = build("busy", Slow::new(&log, 1)).snapshots(MemorySnapshots::new(), 1_000);
    let counters = counters.build().unwrap();
    let calls = (0..5).map(|_| counters.clone().oneshot(("a", Command::Add(1))));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let shown = Exposition::of(&recorder);
    assert!(shown.value("seawall_log_conflicts_total", &[("name", "busy")]) > 0.0);
    assert_eq!(counts("busy"), [0.0; 4]);
}

/// A store of snapshots that is down.
struct Down(Mutex<u32>);

impl Snapshots<u64> for Down {
    async fn load(&self, _: &str) -> Result<Option<Snapshot<u64>>, BoxError> {
        *self.0.lock().unwrap() += 1;
        Err("down".into())
    }

    async fn save(&self, _: &str, _: Snapshot<u64>) -> Result<(), BoxError> {
        *self.0.lock().unwrap() += 1;
        Err("down".into())
    }
}

#[tokio::test]
async fn a_store_of_snapshots_that_is_down_stops_nobody() {
    let mut counters = commands(Log::new()).snapshots(Down(Mutex::new(0)), 1).build().unwrap();
    for _ in 0..3 {
        counters.call(("a", Command::Add(1))).await.unwrap();
    }
    assert_eq!(counters.state("a").await.unwrap(), (3, 3));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let wrong = Commands::<Counter, _>::builder("counters", Log::new())
        .attempts(0)
        .snapshots(MemorySnapshots::new(), 0)
        .build()
        .unwrap_err()
        .to_string();
    let expected = "invalid configuration of commands `counters`: attempts = 0: 1 to 1000; snapshots.every = 0: at least 1; stream = (): a function from a command to the name of its stream";
    assert_eq!(wrong, expected);
}

#[tokio::test]
async fn a_name_that_is_none_is_told() {
    let mut counters = Commands::<Counter, _>::builder("counters", Log::new())
        .stream(|_| "x".repeat(300))
        .build()
        .unwrap();
    let wrong = pin!(counters.call(("a", Command::Nothing))).await.unwrap_err();
    assert!(wrong.to_string().contains("300 bytes: 1 to 256"), "{wrong}");
}
