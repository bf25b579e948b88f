//! The ready-made clients over many endpoints: over real sockets, and by what they do to requests.

mod http;
mod settings;
mod sockets;

#[cfg(feature = "reqwest")]
mod reqwest;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use seawall::endpoints::Endpoint;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

type Body = Full<Bytes>;
type Hyper =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Body>;

fn hyper() -> Hyper {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http()
}

/// A server on a port of the system's choice, which answers its name.
struct Server {
    endpoint: Endpoint,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// It answers 503.
    is_bad: AtomicBool,
    /// It never answers.
    hangs: AtomicBool,
    /// The paths it was asked for.
    asked: Mutex<Vec<String>>,
    arrived: AtomicUsize,
    /// Requests of `/held` wait for this.
    gate: Option<Semaphore>,
}

impl Server {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::named(name, listener.local_addr().unwrap().to_string());
        let state = Arc::new(State { gate: Some(Semaphore::new(0)), ..State::default() });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // which end with this task
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request: Request<Incoming>| {
                    let shared = Arc::clone(&shared);
                    async move { Ok::<_, Infallible>(shared.answer(name, &request).await) }
                });
                let http1 = hyper::server::conn::http1::Builder::new();
                connections.spawn(http1.serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { endpoint, state, task }
    }

    fn name(&self) -> &str {
        self.endpoint.name()
    }

    /// With all its connections.
    fn dies(&self) {
        self.task.abort();
    }

    fn turns_bad(&self) {
        self.state.is_bad.store(true, Ordering::Relaxed);
    }

    fn hangs(&self) {
        self.state.hangs.store(true, Ordering::Relaxed);
    }

    /// Lets one request of `/held` go on.
    fn lets_go(&self) {
        self.state.gate.as_ref().unwrap().add_permits(1);
    }

    /// How many requests came.
    fn count(&self) -> usize {
        self.state.arrived.load(Ordering::Relaxed)
    }

    /// How often it was asked for this path.
    fn asked_for(&self, path: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn answer(&self, name: &'static str, request: &Request<Incoming>) -> Response<Body> {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        self.asked.lock().unwrap().push(request.uri().path().to_owned());
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if request.uri().path() == "/held" {
            self.gate.as_ref().unwrap().acquire().await.unwrap().forget();
        }
        let mut response = Response::new(Body::from(name));
        if self.is_bad.load(Ordering::Relaxed) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

async fn servers<const N: usize>(names: [&'static str; N]) -> Vec<Server> {
    let mut servers = Vec::new();
    for name in names {
        servers.push(Server::start(name).await);
    }
    servers
}

fn endpoints(servers: &[Server]) -> Vec<Endpoint> {
    servers.iter().map(|server| server.endpoint.clone()).collect()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::default()).unwrap()
}
