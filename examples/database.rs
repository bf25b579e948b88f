//! A database that speaks no HTTP: a store of keys and values over TCP, which drops a connection now
//! and then, and says when it is busy.
//!
//! ```text
//! cargo run --example database
//! ```
//!
//! The bulkhead is the bound of the pool: as many calls at a time as there may be connections, and a
//! queue for the others. What an error means is said once, for all layers.

use std::error::Error as StdError;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, State};
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;
use seawall::{Error, Outcome};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// Connections at a time.
const POOL: u32 = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let server = Arc::new(Server::default());
    let pool = Arc::new(Pool { address: serve(&server).await?, idle: Mutex::default() });

    let breaker = CircuitBreakerLayer::builder("store").classify_error(classify).build()?;
    let state = breaker.handle();
    let store = ServiceBuilder::new()
        .layer(
            RetryLayer::builder("store")
                .attempts(4)
                .classify_error(classify)
                .copy(repeatable)
                .build()?,
        )
        .layer(breaker)
        .layer(BulkheadLayer::builder("store").limit(POOL).queue(100).build()?)
        .layer(TimeoutLayer::new("store", Duration::from_secs(1)))
        .map_err(Error::Inner)
        .service(service_fn(move |command: Command| Arc::clone(&pool).send(command)));

    // Setting and getting may be repeated, so losses are made good.
    for nth in 0..20 {
        store.clone().oneshot(Command(format!("SET key{nth} {nth}"))).await?;
    }
    let gets = (0..20).map(|nth| store.clone().oneshot(Command(format!("GET key{nth}"))));
    let values = futures::future::try_join_all(gets).await?;
    assert!(values.iter().enumerate().all(|(nth, value)| *value == nth.to_string()));

    // What the caller did wrong is no fault of the store, and is not repeated.
    let before = server.commands.load(Ordering::Relaxed);
    let wrong = store.oneshot(Command("FLY".to_owned())).await;
    assert!(matches!(wrong, Err(Error::Inner(Failure::Refused(_)))));
    assert!(server.commands.load(Ordering::Relaxed) - before <= 2);
    assert_eq!(state.state(), State::Closed);

    let (commands, connections) = (server.commands.load(Ordering::Relaxed), server.most());
    println!(
        "41 commands were answered, with {commands} sent, over {connections} connections at a time"
    );
    assert!(commands > 41 && connections <= POOL);
    Ok(())
}

/// What an error of the store means: for the health of the store, and for repeating.
fn classify(error: &Error<Failure>) -> Outcome {
    match error {
        Error::Inner(Failure::Lost(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Outcome::TRANSIENT.unsent()
        }
        Error::Inner(Failure::Lost(_)) => Outcome::TRANSIENT,
        Error::Inner(Failure::Busy) => Outcome::PUSHBACK,
        Error::Inner(Failure::Refused(_)) => Outcome::SUCCESS, // it is well, and says no
        Error::Rejected(_) => Outcome::IGNORE, // never gets here: layers know each other's rejections
    }
}

/// Which commands may be sent twice.
fn repeatable(command: &Command) -> Option<Command> {
    let idempotent = command.0.starts_with("GET ") || command.0.starts_with("SET ");
    idempotent.then(|| command.clone())
}

// ===== the client =====

#[derive(Debug, Clone)]
struct Command(String);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    #[error("the store is busy")]
    Busy,
    #[error("the store rejects: {0}")]
    Refused(String),
}

/// Connections that nobody uses at the moment.
struct Pool {
    address: std::net::SocketAddr,
    idle: Mutex<Vec<BufStream<TcpStream>>>,
}

impl Pool {
    async fn send(self: Arc<Self>, command: Command) -> Result<String, Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => BufStream::new(TcpStream::connect(self.address).await.map_err(Failure::Lost)?),
        };
        let answer = exchange(&mut connection, &command.0).await.map_err(Failure::Lost)?;
        // Only a connection that answered goes back; one that was given up half-way is dropped.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        match answer.split_once(' ') {
            Some(("+", value)) => Ok(value.to_owned()),
            Some(("-", "BUSY")) => Err(Failure::Busy),
            _ => Err(Failure::Refused(answer)),
        }
    }
}

async fn exchange(connection: &mut BufStream<TcpStream>, command: &str) -> io::Result<String> {
    connection.write_all(format!("{command}\n").as_bytes()).await?;
    connection.flush().await?;
    let mut answer = String::new();
    if connection.read_line(&mut answer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer.trim_end().to_owned())
}

// ===== the server =====

#[derive(Default)]
struct Server {
    commands: AtomicU32,
    connections: AtomicU32,
    most: AtomicU32,
    values: Mutex<std::collections::HashMap<String, String>>,
}

impl Server {
    fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    async fn talk(&self, socket: TcpStream) -> io::Result<()> {
        let mut lines = BufStream::new(socket);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let answer = match self.commands.fetch_add(1, Ordering::Relaxed) % 10 {
                3 => return Ok(()), // it hangs up
                7 => "- BUSY".to_owned(),
                _ => self.answer(line.trim_end()),
            };
            lines.write_all(format!("{answer}\n").as_bytes()).await?;
            lines.flush().await?;
        }
    }

    fn answer(&self, command: &str) -> String {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        match command.split(' ').collect::<Vec<_>>()[..] {
            ["SET", key, value] => {
                values.insert(key.to_owned(), value.to_owned());
                "+ OK".to_owned()
            }
            ["GET", key] => {
                values.get(key).map_or("- NONE".to_owned(), |value| format!("+ {value}"))
            }
            _ => "- UNKNOWN COMMAND".to_owned(),
        }
    }
}

async fn serve(server: &Arc<Server>) -> io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, server) = (listener.local_addr()?, Arc::clone(server));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let now = server.connections.fetch_add(1, Ordering::Relaxed) + 1;
                server.most.fetch_max(now, Ordering::Relaxed);
                let _ = server.talk(socket).await; // the client hears of it
                server.connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
