//! Appends and reads of a log, and a bus beside tokio's broadcast. `cargo bench --bench log --features bus,log`
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // it measures, and nothing depends on it

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::iter;
use futures::{FutureExt, StreamExt};
use seawall::bus::{Bus, Delivery, Envelope, Subscribe};
use seawall::log::{Append, Commands, Config, Decide, FileLog, Fsync, MemoryLog, Read};
use tokio::sync::broadcast;
use tower::{BoxError, Service, ServiceExt};

const EVENTS: u32 = 1_000_000;

fn told(what: &str, events: u32, took: Duration) {
    println!("{what:<44} {:>9.0} ns/event", took.as_secs_f64() * 1e9 / f64::from(events));
}

type Codec = (fn(&Vec<u8>) -> Result<Vec<u8>, BoxError>, fn(&[u8]) -> Result<Vec<u8>, BoxError>);
const BYTES: Codec = (|bytes| Ok(bytes.clone()), |bytes| Ok(bytes.to_vec()));

struct Count;

impl Decide for Count {
    type State = u64;
    type Command = u64;
    type Event = u64;
    type Error = ();

    fn decide(_: &u64, command: &u64) -> Result<Vec<u64>, ()> {
        Ok(vec![*command])
    }

    fn evolve(state: u64, event: &u64) -> u64 {
        state + event
    }
}

async fn in_memory() {
    let mut log = MemoryLog::new();
    let names: Vec<Arc<str>> = (0..1000).map(|n| format!("s{n}").into()).collect();
    let begun = Instant::now();
    for number in 0..EVENTS {
        let name = &names[number as usize % names.len()];
        let append = Append::new(Arc::clone(name), [number]);
        black_box(Service::<Append<u32>>::call(&mut log, append).await.unwrap());
    }
    told("append to memory, one event each", EVENTS, begun.elapsed());
    let (begun, mut after) = (Instant::now(), None);
    loop {
        let page = log.clone().oneshot(Read::all().after(after)).await.unwrap();
        after = Some(page.end);
        if page.is_last {
            break;
        }
    }
    told("read all from memory", EVENTS, begun.elapsed());

    let commands = Commands::<Count, _>::builder("count", MemoryLog::new());
    let mut commands = commands.stream(|number| format!("s{}", number % 10_000)).build().unwrap();
    let begun = Instant::now();
    for number in 0..50_000 {
        black_box(commands.call(number).await.unwrap());
    }
    told("command over memory, ten thousand streams", 50_000, begun.elapsed());
}

async fn in_files() {
    let folder = std::env::temp_dir().join(format!("seawall-bench-{}", std::process::id()));
    let config = Config { sync: Fsync::Never, ..Config::default() };
    let open = || FileLog::open(&folder, BYTES, config.clone());
    let log = open().await.unwrap();
    let names: Vec<Arc<str>> = (0..1000).map(|n| format!("s{n}").into()).collect();
    let begun = Instant::now();
    let appends = iter(0..EVENTS).map(|number| {
        let name = Arc::clone(&names[number as usize % names.len()]);
        log.clone().oneshot(Append::new(name, [vec![7; 100]]))
    });
    appends
        .buffer_unordered(256)
        .for_each(|stored| async {
            black_box(stored.unwrap());
        })
        .await;
    told("append to a file, 256 at a time, unsynced", EVENTS, begun.elapsed());
    log.close().await.unwrap();
    let begun = Instant::now();
    let log = open().await.unwrap();
    println!("open {EVENTS} events: {:?}", begun.elapsed());
    let (begun, mut after) = (Instant::now(), None);
    loop {
        let page = log.clone().oneshot(Read::all().after(after)).await.unwrap();
        after = Some(page.end);
        if page.is_last {
            break;
        }
    }
    told("read all from files", EVENTS, begun.elapsed());
    let begun = Instant::now();
    for _ in 0..20_000 {
        log.clone().oneshot(Append::new("one", [vec![7; 100]])).await.unwrap();
    }
    told("append to a file, one at a time, unsynced", 20_000, begun.elapsed());
    let begun = Instant::now();
    for _ in 0..1000 {
        let events = (0..100).map(|_| vec![7; 100]);
        log.clone().oneshot(Append::new("many", events)).await.unwrap();
    }
    told("append to a file, 100 events each, unsynced", 100_000, begun.elapsed());
    log.close().await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

/// So many events are published, then received, then published.
const RUN: u64 = 512;
const RUNS: u32 = 400;

/// Nanoseconds an event, the best of all runs: to publish it, and to receive it.
#[derive(Debug, Clone, Copy)]
struct Took(f64, f64);

impl Took {
    const NEVER: Self = Self(f64::MAX, f64::MAX);

    fn run(&mut self, publish: impl FnOnce(), receive: impl FnOnce()) {
        let begun = Instant::now();
        publish();
        let published = begun.elapsed();
        let begun = Instant::now();
        receive();
        let received = begun.elapsed();
        let each = |took: Duration| took.as_secs_f64() * 1e9 / RUN as f64;
        *self = Self(self.0.min(each(published)), self.1.min(each(received)));
    }
}

/// In turns, so that what else the machine does harms all of them.
fn over_a_bus() {
    let bus: Bus<u64> = Bus::builder("bench").build().unwrap();
    let publisher = bus.publisher();
    let mut none = Took::NEVER;
    for _ in 0..RUNS {
        let publish =
            || (0..RUN).for_each(|n| publisher.try_publish(Envelope::new(black_box(n))).unwrap());
        none.run(publish, || ());
    }
    let mut ours = bus.subscribe(Subscribe::new("bench"));
    let (plain, mut plain_events) = broadcast::channel(1024);
    let (shared, mut shared_events) = broadcast::channel(1024);
    let [mut bus, mut broadcast, mut of_arcs] = [Took::NEVER; 3];
    for _ in 0..RUNS {
        bus.run(
            || (0..RUN).for_each(|n| publisher.try_publish(Envelope::new(black_box(n))).unwrap()),
            || {
                for _ in 0..RUN {
                    let Some(Some(Delivery::Event(event))) = ours.next().now_or_never() else {
                        panic!()
                    };
                    black_box(event);
                }
            },
        );
        broadcast.run(
            || (0..RUN).for_each(|n| drop(black_box(plain.send(n)))),
            || {
                (0..RUN).for_each(|_| {
                    black_box(plain_events.try_recv().unwrap());
                });
            },
        );
        of_arcs.run(
            || (0..RUN).for_each(|n| drop(black_box(shared.send(Arc::new(Envelope::new(n)))))),
            || (0..RUN).for_each(|_| drop(black_box(shared_events.try_recv().unwrap()))),
        );
    }
    println!("publish to none {:>38.1} ns/event", none.0);
    for (what, took) in
        [("bus", bus), ("tokio's broadcast", broadcast), ("the same, of Arc<Envelope>", of_arcs)]
    {
        println!("{what:<28} publish {:>6.1}, receive {:>6.1} ns/event", took.0, took.1);
    }
    println!(
        "bus over broadcast of Arcs: publish {:.2} x, both {:.2} x",
        bus.0 / of_arcs.0,
        (bus.0 + bus.1) / (of_arcs.0 + of_arcs.1)
    );
}

#[tokio::main]
async fn main() {
    over_a_bus();
    in_memory().await;
    in_files().await;
}
