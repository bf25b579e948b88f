//! What is no server, or not the right one, is told in a sentence: where, what it answered, what to do.

use seawall_postgres::{Clients, PostgresError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_postgres::NoTls;

use super::*;

async fn told(store: &LeaseStore, asks: Ask) -> String {
    let asked = timeout(LONG, store.clone().oneshot(asks)).await.unwrap();
    let error: PostgresError = asked.unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The store of a server with these settings instead of its own.
fn store(port: u16, settings: &str) -> LeaseStore {
    let config = format!("host=127.0.0.1 port={port} {settings}").parse().unwrap();
    LeaseStore::new(&Clients::connect(config, NoTls))
}

const QUESTIONS: [fn(&str) -> Ask; 4] = [acquire, renew, release, |_| look()];

#[tokio::test]
async fn tables_that_are_missing_or_others() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    let store = server.store();
    let at = format!("PostgreSQL at 127.0.0.1:{}/postgres answered", server.port);
    for asks in QUESTIONS {
        assert_eq!(
            told(&store, asks("a")).await,
            format!(
                "{at} \"relation \\\"seawall_leases\\\" does not exist\" (42P01): create the table with \
                 `create_table`, or by the SQL of `seawall_postgres::LEASES`"
            )
        );
    }
    client.batch_execute("create table seawall_leases (name int)").await.unwrap();
    for asks in QUESTIONS {
        let told = told(&store, asks("a")).await;
        assert!(told.starts_with(&at) && told.contains("a table of its own"), "{told}");
    }
    let store = LeaseStore::with_table(&server.clients(), "nowhere.leases").unwrap();
    let error = store.create_table().await.unwrap_err().to_string();
    assert!(error.contains("3F000") && error.contains("create the schema"), "{error}");
}

#[tokio::test]
async fn users_databases_and_rights() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    server.leases().await;
    let setup = "set password_encryption = 'scram-sha-256'; create role app login password 'right'";
    client.batch_execute(setup).await.unwrap();
    server.ask_for_passwords().await;

    let wrong = told(&store(server.port, "user=app password=wrong dbname=postgres"), look()).await;
    assert!(
        wrong.contains("28P01") && wrong.ends_with("check the user and the password"),
        "{wrong}"
    );
    assert!(!wrong.contains("wrong"), "no password in an error: {wrong}");
    let none = told(&store(server.port, "user=app dbname=postgres"), look()).await;
    assert!(none.contains("no client") && none.contains("password missing"), "{none}");
    let nobody = told(&store(server.port, "user=nobody password=x dbname=postgres"), look()).await;
    assert!(nobody.contains("check the user and the password"), "{nobody}");
    let nowhere = told(&store(server.port, "user=app password=right dbname=nowhere"), look()).await;
    assert!(nowhere.contains("3D000") && nowhere.contains("name of the database"), "{nowhere}");

    let app = store(server.port, "user=app password=right dbname=postgres");
    for asks in QUESTIONS {
        let told = told(&app, asks("a")).await;
        assert!(told.contains("42501") && told.contains("grant this user"), "{told}");
    }
    let denied = app.create_table().await.unwrap_err().to_string();
    assert!(denied.contains("42501") && denied.contains("by the SQL of"), "{denied}");
    client.batch_execute("grant select, insert, update on seawall_leases to app").await.unwrap();
    app.create_table().await.unwrap(); // it is there
    assert_eq!(granted(&app, acquire("a")).await, Epoch::new(1));
    assert_eq!(ask(&app, release("a")).await, Answer::Free);
}

#[tokio::test]
async fn a_replica_reads_and_grants_nothing() {
    let Some(server) = Server::start() else { return };
    let store = server.leases().await;
    granted(&store, acquire("a")).await;
    let replica = server.replica();
    for asks in [acquire, renew, release] {
        let told = told(&replica.store(), asks("a")).await;
        assert!(told.contains("25006") && told.contains("connect to the primary"), "{told}");
    }
    until("it has the row", async || holder(ask(&replica.store(), look()).await)).await;
    drop(replica);
}

/// Answers each connection with `text`, or nothing.
async fn speaks(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 64]).await;
            let _ = socket.write_all(text.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_postgresql() {
    let texts = [
        "",
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
        "-ERR unknown command\r\n",
        "R\0\0\0\u{8}\0\0\0\0R\0\0\0\u{8}\0\0\0\0",
        "S\0\0\0\u{4}",
        "E\0\0\0\u{4}",
        "Z\0\0\0\u{1}",
    ];
    for text in texts {
        let port = speaks(text).await;
        let told = told(&store(port, "user=app dbname=jobs"), look()).await;
        assert!(told.contains(&format!("127.0.0.1:{port}")), "{told}");
        assert!(told.contains("is it the right port?"), "{text:?}: {told}");
    }
}

#[tokio::test]
async fn what_says_nothing_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = store(port, "user=app dbname=jobs");
    let candidate = seawall::leader::Candidate::builder("jobs", silent).ttl(Duration::from_secs(1));
    let candidate = candidate.build().unwrap();
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    let why = until("it says so", async || leadership.last_error()).await;
    assert_eq!(&*why, "the store gave no answer to acquire `jobs` within 100ms");
    assert_eq!(epoch(&leadership), None);
}
