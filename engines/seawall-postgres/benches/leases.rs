//! What a lease costs: a renewal beside the same statement without anything around it, and how long nobody leads when one
//! goes. `cargo bench -p seawall-postgres`
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods)] // it measures, so it reads a clock

#[allow(dead_code)] // what tests need besides
#[path = "../tests/it/server.rs"]
mod server;

use std::time::{Duration, Instant};

use seawall::leader::{Ask, Candidate, Leadership};
use seawall_postgres::LeaseStore;
use tokio_postgres::types::Type;
use tower::ServiceExt;

use server::Server;

const CALLS: usize = 10_000;
const BLOCK: usize = 100;
const RENEW: &str = "update seawall_leases set expires = clock_timestamp() + $3 * interval '1 microsecond' \
    where name = $1 and holder = $2 and expires > clock_timestamp() returning epoch";

/// The middle one, of blocks of calls that take turns: whoever was not asked just now wakes up slowly.
async fn p50s<const N: usize>(mut calls: [&mut dyn AsyncCall; N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..CALLS / BLOCK {
        for (nth, call) in calls.iter_mut().enumerate() {
            for _ in 0..BLOCK {
                let begun = Instant::now();
                call.call().await;
                times[nth].push(begun.elapsed());
            }
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

trait AsyncCall {
    fn call(&mut self) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
}

impl<F: AsyncFnMut()> AsyncCall for F {
    fn call(&mut self) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(self())
    }
}

fn candidate(store: LeaseStore, ttl: Duration) -> Leadership {
    let candidate = Candidate::builder("jobs", store).ttl(ttl).build().unwrap();
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    leadership
}

async fn leads(leadership: &Leadership) {
    let mut watch = leadership.watch();
    while leadership.term().is_none() {
        watch.changed().await;
    }
}

#[tokio::main]
async fn main() {
    let Some(server) = Server::start() else { return };
    let store = server.leases().await;
    let client = server.client().await;
    let ttl = Duration::from_secs(3600);
    for lease in ["typed", "prepared", "store"] {
        let acquire = Ask::Acquire { lease: lease.into(), holder: "a".into(), ttl };
        store.clone().oneshot(acquire).await.unwrap();
    }
    let prepared =
        client.prepare_typed(RENEW, &[Type::TEXT, Type::TEXT, Type::INT8]).await.unwrap();
    let micros = 3_600_000_000_i64;
    let p50 = p50s([
        &mut async || drop(client.query("select 1", &[]).await.unwrap()),
        &mut async || drop(client.query(&prepared, &[&"prepared", &"a", &micros]).await.unwrap()),
        &mut async || {
            let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&"typed", Type::TEXT), (&"a", Type::TEXT), (&micros, Type::INT8)];
            drop(client.query_typed(RENEW, &values).await.unwrap());
        },
        &mut async || {
            let renew = Ask::Renew { lease: "store".into(), holder: "a".into(), ttl };
            drop(store.clone().oneshot(renew).await.unwrap());
        },
        &mut async || {
            let acquire = Ask::Acquire { lease: "store".into(), holder: "b".into(), ttl };
            drop(store.clone().oneshot(acquire).await.unwrap());
        },
    ])
    .await;
    for (name, time) in [
        "select 1, two round trips",
        "bare, prepared",
        "bare",
        "LeaseStore, renew",
        "LeaseStore, refused",
    ]
    .iter()
    .zip(p50)
    {
        println!("{name:<28} p50 {time:?}");
    }
    println!("{:<28} {:.2}", "renew / bare", p50[3].as_secs_f64() / p50[2].as_secs_f64());

    let ttl = Duration::from_secs(3);
    let first = candidate(server.store(), ttl);
    leads(&first).await;
    let second = candidate(server.store(), ttl);
    tokio::time::sleep(ttl).await;
    let begun = Instant::now();
    first.resign().await;
    println!("{:<28} {:?}", "resigned", begun.elapsed());
    leads(&second).await;
    println!("{:<28} {:?}", "hand-over by release", begun.elapsed());

    // Nobody renews it any more: the next one leads when the store lets go of it.
    second.resign().await;
    let ask = Ask::Acquire { lease: "jobs".into(), holder: "gone".into(), ttl };
    let begun = Instant::now();
    store.clone().oneshot(ask).await.unwrap();
    let third = candidate(server.store(), ttl);
    leads(&third).await;
    println!("{:<28} {:?} (the lease was of {ttl:?})", "hand-over by expiry", begun.elapsed());
}
