//! How far a primary and its replicas are, and what a promotion changes.

use std::sync::Arc;

use seawall::Position;
use seawall_postgres::{Clients, PostgresError, position_of_primary, position_of_replica};
use tokio_postgres::{Client, NoTls};

use super::*;

/// A replica that has everything so far.
async fn replica_of(primary: &Server) -> (Server, Clients) {
    let replica = primary.replica();
    let clients = replica.clients();
    let now = position_of_primary(&primary.clients()).await.unwrap();
    reaches(&clients, now).await;
    (replica, clients)
}

async fn reaches(replica: &Clients, position: Position) {
    let at = async || position_of_replica(replica).await.ok().filter(|at| *at >= position);
    until(&format!("it reaches {position}"), at).await;
}

async fn count(client: &Client) -> i64 {
    client.query_one("select count(*) from rows", &[]).await.unwrap().get(0)
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap();
}

// pitfall B59
#[tokio::test]
async fn a_replica_that_has_reached_a_position_shows_what_was_committed_before_it() {
    let Some(primary) = Server::start() else { return };
    let (writer, clients) = (primary.client().await, primary.clients());
    run(&writer, "create table rows (id bigserial)").await;
    let (replica, follows) = replica_of(&primary).await;
    let reader = replica.client().await;
    let (mut written, mut page_ends) = (0, 0);
    // Where a commit ends with its page of the log, the next record would begin behind the header of the next page. That
    // place is not waited for.
    while written < 500 || page_ends == 0 {
        written += 1;
        assert!(written < 10_000, "none ends with its page");
        // Of those that are flushed later, a few.
        let off = written % 200 == 0;
        let commit = if off { "set synchronous_commit = off" } else { "reset synchronous_commit" };
        run(&writer, commit).await;
        run(&writer, "insert into rows default values").await;
        let position = position_of_primary(&clients).await.unwrap();
        assert_eq!(position.era, 1);
        reaches(&follows, position).await;
        assert_eq!(count(&reader).await, written);
        page_ends += u32::from(position.at % 8192 == 0);
    }
}

#[tokio::test]
async fn a_replica_that_does_not_replay_stands_still() {
    let Some(primary) = Server::start() else { return };
    let (writer, clients) = (primary.client().await, primary.clients());
    run(&writer, "create table rows (id bigserial)").await;
    let (replica, follows) = replica_of(&primary).await;
    let reader = replica.client().await;
    run(&reader, "select pg_wal_replay_pause()").await;
    let state = "select pg_get_wal_replay_pause_state()";
    until("it is paused", async || {
        let row = reader.query_one(state, &[]).await.unwrap();
        (row.get::<_, &str>(0) == "paused").then_some(())
    })
    .await;
    let before = position_of_replica(&follows).await.unwrap();
    run(&writer, "insert into rows default values").await;
    let written = position_of_primary(&clients).await.unwrap();
    assert!(before < written);
    assert_eq!(position_of_replica(&follows).await.unwrap(), before);
    assert_eq!(count(&reader).await, 0);
    run(&reader, "select pg_wal_replay_resume()").await;
    reaches(&follows, written).await;
    assert_eq!(count(&reader).await, 1);
}

/// A write that only the old primary had is not taken for one that the new one has, however far that gets.
// pitfall B61
#[tokio::test]
async fn a_promotion_begins_another_era() {
    let Some(primary) = Server::start() else { return };
    let (writer, clients) = (primary.client().await, primary.clients());
    run(&writer, "create table rows (id bigserial)").await;
    let (replica, follows) = replica_of(&primary).await;
    let reader = replica.client().await;
    run(&reader, "alter system set primary_conninfo = ''").await;
    run(&reader, "select pg_reload_conf()").await;
    let receives = "select count(*) from pg_stat_wal_receiver";
    until("it is cut off", async || {
        (reader.query_one(receives, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    assert_eq!(
        position_of_replica(&follows).await.unwrap().era,
        1,
        "it is known without the primary"
    );
    run(&writer, "insert into rows default values").await;
    let lost = position_of_primary(&clients).await.unwrap();
    primary.crash();
    replica.promote();
    let promoted = position_of_primary(&follows).await.unwrap();
    assert_eq!((lost.era, promoted.era), (1, 2));
    for _ in 0..200 {
        run(&reader, "insert into rows default values").await;
    }
    let now = position_of_replica(&follows).await.unwrap();
    assert!(now > promoted && now.at > lost.at, "{now} after {promoted}");
    assert_eq!(lost.partial_cmp(&now), None, "{lost} is in no history that is left");

    // One that follows the new primary is where that is.
    let (_second, follows) = replica_of(&replica).await;
    assert_eq!(position_of_replica(&follows).await.unwrap().era, 2);
}

/// A replica that has not heard of the latest terms is promoted, and gives none of their epochs again.
// pitfall B46
#[tokio::test]
async fn a_promotion_takes_no_epoch_back() {
    let Some(primary) = Server::start() else { return };
    let store = primary.leases().await;
    assert_eq!(granted(&store, acquire("a")).await, Epoch::new(1));
    let (replica, _) = replica_of(&primary).await;
    run(&*replica.client().await, "select pg_wal_replay_pause()").await;
    ask(&store, release("a")).await;
    assert_eq!(granted(&store, acquire("b")).await, Epoch::new(2));
    ask(&store, release("b")).await;
    let last = granted(&store, acquire("c")).await;
    primary.crash();
    run(&*replica.client().await, "select pg_wal_replay_resume()").await;
    replica.promote();
    let store = replica.store();
    run(&*replica.client().await, "update seawall_leases set holder = null, epoch = 1").await; // it had heard of no more
    let next = granted(&store, acquire("d")).await;
    assert!(next > last, "{next} after {last}");
    let first = Ask::Acquire { lease: "new".into(), holder: "d".into(), ttl: MINUTE };
    assert_eq!(granted(&store, first).await, next, "one that never was, too");
}

#[tokio::test]
async fn who_may_not_look_or_asks_too_early_is_told() {
    let Some(primary) = Server::start() else { return };
    let writer = primary.client().await;
    run(&writer, "create table rows (id bigserial); create role app login").await;
    let replica = primary.replica();
    let wrong = position_of_primary(&replica.clients()).await.unwrap_err().to_string();
    assert!(wrong.contains("55000") && wrong.contains("connect to the primary"), "{wrong}");
    let mut config = replica.config();
    config.user("app");
    let app = Clients::connect(config, NoTls);
    until("it knows the user", async || app_told(&app).await).await;
    run(&writer, "grant pg_monitor to app").await;
    until("it may look", async || position_of_replica(&app).await.ok()).await;

    run(&writer, "begin; insert into rows default values").await;
    let get = {
        let writer = Arc::clone(&writer);
        move || std::future::ready(Ok::<_, std::io::Error>(Arc::clone(&writer)))
    };
    let inside = Clients::pooled("primary", get, |client| client);
    let wrong = position_of_primary(&inside).await;
    assert!(matches!(wrong, Err(PostgresError::InTransaction { .. })), "{wrong:?}");
    run(&writer, "commit").await;
    position_of_primary(&inside).await.unwrap();
}

async fn app_told(app: &Clients) -> Option<String> {
    let told = position_of_replica(app).await.unwrap_err().to_string();
    (told.contains("42501") && told.ends_with("the role pg_monitor")).then_some(told)
}
