//! axum on the server side, over loopback.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use seawall::Error;
use seawall::bulkhead::{BulkheadHandle, BulkheadLayer};
use seawall::circuit_breaker::{CircuitBreakerLayer, State, Trip};
use seawall::http::{HttpClassifier, RejectionResponseLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower::ServiceBuilder;

/// Serves over loopback for as long as the runtime lives.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// A connection that is kept alive.
struct Connection(TcpStream);

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn send(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// The head of the next answer, in small letters; its body is read as well.
    async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(self.0.read_u8().await.unwrap()));
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).await.unwrap();
        head
    }

    async fn ask(&mut self, path: &str) -> String {
        self.send(path).await;
        self.head().await
    }
}

async fn until_free(bulkhead: &BulkheadHandle) {
    let free = async {
        while bulkhead.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), free).await.unwrap();
}

// pitfall B30: whoever is rejected learns when to come back, on whichever connection it asks.
#[tokio::test]
async fn five_connections_trip_one_breaker_and_the_rejection_says_when_to_come_back() {
    let rest = Duration::from_secs(600);
    let breaker = CircuitBreakerLayer::builder("x")
        .classify(HttpClassifier)
        .trip(Trip::consecutive(5))
        .break_duration(rest)
        .max_break_duration(rest)
        .build()
        .unwrap();
    let handle = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(RejectionResponseLayer::new())
        .layer(breaker)
        .map_err(Error::Inner);
    let fails = get(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let address = serve(Router::new().route("/", fails).layer(stack)).await;
    let mut connections = Vec::new();
    for _ in 0..5 {
        let mut connection = Connection::open(address).await;
        assert!(connection.ask("/").await.starts_with("http/1.1 500"));
        connections.push(connection);
    }
    assert_eq!(handle.state(), State::Open);
    for connection in &mut connections {
        let head = connection.ask("/").await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
        let told = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
        let told: u64 = told.expect("a `Retry-After`").parse().unwrap();
        assert!(told > 0 && told <= rest.as_secs(), "{told}");
    }
}

// pitfall B12: places are taken by calls, not by connections.
#[tokio::test]
async fn one_bulkhead_for_all_connections_and_no_place_for_idle_ones() {
    let bulkhead = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let handle = bulkhead.handle();
    let (arrive, mut arrivals) = mpsc::unbounded_channel();
    let hang = get(move || async move {
        arrive.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let stack = ServiceBuilder::new()
        .layer(RejectionResponseLayer::new())
        .layer(bulkhead)
        .map_err(Error::Inner);
    let router = Router::new().route("/", get(|| async { "hello" })).route("/hang", hang);
    let address = serve(router.layer(stack)).await;

    let mut connections = Vec::new();
    for _ in 0..5 {
        let mut connection = Connection::open(address).await;
        assert!(connection.ask("/").await.starts_with("http/1.1 200"), "the others are idle");
        connections.push(connection);
    }
    until_free(&handle).await;
    let mut busy = connections.pop().unwrap();
    busy.send("/hang").await;
    arrivals.recv().await.unwrap();
    for connection in &mut connections {
        assert!(connection.ask("/").await.starts_with("http/1.1 503"));
    }
    drop(busy);
    until_free(&handle).await;
    assert!(connections[0].ask("/").await.starts_with("http/1.1 200"));
}
