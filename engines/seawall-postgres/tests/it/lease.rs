//! What the store answers.

use std::sync::Arc;

use seawall_postgres::Clients;
use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn it_keeps_the_contract_of_a_store() {
    let Some(server) = Server::start() else { return };
    let store = server.leases().await;
    assert_eq!(ask(&store, look()).await, Answer::Free);
    assert_eq!(ask(&store, renew("a")).await, Answer::Free, "there is nothing to renew");
    let first = granted(&store, acquire("a")).await;
    assert_eq!(first, Epoch::new(1));
    assert_eq!(holder(ask(&store, acquire("a")).await).as_deref(), Some("a"), "its own");
    let Answer::Held { holder: by, expires_in } = ask(&store, acquire("b")).await else { panic!() };
    assert_eq!(&*by, "a");
    assert!(
        expires_in.is_some_and(|left| left > Duration::ZERO && left <= MINUTE),
        "{expires_in:?}"
    );
    assert_eq!(holder(ask(&store, renew("b")).await).as_deref(), Some("a"));
    assert_eq!(holder(ask(&store, release("b")).await).as_deref(), Some("a"), "it changes nothing");
    assert_eq!(granted(&store, renew("a")).await, first, "one term has one epoch");
    let elsewhere = Ask::Acquire { lease: "other".into(), holder: "b".into(), ttl: MINUTE };
    assert_eq!(granted(&store, elsewhere).await, Epoch::new(1), "leases are counted by themselves");

    // pitfall B46
    server.crash();
    server.begin();
    assert_eq!(granted(&store, renew("a")).await, first, "over a new connection, in one question");
    assert_eq!(ask(&store, release("a")).await, Answer::Free);
    assert_eq!(ask(&store, release("a")).await, Answer::Free);
    server.crash();
    server.begin();
    assert_eq!(ask(&store, look()).await, Answer::Free);
    assert_eq!(granted(&store, acquire("b")).await, Epoch::new(2));
}

#[tokio::test]
async fn a_lease_ends_by_the_clock_of_the_server() {
    let Some(server) = Server::start() else { return };
    let store = server.leases().await;
    let brief =
        Ask::Acquire { lease: "jobs".into(), holder: "a".into(), ttl: Duration::from_millis(50) };
    let Answer::Granted { token: first, ttl } = ask(&store, brief).await else { panic!() };
    assert_eq!(ttl, Duration::from_millis(50));
    until("it is free", async || (ask(&store, look()).await == Answer::Free).then_some(())).await;
    assert_eq!(
        ask(&store, renew("a")).await,
        Answer::Free,
        "nobody is given what they have no more"
    );
    assert_eq!(granted(&store, acquire("b")).await.get(), first.get() + 1);
    assert_eq!(holder(ask(&store, renew("a")).await).as_deref(), Some("b"));
}

#[tokio::test]
async fn of_many_that_ask_at_once_one_is_granted_it() {
    let Some(server) = Server::start() else { return };
    let stores: Vec<_> = (0..8).map(|_| server.store()).collect();
    let mut creating = JoinSet::new();
    for store in stores.clone() {
        creating.spawn(async move { store.create_table().await });
    }
    for created in creating.join_all().await {
        created.unwrap(); // all at once, too
    }
    for round in 1..=20 {
        let mut asking = JoinSet::new();
        for (nth, store) in stores.iter().cloned().enumerate() {
            asking.spawn(async move {
                let holder = format!("{round}-{nth}");
                (holder.clone(), ask(&store, acquire(&holder)).await)
            });
        }
        let (mut leader, mut others) = (None, Vec::new());
        for (name, answer) in asking.join_all().await {
            match answer {
                Answer::Granted { token, .. } => {
                    assert_eq!(token, Epoch::new(round));
                    assert!(leader.replace(name).is_none(), "two lead");
                }
                answer => others.push(holder(answer)),
            }
        }
        let leader = leader.unwrap();
        assert_eq!(others, vec![Some(leader.clone()); 7], "they are told who was faster");
        ask(&stores[0], release(&leader)).await;
    }
}

#[tokio::test]
async fn a_client_or_a_pool_of_the_users_own() {
    let Some(server) = Server::start() else { return };
    server.leases().await;
    let client = server.client().await;
    let get = move || std::future::ready(Ok::<_, std::io::Error>(Arc::clone(&client)));
    let store = LeaseStore::new(&Clients::pooled("orders", get, |client| client));
    assert_eq!(granted(&store, acquire("a")).await, Epoch::new(1));

    let empty = || async { Err::<Arc<tokio_postgres::Client>, _>("the pool is empty") };
    let store = LeaseStore::new(&Clients::pooled("orders", empty, |client| client));
    let told = store.oneshot(look()).await.unwrap_err();
    assert_eq!(told.to_string(), "there is no client for PostgreSQL at orders");
}

#[tokio::test]
async fn a_table_of_another_name() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    client.batch_execute("create schema ops").await.unwrap();
    let store = LeaseStore::with_table(&server.clients(), "ops.Order").unwrap();
    store.create_table().await.unwrap();
    assert_eq!(granted(&store, acquire("a")).await, Epoch::new(1));
    let row = client.query_one("select epoch from ops.\"order\" where name = 'jobs'", &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 1);
    for bad in ["", "a.b.c", "a b", "a;drop table b", "a\"b", ".a", "1a", "ä", &"a".repeat(64)] {
        let told = LeaseStore::with_table(&server.clients(), bad).unwrap_err().to_string();
        assert!(told.starts_with(&format!("{bad:?} is no table: ")), "{told}");
    }
}

/// As one that is hosted, and knows of no write-ahead log.
#[tokio::test]
async fn a_server_without_a_timeline() {
    let Some(server) = Server::start() else { return };
    let store = server.leases().await;
    let hide = "alter function pg_catalog.pg_walfile_name(pg_lsn) rename to hidden";
    server.client().await.batch_execute(hide).await.unwrap();
    let told = store.clone().oneshot(acquire("a")).await.unwrap_err().to_string();
    assert!(
        told.contains("42883") && told.ends_with("see `LeaseStore::without_timeline`"),
        "{told}"
    );
    let store = store.without_timeline();
    assert_eq!(granted(&store, acquire("a")).await, Epoch::new(1));
    ask(&store, release("a")).await;
    assert_eq!(granted(&store, acquire("b")).await, Epoch::new(2));
}

/// The name of a lease and of its holder are values, and never SQL.
#[tokio::test]
async fn any_name_is_a_name() {
    let Some(server) = Server::start() else { return };
    let store = server.leases().await;
    for name in ["", "'; drop table seawall_leases; --", "naïve ☃", &"x".repeat(2000)] {
        let acquire = Ask::Acquire { lease: name.into(), holder: name.into(), ttl: MINUTE };
        assert_eq!(granted(&store, acquire).await, Epoch::new(1), "{name}");
        let look = Ask::Look { lease: name.into() };
        assert_eq!(holder(ask(&store, look).await).as_deref(), Some(name));
    }
}

#[tokio::test]
async fn the_example_runs() {
    let Some(server) = Server::start() else { return };
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    leader_job::run(Some(url)).await.unwrap();
}
