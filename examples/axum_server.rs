//! An axum server that takes no more than it can do: a few requests at a time, a short queue, the
//! caller's deadline, health for the load balancer, and an end in good order.
//!
//! ```text
//! cargo run --example axum_server --features http
//! ```

use std::error::Error as StdError;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use http::{HeaderName, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use seawall::Error;
use seawall::health::{Criticality, HealthLayer, HealthRegistry, Probe};
use seawall::http::{HealthEndpoint, TimeoutHeader};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tower::ServiceBuilder;

const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout-ms");
/// So many requests at a time,
const LIMIT: u32 = 2;
/// and so many in line.
const QUEUE: u32 = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let admitted = seawall::http::server("orders") // rejections leave as 503 and 504, not as errors
        .deadline(Duration::from_secs(60))
        .deadline_from(TimeoutHeader::Millis(TIMEOUT)) // nobody waits longer than their caller does
        .limit(LIMIT)
        .queue(QUEUE, Duration::from_secs(30))
        .build()?;
    let admission = ServiceBuilder::new().layer(admitted.clone()).map_err(Error::Inner);

    let database = HealthLayer::builder("database").check(ping).build()?;
    let registry = HealthRegistry::new("orders");
    registry.add(Probe::Readiness, Criticality::Critical, &database.handle());

    let kitchen = watch::Sender::new(false);
    let app = Router::new()
        .route("/", get(order).with_state(kitchen.subscribe()))
        .layer(admission) // only what stands above it has to queue
        .nest_service("/health", HealthEndpoint::new(registry));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel();
    let server =
        axum::serve(listener, app).with_graceful_shutdown(async { stopped.await.unwrap_or(()) });
    let server = tokio::spawn(server.into_future());

    visit(&url, &kitchen).await?;

    admitted.drain().await; // takes no more, and waits for those in flight
    assert_eq!(ask(&client(), &url, 1_000).await?, StatusCode::SERVICE_UNAVAILABLE);
    let _ = stop.send(()); // the server waits by itself, if it is gone already
    server.await??;
    println!("drained, and stopped");
    Ok(())
}

/// Takes until the kitchen has opened.
async fn order(State(mut open): State<watch::Receiver<bool>>) -> &'static str {
    let _ = open.wait_for(|open| *open).await; // or it has burnt down
    "order 7"
}

async fn ping() -> Result<(), std::io::Error> {
    Ok(())
}

// ===== what its callers see =====

async fn visit(url: &str, kitchen: &watch::Sender<bool>) -> Result<(), Box<dyn StdError>> {
    let client = client();
    while ask(&client, &format!("{url}/health/readyz"), 1_000).await? != StatusCode::OK {
        tokio::task::yield_now().await; // not ready before its first check
    }

    let hasty = ask(&client, url, 20).await?;
    println!("one who had 20 ms: {hasty}");
    assert_eq!(hasty, StatusCode::GATEWAY_TIMEOUT);

    let mut crowd: FuturesUnordered<_> = (0..10).map(|_| ask(&client, url, 60_000)).collect();
    let room = (LIMIT + QUEUE) as usize;
    let (mut served, mut rejected) = (0, 0);
    while let Some(status) = crowd.next().await {
        match status? {
            StatusCode::OK => served += 1,
            StatusCode::SERVICE_UNAVAILABLE => rejected += 1,
            other => return Err(format!("{other} is no answer of this server").into()),
        }
        // Whoever does not fit hears so before anybody is served.
        if rejected == 10 - room {
            kitchen.send_replace(true);
        }
    }
    println!("ten came at once: {served} were served, {rejected} sent away at once");
    assert_eq!((served, rejected), (room, 10 - room));
    Ok(())
}

type Asking = Client<HttpConnector, Empty<Bytes>>;

fn client() -> Asking {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http()
}

async fn ask(client: &Asking, url: &str, millis: u64) -> Result<StatusCode, Box<dyn StdError>> {
    let request = Request::get(url).header(TIMEOUT, millis).body(Empty::new())?;
    Ok(client.request(request).await?.status())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
