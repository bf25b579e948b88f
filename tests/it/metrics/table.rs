//! The table of the document: names, types, labels and their values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seawall::Deadline;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, Position, Trip};
use seawall::fallback::FallbackLayer;
use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe};
use seawall::hedge::HedgeLayer;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::rate_limit::RateLimitLayer;
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;
use tokio::time::{advance, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{Failed, MS, Script, act};
use crate::exposition::{Exposition, recorder};

const DOC: &str = include_str!("../../../docs/metrics.md");

/// One row of the table.
#[derive(Debug, PartialEq)]
struct Row {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn documented() -> BTreeMap<String, Row> {
    let rows = DOC.lines().filter(|line| line.starts_with("| `seawall_"));
    let rows = rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [metric, kind, layers, labels, ..] = cells[..] else { panic!("too short: {line}") };
        let mut row = Row { kind: kind.to_owned(), labels: BTreeMap::new() };
        row.labels.insert("layer".into(), quoted(layers).collect());
        row.labels.retain(|_, layers| !layers.is_empty());
        let mut same = BTreeSet::new();
        for label in labels.split_terminator(';') {
            let (label, values) = label.split_once(':').expect("a label and its values");
            if !values.contains("the same") {
                same = quoted(values).collect();
            }
            row.labels.insert(quoted(label).next().expect("a label"), same.clone());
        }
        (quoted(metric).next().expect("a metric"), row)
    });
    rows.collect()
}

// pitfall B24: labels are bounded
#[tokio::test(start_paused = true)]
async fn the_table_in_the_docs_is_what_a_recorder_shows() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    everything_that_can_be_counted().await;
    a_hedge().await;

    let seen = Exposition::of(&recorder);
    let documented = documented();
    let names = |metrics: &BTreeMap<String, _>| metrics.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&seen.kinds), documented.keys().cloned().collect::<Vec<_>>());
    for (metric, row) in documented {
        let mut labels = seen.labels(&metric);
        assert!(labels.remove("name").is_some(), "{metric} has no name");
        let shown = Row { kind: seen.kinds[&metric].clone(), labels };
        assert_eq!(shown, row, "{metric}");
        assert!(seen.helps.get(&metric).is_some_and(|help| !help.is_empty()), "{metric}: no HELP");
    }
}

#[cfg(feature = "endpoints")]
async fn endpoints_from_a_source() {
    use seawall::endpoints::{Endpoint, Endpoints, Source};

    let over = |_: &Endpoint| Ok(service_fn(act));
    let set = Endpoints::builder("endpoints").members(["a", "b"]).over(over).unwrap();
    set.clone().oneshot(Script::Success).await.unwrap();
    let source = Source::new(|| Ok(vec![Endpoint::new("a")])).every(MS);
    let following = set.handle();
    let following = following.follow(source);
    tokio::time::timeout(Duration::from_secs(1), following).await.unwrap_err();
}

async fn a_hedge() {
    let hedge = HedgeLayer::builder("hedge").delay(MS).cloned().build().unwrap();
    let hedge = ServiceBuilder::new().layer(hedge).service(service_fn(act));
    hedge.oneshot(Script::After(MS * 3)).await.unwrap();
}

#[allow(clippy::too_many_lines)] // one after the other
async fn everything_that_can_be_counted() {
    for (cause, trip) in [
        ("evidence", Trip::default()),
        ("consecutive", Trip::consecutive(2)),
        ("failures_within", Trip::failures_within(2, Duration::from_secs(1))),
        ("failure_rate", Trip::failure_rate(0.5).over_calls(2).at_least(2)),
        ("slow_rate", Trip::slow_rate(0.5, MS).over_calls(2).at_least(2)),
    ] {
        let breaker = CircuitBreakerLayer::builder(cause).trip(trip).build().unwrap();
        while breaker.handle().snapshot().last_trip.is_none() {
            let script = if cause == "slow_rate" { Script::After(2 * MS) } else { Script::Failure };
            let _ = breaker.run(|| act(script)).await;
        }
        // the break is over: probes fail, are given up one after the other, or succeed.
        for _ in 0..3 {
            advance(Duration::from_secs(1)).await;
            let _ = breaker.run(|| act(Script::Failure)).await;
            advance(Duration::from_secs(1)).await;
            for _ in 0..3 {
                let patience = Duration::from_millis(60);
                let _ = tokio::time::timeout(patience, breaker.run(|| act(Script::Never))).await;
            }
        }
        advance(Duration::from_secs(1)).await;
        for _ in 0..7 {
            breaker.run(|| act(Script::Success)).await.unwrap();
        }
        let mut switch = breaker.handle().switch(Position::Auto);
        for position in [Position::Open, Position::Closed, Position::Open, Position::Auto] {
            switch.set(position);
        }
        for _ in 0..17 {
            let _ = breaker.run(|| act(Script::Failure)).await;
        }
        breaker.handle().reset();
    }
    let shadow = CircuitBreakerLayer::builder("shadow").trip(Trip::consecutive(1)).shadow(true);
    let shadow = shadow.build().unwrap();
    for _ in 0..2 {
        shadow.run(|| act(Script::Failure)).await.unwrap_err();
    }
    let keyed = CircuitBreakerLayer::builder("keyed").keyed(|_: &Script| "key".into());
    let keyed = ServiceBuilder::new().layer(keyed.build().unwrap()).service(service_fn(act));
    keyed.oneshot(Script::Success).await.unwrap();
    let tenants = BulkheadLayer::builder("tenants").keyed(|_: &Script| "key".into());
    tenants.build().unwrap().run("key", || act(Script::Success)).await.unwrap();

    let retry = RetryLayer::new("retry");
    retry.run(|| act(Script::Success)).await.unwrap();
    let budgets = seawall::retry::Budget::builder().keyed("budgets").build().unwrap();
    let retry = RetryLayer::builder("budgets").keyed_budget(budgets, |_: &Script| "key".into());
    retry.build().unwrap().run("key", || act(Script::Success)).await.unwrap();
    let bulkhead = BulkheadLayer::builder("bulkhead").limit(1).queue(1).build().unwrap();
    let (first, second) = tokio::join!(
        bulkhead.run(|| act(Script::After(MS))),
        bulkhead.run(|| act(Script::Success))
    );
    first.and(second).unwrap();
    let quota = RateLimitLayer::builder("quota").limit(1_000).burst(1).queue(1).build().unwrap();
    let call = || quota.run(|| act(Script::Success));
    let (first, second) = tokio::join!(call(), call());
    first.and(second).unwrap();
    let tenants = RateLimitLayer::builder("quotas").keyed(|_: &Script| "key".into());
    tenants.build().unwrap().run("key", || act(Script::Success)).await.unwrap();
    let last = FallbackLayer::builder("last").last_good(|_: &Script| "key".into()).build().unwrap();
    let last = ServiceBuilder::new().layer(last).service(service_fn(act));
    last.oneshot(Script::Success).await.unwrap();
    let timeout = TimeoutLayer::new("timeout", MS);
    timeout.run(|| act(Script::Never)).await.unwrap_err();
    let carrying = TimeoutLayer::builder("carrying").propagate(FromWithContext).build().unwrap();
    let carrying = ServiceBuilder::new()
        .layer(carrying)
        .service(service_fn(|call: WithContext<Script>| act(call.request)));
    let late = WithContext::new(Script::Success, Deadline::after(Duration::ZERO));
    carrying.oneshot(late).await.unwrap_err();
    #[cfg(feature = "http")]
    a_body_that_stalls().await;
    #[cfg(feature = "endpoints")]
    endpoints_from_a_source().await;
    #[cfg(feature = "shards")]
    owners_of_keys().await;
    #[cfg(feature = "leader")]
    one_leads().await;
    #[cfg(feature = "leader")]
    a_fence().await;
    #[cfg(feature = "bus")]
    a_subscriber();
    #[cfg(feature = "failover")]
    tiers().await;
    #[cfg(feature = "log")]
    an_event_log().await;
    #[cfg(feature = "split")]
    reads_and_writes().await;
    let health = HealthLayer::builder("health").check(|| async { Ok::<_, Failed>(()) });
    let health = health.build().unwrap();
    health.run(|| act(Script::Success)).await.unwrap();
    sleep(MS).await; // for the check
    HealthRegistry::new("registry").add(Probe::Liveness, Criticality::Critical, &health.handle());
}

#[cfg(feature = "shards")]
async fn owners_of_keys() {
    use seawall::shards::{Key, Map, Shards};

    let map = Map::hashed(1, ["a", "b"]).unwrap();
    let key: for<'r> fn(&'r Script) -> Key<'r> = |_| Key::from("key");
    let over = |_: &seawall::shards::Member| Ok(service_fn(act));
    let shards = Shards::builder("shards").key(key).map(map).over(over).unwrap();
    let next = Ok::<_, ()>(Map::hashed(2, ["a", "b"]).unwrap());
    shards.handle().follow(futures::stream::iter([next])).await;
    shards.oneshot(Script::Success).await.unwrap();
    let map = Map::hashed(1, ["a", "b"]).unwrap();
    let caches = Shards::builder("caches").key(key).map(map).affine().over(over).unwrap();
    caches.oneshot(Script::Success).await.unwrap();
    let map = Map::hashed(1, ["a"]).unwrap();
    let owns = seawall::shards::OwnsLayer::builder("owner", "a").key(key).map(map);
    let owner = ServiceBuilder::new().layer(owns.build().unwrap()).service(service_fn(act));
    owner.oneshot(Script::Success).await.unwrap();
}

#[cfg(feature = "leader")]
async fn one_leads() {
    use seawall::leader::{Candidate, LeaderLayer, MemoryStore};

    let candidate = Candidate::builder("jobs", MemoryStore::new()).build().unwrap();
    let leadership = candidate.leadership();
    let jobs = LeaderLayer::new("jobs", &leadership);
    let campaign = tokio::spawn(candidate.campaign());
    assert!(jobs.run(|| act(Script::Success)).await.is_err());
    leadership.watch().changed().await;
    jobs.run(|| act(Script::Success)).await.unwrap();
    sleep(Duration::from_secs(10)).await; // it is renewed
    leadership.resign().await;
    campaign.await.unwrap();
}

#[cfg(feature = "leader")]
async fn a_fence() {
    use seawall::fence::{FenceLayer, MemoryStore};

    let store = MemoryStore::new();
    store.raise("ledger", seawall::Epoch::new(7));
    let epoch: fn(&Script) -> Option<seawall::Epoch> = |_| Some(seawall::Epoch::new(7));
    let ledger = FenceLayer::builder("ledger", store.clone()).epoch(epoch).build().unwrap();
    let ledger = ServiceBuilder::new().layer(ledger).service(service_fn(act));
    ledger.oneshot(Script::Success).await.unwrap();
    let shards = FenceLayer::builder("shards", store.clone()).epoch(epoch);
    let shards = shards.keyed(|_: &Script| "ledger".into()).build().unwrap();
    let shards = ServiceBuilder::new().layer(shards).service(service_fn(act));
    shards.oneshot(Script::Success).await.unwrap();
    let hurried = seawall::fence::FenceLayer::new("hurried", store);
    let hurried = ServiceBuilder::new()
        .layer(hurried)
        .service(service_fn(|call: WithContext<Script>| act(call.request)));
    let mut late = WithContext::new(Script::Success, Deadline::after(Duration::ZERO));
    late.call.epoch = seawall::Epoch::new(7);
    hurried.oneshot(late).await.unwrap_err();
}

#[cfg(feature = "log")]
async fn an_event_log() {
    use seawall::log::{Commands, MemoryLog, MemorySnapshots, Projection, Recorded};

    let log = MemoryLog::new();
    let commands = Commands::<crate::log::Counter, _>::builder("counters", log.clone())
        .stream(|(name, _): &(&'static str, crate::log::Command)| *name)
        .snapshots(MemorySnapshots::new(), 1)
        .build()
        .unwrap();
    commands.oneshot(("a", crate::log::Command::Add(1))).await.unwrap();
    let mut list = Projection::builder("list", log).build().unwrap();
    let apply = async |_: Recorded<crate::log::Event>| Ok::<_, Failed>(());
    list.catch_up(apply).await.unwrap();
}

#[cfg(feature = "bus")]
fn a_subscriber() {
    use futures::{FutureExt, StreamExt};
    use seawall::bus::{Bus, Envelope, Subscribe};

    let bus = Bus::builder("events").capacity(1).build().unwrap();
    let mut events = bus.subscribe(Subscribe::new("billing"));
    for n in 0..2 {
        bus.publisher().try_publish(Envelope::new(n)).unwrap();
    }
    events.next().now_or_never().unwrap();
}

#[cfg(feature = "failover")]
async fn tiers() {
    let failover = seawall::failover::Failover::builder("tiers").tiers(["a"]).health(|_| 1.0);
    failover.over(|_| Ok(service_fn(act))).unwrap().oneshot(Script::Success).await.unwrap();
}

#[cfg(feature = "split")]
async fn reads_and_writes() {
    let reads = seawall::split::Replicas::builder("orders").replicas(["a"]);
    reads.over(|_| Ok(service_fn(act))).unwrap().oneshot(Script::Success).await.unwrap();
}

#[cfg(feature = "http")]
async fn a_body_that_stalls() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, channel::Channel};
    use seawall::http::body_timeout::BodyTimeoutLayer;

    let (_sender, body) = Channel::<Bytes, Failed>::new(1);
    let mut response = Some(http::Response::new(body));
    let bodies = ServiceBuilder::new()
        .layer(BodyTimeoutLayer::builder("bodies").idle(MS).build().unwrap())
        .service(service_fn(move |()| {
            std::future::ready(response.take().ok_or(Failed(Script::Failure)))
        }));
    let answer = bodies.oneshot(()).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
}
