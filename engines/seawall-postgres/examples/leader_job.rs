//! A job that one of three processes does, and the next when that one goes: here three tasks and a lease in memory, or
//! in a PostgreSQL, where each write carries the epoch, so that one that comes late is refused.
//!
//! `cargo run -p seawall-postgres --example leader_job [-- --postgres postgres://app@127.0.0.1/jobs]`

use std::sync::Arc;
use std::time::Duration;

use seawall::Epoch;
use seawall::leader::{Answer, Ask, Candidate, MemoryStore};
use seawall_postgres::{Clients, LeaseStore};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceExt};

type Store = BoxCloneService<Ask, Answer, BoxError>;

const TABLE: &str = "create table if not exists reports (id text primary key, body text, epoch bigint not null); \
    insert into reports values ('nightly', null, 0) on conflict do nothing";
const WRITE: &str = "update reports set body = $2, epoch = $1 where id = 'nightly' and epoch <= $1";

/// Writes the report, unless a later term has written it.
async fn report(pod: &str, term: Epoch, database: Option<Arc<Client>>) -> Result<Epoch, BoxError> {
    println!("{pod} writes the report, in term {term}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    if let Some(database) = database {
        let (epoch, body) = (i64::try_from(term.get())?, format!("by {pod}"));
        if database.execute(WRITE, &[&epoch, &body]).await? == 0 {
            return Err(format!("{pod} was too late: its term {term} is over").into());
        }
    }
    Ok(term)
}

async fn open(url: Option<String>) -> Result<(Store, Option<Arc<Client>>), BoxError> {
    let Some(url) = url else {
        return Ok((MemoryStore::new().map_err(Into::into).boxed_clone(), None));
    };
    let config: Config = url.parse()?;
    let store = LeaseStore::new(&Clients::connect(config.clone(), NoTls));
    store.create_table().await?;
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(TABLE).await?;
    Ok((store.map_err(Into::into).boxed_clone(), Some(Arc::new(client))))
}

pub(crate) async fn run(url: Option<String>) -> Result<(), BoxError> {
    let (store, database) = open(url).await?;
    let mut pods = JoinSet::new();
    for pod in ["pod-1", "pod-2", "pod-3"] {
        let candidate = Candidate::builder("report", store.clone()).holder(pod);
        let mut candidate = candidate.ttl(Duration::from_secs(3)).build()?;
        let database = database.clone();
        // The lease is given back when the report is written, and the next pod has its turn.
        pods.spawn(async move {
            candidate.lead(|term| report(pod, term.epoch(), database.clone())).await
        });
    }
    let epochs: Vec<_> = pods.join_all().await.into_iter().flatten().collect::<Result<_, _>>()?;
    println!("the terms were {epochs:?}");
    assert!(epochs.is_sorted() && epochs.len() == 3, "one at a time");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    run(std::env::args().skip_while(|arg| arg != "--postgres").nth(1)).await
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn it_runs() -> Result<(), super::BoxError> {
        super::run(None).await
    }
}
