//! One circuit breaker for a whole server, however often its layer is applied.
//!
//! ```text
//! cargo run --example shared_state --features http
//! ```
//!
//! axum applies the layers of a router anew for each connection. The state of a policy lives in the
//! layer, so all connections share it: five of them bring one failure each, and the sixth finds the
//! circuit open.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use seawall::Error;
use seawall::circuit_breaker::{CircuitBreakerLayer, State, Trip};
use seawall::http::{HttpClassifier, RejectionResponseLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceBuilder;

/// So many failures in a row open the circuit.
const FAILURES: u32 = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let breaker = CircuitBreakerLayer::builder("backend")
        .classify(HttpClassifier) // a 500 is a failure, though it is an `Ok` to tower
        .trip(Trip::consecutive(FAILURES))
        .break_duration(Duration::from_secs(10))
        .max_break_duration(Duration::from_secs(10))
        .build()?;
    let handle = breaker.handle();

    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let handler = move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let stack = ServiceBuilder::new()
        .layer(RejectionResponseLayer::new()) // a rejection leaves as a 503, not as an error
        .layer(breaker)
        .map_err(Error::Inner);
    let app = Router::new().route("/", get(handler)).layer(stack);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });

    for connection in 1..=FAILURES + 1 {
        let status = ask(address).await?;
        println!("connection {connection}: {status}, the circuit is {}", handle.state());
        assert_eq!(status, if connection <= FAILURES { "500" } else { "503" });
    }
    assert_eq!(handle.state(), State::Open);
    assert_eq!(calls.load(Ordering::Relaxed), FAILURES, "the sixth call did not reach the handler");
    Ok(())
}

/// Asks on a connection of its own; returns the status.
async fn ask(address: SocketAddr) -> Result<String, Box<dyn StdError>> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
