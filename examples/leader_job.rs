//! A job that one of three processes does, and the next when that one goes: here three tasks and a lease in memory,
//! or in an etcd. In a PostgreSQL, with a fence in its SQL: the example of the same name of `seawall-postgres`.
//!
//! `cargo run --example leader_job --features etcd [-- --etcd http://127.0.0.1:2379]`

use std::error::Error as StdError;
use std::time::Duration;

use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use seawall::leader::{Answer, Ask, Candidate, EtcdStore, MemoryStore, Term};
use seawall::{Epoch, Event, EventKind};
use tokio::task::JoinSet;
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceExt};

type Store = BoxCloneService<Ask, Answer, BoxError>;

/// Writes the report. Each write carries the epoch, so that the database can refuse one that comes late:
/// `update report set …, epoch = $1 where id = $2 and epoch <= $1`
async fn report(pod: &str, term: &Term) -> Epoch {
    println!("{pod} writes the report, in term {}", term.epoch());
    tokio::time::sleep(Duration::from_millis(100)).await;
    term.epoch()
}

fn store(etcd: Option<String>) -> Result<Store, Box<dyn StdError>> {
    Ok(match etcd {
        None => MemoryStore::new().map_err(Into::into).boxed_clone(),
        Some(endpoint) => {
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<_>>();
            EtcdStore::new(endpoint, client)?.map_err(Into::into).boxed_clone()
        }
    })
}

async fn run(etcd: Option<String>) -> Result<(), Box<dyn StdError>> {
    let store = store(etcd)?;
    let mut pods = JoinSet::new();
    for pod in ["pod-1", "pod-2", "pod-3"] {
        let mut candidate = Candidate::builder("report", store.clone())
            .holder(pod)
            .ttl(Duration::from_secs(2))
            .observe(move |event: &Event| {
                if let EventKind::Changed { to, cause, .. } = event.kind {
                    println!("{pod}: {to} ({cause})");
                }
            })
            .build()?;
        // The lease is given back when the report is written, and the next pod has its turn.
        pods.spawn(
            async move { candidate.lead(|term| async move { report(pod, &term).await }).await },
        );
    }
    let epochs: Vec<_> = pods.join_all().await.into_iter().flatten().collect();
    println!("the terms were {epochs:?}");
    assert!(epochs.is_sorted() && epochs.len() == 3, "one at a time");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (None, _) => run(None).await,
        (Some("--etcd"), Some(endpoint)) => run(Some(endpoint)).await,
        _ => Err("usage: leader_job [--etcd http://127.0.0.1:2379]".into()),
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::run(None).await
    }
}
