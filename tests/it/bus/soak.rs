//! Events of eight keys, from those who append them over a log and a bus to who handles them: none is lost, doubled or swapped.
//!
//! A short run; `SEAWALL_SOAK_EVENTS=1000000` makes it a long one, best with `--release`.

use std::time::Duration;

use futures::StreamExt;
use seawall::bus::{Bus, Delivery, Envelope, Subscribe, Subscription, WhenSlow};
use seawall::log::{Append, Appended, Codec, Config, FileLog, Fsync, MemoryLog, follow};
use tower::{BoxError, Service, ServiceExt};

const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Of each key.
fn each() -> u64 {
    let all = std::env::var("SEAWALL_SOAK_EVENTS").ok().and_then(|all| all.parse().ok());
    all.unwrap_or(8_000) / KEYS.len() as u64
}

fn numbers() -> impl Codec<u64> {
    (
        |number: &u64| Ok::<_, BoxError>(number.to_le_bytes().to_vec()),
        |bytes: &[u8]| Ok::<_, BoxError>(u64::from_le_bytes(bytes.try_into()?)),
    )
}

/// One that appends for each key, one event after the other.
fn append<L>(log: &L)
where
    L: Service<Append<u64>, Response = Appended, Future: Send> + Clone + Send + 'static,
    L::Error: std::fmt::Debug,
{
    for key in KEYS {
        let log = log.clone();
        tokio::spawn(async move {
            for number in 0..each() {
                let appended = log.clone().oneshot(Append::new(key, [number])).await.unwrap();
                let Appended::Stored { version, .. } = appended else { panic!("{appended:?}") };
                assert_eq!(version, number + 1);
            }
        });
    }
}

/// What is in the log goes over a bus with little room, to two that hold it up.
async fn deliver(
    mut recorded: impl futures::Stream<Item = Result<seawall::log::Recorded<u64>, BoxError>> + Unpin,
) {
    let bus = Bus::builder("soak").capacity(64).build().unwrap();
    let hold = WhenSlow::Hold(Duration::from_secs(600));
    let read = |mut events: Subscription<u64>| async move {
        let mut next = [0; KEYS.len()];
        while let Some(delivery) = events.next().await {
            let Delivery::Event(event) = delivery else { break };
            let key = KEYS.iter().position(|key| Some(*key) == event.envelope.key.as_deref());
            let next = &mut next[key.unwrap()];
            assert_eq!(*event.event(), *next, "lost, doubled or swapped");
            *next += 1;
        }
        assert_eq!(next, [each(); KEYS.len()]);
    };
    let readers = ["billing", "audit"]
        .map(|name| tokio::spawn(read(bus.subscribe(Subscribe::new(name).when_slow(hold)))));
    let mut publisher = bus.publisher();
    for _ in 0..each() * KEYS.len() as u64 {
        let recorded = recorded.next().await.unwrap().unwrap();
        let envelope = Envelope::new(*recorded.event).key(recorded.stream.to_string());
        publisher.ready().await.unwrap().call(envelope).await.unwrap();
    }
    bus.close();
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_eight_keys_from_memory_are_neither_lost_nor_doubled_nor_swapped() {
    let log = MemoryLog::new();
    append(&log);
    deliver(follow(log.clone(), None)).await;
    assert_eq!(log.end().at, each() * KEYS.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_eight_keys_from_files_are_neither_lost_nor_doubled_nor_swapped() {
    let folder = std::env::temp_dir().join(format!("seawall-soak-{}", std::process::id()));
    let config = Config { sync: Fsync::Never, segment: 1 << 20, ..Config::default() };
    let log = FileLog::open(&folder, numbers(), config.clone()).await.unwrap();
    append(&log);
    deliver(follow(log.clone(), None)).await;
    log.close().await.unwrap();
    drop(log);
    // And all of it is there for who comes later.
    let log = FileLog::open(&folder, numbers(), config).await.unwrap();
    deliver(follow(log.clone(), None)).await;
    log.close().await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
