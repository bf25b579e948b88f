//! The server, or what serves one connection, stands still, dies, or is started again.

use std::future::pending;
use std::sync::Arc;

use seawall::Error;
use seawall::leader::{Candidate, LeaderLayer, State};
use seawall_postgres::Clients;
use tokio_postgres::Client;

use super::*;

/// The processes of the server that serve others than `client`.
async fn backends(client: &Client) -> Vec<i32> {
    const OTHERS: &str = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let rows = client.query(OTHERS, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// They stand still while this is alive.
struct Stopped(Vec<i32>);

impl Stopped {
    fn new(pids: Vec<i32>) -> Self {
        assert!(!pids.is_empty());
        for pid in &pids {
            assert!(signal(*pid, "-STOP"));
        }
        Self(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            signal(*pid, "-CONT");
        }
    }
}

/// Short questions within long terms, so that a slow machine changes nothing.
fn candidate(store: LeaseStore, ttl: Duration) -> Candidate<LeaseStore> {
    let candidate = Candidate::builder("jobs", store).ttl(ttl).renew(ttl / 30);
    candidate.ask_timeout(ttl / 60).stop(Duration::ZERO).build().unwrap()
}

#[tokio::test]
async fn one_that_serves_us_stands_still_for_less_than_the_term() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let candidate = candidate(server.leases().await, Duration::from_secs(30));
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    let first = leads(&leadership).await;
    let before = backends(&client).await;
    let stopped = Stopped::new(before.clone());
    // The next question goes by another connection, while the old one still hangs.
    until("another one serves us", async || {
        let now = backends(&client).await;
        now.iter().any(|pid| !before.contains(pid)).then_some(())
    })
    .await;
    until("it is renewed", async || leadership.last_error().is_none().then_some(())).await;
    assert_eq!(epoch(&leadership), Some(first), "one term, without a gap");
    drop(stopped);
    until("nobody is left behind", async || (backends(&client).await.len() == 1).then_some(()))
        .await;
}

// pitfalls B42, B44
#[tokio::test]
async fn the_server_stands_still_for_longer_than_the_term() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let candidate = candidate(server.leases().await, Duration::from_secs(2));
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    let first = leads(&leadership).await;
    let jobs = LeaderLayer::new("jobs", &leadership);
    let mut all = backends(&client).await;
    all.push(server.postmaster().unwrap()); // or new connections would be served
    let stopped = Stopped::new(all);
    let hung = jobs.run(pending::<Result<(), Error<std::io::Error>>>);
    let hung = timeout(LONG, hung).await.expect("the term ends without a word from the server");
    assert!(hung.is_err());
    until("it follows", async || (leadership.state() == State::Following).then_some(())).await;
    let why = || leadership.last_error().filter(|why| why.contains("gave no answer to"));
    until("it asked in vain", async || why()).await;
    drop(stopped);
    let next = until("it leads again", async || epoch(&leadership)).await;
    assert!(next > first, "{next} after {first}");
    drop(server);
}

// pitfall B46
#[tokio::test]
async fn a_crash_costs_no_term_and_takes_no_epoch_back() {
    let Some(server) = Server::start() else { return };
    let candidate = candidate(server.leases().await, Duration::from_secs(60));
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    let first = leads(&leadership).await;
    server.crash();
    let why = until("it says so", async || leadership.last_error()).await;
    assert!(why.contains(&format!("PostgreSQL at 127.0.0.1:{}/postgres", server.port)), "{why}");
    server.begin();
    until("it is renewed", async || leadership.last_error().is_none().then_some(())).await;
    assert_eq!(epoch(&leadership), Some(first));
    leadership.resign().await;
    server.crash();
    server.begin();
    assert_eq!(granted(&server.store(), acquire("b")).await.get(), first.get() + 1);
}

/// A role may have switched durability off. What it was granted is written all the same.
#[tokio::test]
async fn a_grant_is_durable_whatever_the_role_says() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    server.leases().await;
    let off = "alter role postgres set synchronous_commit = off; alter system set wal_writer_delay = '10s'";
    for statement in off.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    let store = server.store();
    for round in 1..=3 {
        assert_eq!(granted(&store, acquire("a")).await, Epoch::new(round));
        server.crash();
        server.begin();
        let found = ask(&store, look()).await;
        assert_eq!(holder(found).as_deref(), Some("a"), "round {round}");
        ask(&store, release("a")).await;
        server.crash();
        server.begin();
        assert_eq!(ask(&store, look()).await, Answer::Free, "round {round}");
    }
}

/// A question that is dropped leaves no transaction open, and its connection is not asked again.
#[tokio::test]
async fn a_question_that_is_given_up_leaves_nothing_behind() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let store = server.leases().await;
    granted(&store, acquire("a")).await;
    let other = server.client().await;
    other.batch_execute("begin; select * from seawall_leases for update").await.unwrap();
    for _ in 0..3 {
        let renewing = timeout(Duration::from_millis(50), store.clone().oneshot(renew("a")));
        assert!(renewing.await.is_err(), "it waits for the row");
    }
    // They stop to wait by themselves, and find nobody who wants to know.
    until("they are gone", async || (backends(&client).await.len() == 1).then_some(())).await;
    let told = store.clone().oneshot(renew("a")).await.unwrap_err().to_string();
    assert!(told.contains("55P03") && told.contains("see pg_stat_activity"), "{told}");
    other.batch_execute("rollback").await.unwrap();
    assert_eq!(granted(&store, renew("a")).await, Epoch::new(1));
    let open = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    assert_eq!(client.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// One question makes one connection, however many wait for it.
#[tokio::test]
async fn many_questions_share_one_connection() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let store = server.store();
    let asking: Vec<_> = (0..50).map(|_| tokio::spawn(store.clone().oneshot(look()))).collect();
    for asked in asking {
        assert!(asked.await.unwrap().is_err(), "there is no table yet");
    }
    assert_eq!(backends(&client).await.len(), 1);
    drop(store);
    until("it is closed", async || backends(&client).await.is_empty().then_some(())).await;
}

/// Nobody who is asked connects more often than it is asked.
#[tokio::test]
async fn a_server_that_is_gone_is_not_looked_for_in_a_hot_loop() {
    let tried = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    let clients = Clients::connect_with("nowhere", move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let config: tokio_postgres::Config = "host=127.0.0.1 port=1 user=a".parse().unwrap();
        async move { config.connect(tokio_postgres::NoTls).await }
    });
    let store = LeaseStore::new(&clients);
    for asked in 1..=5 {
        let told = store.clone().oneshot(look()).await.unwrap_err().to_string();
        assert!(told.starts_with("PostgreSQL at nowhere could not be reached"), "{told}");
        assert_eq!(tried.load(std::sync::atomic::Ordering::Relaxed), asked);
    }
}
