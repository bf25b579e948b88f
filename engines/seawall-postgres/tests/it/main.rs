//! Leases in a real PostgreSQL, which is started here, stopped, killed and asked wrong things.
//!
//! These tests wait for real; what they assert does not depend on how long anything takes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)] // its `main`
#[path = "../../examples/leader_job.rs"]
mod leader_job;
mod lease;
mod positions;
mod processes;
mod server;
mod stops;
mod wrong;

use std::time::Duration;

use seawall::Epoch;
use seawall::leader::{Answer, Ask, Leadership};
use seawall_postgres::LeaseStore;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use server::{Server, signal};

/// Longer than anything here takes, on a slow machine too.
const LONG: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

fn acquire(holder: &str) -> Ask {
    Ask::Acquire { lease: "jobs".into(), holder: holder.into(), ttl: MINUTE }
}

fn renew(holder: &str) -> Ask {
    Ask::Renew { lease: "jobs".into(), holder: holder.into(), ttl: MINUTE }
}

fn release(holder: &str) -> Ask {
    Ask::Release { lease: "jobs".into(), holder: holder.into() }
}

fn look() -> Ask {
    Ask::Look { lease: "jobs".into() }
}

async fn ask(store: &LeaseStore, ask: Ask) -> Answer {
    timeout(LONG, store.clone().oneshot(ask)).await.unwrap().unwrap()
}

/// The epoch of a term that was granted.
async fn granted(store: &LeaseStore, asks: Ask) -> Epoch {
    match ask(store, asks.clone()).await {
        Answer::Granted { token, ttl } => {
            assert_eq!(ttl, MINUTE);
            token
        }
        other => panic!("{asks:?}: {other:?}"),
    }
}

/// Who has it.
fn holder(answer: Answer) -> Option<String> {
    match answer {
        Answer::Held { holder, .. } => Some(holder.to_string()),
        _ => None,
    }
}

/// Looks until it is so.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn epoch(leadership: &Leadership) -> Option<Epoch> {
    leadership.term().map(|term| term.epoch())
}

async fn leads(leadership: &Leadership) -> Epoch {
    until("it leads", async || epoch(leadership)).await
}
