//! hyper's pooled client under the whole stack, against a server that fails every other request and
//! then goes down.
//!
//! ```text
//! cargo run --example hyper_client --features http
//! ```

use std::convert::Infallible;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use seawall::circuit_breaker::State;
use seawall::http::drain::DrainLayer;
use seawall::{Error, Reason};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let server = Server::default();
    let url = server.serve().await?;

    let layers = seawall::http::client("orders") // a 503 is a failure, though it is an `Ok` to tower
        .deadline(Duration::from_secs(60))
        .attempt_timeout(Duration::from_secs(10))
        .build()?;
    let breaker = layers.breaker();
    let mut orders = ServiceBuilder::new()
        .layer(layers)
        .layer(DrainLayer::new()) // the connection of a rejected answer is used again
        .map_err(Error::Inner)
        .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());

    for nth in 0..20 {
        let request = Request::put(&url).body(Full::from(format!("order {nth}")))?;
        let answer = orders.ready().await?.call(request).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        assert_eq!(body, format!("order {nth}"));
    }
    let requests = server.requests.load(Ordering::Relaxed);
    println!("20 orders were placed, with {requests} requests");
    assert!(requests > 20 && breaker.state() == State::Closed);

    server.down.store(true, Ordering::Relaxed);
    let rejected = loop {
        let request = Request::get(&url).body(Full::default())?;
        match orders.ready().await?.call(request).await {
            Ok(answer) => assert_eq!(answer.status(), 503),
            Err(Error::Rejected(why)) => break why,
            Err(error) => return Err(error.into()),
        }
    };
    println!("then it went down: {rejected}");
    assert_eq!(rejected.reason(), Reason::CircuitOpen);
    Ok(())
}

/// Echoes every other request, and rejects the others; all of them once it is down.
#[derive(Clone, Default)]
struct Server {
    requests: Arc<AtomicU32>,
    down: Arc<AtomicBool>,
}

impl Server {
    async fn serve(&self) -> std::io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                let service = service_fn(move |request| server.clone().answer(request));
                let http1 = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http1.serve_connection(TokioIo::new(socket), service));
            }
        });
        Ok(url)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let odd = self.requests.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let mut response = Response::new(Full::new(body.unwrap_or_default()));
        if odd || self.down.load(Ordering::Relaxed) {
            response = Response::new(Full::from("busy"));
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
